package redigolock

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/hooks"
)

// A renewLine is the renewer's own connection, and what it uses again for each batch. A pool that cannot dial lends it, and
// gets it back when nothing is kept alive any more: a pool that is exhausted later must not cost a lock.
type renewLine struct {
	conn      redis.Conn
	conns     *atomic.Int64 // counts it
	alone     bool          // locks that were refused together have been extended one by one: so it will be from now on
	notBefore time.Time     // nothing before, for the last dials or batches failed
	rtt       time.Duration // what the newest batch or dial has taken
	failures  int           // of dials and of batches without any reply, in a row
	replies   []any         // one for each keeper of the batch
	errs      []error
	renewRequests
}

func (n *renewLine) close() {
	if n.conn != nil {
		_ = n.conn.Close()
		n.conn = nil
		n.conns.Add(-1)
	}
}

// ready dials if there is no connection that works.
func (n *renewLine) ready(l *Locker) (err error) {
	if n.conn != nil && n.conn.Err() == nil {
		return nil
	}
	n.close()
	ctx, cancel := context.WithTimeout(context.Background(), n.patience(l))
	defer cancel()
	begin := time.Now()
	if n.conn, err = l.source().dial(ctx); err != nil {
		n.conn = nil
		n.judge(l, err)
		return fmt.Errorf("redigolock: keep alive: no connection: %w", err)
	}
	n.conns.Add(1)
	n.rtt = max(n.rtt, time.Since(begin))
	return nil
}

// judge has the next dial wait after one that failed, or that led to a server that answered nothing: all the locks' own
// pauses together would be a storm of dials.
func (n *renewLine) judge(l *Locker, err error) {
	if err == nil || len(n.replies) > 0 && isAnswer(n.replies[0]) {
		n.failures = 0
		return
	}
	n.notBefore = l.now().Add(pauseAfter(n.failures))
	n.failures++
}

// pauseAfter is the jittered pause after so many failures in a row before this one.
func pauseAfter(failures int) time.Duration {
	pause := min(renewPause<<min(failures, 10), renewMost)
	return pause/2 + hooks.N(pause/2+1)
}

// extend sends the renewals of a batch and reads their replies. What is sent for many locks at once and not extended is
// sent again for each alone, and only that answer counts. One lock that this client has no rights on has all of its
// request refused; a server in cluster mode refuses keys of several slots; and a proxy that looks at the first key only
// asks a server that does not have the others.
func (n *renewLine) extend(l *Locker, keepers []*keeper) error {
	if len(keepers) == 0 {
		return nil
	}
	most, begin := n.patience(l), time.Now()
	b := &boundConn{Conn: n.conn, deadline: begin.Add(most)}
	ctx, cancel := context.WithTimeout(context.Background(), most) // ends a write, too, that no timeout of the user's ends
	defer cancel()
	n.pickAll(keepers)
	err := n.exchange(ctx, b, keepers, n.size(l))
	if err == nil {
		n.rtt = time.Since(begin)
	}
	if n.pickRefused(); err == nil && len(n.picked) > 0 {
		err = n.exchange(ctx, b, keepers, 1)
		n.alone = !slices.ContainsFunc(n.picked, func(i int) bool { return !isExtended(n.replies[i]) })
	}
	if err == nil && isReadOnly(n.replies[0]) {
		n.close() // a demoted master: dial anew, perhaps another one
	}
	return err
}

// exchange sends the renewals of the picked keepers and reads their replies. A server that does not know the script
// gets its text once, with one of the requests, and then all of them again: to extend a lock twice does no harm.
func (n *renewLine) exchange(ctx context.Context, b *boundConn, keepers []*keeper, size int) error {
	n.fill(keepers, size)
	defer n.unpack()
	first := keepers[n.picked[0]].k
	err := pipeline(ctx, b, "extend", first.key, n.requests, n.answers)
	i := slices.IndexFunc(n.answers, isNoScript)
	if err != nil || i < 0 {
		return err
	}
	args := append([]any{first.locker.extendScript().src}, n.requests[i].args[1:]...)
	_, err = do(ctx, b, "extend", first.key, "EVAL", args...)
	if _, isReply := err.(redis.Error); err != nil && !isReply { // a reply may be about those locks
		return err
	}
	n.answers = noAnswers(n.answers, len(n.requests))
	return pipeline(ctx, b, "extend", first.key, n.requests, n.answers)
}

// outcomes notes in errs what became of each renewal of a batch that was sent after start and ended with err.
func (n *renewLine) outcomes(sent []*keeper, start time.Time, err error) {
	for i, kp := range sent {
		n.errs = append(n.errs, n.outcome(i, kp, start, err))
	}
	n.replies = n.replies[:0]
}

// outcome is what became of the i-th renewal of a batch that was sent after start and ended with err.
func (n *renewLine) outcome(i int, kp *keeper, start time.Time, err error) error {
	switch {
	case i < len(n.replies) && isAnswer(n.replies[i]):
		return kp.judgeRenewal(start, n.replies[i])
	}
	kp.k.locker.Observer.outcome(kp.ctx, kp.k.key, "extend", err)
	return err
}

// patience is how long a dial or a batch may take: half of the time until the first lock is lost, so that one
// connection that hangs costs none; but not so little that a server in good health, perhaps a distant one, is taken for one
// that hangs, or one short lock would cost all others their connection again and again.
func (n *renewLine) patience(l *Locker) time.Duration {
	least := max(leastPatience<<min(n.failures, 2), min(4*n.rtt, mostFloor))
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	most := l.opTimeout()
	if loss := l.state.renewer.loss; len(loss) > 0 {
		most = min(most, max(loss[0].lossAt.Sub(l.now())/2, least))
	}
	return most
}
