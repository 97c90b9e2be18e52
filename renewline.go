package redigolock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A renewLine is the renewer's own connection, and what it uses again for each batch.
type renewLine struct {
	conn      redis.Conn
	binds     bool      // the pool's connections lead to the node of one key each (Redis Cluster): nothing to share
	notBefore time.Time // nothing before, for the last dials or batches failed
	failures  int       // of dials and of batches without any reply, in a row
	requests  []request
	args      []any
	replies   []any
	ttl       time.Duration // boxed as ms
	ms        any
}

func (n *renewLine) close() {
	if n.conn != nil {
		_ = n.conn.Close()
		n.conn = nil
	}
}

// ready dials if there is no connection that works.
func (n *renewLine) ready(l *Locker) (err error) {
	if n.binds || n.conn != nil && n.conn.Err() == nil {
		return nil
	}
	n.close()
	ctx, cancel := context.WithTimeout(context.Background(), l.patience())
	defer cancel()
	if n.conn, err = dialOwn(ctx, l.Pool); err != nil {
		n.conn = nil
		n.judge(l, err)
		return fmt.Errorf("redigolock: keep alive: no connection: %w", err)
	}
	if _, n.binds = n.conn.(interface{ Bind(keys ...string) error }); n.binds {
		n.close()
	}
	return nil
}

// judge has the next dial wait after one that failed, or that led to a server that answered nothing: all the locks' own
// pauses together would be a storm of dials.
func (n *renewLine) judge(l *Locker, err error) {
	if err == nil || len(n.replies) > 0 && n.replies[0] != nil {
		n.failures = 0
		return
	}
	n.notBefore = l.now().Add(pauseAfter(n.failures))
	n.failures++
}

// pauseAfter is the jittered pause after so many failures in a row before this one.
func pauseAfter(failures int) time.Duration {
	pause := min(renewPause<<min(failures, 10), renewMost)
	return pause/2 + rand.N(pause/2+1)
}

// extend sends the renewals of a batch and reads their replies. A server that does not know the script gets its text
// once,
// and then the batch again: nothing was executed.
func (n *renewLine) extend(l *Locker, keepers []*keeper) error {
	if len(keepers) == 0 || n.binds {
		return nil
	}
	n.fill(l, keepers)
	most := l.patience()
	b := &boundConn{Conn: n.conn, deadline: time.Now().Add(most)}
	ctx, cancel := context.WithTimeout(context.Background(), most) // ends a write, too, that no timeout of the user's ends
	defer cancel()
	err := pipeline(ctx, b, "extend", keepers[0].k.key, n.requests, n.replies)
	if re, ok := n.replies[0].(redis.Error); ok && err == nil && firstWord(re) == "NOSCRIPT" {
		first := append([]any{l.extendScript().src}, n.requests[0].args[1:]...)
		_, err = do(ctx, b, "extend", keepers[0].k.key, "EVAL", first...)
		if err == nil {
			clear(n.replies)
			err = pipeline(ctx, b, "extend", keepers[0].k.key, n.requests, n.replies)
		}
	}
	if err == nil && readOnlyReply(n.replies) {
		n.close() // a demoted master: dial anew, perhaps another one
	}
	return err
}

// outcome is what became of the i-th renewal of a batch that was sent after start and ended with err.
func (n *renewLine) outcome(i int, k *Lock, start time.Time, err error) error {
	switch {
	case n.binds && err == nil: // its own connection for each lock, bound to the node of the lock
		return k.extend(context.Background(), k.ttl)
	case i < len(n.replies) && n.replies[i] != nil:
		return k.judgeRenewal(start, n.replies[i])
	case errors.Is(err, ErrUnknown):
		k.locker.Observer.unknown(k.key, "extend", err)
	}
	return err
}

func readOnlyReply(replies []any) bool {
	re, ok := replies[0].(redis.Error)
	return ok && readOnly(re)
}

// patience is how long a dial or a batch may take: half of the time until the first lock is lost, so that one
// connection that
// hangs costs none; but not so little that a server in good health is taken for one that hangs.
func (l *Locker) patience() time.Duration {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	most := l.opTimeout()
	if loss := l.state.renewer.loss; len(loss) > 0 {
		most = min(most, max(loss[0].lossAt.Sub(l.now())/2, leastPatience))
	}
	return most
}

// fill builds the requests of a batch.
func (n *renewLine) fill(l *Locker, keepers []*keeper) {
	perLock := 5
	script := l.extendScript()
	if l.Fair {
		perLock = 7
	}
	n.requests, n.args = n.requests[:0], n.args[:0]
	if cap(n.args) < perLock*len(keepers) {
		n.args = make([]any, 0, perLock*len(keepers))
	}
	for _, kp := range keepers {
		k := kp.k
		if k.ttl != n.ttl {
			n.ttl, n.ms = k.ttl, k.ttl.Milliseconds()
		}
		at := len(n.args)
		n.args = append(n.args, script.hash, script.keys, k.conn.key)
		if l.Fair {
			queue, _ := sibling("extend", k.key, queueName) // checkFair has asked
			n.args = append(n.args, queue, l.shard())
		}
		n.args = append(n.args, k.conn.token, n.ms)
		n.requests = append(n.requests, request{"EVALSHA", n.args[at : at+perLock : at+perLock]})
	}
	n.replies = append(n.replies[:0], make([]any, len(keepers))...)
}
