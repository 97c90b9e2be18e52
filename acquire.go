package redigolock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/crowd"
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

// A waitingCall is the Lock of an Acquire that waits, as its crowd sees it.
type waitingCall Lock

func (x *waitingCall) plain() *plain { return x.core.by.(*plain) }

func (x *waitingCall) Try(ctx context.Context, h *crowd.Holder, most time.Duration) error {
	return x.plain().try(ctx, (*Lock)(x), h, most)
}

func (x *waitingCall) Uncertain() bool { return x.lostTry != nil }

func (x *waitingCall) Won() (held error, holder string, until time.Time) {
	holder = holderOf(x.token)
	return &HeldError{Key: x.key, Holder: holder, TTL: x.ttl}, holder, x.acquired.Add(x.ttl)
}

// Final: where the lock of an earlier try, whose reply was lost, expired before it was found, it is not: that says nothing of how
// long a reply takes.
func (x *waitingCall) Final(ctx context.Context, err error) bool {
	wasGone := errors.Is(err, ErrExpired) && x.acquired.IsZero()
	return err == nil || !fault.Transient(err) && !wasGone && ctx.Err() == nil
}

// Shared: not what its own context, its own ttl or its own token brought about.
func (x *waitingCall) Shared(ctx context.Context, err error) bool {
	if err == nil {
		return true
	}
	var reply redis.Error // on the heap
	switch {
	case errors.Is(err, ErrHeld), errors.Is(err, ErrConflict):
		return true
	case ctx.Err() != nil, errors.Is(err, ErrExpired), errors.Is(err, ErrInvalid), errors.Is(err, errUnread):
		return false
	case errors.As(err, &reply), fault.RefusedForGood(err):
		return true
	}
	return fault.Transient(err) && x.ttl >= x.core.opTimeout() // else it may have had too little time
}

// heldIn is who holds the lock, as the error of a try says.
func heldIn(err error) (name string, ttl time.Duration, ok bool) {
	var held *HeldError
	if !errors.As(err, &held) {
		return "", 0, false
	}
	return held.Holder, held.TTL, true
}

// try borrows a connection and tries once, for so long at most. h is what a waiting acquire knows of the holder, nil for a
// single try.
func (p *plain) try(ctx context.Context, k *Lock, h *crowd.Holder, most time.Duration) error {
	now := p.host()
	start, err := p.onLentBy(ctx, &k.conn, "acquire", k.key, now, now.Add(most), k.ttl, func(c redis.Conn) error {
		err := p.acquireWith(ctx, c, k.key, k.token, k.ttl)
		if h != nil && errors.Is(err, ErrHeld) && k.lostTry == nil {
			return look(ctx, c, h, k.key, err, p.now())
		}
		return err
	})
	switch {
	case k.conn.MayAskAgain(ctx, err):
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
		return p.adopt(ctx, k, nil, k.conn.Ends())
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
	start, err := p.onLentBy(ctx, &k.conn, "acquire", k.key, p.host(), by, k.ttl, func(c redis.Conn) error {
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
	if !k.latched(now) {
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
func (p *plain) conclude(k *Lock, err error) (*Lock, error) {
	switch {
	case err == nil:
		return k, nil
	case k.lostTry == nil:
		return nil, err
	}
	p.owe(k, k.lostTry, time.Now())
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

// look learns what is left of the holder's TTL, for neither SET nor GET tells. It asks when a second try finds the same
// holder, and again when that TTL is over: under contention, when each try finds another, it costs nothing. It finds the key
// that is no lock, too, which would have the acquire wait for ever. err is the ErrHeld of the try just made on c; look
// returns it with what it learned, or an ErrConflict.
func look(ctx context.Context, c redis.Conn, h *crowd.Holder, key string, err error, now time.Time) error {
	var held *HeldError
	if !errors.As(err, &held) {
		return err
	}
	same := h.Err != nil && held.Holder == h.Name
	h.Err, h.Name = held, held.Holder
	switch {
	case held.TTL > 0:
		h.Until = now.Add(held.TTL)
	case !same:
		h.Until = time.Time{}
	case now.Before(h.Until):
		held.TTL = h.Until.Sub(now)
	default:
		return inspectHolder(ctx, c, h, key, held, now)
	}
	return err
}

func inspectHolder(ctx context.Context, c redis.Conn, h *crowd.Holder, key string, held *HeldError, now time.Time) error {
	info, err := inspectLock(ctx, c, key)
	switch {
	case errors.Is(err, ErrConflict):
		return err
	case err != nil || !info.Held: // not allowed, or free by now: the next try will tell
		return held
	}
	h.Until = now.Add(info.TTL)
	if held.Holder != "" {
		h.Name = holderOf(info.Token)
	}
	held.TTL, held.Holder = info.TTL, holderOf(info.Token)
	return held
}
