package redigolock

import (
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/crowd"
	"github.com/redigolock/redigolock/internal/fault"
)

// The plain discipline: a lock is taken by trying (acquire.go), where many that wait form a crowd (internal/crowd), and given back
// by deleting its key, or by leaving it until MinHold is over.
type plain struct {
	*node
	acquireWith AcquireFunc
	releaseWith ReleaseFunc
	minHold     time.Duration
	crowds      crowd.Crowds
}

func newPlain(l *Locker, n *node) *plain {
	p := &plain{node: n, acquireWith: l.AcquireWith, releaseWith: l.ReleaseWith, minHold: l.MinHold}
	if p.acquireWith == nil {
		p.acquireWith = SetNXVerified
	}
	if p.releaseWith == nil {
		p.releaseWith = Release
	}
	retry := l.Retry
	if retry == nil {
		retry = DefaultRetry
	}
	p.crowds.Init(crowd.Env{
		Now:     p.now,
		Bound:   p.opTimeout(),
		Closing: p.closingChan,
		Polls:   p.source.polls,
		Retry:   retry,
		Own:     isOwn(retry),
		Holder:  heldIn,
	})
	return p
}

func (p *plain) check(want) error { return nil }

func (p *plain) acquire(ctx context.Context, w want) (_ *Lock, err error) {
	k := p.handle(w, p.newToken())
	err = errPanicked
	defer func() {
		if err == errPanicked {
			p.abandon(ctx, k)
		}
	}()
	if w.wait {
		return p.conclude(k, p.crowds.Acquire(ctx, &k.key, (*waitingCall)(k)))
	}
	return p.conclude(k, p.try(ctx, k, nil, p.opTimeout()))
}

func (p *plain) abandon(ctx context.Context, k *Lock) {
	k.latch()
	k.stray(ctx)
	p.owe(k, k.lostTry, time.Now())
}

func (p *plain) extend(ctx context.Context, k *Lock, ttl time.Duration) (time.Time, error) {
	return p.ask(ctx, k, "extend", func(c redis.Conn) error {
		return Extend(ctx, c, k.key, k.token, ttl)
	})
}

func (p *plain) extendOn(ctx context.Context, c redis.Conn, k *Lock, ttl time.Duration) (time.Duration, error) {
	return extend(ctx, c, k.key, k.token, ttl)
}

var plainExtension = extension{
	script: scriptExtend,
	most:   groupMost,
	keys:   1,
	add:    func(args []any, k *Lock) []any { return append(args, k.conn.Key) },
}

func (p *plain) extension() *extension { return &plainExtension }

func (p *plain) freed(key string) { p.crowds.Freed(key) }

func (p *plain) moved(*Lock, time.Time, time.Time) {}

func (p *plain) lost(*Lock) {}

func (p *plain) close(time.Duration) {}

// release deletes the key, or leaves it until MinHold is over. A token that may be in the key still goes to the clean-up.
func (p *plain) release(ctx context.Context, k *Lock, _ time.Time) (err error) {
	err = errPanicked
	defer func() {
		freed := err == nil || errors.Is(err, ErrNotHeld)
		if err == errPanicked && p.keptOut(k) <= 0 { // maybe before anything was sent; else nothing may delete the key yet
			k.stray(ctx)
		}
		switch {
		case k.lostTry == nil:
		case p.minHold > 0 && !freed: // the key may carry the token still, and keeps others out
			p.owe(k, k.lostTry, k.acquired.Add(p.minHold))
		default:
			p.owe(k, k.lostTry, time.Now())
		}
	}()
	if p.minHold <= 0 {
		return p.free(ctx, k, p.releaseWith)
	}
	return p.free(ctx, k, func(ctx context.Context, c redis.Conn, key, token string) error {
		return p.leave(ctx, c, k)
	})
}

// leave is the ReleaseFunc of a Locker with MinHold: before its time is over, the key is left to expire then. It counts by
// the monotonic clock alone: a wall clock that is put forward must not let the next host in.
func (p *plain) leave(ctx context.Context, c redis.Conn, k *Lock) error {
	left := p.keptOut(k)
	if left <= 0 {
		return p.releaseWith(ctx, c, k.key, k.token)
	}
	return leave(ctx, c, k.key, k.token, (left + time.Millisecond - 1).Truncate(time.Millisecond))
}

// keptOut is how long MinHold still keeps others out.
func (p *plain) keptOut(k *Lock) time.Duration {
	return min(k.acquired.Add(p.minHold).Sub(p.now()), p.minHold)
}

// free runs with on the pool's connection, and once more on another one where that has failed.
func (p *plain) free(ctx context.Context, k *Lock, with ReleaseFunc) (err error) {
	defer func() {
		if err == nil || errors.Is(err, ErrNotHeld) {
			p.crowds.Freed(k.key)
		}
	}()
	_, err = p.onLent(ctx, &k.conn, "release", k.key, p.opTimeout(), func(c redis.Conn) error {
		return with(ctx, c, k.key, k.token)
	})
	p.tellRelease(ctx, k, err)
	if err == nil || !fault.Transient(err) && !k.conn.NotLent(err) {
		return err
	}
	again := p.onFresh(ctx, "release", k.key, k.token, time.Now().Add(p.opTimeout()), p.opTimeout(), func(c redis.Conn) error {
		return with(ctx, c, k.key, k.token)
	})
	p.tellRelease(ctx, k, again)
	return k.releasedAgain(err, again)
}

// tellRelease tells how a try of a release ended. Whether one that found nothing has failed is for its caller to say.
func (p *plain) tellRelease(ctx context.Context, k *Lock, err error) {
	if !errors.Is(err, ErrNotHeld) {
		p.observer.outcome(ctx, k.key, "release", err)
	}
}

// releasedAgain is what Release returns after two tries.
func (k *Lock) releasedAgain(err, again error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case again == nil:
		return nil
	case errors.Is(again, ErrNotHeld) && errors.Is(err, ErrUnknown) && !k.latched(k.core.now()):
		return nil // the first try did it, and only its reply was lost
	case errors.Is(again, ErrNotHeld):
		return again
	}
	return fault.Followed(err, "and on a new connection: ", again)
}
