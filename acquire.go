package redigolock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"
)

// How an acquire deals with a reply that is lost. The command may have been carried out, may never be, or may be later,
// when it reaches a server that was stopped for a minute. So the token stays the same for the whole call: a later try
// that finds it in the key has found its own lock. Since when it is there, nobody knows, so one Extend renews it, and
// the lock counts from the send of that Extend. A call that gives up, and a lock that was obtained after a lost reply and
// has been released, leave the token to the clean-up in the background: see strays.go.

// try borrows a connection and tries once. h is what a waiting acquire knows of the holder, nil for a single try.
func (k *Lock) try(ctx context.Context, h *holding) error {
	l := k.locker
	start, err := k.exchangeOn(ctx, &k.conn, "acquire", min(l.opTimeout(), k.ttl), func(c redis.Conn) error {
		err := l.acquireFunc()(ctx, c, k.key, k.token, k.ttl)
		if h != nil && errors.Is(err, ErrHeld) && k.lostTry == nil {
			return h.look(ctx, c, k.key, err, l.now())
		}
		return err
	})
	switch {
	case errors.Is(err, ErrUnknown), errors.Is(err, errUnread):
		k.stray(ctx)
	case err == nil && k.lostTry == nil:
		err = k.won(ctx, start)
	case k.lostTry != nil && (err == nil || errors.Is(err, ErrHeld)):
		err = k.adopt(ctx, err)
	}
	l.Observer.outcome(ctx, k.key, "acquire", err)
	return err
}

// adopt asks by an Extend whether the key carries the token since a try whose reply was lost. held is what the newest
// try said: nil, or an ErrHeld that may mean this very lock, for SetNX cannot tell.
func (k *Lock) adopt(ctx context.Context, held error) error {
	start, err := k.exchangeOn(ctx, &k.conn, "acquire", min(k.locker.opTimeout(), k.ttl), func(c redis.Conn) error {
		return Extend(ctx, c, k.key, k.token, k.ttl)
	})
	switch {
	case err == nil:
		return k.won(ctx, start)
	case errors.Is(err, ErrNotHeld) && held != nil:
		return held
	case errors.Is(err, ErrNotHeld):
		return is(ErrExpired, "acquire", k.key, "it was gone when it was renewed")
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

// lookAgain asks once more, on a connection of its own, whether a try with the error lost has succeeded. If the key
// does not carry the token, that proves nothing: the command may still be on its way.
func (k *Lock) lookAgain(ctx context.Context, lost error) error {
	var start time.Time
	timeout := min(k.locker.opTimeout(), k.ttl)
	err := k.locker.onOwn(ctx, "acquire", k.key, k.token, timeout, func(c redis.Conn) error {
		start = k.locker.now()
		return Extend(ctx, c, k.key, k.token, k.ttl)
	})
	if err == nil {
		err = k.won(ctx, start)
		k.locker.Observer.outcome(ctx, k.key, "acquire", err)
		return err
	}
	if !errors.Is(err, ErrNotHeld) {
		k.locker.Observer.outcome(ctx, k.key, "acquire", err)
	}
	if ctxErr := ended(ctx); ctxErr != nil {
		return fmt.Errorf("%w (%w)", lost, ctxErr)
	}
	return lost
}

// won gives the handle its Deadline. A lock without any validity left is undone.
func (k *Lock) won(ctx context.Context, start time.Time) error {
	k.acquired, k.deadline = start, deadline(start, k.ttl)
	now := k.locker.now()
	if !k.over(now) {
		k.countHeld(now)
		return nil
	}
	err := k.release(context.WithoutCancel(ctx))
	if err != nil && !errors.Is(err, ErrNotHeld) {
		k.stray(ctx)
	}
	return is(ErrExpired, "acquire", k.key, fmt.Sprintf("the answer took longer than the ttl of %v is good for", k.ttl))
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
	if errors.Is(err, ErrUnknown) {
		return nil, err
	}
	return nil, fmt.Errorf("%w; and an earlier try of it: %w", err, ErrUnknown)
}

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
	if h.last != nil && h.last != err { // what the server said before is of more use than that ctx ended
		err = fmt.Errorf("%w, and before: %w", err, h.last)
	}
	if h.err != nil && !errors.Is(err, ErrHeld) {
		err = fmt.Errorf("%w, and before: %w", err, h.err)
	}
	return fmt.Errorf("redigolock: acquire %s: gave up after %d tries: %w; the last one: %w", quote(key), attempts, end, err)
}

// onOwn runs f on a connection that is not the pool's. The end of timeout is no end of the caller's ctx.
func (l *Locker) onOwn(ctx context.Context, verb, key, token string, timeout time.Duration, f func(redis.Conn) error) error {
	limit, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := l.source().dial(limit)
	if err != nil {
		return noConnection(ctx, verb, key, err)
	}
	l.state.conns.Add(1)
	defer l.state.conns.Add(-1)
	b := &boundConn{Conn: c, key: key, token: token}
	b.deadline, _ = limit.Deadline()
	defer b.giveBack(nil)
	if err := l.source().bind(c, key); err != nil {
		return noConnection(ctx, verb, key, err)
	}
	return b.outcome(ctx, verb, key, f(b))
}
