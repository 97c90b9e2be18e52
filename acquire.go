package redigolock

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// How an acquire deals with a reply that is lost. The command may have been carried out, may never be, or may be later,
// when it reaches a server that was stopped for a minute. So the token stays the same for the whole call, and a try that
// finds it in the key has found its own lock.
//
// Where the connection broke, which an idle one does after a restart of the server, the same try goes on at once on
// another, for what is left of its OpTimeout. If that finds the token, the lock counts from the first send, for the key
// cannot be older. A later try does not know since when the token is there, so one Extend renews it, and the lock counts
// from the send of that Extend. A call that gives up, and a lock that was obtained after a lost reply and has been
// released, leave the token to the clean-up in the background: see strays.go.

// wait tries until ctx ends.
func (p *plain) wait(ctx context.Context, k *Lock) error {
	cs := &p.crowds
	var w *member
	if place := cs.enterAlone(k); place == nil {
		w = cs.join(k)
	} else if err := p.askAlone(ctx, k, place, &w); w == nil {
		return err
	}
	defer cs.leave(w)
	return w.acquire(ctx)
}

// askAlone asks outside of the crowd. It makes a member if the call goes on.
func (p *plain) askAlone(ctx context.Context, k *Lock, place *atomic.Pointer[Lock], w **member) (err error) {
	cs := &p.crowds
	freed := cs.freed[placeOf(k.key)].Load()
	err = errPanicked
	defer func() {
		goesOn := err != errPanicked && !k.isLast(ctx, err)
		*w = cs.endAlone(place, freed, k, err, k.shares(ctx, err), goesOn)
	}()
	return p.try(ctx, k, nil, p.opTimeout())
}

// isLast reports whether a try that ended with err is the last one: it got the lock, or it would be in vain to try again.
// Where the lock of an earlier try, whose reply was lost, expired before it was found, it is not: that says nothing of how
// long a reply takes.
func (k *Lock) isLast(ctx context.Context, err error) bool {
	wasGone := errors.Is(err, ErrExpired) && k.acquired.IsZero()
	return err == nil || !fault.Transient(err) && !wasGone && ctx.Err() == nil
}

func newMember(p *plain, k *Lock) *member {
	return &member{p: p, k: k, wake: make(chan turn, 1), closing: p.closingChan(), retry: p.retry, isOwn: isOwn(p.retry)}
}

// acquire does what w is woken for, until its wait ends.
func (w *member) acquire(ctx context.Context) error {
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
		if isOver, err := w.judge(ctx); isOver {
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
	case <-w.closing:
		end = ErrClosed
	}
	if did := w.p.crowds.leave(w); did == waiting || w.err == nil { // so ends the try
		w.attempt++
		w.err = fault.Failed("acquire", w.k.key, end)
	}
	return why, w.h.gaveUp(w.k.key, w.attempt, end, w.err)
}

// ask asks the server.
func (w *member) ask(ctx context.Context) (err error) {
	err = errPanicked
	defer func() { w.p.crowds.end(w, err, w.k.shares(ctx, err)) }()
	return w.p.try(ctx, w.k, &w.h, w.most)
}

// note notes what a try ended with.
func (w *member) note(err error) {
	w.err = err
	if !w.extra {
		w.attempt++
	}
	if errors.Is(err, ErrHeld) {
		w.h.err = err // look has not seen all of them: not after a lost reply, nor a plain ErrHeld
	}
}

// judge reports whether the wait has ended with the newest try. Else w pauses, as Retry says.
func (w *member) judge(ctx context.Context) (isOver bool, err error) {
	if w.k.isLast(ctx, w.err) {
		return true, w.err
	}
	if end := fault.Ended(ctx); end != nil {
		return true, w.h.gaveUp(w.k.key, w.attempt, end, w.err)
	}
	w.h.last = w.err
	if !w.extra {
		pause := w.retry(w.attempt, w.h.left(w.p.now()))
		if pause < 0 {
			return true, w.err
		}
		w.due = time.Now().Add(pause)
	}
	w.extra = false
	w.p.crowds.pause(w, w.due)
	return false, nil
}

// try borrows a connection and tries once, for so long at most. h is what a waiting acquire knows of the holder, nil for a
// single try.
func (p *plain) try(ctx context.Context, k *Lock, h *holding, most time.Duration) error {
	now := time.Now()
	start, err := p.exchangeBy(ctx, &k.conn, "acquire", k.key, now, now.Add(most), k.ttl, func(c redis.Conn) error {
		err := p.acquireWith(ctx, c, k.key, k.token, k.ttl)
		if h != nil && errors.Is(err, ErrHeld) && k.lostTry == nil {
			return h.look(ctx, c, k.key, err, p.now())
		}
		return err
	})
	switch {
	case k.conn.mayAskAgain(ctx, err):
		p.observer.outcome(ctx, k.key, "acquire", err)
		err = p.tryAgain(ctx, k, start, err)
	case errors.Is(err, ErrUnknown), errors.Is(err, errUnread):
		k.stray(ctx)
	case err == nil && k.lostTry == nil:
		err = p.won(ctx, k, start)
	case k.lostTry != nil && (err == nil || errors.Is(err, ErrHeld)):
		err = p.adopt(ctx, k, err, time.Now().Add(p.opTimeout()))
	}
	p.observer.outcome(ctx, k.key, "acquire", err)
	return err
}

// tryAgain repeats a try that was sent after first and ended with the error lost.
func (p *plain) tryAgain(ctx context.Context, k *Lock, first time.Time, lost error) error {
	earlier := k.lostTry != nil
	k.stray(ctx)
	var extended time.Time
	_, err := p.askAgain(ctx, &k.conn, "acquire", k.ttl, func(c redis.Conn) error {
		err := p.acquireWith(ctx, c, k.key, k.token, k.ttl)
		var held *HeldError
		if !errors.Is(err, ErrHeld) || errors.As(err, &held) && held.Holder != "" {
			return err
		}
		start := p.now() // SetNX does not tell whose it is
		switch extendErr := Extend(ctx, c, k.key, k.token, k.ttl); {
		case errors.Is(extendErr, ErrNotHeld):
			return err
		case extendErr != nil:
			return extendErr
		}
		extended = start
		return nil
	})
	k.stray(ctx) // that may be carried out late, too
	switch {
	case err == nil && !extended.IsZero():
		return p.won(ctx, k, extended)
	case err == nil && (earlier || passed(p.now(), deadline(first, k.ttl))):
		return p.adopt(ctx, k, nil, k.conn.end())
	case err == nil:
		return p.won(ctx, k, first)
	case answered(err), errors.Is(err, ErrHeld):
		return err
	}
	return fault.Followed(lost, "and on another connection: ", err)
}

// adopt asks by an Extend whether the key carries the token since a try whose reply was lost. held is what the newest
// try said: nil, or an ErrHeld that may mean this very lock, for SetNX cannot tell. It ends at by.
func (p *plain) adopt(ctx context.Context, k *Lock, held error, by time.Time) error {
	start, err := p.exchangeBy(ctx, &k.conn, "acquire", k.key, time.Now(), by, k.ttl, func(c redis.Conn) error {
		return Extend(ctx, c, k.key, k.token, k.ttl)
	})
	switch {
	case err == nil:
		return p.won(ctx, k, start)
	case errors.Is(err, ErrNotHeld) && held != nil:
		return held
	case errors.Is(err, ErrNotHeld):
		return fault.Of(ErrExpired, "acquire", k.key, "it was gone when it was renewed")
	}
	k.stray(ctx) // the key may be newer than the lost try, or renewed
	return err
}

// A lostTry is the newest try of an acquire whose reply was lost.
type lostTry struct {
	since time.Time       // it was sent before, and may be carried out later still
	ctx   context.Context // for what the clean-up tells
}

// stray notes that the newest try may be carried out at any time.
func (k *Lock) stray(ctx context.Context) {
	k.lostTry = &lostTry{time.Now(), context.WithoutCancel(ctx)}
}

// won gives the handle its Deadline. A lock without any validity left is undone.
func (p *plain) won(ctx context.Context, k *Lock, start time.Time) error {
	k.acquired, k.deadline = start, deadline(start, k.ttl)
	now := p.now()
	if !k.over(now) {
		k.countHeld(now)
		return nil
	}
	err := p.free(context.WithoutCancel(ctx), k, undo)
	if err != nil && !errors.Is(err, ErrNotHeld) {
		k.stray(ctx)
	}
	return fault.Of(ErrExpired, "acquire", k.key, fmt.Sprintf("the answer took longer than the ttl of %v is good for", k.ttl))
}

// conclude ends an acquire: with the handle, or with err.
func (k *Lock) conclude(err error) (*Lock, error) {
	switch {
	case err == nil:
		return k, nil
	case k.lostTry == nil:
		return nil, err
	}
	k.owe()
	switch {
	case errors.Is(err, ErrUnknown):
		return nil, err
	case errors.Is(err, errUnread):
		return nil, alsoUnknown(err)
	}
	return nil, fault.Followed(err, "and an earlier try of it: ", ErrUnknown)
}

// alsoUnknown has an error that says in words that the outcome is unknown be ErrUnknown, too.
func alsoUnknown(err error) error { return fault.Said(fault.OneLine(err.Error()), err, ErrUnknown) }

// A holding is what a waiting acquire knows of the holder.
type holding struct {
	err    error     // the newest that is ErrHeld
	last   error     // of the newest try that ctx did not interrupt
	holder string    // as the newest try reported it
	until  time.Time // when the holder's TTL ends, by the local clock; zero: not known
}

func (h *holding) left(now time.Time) time.Duration {
	if h.until.IsZero() {
		return 0
	}
	return max(h.until.Sub(now), 0)
}

// look learns what is left of the holder's TTL, for neither SET nor GET tells. It asks when a second try finds the same
// holder, and again when that TTL is over: under contention, when each try finds another, it costs nothing. It finds the key
// that is no lock, too, which would have the acquire wait for ever. err is the ErrHeld of the try just made on c; look
// returns it with what it learned, or an ErrConflict.
func (h *holding) look(ctx context.Context, c redis.Conn, key string, err error, now time.Time) error {
	var held *HeldError
	if !errors.As(err, &held) {
		return err
	}
	same := h.err != nil && held.Holder == h.holder
	h.err, h.holder = held, held.Holder
	switch {
	case held.TTL > 0:
		h.until = now.Add(held.TTL)
	case !same:
		h.until = time.Time{}
	case now.Before(h.until):
		held.TTL = h.until.Sub(now)
	default:
		return h.inspect(ctx, c, key, held, now)
	}
	return err
}

func (h *holding) inspect(ctx context.Context, c redis.Conn, key string, held *HeldError, now time.Time) error {
	info, err := inspectLock(ctx, c, key)
	switch {
	case errors.Is(err, ErrConflict):
		return err
	case err != nil || !info.Held: // not allowed, or free by now: the next try will tell
		h.until = time.Time{}
		return held
	}
	h.until = now.Add(info.TTL)
	if held.Holder != "" {
		h.holder = holderOf(info.Token)
	}
	held.TTL, held.Holder = info.TTL, holderOf(info.Token)
	return held
}

// gaveUp is the error of a wait that ended for the reason end, after a last try that ended with err.
func (h *holding) gaveUp(key string, attempts int, end, err error) error {
	tries := "tries"
	if attempts == 1 {
		tries = "try"
	}
	e := fmt.Errorf("redigolock: acquire %s: gave up after %d %s: %w", fault.Quote(key), attempts, tries, fault.InLine(end))
	before := h.last // what the server said before is of more use than that ctx ended
	if before == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		before = err
	}
	if before != nil {
		e = fault.Followed(e, "before: ", before)
	}
	if h.err != nil && !errors.Is(before, ErrHeld) {
		e = fault.Followed(e, "before: ", h.err)
	}
	if errors.Is(err, ErrUnknown) && !errors.Is(before, ErrUnknown) {
		e = fault.Followed(e, "the last try: ", ErrUnknown)
	}
	return fault.Said(e.Error(), e, err)
}

// meet takes what the first try was told of the holder.
func (h *holding) meet(err error, now time.Time) {
	var held *HeldError
	if !errors.As(err, &held) {
		return
	}
	h.holder = held.Holder
	if held.TTL > 0 {
		h.until = now.Add(held.TTL)
	}
}

// learn takes what another waiter was told of the holder.
func (h *holding) learn(a answer) {
	if errors.Is(a.err, ErrHeld) {
		h.err, h.holder, h.until = a.err, a.holder, a.until
	}
}
