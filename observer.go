package redigolock

import (
	"context"
	"errors"
	"reflect"
	"time"
)

// An Observer is told what happens to locks, for metrics, traces and logs. Each func is optional. They are called on the
// goroutine of the caller, of the renewals or of a clean-up, with Fair also on others of the Locker's own, and must not
// block; a Release in one of them would wait for itself. No error that they are told shows a whole token.
//
// After each Waiting comes exactly one of Acquired and GaveUp. Each outcome of a command calls at most one of Contended,
// Failed and Unknown, none if it went well. A call that ends before anything begins, with [ErrInvalid], [ErrClosed], a
// ctx that has ended already, or a handle that is no longer held, tells nothing.
//
// The ctx of each func is that of the call; of a renewal and of Lost that of [Lock.KeepAlive]; of a clean-up that of the
// acquire, without its end, but one without values where a Release is carried out again after a failover; of what a fair
// Locker sends in the background that of the waiter, without its end, if it still knows whose it was.
//
// verb is what was asked: acquire, attach, verify, extend (also renewals, and with Fair a look whether a lock that others
// wait for is still held), fence, release, clean up (what an acquire may have left is removed in the background); with Fair
// also poke (a waiter asks for its place in the queue), quit (it leaves the queue) and subscribe. Waiting's is acquire, try
// acquire or attach.
type Observer struct {
	// Waiting: an Acquire, a TryAcquire or an Attach begins. The values of the context that it returns, as a span, are
	// those of the ctx of all funcs that follow for this call, and of its commands; when they end is up to the caller's ctx
	// alone. Nil: ctx.
	Waiting func(ctx context.Context, key, verb string) context.Context
	// Acquired: a lock was obtained, after that long.
	Acquired func(ctx context.Context, k *Lock, waited time.Duration)
	// GaveUp: no lock was obtained, after that long. err is what the call returns.
	GaveUp func(ctx context.Context, key string, waited time.Duration, err error)
	// Contended: a try found the lock held.
	Contended func(ctx context.Context, key string, held *HeldError)
	// Failed: a command ended without success, by a definite error other than ErrHeld. It may be tried again.
	Failed func(ctx context.Context, key, verb string, err error)
	// Extended: a lock was extended, by Extend or a renewal. margin is the validity that was left when the reply came, by
	// the Deadline before: how close the lock was to its end.
	Extended func(ctx context.Context, k *Lock, margin time.Duration)
	// Lost: the KeepAlive contexts of a lock ended with ErrLost. It is called once for a lock, also if its time was over before
	// the first KeepAlive; not for a lock that is never kept alive.
	Lost func(ctx context.Context, k *Lock, cause error)
	// Released: a Release is done, so long after the acquire. err is what it returns.
	Released func(ctx context.Context, k *Lock, held time.Duration, err error)
	// Unknown: a command's outcome is unknown. It may be tried again.
	Unknown func(ctx context.Context, key, verb string, err error)
}

// waiting returns the ctx of what follows.
func (o *Observer) waiting(ctx context.Context, key, verb string) context.Context {
	if o == nil || o.Waiting == nil {
		return ctx
	}
	values := o.Waiting(ctx, key, verb)
	if values == nil || reflect.ValueOf(values).Comparable() && values == ctx { // to compare what cannot be panics
		return ctx
	}
	return spanned{ctx, values}
}

// A spanned context ends as the caller's does, with its cause, and has the values of another.
type spanned struct {
	context.Context
	values context.Context
}

func (c spanned) Value(key any) any {
	if key == causeKey {
		return c.Context.Value(key)
	}
	return c.values.Value(key)
}

// causeKey is the key of the value by which package context finds the context that was cancelled, and its cause.
var causeKey = func() any {
	var asked keyAsked
	_ = context.Cause(&asked)
	return asked.key
}()

type keyAsked struct {
	context.Context
	key any
}

func (c *keyAsked) Value(key any) any { c.key = key; return nil }

func (c *keyAsked) Err() error { return context.Canceled }

func (o *Observer) acquired(ctx context.Context, k *Lock, waited time.Duration) {
	if o != nil && o.Acquired != nil {
		o.Acquired(ctx, k, waited)
	}
}

func (o *Observer) gaveUp(ctx context.Context, key string, waited time.Duration, err error) {
	if o != nil && o.GaveUp != nil {
		o.GaveUp(ctx, key, waited, err)
	}
}

func (o *Observer) contended(ctx context.Context, key string, held *HeldError) {
	if o != nil && o.Contended != nil {
		o.Contended(ctx, key, held)
	}
}

func (o *Observer) failed(ctx context.Context, key, verb string, err error) {
	if o != nil && o.Failed != nil {
		o.Failed(ctx, key, verb, err)
	}
}

func (o *Observer) extended(ctx context.Context, k *Lock, margin time.Duration) {
	if o != nil && o.Extended != nil {
		o.Extended(ctx, k, margin)
	}
}

func (o *Observer) lost(ctx context.Context, k *Lock, cause error) {
	if o != nil && o.Lost != nil {
		o.Lost(ctx, k, cause)
	}
}

func (o *Observer) released(ctx context.Context, k *Lock, held time.Duration, err error) {
	if o != nil && o.Released != nil {
		o.Released(ctx, k, held, err)
	}
}

func (o *Observer) unknown(ctx context.Context, key, verb string, err error) {
	if o != nil && o.Unknown != nil {
		o.Unknown(ctx, key, verb, err)
	}
}

// outcome tells how a command ended: with Contended, Failed or Unknown, or nothing if it went well.
func (o *Observer) outcome(ctx context.Context, key, verb string, err error) {
	if o == nil || err == nil {
		return
	}
	switch {
	case errors.Is(err, ErrUnknown):
		o.unknown(ctx, key, verb, err)
	case errors.Is(err, ErrHeld):
		var held *HeldError
		if !errors.As(err, &held) { // of a user's AcquireFunc
			held = &HeldError{Key: key}
		}
		o.contended(ctx, key, held)
	default:
		o.failed(ctx, key, verb, err)
	}
}

// Stats says what a [Locker] has at this moment.
type Stats struct {
	// Held counts the locks that were obtained and may be relied on still: not released, not known to be lost, and not
	// past their Deadline. It needs no Release to go down: a lock that is left to expire counts until its Deadline.
	Held int
	// Waiting counts the calls of TryAcquire, Acquire and Attach, also in Do and TryDo, that have not returned.
	Waiting int
	// Kept counts the locks that KeepAlive keeps alive.
	Kept int
	// Owed counts the tokens that calls which have returned may have left on the server, and that are still to be removed in
	// the background; with Fair also the places in a queue.
	Owed int
	// Conns counts the connections that are not lent by the pool for one command: those of renewals, clean-ups, second tries
	// and the subscription.
	Conns int
}

// Stats returns the counts of this moment. It sends nothing.
func (l *Locker) Stats() Stats { return l.core.stats() }

func (c *core) stats() Stats {
	if !c.begun.Load() {
		return Stats{}
	}
	return Stats{
		Held:    c.held.Count(c.now()),
		Waiting: int(c.waiting.Load()),
		Kept:    c.renewer().Kept(),
		Owed:    c.cleaner().Owed() + int(c.owed.Load()),
		Conns:   int(c.conns.Load()),
	}
}

// countHeld has the lock count as held. Nobody else knows k yet.
func (k *Lock) countHeld(now time.Time) { k.place = k.core.held.Add(now, k.deadline) }

// uncountHeld has the lock count as held no longer. The caller holds k.mu.
func (k *Lock) uncountHeld() {
	if k.place > 0 {
		k.core.held.Remove(k.place, k.deadline)
		k.place = 0
	}
}
