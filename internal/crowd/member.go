package crowd

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
)

// Env is what crowds need of their Locker.
type Env struct {
	Now     func() time.Time     // by which a holder's TTL is told
	Bound   time.Duration        // of a try
	Closing func() chan struct{} // closed when the Locker is
	Polls   int                  // how many may ask at a time, for all keys; 0: any number
	Retry   func(attempt int, heldFor time.Duration) time.Duration
	Own     bool                                                      // anybody may call Retry, for it neither panics nor blocks
	Holder  func(err error) (name string, ttl time.Duration, ok bool) // who holds the lock, as the error of a try says
}

// A Call is one that waits for a lock.
type Call interface {
	// Try asks once, for so long at most, and may learn more of the holder where h is not nil.
	Try(ctx context.Context, h *Holder, most time.Duration) error
	// Final reports whether a try that ended with err is the last one: it got the lock, or to try again would be in vain.
	Final(ctx context.Context, err error) bool
	// Shared reports whether others may take err, of a try of its own, as the outcome of theirs.
	Shared(ctx context.Context, err error) bool
	// Uncertain reports whether its own token may be in the key: then it takes no answer of others.
	Uncertain() bool
	// Won is what others are told of a call that has got the lock.
	Won() (holder string, until time.Time, held error)
}

// A Holder is what a waiting call knows of the lock's holder.
type Holder struct {
	Err   error     // the newest that says that the lock is held
	Last  error     // of the newest try that ctx did not interrupt
	Name  string    // as the newest try reported it
	Until time.Time // when the holder's TTL ends, by the local clock; zero: not known
}

// errPanicked is what a try has ended with while it has not returned.
var errPanicked = errors.New("a func that it called panicked")

func (cs *Crowds) newMember(key string, call Call) *member {
	return &member{of: cs, key: key, call: call, wake: make(chan turn, 1)}
}

// A member is one call of Acquire in a crowd. While it sleeps (pausing, waiting), the mutex of the crowds protects it; else it
// belongs to the call's goroutine, but for what says otherwise.
type member struct {
	call   Call
	c      *crowd
	inLine *list.Element

	of    *Crowds
	key   string
	state memberState // written under the mutex
	wake  chan turn   // capacity 1, and written once for each sleep

	attempt int
	err     error // of the newest try
	h       Holder

	began time.Time     // the try that it waits to make
	most  time.Duration // how long it may ask
	due   time.Time     // when its pause ends, or until when it waits
	place int           // among those that sleep in its state
	took  uint64        // the number of the answer that it took last

	extra   bool // it asks in its pause, since it was called: that is no try that Retry counts
	polling bool // it asks, and counts in crowds.polling
	leads   bool // it was called, and has not been told yet who holds the lock; protected by the mutex
	again   bool // it is to be called when it sleeps; protected by the mutex
}

// A memberState says what a member does.
type memberState int

const (
	running memberState = iota // its goroutine goes on, and is not asking
	asking                     // its goroutine asks, or is about to
	pausing                    // it sleeps until its pause is over
	waiting                    // its pause is over: it sleeps until there is room to ask, or an answer
	left
)

// A turn is what a member is woken for.
type turn int

const (
	toAsk    turn = iota
	toDecide      // a try has ended with its err: is there another, and after which pause?
	toEnd         // with its err
)

// run does what w is woken for, until its wait ends.
func (w *member) run(ctx context.Context) error {
	for {
		why, end := w.sleep(ctx)
		if end != nil {
			return end
		}
		switch why {
		case toEnd:
			return w.err
		case toAsk:
			w.note(w.ask(ctx))
		}
		if isOver, err := w.decide(ctx); isOver {
			return err
		}
	}
}

// sleep waits until w is woken. It returns an error if its wait has ended before.
func (w *member) sleep(ctx context.Context) (why turn, err error) {
	var end error
	select {
	case why = <-w.wake:
		return why, nil
	case <-ctx.Done():
		end = fault.OfContext(ctx)
	case <-w.of.env.Closing():
		end = fault.Closed
	}
	if did := w.of.leave(w); did == waiting || w.err == nil { // so ends the try
		w.attempt++
		w.err = fault.Failed("acquire", w.key, end)
	}
	return why, w.h.gaveUp(w.key, w.attempt, end, w.err)
}

// ask asks the server.
func (w *member) ask(ctx context.Context) (err error) {
	err = errPanicked
	defer func() { w.of.asked(w, err, err != errPanicked && w.call.Shared(ctx, err)) }()
	return w.call.Try(ctx, &w.h, w.most)
}

// note notes what a try ended with.
func (w *member) note(err error) {
	w.err = err
	if !w.extra {
		w.attempt++
	}
	if errors.Is(err, fault.Held) {
		w.h.Err = err // look has not seen all of them: not after a lost reply, nor a plain fault.Held
	}
}

// decide reports whether the wait has ended with the newest try. Else w pauses, as Retry says.
func (w *member) decide(ctx context.Context) (isOver bool, err error) {
	if w.call.Final(ctx, w.err) {
		return true, w.err
	}
	if end := fault.Ended(ctx); end != nil {
		return true, w.h.gaveUp(w.key, w.attempt, end, w.err)
	}
	w.h.Last = w.err
	if !w.extra {
		pause := w.pauseNow()
		if pause < 0 {
			return true, w.err
		}
		w.due = time.Now().Add(pause)
	}
	w.extra = false
	w.of.pause(w, w.due)
	return false, nil
}

// gaveUp is the error of a wait that ended for the reason end, after a last try that ended with err.
func (h *Holder) gaveUp(key string, attempts int, end, err error) error {
	tries := "tries"
	if attempts == 1 {
		tries = "try"
	}
	e := fmt.Errorf("redigolock: acquire %s: gave up after %d %s: %w", fault.Quote(key), attempts, tries, fault.InLine(end))
	before := h.Last // what the server said before is of more use than that ctx ended
	if before == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		before = err
	}
	if before != nil {
		e = fault.Followed(e, "before: ", before)
	}
	if h.Err != nil && !errors.Is(before, fault.Held) {
		e = fault.Followed(e, "before: ", h.Err)
	}
	if errors.Is(err, fault.Unknown) && !errors.Is(before, fault.Unknown) {
		e = fault.Followed(e, "the last try: ", fault.Unknown)
	}
	return fault.Said(e.Error(), e, err)
}

// pauseNow is how long Retry says that w pauses now.
func (w *member) pauseNow() time.Duration {
	left := time.Duration(0)
	if !w.h.Until.IsZero() {
		left = max(w.h.Until.Sub(w.of.env.Now()), 0)
	}
	return w.of.env.Retry(w.attempt, left)
}

// meet takes what the first try was told of the holder.
func (w *member) meet(err error) {
	name, ttl, ok := w.of.env.Holder(err)
	if !ok {
		return
	}
	w.h.Name = name
	if ttl > 0 {
		w.h.Until = w.of.env.Now().Add(ttl)
	}
}

// learn takes what another waiter was told of the holder.
func (w *member) learn(a answer) {
	if errors.Is(a.err, fault.Held) {
		w.h.Err, w.h.Name, w.h.Until = a.err, a.holder, a.until
	}
}
