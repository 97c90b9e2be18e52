// Package crowd has many calls that wait for one key ask the server no more than a few at a time, and share what it says.
package crowd

import (
	"container/heap"
	"container/list"
	"errors"
	"fmt"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
)

// A crowd is the calls that wait for one key in one Locker. If each of ten thousand asked the server whenever its
// pause is over, they would take all connections, and the holder's Release would stand behind them: nobody would get the
// lock before its ttl is over. If each merely woke to read the newest answer, the one that is to ask next would stand behind
// them in the run queue of Go's scheduler. Hence the rules:
//
//   - At most MaxAsking calls for a key ask at a time. The others take the newest answer as the outcome of a try of theirs.
//   - A release in this Locker calls the one that came first: it asks at once, and goes on with its pause if that was in vain.
//     The others take for a moment what they know, so that they do not ask in its place.
//   - A call whose own token may be in the key takes no answer: "held" may mean its own lock.
//   - A waiter sleeps until it must do something itself: ask, call a Retry of the user's, or return. What else there is to do
//     the crowd's timer does for it: it takes answers, and asks the Retry of this package for the next pause. There is no
//     goroutine but while the timer's func runs.
//
// No wake-up is lost:
//   - A waiter depends on no other for its time: whatever becomes of those that ask, the timer is set for the earliest end of
//     a pause or of a bound, by arm, which ends each change of the crowd.
//   - Room is given away, not announced: who is woken to ask has its turn already, and gives it back if it leaves instead.
//     Each change that makes room, or calls somebody, ends with pass.
//   - Only who sleeps is called, for it can ask at once. The call is passed on if it wakes for something else, if it leaves, and
//     if it leaves before it has been told who holds the lock. A release that finds nobody asleep is noted: the answers to
//     those that ask may be older, so one of them asks again.
//   - A try outside of the crowd, see alone, is counted by those that look for room, and looks for a crowd when it ends. Each
//     side writes before it reads, so one of them sees the other.
type crowd struct {
	of   *Crowds
	key  string
	at   uint64 // placeOf(key)
	gone bool   // nobody is left

	line             list.List // of all members, in the order of arrival
	asking           int
	pausing, waiting sleepers
	seeking          sleepers // those that wait, and must ask themselves
	called           *member  // sleeps, and is to ask first, for the lock was released; nil: nobody
	newest           answer

	timer *time.Timer // nil: it has never been set
	fires time.Time   // when the timer does; zero: it is not set
	fired time.Time   // when it did last
}

const (
	// MaxAsking is how many of a Locker's waiters for a key ask at a time.
	MaxAsking = 4
	// freshFor is how long an answer is taken by all who have not seen it, also while there is room to ask.
	freshFor = time.Millisecond
	// In a crowd of more than few, pauses end together, once in a grain, so that the timer does not go off for each. They are
	// seen to manyAtATime before the mutex is given to others.
	few         = 64
	grain       = time.Millisecond
	manyAtATime = 64
)

// An answer is what a try was told. Its err is nil where there is none to share.
type answer struct {
	err    error
	last   bool      // it is in vain to try again
	holder string    // as in Holder
	until  time.Time // as in Holder
	n      uint64    // counts the answers, and the releases after which the last one is taken once more
	at     time.Time
}

// call has the first that sleeps ask next, or else the first, as soon as it sleeps.
func (c *crowd) call() {
	c.called = nil
	for e := c.line.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*member); w.state == pausing || w.state == waiting {
			c.called, w.again = w, false
			return
		}
	}
	if first := c.line.Front(); first != nil {
		first.Value.(*member).again = true
	}
}

// pass gives away what room there is: to the one that is called, also in its pause, to those that must ask themselves, and to
// those that have waited longest.
func (c *crowd) pass(now time.Time) {
	for c.hasRoom() {
		switch w := c.called; {
		case w != nil:
			w.extra = w.state == pausing
			c.ask(w, now)
		case len(c.seeking) > 0:
			c.ask(c.seeking[0], now)
		case len(c.waiting) > 0:
			c.proceed(c.waiting[0], now)
		default:
			return
		}
	}
}

// hasRoom reports whether fewer than MaxAsking ask for the key, in the crowd and outside.
func (c *crowd) hasRoom() bool {
	n := c.asking
	for i := uint64(0); i < MaxAsking && n < MaxAsking; i++ {
		if key := c.of.alone[(c.at+i)%placesAlone].Load(); key != nil && *key == c.key {
			n++
		}
	}
	return n < MaxAsking
}

// fire is what the timer runs.
func (c *crowd) fire() {
	for c.fireMany() {
	}
}

// fireMany goes on with those whose time has come, but only with so many. It reports whether there may be more.
func (c *crowd) fireMany() bool {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.gone {
		return false
	}
	now := time.Now()
	c.fires, c.fired = time.Time{}, now
	for range manyAtATime {
		w := c.earliest()
		if w == nil || now.Before(c.wakesAt(w)) {
			c.pass(now) // somebody may be called instead of one that woke
			c.arm(now)
			return false
		}
		c.proceed(w, now)
	}
	return true
}

// earliest is the sleeper that is the first to go on by time; nil: nobody sleeps.
func (c *crowd) earliest() (first *member) {
	for _, s := range [...]sleepers{c.waiting, c.seeking, c.pausing} {
		if len(s) > 0 && (first == nil || c.wakesAt(s[0]).Before(c.wakesAt(first))) {
			first = s[0]
		}
	}
	return first
}

// wakesAt is when a sleeper goes on, if nothing else happens.
func (c *crowd) wakesAt(w *member) time.Time {
	if w.state == waiting && c.canTake(w) {
		return c.newest.at
	}
	return w.due
}

// arm sets the timer for the earliest that sleeps.
func (c *crowd) arm(now time.Time) {
	w := c.earliest()
	if w == nil {
		return
	}
	at := c.wakesAt(w)
	if next := c.fired.Add(grain); w.state == pausing && len(c.pausing) > few && at.Before(next) {
		at = next
	}
	switch {
	case !c.fires.IsZero() && !at.Before(c.fires):
		return
	case c.timer == nil:
		c.timer = time.AfterFunc(at.Sub(now), c.fire)
	default:
		c.timer.Reset(at.Sub(now))
	}
	c.fires = at
}

// proceed has w go on whose pause is over, or that waits: it asks, takes the newest answer, or waits.
//
// With many keys, four tries for each would take all connections, too. So at most polls ask at a time, for all keys, of those
// that know that their lock is held. Whoever is one too many takes the newest answer, even once more.
func (c *crowd) proceed(w *member, now time.Time) {
	if w.state != waiting {
		w.began, w.extra = now, false
	}
	polls, wait := c.of.env.Polls, c.of.env.Bound/2
	isFresh := c.canTake(w) && now.Sub(c.newest.at) < freshFor
	switch must, isCalled := w.seeks(), c.called == w; {
	case c.newest.err != nil && !must && !isCalled && polls > 0 && c.of.polling >= polls:
		c.takeNewest(w, now)
	case (must || isCalled || c.called == nil && !isFresh) && c.hasRoom():
		c.ask(w, now)
	case c.canTake(w):
		c.takeNewest(w, now)
	case now.Sub(w.began) >= wait: // what is left is too little to ask
		c.fail(w, othersUnanswered(c.key), false, now)
	default:
		c.sleep(w, waiting, w.began.Add(wait))
	}
}

// seeks reports whether w must ask itself, for its own token may be in the key.
func (w *member) seeks() bool { return w.call.Uncertain() }

// canTake reports whether there is an answer that w has not taken yet.
func (c *crowd) canTake(w *member) bool {
	return c.newest.err != nil && c.newest.n > w.took && !w.seeks() && c.called != w
}

func (c *crowd) takeNewest(w *member, now time.Time) {
	w.took = c.newest.n
	w.learn(c.newest)
	c.fail(w, c.newest.err, c.newest.last, now)
}

// fail ends a try of w that has asked nobody.
func (c *crowd) fail(w *member, err error, isLast bool, now time.Time) {
	w.note(err)
	w.h.Last = err
	if !c.of.env.Own || isLast {
		c.rouse(w, running, toDecide)
		return
	}
	if pause := w.pauseNow(); pause >= 0 {
		c.sleep(w, pausing, now.Add(pause))
		return
	}
	c.rouse(w, running, toEnd)
}

// ask gives w a turn to ask.
func (c *crowd) ask(w *member, now time.Time) {
	w.most = c.of.env.Bound
	if w.state == waiting {
		w.most -= now.Sub(w.began)
	}
	if c.called == w {
		c.called, w.leads = nil, true
	} else if c.newest.err != nil {
		w.polling = true
		c.of.polling++
	}
	w.learn(c.newest)
	c.asking++
	c.rouse(w, asking, toAsk)
}

func (c *crowd) stopAsking(w *member) {
	c.asking--
	w.state = running
	if w.polling {
		w.polling = false
		c.of.polling--
	}
}

// share has an answer known, also to those that wait.
func (c *crowd) share(a answer, now time.Time) {
	a.n, a.at, a.last = c.newest.n+1, now, !fault.Transient(a.err)
	c.newest = a
}

// rouse wakes w, for a state in which its goroutine goes on.
func (c *crowd) rouse(w *member, to memberState, why turn) {
	c.unsleep(w)
	w.state = to
	if c.called == w {
		c.call()
	}
	w.wake <- why
}

// sleep has w sleep, or sleep on, until due at most.
func (c *crowd) sleep(w *member, in memberState, due time.Time) {
	was := c.sleepersOf(w)
	w.due = due
	if w.state == in {
		heap.Fix(was, w.place)
		return
	}
	c.unsleep(w)
	w.state = in
	heap.Push(c.sleepersOf(w), w)
}

// unsleep takes w out of those that sleep.
func (c *crowd) unsleep(w *member) {
	if s := c.sleepersOf(w); s != nil {
		heap.Remove(s, w.place)
	}
}

// sleepersOf is where w sleeps; nil if it does not.
func (c *crowd) sleepersOf(w *member) *sleepers {
	switch {
	case w.state == pausing:
		return &c.pausing
	case w.state == waiting && w.seeks():
		return &c.seeking
	case w.state == waiting:
		return &c.waiting
	}
	return nil
}

// answer is what others take from a try of a call that ended with err; h is what it knows.
func (c *crowd) answer(call Call, h *Holder, err error) answer {
	switch {
	case err == nil:
		var a answer
		a.holder, a.until, a.err = call.Won()
		return a
	case errors.Is(err, fault.Held):
		return answer{err: err, holder: h.Name, until: h.Until}
	case errors.Is(err, fault.Unknown): // they have sent nothing
		err = othersUnanswered(c.key)
	}
	return answer{err: err, holder: c.newest.holder, until: c.newest.until}
}

// othersUnanswered is what a try ends with that had to rely on those of other waiters.
func othersUnanswered(key string) error {
	return fmt.Errorf("%w: acquire %s: others of this Locker have asked, and got no reply", fault.Unavailable, fault.Quote(key))
}
