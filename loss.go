package redigolock

import (
	"container/heap"
	"time"
)

// judgeLosses is the goroutine that signals losses. last is when the first lock was known to be held. If an Observer ends
// it, another goes on.
func (l *Locker) judgeLosses(last time.Time) {
	over := false
	defer func() {
		if !over {
			go l.judgeLosses(last)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := l.now()
		suspended := now.Round(0).Sub(last.Round(0))-now.Sub(last) > time.Millisecond
		last = now
		next, end := l.loseDue(now, suspended)
		if over = end; over {
			return
		}
		timer.Reset(min(next.Sub(l.now()), suspendTick))
		select {
		case <-timer.C:
		case <-l.state.renewer.wakeEnd:
		}
	}
}

// loseDue loses what must be lost by now, the earliest first, and returns when to look again. With all it looks at
// every lock,
// whatever the heap says.
func (l *Locker) loseDue(now time.Time, all bool) (next time.Time, end bool) {
	for {
		lost, next, end := l.takeLost(now, all)
		for _, x := range lost {
			x.kp.end(x.cause)
		}
		for _, x := range lost {
			l.Observer.lost(x.kp.ctx, x.kp.k, x.cause)
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

// takeLost takes some of the lost locks off the heaps: not all in one go, so that the others are not kept waiting for
// state.mu. Of the locks that a while ago would have been lost soon, most have been renewed since: it looks at those of the
// next quarter of a ttl, so that it need not wake up for each.
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
	for len(r.loss) > 0 && len(lost) < 100 {
		kp := r.loss[0]
		if kp.lossAt.After(now.Add(kp.k.ttl / lookAhead)) {
			break
		}
		lossAt, cause := kp.k.lossCause(now, kp.lastErr)
		if cause != nil {
			r.remove(kp)
			lost = append(lost, lostLock{kp, cause})
			continue
		}
		if !lossAt.After(now) {
			lossAt = now.Add(time.Millisecond)
		}
		moved := lossAt.After(kp.lossAt)
		kp.lossAt = lossAt
		heap.Fix(&r.loss, 0)
		if !moved { // it is in danger: wait for it
			break
		}
	}
	switch {
	case len(r.loss) > 0:
		next = r.loss[0].lossAt
	case len(lost) == 0:
		r.judging, end = false, true
	}
	return lost, next, end
}
