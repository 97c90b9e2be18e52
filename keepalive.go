package redigolock

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
)

// A keeper is what a lock that is kept alive needs besides its handle. Locker.state.mu protects its fields, but for k.
type keeper struct {
	k        *Lock
	ctx      context.Context // that of the first KeepAlive, for the Observer
	contexts []kept
	due      time.Time // when to renew next
	lossAt   time.Time // when to look whether the lock is lost; may be too early, for Deadline moves
	dueAt    int       // place in the renewer's heap by due; -1: in no heap, while its batch is in flight
	lossIn   int       // place in the heap by lossAt
	batch    *batch    // that is in flight with it; nil: none
	failures int       // in a row
	lastErr  error     // of the newest renewal; nil: it went well
	over     bool      // it has been taken away from the lock
}

// A kept is one context that KeepAlive returned.
type kept struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	forget func() bool // stops the watch over the parent; nil: the parent never ends
}

// KeepAlive keeps the lock alive until Release: when half of the ttl of the acquire is left, or up to ttl/64 earlier, it is
// extended by that ttl. The context that it returns is for the work under the lock. It ends
//   - with Release, its cause is then context.Canceled;
//   - with its parent ctx, and the renewals end with the last context of the lock;
//   - with the cause [ErrLost] a moment before Deadline, min(25 ms, ttl/20), if no renewal has succeeded;
//   - with the cause [ErrLost] at once, when the server says that the lock is not held, or when Locker.MaxHold is
//     reached;
//   - with the cause [ErrClosed] when the Locker is closed.
//
// It ends no later than Deadline as long as this process is scheduled; code that must not act late asks [Lock.Valid]
// itself. Called again, it returns another context of the same renewal. After an [Lock.Extend] with a
// longer ttl, renewal pauses until half of the ttl of the acquire is left.
//
// All locks of a Locker are renewed in pipelines on one connection, which is not the pool's, by two goroutines, which
// end with the last lock that is kept alive. A request extends up to 32 locks, unless the server does not take them
// together, as one in cluster mode: then it is asked one by one. A lock costs no goroutine, unless ctx is of a type
// that is not the standard library's: package context then starts two for it.
func (k *Lock) KeepAlive(ctx context.Context) context.Context {
	if ctx == nil {
		kept, cancel := context.WithCancelCause(context.Background())
		cancel(fault.Invalidf("keep alive", "ctx is nil"))
		return kept
	}
	keptCtx, cancel := context.WithCancelCause(ctx)
	if k.isNone() {
		cancel(neverHeld("keep alive"))
		return keptCtx
	}
	entry := kept{ctx: keptCtx, cancel: cancel}
	if ctx.Done() != nil {
		entry.forget = context.AfterFunc(ctx, func() { k.forget(keptCtx) })
	}
	end, isLoss, cause := k.keep(ctx, entry)
	if end {
		entry.end(cause)
	}
	if isLoss {
		k.locker.Observer.lost(ctx, k, cause)
	}
	return keptCtx
}

func (e kept) end(cause error) {
	if e.forget != nil {
		e.forget()
	}
	e.cancel(cause)
}

// keep registers a context with the lock's keeper, and the keeper with the Locker's renewer. It says what the context must
// end with at once, and whether that is a loss that nobody has been told of.
func (k *Lock) keep(parent context.Context, entry kept) (end, isLoss bool, cause error) {
	l := k.locker
	l.state.mu.Lock() // before k.mu, here and nowhere the other way round
	defer l.state.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	now := l.now()
	switch {
	case k.released:
		return true, false, nil
	case l.state.closed.Load():
		return true, false, fmt.Errorf("%w: keep alive %s", ErrClosed, fault.Quote(k.key))
	case k.over(now):
		cause = fault.Of(ErrLost, "keep alive", k.key, "its time was over")
	case k.heldTooLong(now):
		cause = k.maxHoldError()
	case parent.Err() != nil: // not entry's: a parent runs its AfterFunc, which may be over, before it ends its children
		return true, false, nil
	}
	if cause != nil {
		isLoss, k.lost = !k.lost, true
		k.uncountHeld()
		return true, isLoss, cause
	}
	if k.keeper == nil {
		k.keeper = &keeper{k: k, ctx: parent, due: k.renewAt(now), lossAt: k.lossTime(now)}
		l.state.renewer.add(l, k.keeper, now)
	}
	k.keeper.contexts = append(k.keeper.contexts, entry)
	return false, false, nil
}

// forget ends the renewals when the last context has ended.
func (k *Lock) forget(ctx context.Context) {
	l := k.locker
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	kp := k.keeper
	if kp == nil {
		return
	}
	kp.contexts = slices.DeleteFunc(kp.contexts, func(e kept) bool { return e.ctx == ctx })
	if len(kp.contexts) == 0 {
		l.state.renewer.remove(kp)
	}
}

// endKeeping ends the contexts with the cause, nil for context.Canceled. It returns the keeper, nil if there was none.
func (k *Lock) endKeeping(cause error) *keeper {
	l := k.locker
	l.state.mu.Lock()
	kp := k.keeper
	if kp != nil {
		l.state.renewer.remove(kp)
	}
	l.state.mu.Unlock()
	if kp != nil {
		kp.end(cause)
	}
	return kp
}

// end ends the contexts of a keeper that was removed.
func (kp *keeper) end(cause error) {
	for _, e := range kp.contexts {
		e.end(cause)
	}
}

// awaitRenewal waits until no renewal of the lock is in flight, at most for OpTimeout. None begins after endKeeping.
func (k *Lock) awaitRenewal() {
	l := k.locker
	l.state.mu.Lock()
	b := k.inFlight
	l.state.mu.Unlock()
	if b == nil {
		return
	}
	waitFor(l.opTimeout(), b.done)
}

// waitFor waits until all ends are closed, for d at most.
func waitFor(d time.Duration, ends ...<-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, end := range ends {
		select {
		case <-end:
		case <-timer.C:
			return
		}
	}
}

// lose ends the KeepAlive contexts because holding cannot be proven any longer.
func (k *Lock) lose(why error) {
	cause := fmt.Errorf("%w: %w", ErrLost, why)
	if kp := k.endKeeping(cause); kp != nil {
		k.mu.Lock()
		k.lost = true
		k.mu.Unlock()
		k.locker.Observer.lost(kp.ctx, k, cause)
	}
}

// lossCause is why the lock counts as lost now, nil if it does not. lastErr is that of the newest renewal.
func (k *Lock) lossCause(now time.Time, lastErr error) (lossAt time.Time, cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.heldTooLong(now):
		cause = k.maxHoldError()
	case k.gone || passed(now.Add(k.early()), k.deadline):
		cause = fault.Of(ErrLost, "keep alive", k.key, "no renewal succeeded before Deadline")
		if lastErr != nil {
			cause = fmt.Errorf("%w: %w", cause, lastErr)
		}
	}
	if cause != nil {
		k.lost = true
		k.uncountHeld()
	}
	return k.lossTime(now), cause
}

// lossTime is when the loss is to be signalled if nothing happens until then. The caller holds k.mu.
func (k *Lock) lossTime(now time.Time) time.Time {
	at := k.deadline.Add(-k.early())
	if most := k.locker.MaxHold; most > 0 && k.acquired.Add(most).Before(at) {
		at = k.acquired.Add(most)
	}
	return soonest(now, at)
}

// renewAt is when half of the ttl is left. The caller holds k.mu.
func (k *Lock) renewAt(now time.Time) time.Time { return soonest(now, k.deadline.Add(-k.ttl/2)) }

// soonest is when either clock says at, on the monotonic one: it stood still while the machine was suspended.
func soonest(now, at time.Time) time.Time {
	return now.Add(min(at.Sub(now), at.Round(0).Sub(now.Round(0))))
}

// early is how long before Deadline the loss is signalled, since timers fire late.
func (k *Lock) early() time.Duration { return min(25*time.Millisecond, k.ttl/20) }

func (k *Lock) heldTooLong(now time.Time) bool {
	most := k.locker.MaxHold
	return most > 0 && !now.Before(k.acquired.Add(most))
}

func (k *Lock) maxHoldError() error {
	return fault.Of(ErrLost, "keep alive", k.key, fmt.Sprintf("MaxHold of %v was reached", k.locker.MaxHold))
}

// loseIfOver makes up for a loss signal that comes late.
func (k *Lock) loseIfOver() {
	k.mu.Lock()
	over := k.over(k.locker.now())
	k.mu.Unlock()
	if over {
		k.lose(fault.Of(ErrNotHeld, "keep alive", k.key, "its time is over"))
	}
}

func (k *Lock) isReleased() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.released
}
