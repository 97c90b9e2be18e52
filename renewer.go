package redigolock

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Renewal of all the locks that a Locker keeps alive, by two goroutines that live while there are any.
//
// The one sends: it takes what is due, and what will be within a 64th of its ttl, up to maxBatch at a time, and extends them
// in one pipeline on a connection that is not the pool's, so that an exhausted pool starves nobody. One batch is in flight
// at most. Each reply is judged for itself; the basis of each Deadline is the time before the batch's first send. A batch
// that breaks is unknown for those without a reply: they are sent again on a new connection, with a pause that doubles.
//
// The other signals losses. It sends nothing and waits for nothing but the clock, so it is in time whatever the first hangs
// in. At least once a second it compares the clocks: after a suspend it looks at all locks.
//
// What if a renewal is answered late? Deadline counts from the send. Never? The lock is lost in time, by the clock. What if
// the server gets it after the release? It carries the token, which is in no key any more.

const (
	maxBatch    = 1000
	aheadShare  = 64                    // a renewal may be sent ttl/64 early, to travel with others
	renewPause  = 10 * time.Millisecond // before a failed renewal is sent again, doubling up to renewMost, jittered
	renewMost   = 250 * time.Millisecond
	suspendTick = time.Second

	leastPatience = 50 * time.Millisecond
)

// A renewer is part of a Locker's state; Locker.state.mu protects it.
type renewer struct {
	due     dueHeap
	loss    lossHeap
	sending bool          // the goroutine that sends lives
	judging bool          // the goroutine that signals losses lives
	wakeDue chan struct{} // capacity 1: there is something earlier, or nothing left
	wakeEnd chan struct{} // capacity 1: the same for the other
	sent    chan struct{} // closed when the goroutine that sends has ended
}

// A batch is a pipeline of renewals in flight.
type batch struct {
	keepers []*keeper
	done    chan struct{} // closed when nothing more will be sent for it, nor judged
}

// add starts the goroutines if need be. The caller holds state.mu.
func (r *renewer) add(l *Locker, kp *keeper, now time.Time) {
	heap.Push(&r.due, kp)
	heap.Push(&r.loss, kp)
	if r.wakeDue == nil {
		r.wakeDue, r.wakeEnd = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	if !r.sending {
		r.sending, r.sent = true, make(chan struct{})
		go l.renewDue(r.sent)
	}
	if !r.judging {
		r.judging = true
		go l.judgeLosses(now)
	}
	if kp.dueAt == 0 {
		wake(r.wakeDue)
	}
	if kp.lossIn == 0 {
		wake(r.wakeEnd)
	}
}

// remove is called once for each keeper. The caller holds state.mu.
func (r *renewer) remove(kp *keeper) {
	kp.over = true
	kp.k.keeper = nil
	if kp.batch != nil { // else the batch of an earlier keeper may still be in flight
		kp.k.inFlight = kp.batch
	}
	if kp.dueAt >= 0 {
		heap.Remove(&r.due, kp.dueAt)
	}
	heap.Remove(&r.loss, kp.lossIn)
	if len(r.loss) == 0 {
		wake(r.wakeDue)
		wake(r.wakeEnd)
	}
}

func wake(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it has been told already
	}
}

// renewDue is the goroutine that sends.
func (l *Locker) renewDue(done chan<- struct{}) {
	defer close(done)
	var line renewLine
	defer line.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		b, next, end := l.takeDue(line.notBefore)
		switch {
		case end:
			return
		case b != nil:
			l.renewBatch(&line, b)
			continue
		}
		timer.Reset(next.Sub(l.now()))
		select {
		case <-timer.C:
		case <-l.state.renewer.wakeDue:
		}
	}
}

// takeDue takes the next batch off the heap, or says when there will be one, or that there is nothing left to keep. It takes
// none before notBefore.
func (l *Locker) takeDue(notBefore time.Time) (b *batch, next time.Time, end bool) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	r := &l.state.renewer
	now := l.now()
	if len(r.loss) == 0 {
		r.sending = false
		return nil, next, true
	}
	if now.Before(notBefore) {
		return nil, notBefore, false
	}
	for len(r.due) > 0 && (b == nil || len(b.keepers) < maxBatch) {
		kp := r.due[0]
		if at := kp.nextDue(now); at.After(kp.due) { // Deadline has moved meanwhile
			kp.due = at
			heap.Fix(&r.due, 0)
			continue
		}
		if next = kp.takeAt(); next.After(now) {
			break
		}
		if b == nil {
			b = &batch{done: make(chan struct{})}
		}
		heap.Pop(&r.due)
		kp.batch = b
		b.keepers = append(b.keepers, kp)
	}
	return b, next, false
}

// takeAt is when a renewal may be sent: a little early to travel with others, but not when it is tried again.
func (kp *keeper) takeAt() time.Time {
	if kp.failures > 0 {
		return kp.due
	}
	return kp.due.Add(-kp.k.ttl / aheadShare)
}

// nextDue is when half of the ttl will be left, as Deadline is now; after a failure, when to try again. The caller holds
// state.mu.
func (kp *keeper) nextDue(now time.Time) time.Time {
	if kp.failures > 0 {
		return kp.due
	}
	kp.k.mu.Lock()
	defer kp.k.mu.Unlock()
	return kp.k.renewAt(now)
}

// renewBatch sends a batch, judges its replies, and puts its keepers back.
func (l *Locker) renewBatch(line *renewLine, b *batch) {
	err := line.ready(l)
	sent := b.keepers
	if err == nil {
		sent = l.stillKept(b.keepers) // the dial may have taken its time: nothing is sent for a lock that was released
	}
	start := l.now()
	if err == nil {
		err = line.extend(l, sent)
		line.judge(l, err)
	}
	for i, kp := range sent {
		l.renewed(kp, line.outcome(i, kp.k, start, err))
	}
	line.replies = line.replies[:0]
	if !dials(l.Pool) {
		line.close() // it is the pool's, and somebody else may wait for it
	}
	l.state.mu.Lock()
	for _, kp := range b.keepers {
		kp.batch = nil
		if kp.k.inFlight == b {
			kp.k.inFlight = nil
		}
		if !kp.over {
			heap.Push(&l.state.renewer.due, kp)
		}
	}
	l.state.mu.Unlock()
	close(b.done)
}

// stillKept leaves out the keepers that were taken away from their locks.
func (l *Locker) stillKept(keepers []*keeper) []*keeper {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	var left []*keeper
	for _, kp := range keepers {
		if !kp.over {
			left = append(left, kp)
		}
	}
	return left
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

// judgeRenewal turns the reply to a lock's renewal into what became of it.
func (k *Lock) judgeRenewal(start time.Time, reply any) error {
	if re, ok := reply.(redis.Error); ok {
		return k.judge("extend", serverError("extend", k.key, re))
	}
	left, err := reply0("extend", k.key, reply)
	if err != nil {
		return k.judge("extend", err)
	}
	return k.extended(start, k.ttl, time.Duration(left)*time.Millisecond)
}

// renewed notes how a renewal went, and when the next is due.
func (l *Locker) renewed(kp *keeper, err error) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	kp.lastErr = err
	if err == nil {
		kp.failures = 0
		kp.due = kp.nextDue(l.now())
		return
	}
	kp.due = l.now().Add(pauseAfter(kp.failures))
	kp.failures++
}

// judgeLosses is the goroutine that signals losses. last is when the first lock was known to be held.
func (l *Locker) judgeLosses(last time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := l.now()
		suspended := now.Round(0).Sub(last.Round(0))-now.Sub(last) > time.Millisecond
		last = now
		next, end := l.loseDue(now, suspended)
		if end {
			return
		}
		timer.Reset(min(next.Sub(l.now()), suspendTick))
		select {
		case <-timer.C:
		case <-l.state.renewer.wakeEnd:
		}
	}
}

// loseDue loses what must be lost by now, the earliest first, and returns when to look again. With all it looks at every lock,
// whatever the heap says.
func (l *Locker) loseDue(now time.Time, all bool) (next time.Time, end bool) {
	for {
		lost, next, end := l.takeLost(now, all)
		for _, x := range lost {
			x.kp.end(x.cause)
			l.Observer.lost(x.kp.k.key, x.cause)
		}
		if len(lost) == 0 {
			return next, end
		}
		all = false
	}
}

type lostLock struct {
	kp    *keeper
	cause error
}

// takeLost takes some of the lost locks off the heaps: not all in one go, so that the others are not kept waiting for the lock.
func (l *Locker) takeLost(now time.Time, all bool) (lost []lostLock, next time.Time, end bool) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	r := &l.state.renewer
	if all {
		for _, kp := range r.loss {
			kp.lossAt = now
		}
		for _, kp := range r.due {
			if at := kp.nextDue(now); at.Before(kp.due) {
				kp.due = at
			}
		}
		heap.Init(&r.due)
		wake(r.wakeDue)
	}
	for len(r.loss) > 0 && len(lost) < 100 && !r.loss[0].lossAt.After(now) {
		kp := r.loss[0]
		cause, lossAt := kp.k.lossCause(now, kp.lastErr)
		if cause != nil {
			r.remove(kp)
			lost = append(lost, lostLock{kp, cause})
			continue
		}
		if kp.lossAt = lossAt; !lossAt.After(now) {
			kp.lossAt = now.Add(time.Millisecond)
		}
		heap.Fix(&r.loss, 0)
	}
	switch {
	case len(r.loss) > 0:
		next = r.loss[0].lossAt
	case len(lost) == 0:
		r.judging, end = false, true
	}
	return lost, next, end
}

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

// extend sends the renewals of a batch and reads their replies. A server that does not know the script gets its text once,
// and then the batch again: nothing was executed.
func (n *renewLine) extend(l *Locker, keepers []*keeper) error {
	if len(keepers) == 0 || n.binds {
		return nil
	}
	n.fill(keepers)
	most := l.patience()
	b := &boundConn{Conn: n.conn, deadline: time.Now().Add(most)}
	ctx, cancel := context.WithTimeout(context.Background(), most) // ends a write, too, that no timeout of the user's ends
	defer cancel()
	err := pipeline(ctx, b, "extend", keepers[0].k.key, n.requests, n.replies)
	if re, ok := n.replies[0].(redis.Error); ok && err == nil && firstWord(re) == "NOSCRIPT" {
		first := keepers[0].k
		_, err = do(ctx, b, "extend", first.key, "EVAL", scriptExtend.src, scriptExtend.keys, first.key, first.token, n.requests[0].args[4])
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

func readOnlyReply(replies []any) bool {
	re, ok := replies[0].(redis.Error)
	return ok && readOnly(re)
}

// patience is how long a dial or a batch may take: half of the time until the first lock is lost, so that one connection that
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
func (n *renewLine) fill(keepers []*keeper) {
	const perLock = 5
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
		n.args = append(n.args, scriptExtend.hash, scriptExtend.keys, k.conn.key, k.conn.token, n.ms)
		n.requests = append(n.requests, request{"EVALSHA", n.args[at : at+perLock : at+perLock]})
	}
	n.replies = append(n.replies[:0], make([]any, len(keepers))...)
}

// The heaps keep each keeper's place, so that it can be moved and removed.
type dueHeap []*keeper

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].dueAt, h[j].dueAt = i, j }
func (h *dueHeap) Push(x any)        { kp := x.(*keeper); kp.dueAt = len(*h); *h = append(*h, kp) }
func (h *dueHeap) Pop() any          { kp := pop((*[]*keeper)(h)); kp.dueAt = -1; return kp }

type lossHeap []*keeper

func (h lossHeap) Len() int           { return len(h) }
func (h lossHeap) Less(i, j int) bool { return h[i].lossAt.Before(h[j].lossAt) }
func (h lossHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].lossIn, h[j].lossIn = i, j }
func (h *lossHeap) Push(x any)        { kp := x.(*keeper); kp.lossIn = len(*h); *h = append(*h, kp) }
func (h *lossHeap) Pop() any          { return pop((*[]*keeper)(h)) }

func pop(h *[]*keeper) *keeper {
	last := len(*h) - 1
	kp := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	return kp
}
