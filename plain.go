package redigolock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/batch"
	"github.com/redigolock/redigolock/internal/crowd"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// The plain discipline: a lock is taken by trying (claim.go), where many that wait form a crowd (internal/crowd), and given back
// by deleting its key, or by leaving it until MinHold is over.
type plain struct {
	single
	acquireWith AcquireFunc
	releaseWith ReleaseFunc
	deletes     bool // releaseWith is known to
	minHold     time.Duration
	crowds      crowd.Crowds
}

func newPlain(l *Locker, n *node) *plain {
	p := &plain{single: single{n}, acquireWith: acquireKnown, releaseWith: releaseKnown, deletes: l.ReleaseWith == nil, minHold: l.MinHold}
	if with := l.AcquireWith; with != nil {
		p.acquireWith = func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
			wire.Aged(c)
			return with(ctx, c, key, token, ttl)
		}
	}
	if with := l.ReleaseWith; with != nil {
		p.releaseWith = func(ctx context.Context, c redis.Conn, key, token string) error {
			wire.Aged(c)
			return with(ctx, c, key, token)
		}
	}
	p.initCrowds(&p.crowds, l.Retry, p.source.Polls)
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

// try tries once.
func (p *plain) try(ctx context.Context, k *Lock, h *crowd.Holder, most time.Duration) error {
	start, err := p.node.try(ctx, &k.claim, p.acquireWith, h, most)
	switch {
	case err == nil:
		err = p.won(ctx, k, start)
	case p.replicas > 0:
		err = p.dismiss(ctx, k, err)
	}
	p.observer.outcome(ctx, k.key, "acquire", err)
	return err
}

// acquireKnown is setNXKnown as an AcquireFunc.
func acquireKnown(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	_, err := setNXKnown(ctx, c, key, token, ttl)
	return err
}

// won gives the handle its Deadline. A lock without any validity left is undone.
func (p *plain) won(ctx context.Context, k *Lock, start time.Time) error {
	k.acquired, k.deadline = start, deadline(start, k.ttl)
	now := p.now()
	if !k.latched(now) {
		k.countHeld(now)
		return nil
	}
	err := p.free(context.WithoutCancel(ctx), k, p.opTimeout(), undo)
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
	p.owe(&k.claim, time.Now())
	switch {
	case errors.Is(err, ErrUnknown):
		return nil, err
	case errors.Is(err, fault.Unread):
		return nil, fault.AlsoUnknown(err)
	}
	return nil, fault.Followed(err, "and an earlier try of it: ", ErrUnknown)
}

// A waitingCall is the Lock of an Acquire that waits, as its crowd sees it.
type waitingCall Lock

func (x *waitingCall) plain() *plain { return x.core.by.(*plain) }

func (x *waitingCall) Try(ctx context.Context, h *crowd.Holder, most time.Duration) error {
	return x.plain().try(ctx, (*Lock)(x), h, most)
}

func (x *waitingCall) Uncertain() bool { return x.lostTry != nil }

func (x *waitingCall) Won() (holder string, until time.Time, held error) {
	holder = names.Holder(x.token)
	return holder, x.acquired.Add(x.ttl), &HeldError{Key: x.key, Holder: holder, TTL: x.ttl}
}

// Final: an ErrExpired of plain.won is, for replies take longer than the ttl is good for. One that comes before, as where the lock of an
// earlier try, whose reply was lost, was gone when it was looked for, is not: it says nothing of how long a reply takes.
func (x *waitingCall) Final(ctx context.Context, err error) bool {
	wasGone := errors.Is(err, ErrExpired) && x.acquired.IsZero()
	return err == nil || errors.Is(err, errNotUndone) || !fault.Transient(err) && !wasGone && ctx.Err() == nil
}

// Shared: but for what comes of its own context, its own ttl or its own token.
func (x *waitingCall) Shared(ctx context.Context, err error) bool {
	if err == nil {
		return true
	}
	var reply redis.Error // on the heap
	switch {
	case errors.Is(err, ErrHeld), errors.Is(err, ErrConflict):
		return true
	case ctx.Err() != nil, errors.Is(err, ErrExpired), errors.Is(err, ErrInvalid), errors.Is(err, fault.Unread), errors.Is(err, errNotUndone):
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

func (p *plain) abandon(ctx context.Context, k *Lock) {
	k.latch()
	k.stray(ctx)
	p.owe(&k.claim, time.Now())
}

func (p *plain) extend(ctx context.Context, k *Lock, ttl time.Duration) (time.Time, error) {
	k.asking(ttl)
	return p.ask(ctx, &k.claim, "extend", func(c redis.Conn) error {
		return p.prolong(ctx, c, &k.claim, "extend", ttl)
	})
}

func (p *plain) extendOn(ctx context.Context, c redis.Conn, k *Lock, ttl time.Duration) (time.Duration, error) {
	left, err := extend(ctx, c, k.key, k.token, ttl)
	if err == nil {
		err = p.replicated(ctx, c, "extend", k.key)
	}
	return left, err
}

var plainExtension = extension{
	script: scriptExtend,
	most:   batch.Most,
	keys:   1,
	add:    func(args []any, k *Lock) []any { return append(args, k.conn.Key) },
}

func (p *plain) extension() *extension { return &plainExtension }

func (p *plain) freed(key string) { p.crowds.Freed(key) }

func (p *plain) moved(*Lock, time.Time, time.Time) {}

func (p *plain) lost(*Lock) {}

func (p *plain) close(time.Duration) {}

// release deletes the key, or leaves it until MinHold is over. A token that may be in the key still, after a lost try of the acquire, or
// since no server has answered, goes to the clean-up: nobody else would delete it before its ttl is over.
func (p *plain) release(ctx context.Context, k *Lock, by time.Time) (err error) {
	err = errPanicked
	each, tenure := p.eachTry(by), p.tenure(k.key)
	defer func() {
		freed := err == nil || errors.Is(err, ErrNotHeld)
		if err == nil && p.deletes && p.keptOut(k) <= 0 { // else nothing may delete the key yet
			p.remember(k, tenure)
		}
		if !freed && fault.Transient(err) || err == errPanicked && p.keptOut(k) <= 0 { // maybe before anything was sent; else nothing may delete the key yet
			k.stray(ctx)
		}
		if k.lostTry == nil {
			return
		}
		now := time.Now()
		next := now
		if p.minHold > 0 && !freed { // the key may carry the token still, and keeps others out
			next = k.acquired.Add(p.minHold)
		}
		p.oweUntil(&k.claim, next, now.Add(k.longest()))
	}()
	if p.minHold <= 0 {
		return p.free(ctx, k, each, p.releaseWith)
	}
	return p.free(ctx, k, each, func(ctx context.Context, c redis.Conn, key, token string) error {
		return p.releaseOrLeave(ctx, c, k)
	})
}

// releaseOrLeave is the ReleaseFunc of a Locker with MinHold: before its time is over, the key is left to expire then. It counts by
// the monotonic clock alone: a wall clock that is put forward must not let the next host in.
func (p *plain) releaseOrLeave(ctx context.Context, c redis.Conn, k *Lock) error {
	left := p.keptOut(k)
	if left <= 0 {
		return p.releaseWith(ctx, c, k.key, k.token)
	}
	return leaveToExpire(ctx, c, k.key, k.token, (left + time.Millisecond - 1).Truncate(time.Millisecond))
}

// keptOut is how long MinHold still keeps others out.
func (p *plain) keptOut(k *Lock) time.Duration {
	return min(k.acquired.Add(p.minHold).Sub(p.now()), p.minHold)
}

// free deletes the key, or leaves it, as node.free does, and tells the crowd.
func (p *plain) free(ctx context.Context, k *Lock, most time.Duration, with ReleaseFunc) (err error) {
	defer func() {
		if err == nil || errors.Is(err, ErrNotHeld) {
			p.crowds.Freed(k.key)
		}
	}()
	return p.node.free(ctx, &k.claim, most, with, k.isOver)
}
