package redigolock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A crowd is the calls of Acquire that wait for one key in one Locker. If each of ten thousand asked the server whenever its
// pause is over, they would take all connections, and the holder's Release would stand behind them: nobody would get the
// lock before its ttl is over. So at most maxAsking of them ask at a time, and the others take the newest answer as their own.
//
// Rules that keep it from losing a wake-up:
//   - A waiter sleeps on its seat's channel and on a timer, never on another waiter: whatever becomes of the one that asks,
//     it goes on when its pause, or its bound, is over.
//   - The channel is written under the mutex, and only to a seat that waits or is called; begin empties it.
//   - Whoever leaves passes on what it was given: the call to ask first, and the room to ask.
//   - A release finds all who wait, also those whose first try is in flight: what that is told may be older.
type crowd struct {
	first, last *seat // in the order of arrival
	newest      answer
	called      *seat // is to ask first, for the lock was released; nil: nobody
	idle        int   // seats that wait
}

const (
	maxAsking = 4
	// freshFor is how long an answer is taken by all who have not seen it, also while there is room to ask.
	freshFor = time.Millisecond
)

// A seat is the place of one Acquire in the crowd.
type seat struct {
	prev, next *seat
	wake       chan struct{} // capacity 1
	asking     bool
	polling    bool   // and counts as such
	leads      bool   // it was called, and has not been told yet who holds the lock
	waits      bool   // for room to ask, or for an answer
	took       uint64 // the number of the answer that it took last
}

// An answer is what a try was told. Its err is nil where there is none to share.
type answer struct {
	err    error
	holder string    // as in holding
	until  time.Time // as in holding
	n      uint64    // counts the answers, and the releases after which the last one is taken once more
	at     time.Time
}

// crowds are those of a Locker.
type crowds struct {
	known atomic.Int64 // how many keys there are

	mu   sync.Mutex // protects what follows, down to each seat; taken for moments only, never while anything is sent
	keys map[string]tries
	most int // keys at a time, since the map was made

	polling int // tries in flight, for all keys, of those who have been told before that it is held
}

// tries are the tries of Acquire for a key that are in flight, and who waits for it. It is a value: an Acquire that finds
// nobody allocates nothing.
type tries struct {
	asking int
	again  bool   // the lock was released, and all who wait were asking: what they are told may be older
	crowd  *crowd // nil: nobody waits
}

// put keeps what is known of the key, or forgets it.
func (cs *crowds) put(key string, t tries) {
	if t.asking > 0 || t.crowd != nil {
		if cs.keys == nil {
			cs.keys = map[string]tries{}
		}
		cs.keys[key] = t
		cs.known.Store(int64(len(cs.keys)))
		return
	}
	cs.most = max(cs.most, len(cs.keys))
	delete(cs.keys, key)
	cs.known.Store(int64(len(cs.keys)))
	if len(cs.keys) == 0 && cs.most > 1000 { // a map does not shrink
		cs.keys, cs.most = nil, 0
	}
}

func (cs *crowds) crowdOf(t *tries) *crowd {
	if t.crowd == nil {
		t.crowd = &crowd{}
	}
	return t.crowd
}

// A turn is what a waiter may do.
type turn int

const (
	mayAsk turn = iota
	takesAnswer
	mustWait
)

// begin says what a waiter may do whose pause is over; the newest answer is what it takes, or what is known when it asks.
// s is nil before its first try, and stays so if nobody else is there. eager: it must ask itself, for its own token may be
// in the key.
//
// polls is how many may poll at a time, for all keys, 0 for any number: with many keys, four tries for each would take all
// connections, too. Whoever is one too many takes the newest answer once more.
func (cs *crowds) begin(key string, s *seat, eager bool, polls int) (*seat, turn, answer) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	t := cs.keys[key]
	if s == nil && t.crowd == nil && t.asking < maxAsking {
		t.asking++
		cs.put(key, t)
		return nil, mayAsk, answer{}
	}
	c := cs.crowdOf(&t)
	if s == nil {
		s = &seat{wake: make(chan struct{}, 1)}
		c.push(s)
	}
	c.rouse(s)
	room := t.asking < maxAsking
	isNewer := c.newest.err != nil && c.newest.n > s.took
	polling := c.newest.err != nil && c.called != s
	what := mustWait
	switch {
	case polling && !eager && polls > 0 && cs.polling >= polls:
		what = takesAnswer
	case room && (eager || c.called == s):
		what = mayAsk
	case room && c.called == nil && !(isNewer && time.Since(c.newest.at) < freshFor):
		what = mayAsk
	case isNewer && !eager && c.called != s:
		what = takesAnswer
	}
	switch what {
	case mayAsk:
		c.ask(&t, s)
		if s.polling = polling; polling {
			cs.polling++
		}
	case takesAnswer:
		s.took = c.newest.n
	default:
		s.waits = true
		c.idle++
	}
	c.pass(t)
	cs.put(key, t)
	return s, what, c.newest
}

// beginCalled is begin for a waiter that was woken in its pause.
func (cs *crowds) beginCalled(key string, s *seat) (answer, bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	t := cs.keys[key]
	c := t.crowd
	c.rouse(s)
	if c.called != s {
		return answer{}, false
	}
	if t.asking == maxAsking {
		s.waits = true
		c.idle++
		return answer{}, false
	}
	c.ask(&t, s)
	cs.put(key, t)
	return c.newest, true
}

func (c *crowd) ask(t *tries, s *seat) {
	t.asking++
	s.asking = true
	if c.called == s {
		c.called, s.leads = nil, true
	}
}

// end is what follows a try of k that ended with err. It returns the seat of one who has to wait, also if it had none; h is
// what it knows.
func (cs *crowds) end(k *Lock, s *seat, h *holding, err error, shared bool) *seat {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	t := cs.keys[k.key]
	t.asking--
	t.again = t.again && err != nil // else it has got what was released
	if s == nil && err != nil {
		s = &seat{wake: make(chan struct{}, 1)}
		cs.crowdOf(&t).pushFront(s) // who is there has come later
	}
	if c := t.crowd; c != nil {
		if shared {
			a := k.answer(h, err, c.newest)
			a.n, a.at = c.newest.n+1, time.Now()
			c.newest = a
			c.rouseAll()
		}
		if s != nil {
			s.asking = false
			if s.polling {
				s.polling = false
				cs.polling--
			}
			if shared {
				s.took = c.newest.n
			}
			s.leads = s.leads && err != nil && !errors.Is(err, ErrHeld)
		}
		if t.again && (errors.Is(err, ErrHeld) || t.asking == 0) {
			t.again = !c.call()
		}
		c.pass(t)
	}
	cs.put(k.key, t)
	return s
}

// decline is for one who was woken, and does not ask.
func (cs *crowds) decline(key string, s *seat) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	t := cs.keys[key]
	t.crowd.rouse(s)
	if t.crowd.called == s {
		s.rouse() // it does in its pause
	}
	t.crowd.pass(t)
}

// leave is for one who waits no longer.
func (cs *crowds) leave(key string, s *seat) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	t := cs.keys[key]
	c := t.crowd
	c.rouse(s)
	c.unlink(s)
	if c.called == s || s.leads {
		c.called = nil
		t.again = !c.call() && t.asking > 0
	}
	if c.first == nil {
		t.crowd = nil
	} else {
		c.pass(t)
	}
	cs.put(key, t)
}

// released has the longest waiter ask at once; the others take for a moment what they know already.
func (cs *crowds) released(key string) {
	if cs.known.Load() == 0 {
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	t, ok := cs.keys[key]
	if !ok {
		return
	}
	if c := t.crowd; c != nil {
		c.newest.n++
		c.newest.at = time.Now()
		if c.call() {
			return
		}
	}
	t.again = true
	cs.put(key, t)
}

// call has the longest waiter that does not ask already ask next. It says no if all do.
func (c *crowd) call() bool {
	for s := c.first; s != nil; s = s.next {
		if !s.asking {
			c.called = s
			s.rouse()
			return true
		}
	}
	return false
}

// pass has somebody who waits use the room that there is.
func (c *crowd) pass(t tries) {
	switch {
	case c.idle == 0 || t.asking >= maxAsking:
	case c.called == nil:
		for s := c.first; s != nil; s = s.next {
			if s.waits {
				c.rouse(s)
				s.rouse()
				return
			}
		}
	case c.called.waits: // else it is about to begin, or to leave
		c.rouse(c.called)
		c.called.rouse()
	}
}

// rouse ends that s waits.
func (c *crowd) rouse(s *seat) {
	if s.waits {
		s.waits = false
		c.idle--
	}
	select {
	case <-s.wake:
	default:
	}
}

// rouse wakes its waiter.
func (s *seat) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been woken
	}
}

// rouseAll wakes all who wait: there is an answer.
func (c *crowd) rouseAll() {
	for s := c.first; s != nil && c.idle > 0; s = s.next {
		if s.waits {
			c.rouse(s)
			s.rouse()
		}
	}
}

func (c *crowd) push(s *seat) {
	if c.last == nil {
		c.first, c.last = s, s
		return
	}
	s.prev, c.last.next, c.last = c.last, s, s
}

func (c *crowd) pushFront(s *seat) {
	if c.first == nil {
		c.first, c.last = s, s
		return
	}
	s.next, c.first.prev, c.first = c.first, s, s
}

func (c *crowd) unlink(s *seat) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		c.last = s.prev
	}
	s.prev, s.next = nil, nil
}

// shares reports whether others may take the outcome of a try as their own: not what its own context, its own ttl or its
// own token brought about.
func (k *Lock) shares(ctx context.Context, err error) bool {
	if err == nil {
		return true
	}
	var reply redis.Error // on the heap
	switch {
	case errors.Is(err, ErrHeld), errors.Is(err, ErrConflict):
		return true
	case ctx.Err() != nil, err == errPanicked, errors.Is(err, ErrExpired), errors.Is(err, ErrInvalid), errors.Is(err, errUnread):
		return false
	case errors.As(err, &reply), refusedForGood(err):
		return true
	}
	return transient(err) && k.ttl >= k.locker.opTimeout() // else it may have had too little time
}

// answer is what others take from a try of k that ended with err. newest is the answer before.
func (k *Lock) answer(h *holding, err error, newest answer) answer {
	switch {
	case err == nil:
		holder := holderOf(k.token)
		return answer{err: &HeldError{Key: k.key, Holder: holder, TTL: k.ttl}, holder: holder, until: k.acquired.Add(k.ttl)}
	case errors.Is(err, ErrHeld):
		return answer{err: err, holder: h.holder, until: h.until}
	case errors.Is(err, ErrUnknown): // they have sent nothing
		err = othersUnanswered(k.key)
	}
	return answer{err: err, holder: newest.holder, until: newest.until}
}

// othersUnanswered is what a try ends with that had to rely on those of other waiters.
func othersUnanswered(key string) error {
	return fmt.Errorf("%w: acquire %s: others of this Locker have asked, and got no reply", ErrUnavailable, quote(key))
}

// A wait is one call of Acquire.
type wait struct {
	k    *Lock
	h    holding
	seat *seat // nil: it has not had to wait

	timer   *time.Timer // nil: it has not slept
	closing <-chan struct{}
}

func (w *wait) leave() {
	if w.seat != nil {
		w.k.locker.state.crowds.leave(w.k.key, w.seat)
	}
	if w.timer != nil {
		w.timer.Stop()
	}
}

// after sets the timer that all its sleeps share, and returns its channel.
func (w *wait) after(d time.Duration) <-chan time.Time {
	if w.timer == nil {
		w.timer, w.closing = time.NewTimer(d), w.k.locker.closingChan()
	} else {
		w.timer.Reset(d)
	}
	return w.timer.C
}

// try asks the server, or takes the newest answer that another waiter got. It takes no longer than a question may, also if it
// has to wait for others: they may wait for a server that does not answer.
func (w *wait) try(ctx context.Context) error {
	k, cs := w.k, &w.k.locker.state.crowds
	bound := k.locker.opTimeout()
	var waited time.Duration
	for {
		s, what, newest := cs.begin(k.key, w.seat, k.lostTry != nil, k.locker.source().polls)
		w.seat = s
		switch what {
		case mayAsk:
			return w.ask(ctx, newest, bound-waited)
		case takesAnswer:
			w.h.learn(newest)
			return newest.err
		}
		start := time.Now()
		if err := w.wait(ctx, bound-waited); err != nil {
			return err
		}
		if waited += time.Since(start); waited > bound/2 { // what is left is too little to ask
			cs.decline(k.key, s)
			return othersUnanswered(k.key)
		}
	}
}

// wait waits for room to ask, or for an answer.
func (w *wait) wait(ctx context.Context, most time.Duration) error {
	key := w.k.key
	over := w.after(most)
	select {
	case <-w.seat.wake:
		return nil
	case <-over:
		return nil
	case <-ctx.Done():
		return failed("acquire", key, contextError(ctx))
	case <-w.closing:
		return fmt.Errorf("%w: acquire %s", ErrClosed, quote(key))
	}
}

// ask asks the server, for so long at most; newest is what is known.
func (w *wait) ask(ctx context.Context, newest answer, most time.Duration) (err error) {
	w.h.learn(newest)
	err = errPanicked
	defer func() {
		w.seat = w.k.locker.state.crowds.end(w.k, w.seat, &w.h, err, w.k.shares(ctx, err))
	}()
	return w.k.try(ctx, &w.h, most)
}

// pause pauses after a try that ended with err, as Retry says. When the waiter is called to ask first, it asks, and then goes
// on with the same pause: that is no try that Retry counts. It reports whether the acquire has ended meanwhile.
func (w *wait) pause(ctx context.Context, attempt int, err error) (bool, error) {
	if end := w.note(ctx, err); end != nil {
		return true, w.h.gaveUp(w.k.key, attempt, end, err)
	}
	retry := w.k.locker.Retry
	if retry == nil {
		retry = DefaultRetry
	}
	pause := retry(attempt, w.h.left(w.k.locker.now()))
	if pause < 0 {
		return true, err
	}
	over := w.after(pause)
	for {
		called, end := w.sleep(ctx, over)
		if end == nil && !called {
			return false, nil
		}
		if called {
			newest, mine := w.k.locker.state.crowds.beginCalled(w.k.key, w.seat)
			if !mine {
				continue
			}
			if err = w.ask(ctx, newest, w.k.locker.opTimeout()); isLast(ctx, err) {
				return true, err
			}
			end = w.note(ctx, err)
		}
		if end != nil {
			return true, w.h.gaveUp(w.k.key, attempt, end, err)
		}
	}
}

// note remembers what a try ended with, and returns why the wait has ended, nil if it has not.
func (w *wait) note(ctx context.Context, err error) error {
	if errors.Is(err, ErrHeld) {
		w.h.err = err // look has not seen all of them: not after a lost reply, nor a plain ErrHeld
	}
	end := ended(ctx)
	if end == nil {
		w.h.last = err
	}
	return end
}

// sleep waits until the pause is over, until the waiter is called to ask first, or until ctx ends or the Locker is closed.
func (w *wait) sleep(ctx context.Context, over <-chan time.Time) (called bool, end error) {
	select {
	case <-over:
		return false, nil
	case <-w.seat.wake:
		return true, nil
	case <-ctx.Done():
		return false, contextError(ctx)
	case <-w.closing:
		return false, ErrClosed
	}
}

// isLast reports whether a try that ended with err is the last one: it got the lock, or it would be in vain to try again.
func isLast(ctx context.Context, err error) bool {
	return err == nil || !transient(err) && ctx.Err() == nil
}

// learn takes what another waiter was told of the holder.
func (h *holding) learn(a answer) {
	if errors.Is(a.err, ErrHeld) {
		h.err, h.holder, h.until = a.err, a.holder, a.until
	}
}
