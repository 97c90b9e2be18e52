package redigolock

import (
	"container/heap"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// Renewal of all the locks that a Locker keeps alive, by two goroutines that live while there are any.
//
// The one sends: it takes what is due, and what will be within a 64th of its ttl, up to maxBatch at a time, and extends
// them in one pipeline of requests for up to groupMost locks each, on a connection that is not the pool's, so that an
// exhausted pool starves nobody. One batch is in flight at most. A request for many extends locks, but ends none: what
// it does not extend is sent again in the same batch, alone. Each reply is judged for itself; the basis of each
// Deadline is the time before the batch's first send. A batch that breaks is unknown for those without a reply: they
// are sent again on a new connection, alone, with a pause that doubles.
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
	lookAhead   = 4 // of losses: ttl/4; they are renewed before that, at half of the ttl

	leastPatience = 50 * time.Millisecond
	mostFloor     = 500 * time.Millisecond // of patience, for a server that is far away
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

// renewDue is the goroutine that sends. If an Observer ends it, or a func of the pool's, another goes on.
func (l *Locker) renewDue(done chan<- struct{}) {
	over := false
	defer func() {
		if over {
			close(done)
		} else {
			go l.renewDue(done)
		}
	}()
	line := renewLine{conns: &l.state.conns}
	defer line.close()
	apart := newRenewApart()
	defer apart.flying.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		b, next, end := l.takeDue(line.notBefore)
		switch {
		case end:
			over = true
			return
		case b != nil && l.source().binds():
			apart.renew(l, b)
			continue
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
		if b == nil && kp.due.After(now) || kp.takeAt().After(now) {
			next = kp.due
			break
		}
		if b == nil {
			b = &batch{done: make(chan struct{})}
		}
		heap.Pop(&r.due)
		kp.batch = b
		b.keepers = append(b.keepers, kp)
	}
	if next.IsZero() { // all are under way: see renewApart
		next = now.Add(suspendTick)
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
	sent := b.keepers
	defer func() { l.putBack(b, sent, line.errs) }()
	line.errs = line.errs[:0]
	err := line.ready(l)
	if err == nil {
		sent = l.stillKept(b.keepers) // the dial may have taken its time: nothing is sent for a lock that was released
	}
	start := l.now()
	if err == nil {
		err = line.extend(l, sent)
		line.judge(l, err)
	}
	line.outcomes(sent, start, err)
}

// errNotJudged stands for what became of a renewal after an Observer has ended the goroutine.
var errNotJudged = errors.New("the goroutine was ended")

// putBack has the keepers of a batch be renewed again. errs is what became of those that were sent for.
func (l *Locker) putBack(b *batch, sent []*keeper, errs []error) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	now := l.now()
	for i, kp := range sent {
		if i < len(errs) {
			kp.renewed(now, errs[i])
		} else {
			kp.renewed(now, errNotJudged)
		}
	}
	for _, kp := range b.keepers {
		kp.batch = nil
		if kp.k.inFlight == b {
			kp.k.inFlight = nil
		}
		if !kp.over {
			heap.Push(&l.state.renewer.due, kp)
		}
	}
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

// judgeRenewal turns the reply to a lock's renewal into what became of it.
func (kp *keeper) judgeRenewal(start time.Time, reply any) error {
	k := kp.k
	if re, ok := reply.(redis.Error); ok {
		return k.judge(kp.ctx, "extend", fault.Refused("extend", k.key, re))
	}
	if _, err := reply0("extend", k.key, reply); err != nil {
		return k.judge(kp.ctx, "extend", err)
	}
	return k.extended(kp.ctx, start, k.ttl)
}

// renewed notes how a renewal went, and when the next is due. The caller holds state.mu.
func (kp *keeper) renewed(now time.Time, err error) {
	kp.lastErr = err
	if err == nil {
		kp.failures = 0
		kp.due = kp.nextDue(now)
		return
	}
	kp.due = now.Add(pauseAfter(kp.failures))
	kp.failures++
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
