package redigolock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Renewal. A goroutine for each lock that is kept alive sends Extend when half of the ttl is left. A failed renewal is
// tried again until Deadline, whatever failed: the lock is held until then. Only "not held" ends it at once.
//
// The loss is signalled by a timer of its own, not by that goroutine, which may hang in a dial that knows no
// context. The timer is set early, since timers fire late, and looks at the clock at least once a second, since it
// stands still while the machine is suspended.

const (
	earlyMost   = 25 * time.Millisecond // the loss is signalled before Deadline by that, or by ttl/20
	lossTick    = time.Second
	renewPause  = 10 * time.Millisecond // before a failed renewal is tried again, doubling up to renewAtMost
	renewAtMost = 250 * time.Millisecond
)

// A keeper keeps one lock alive for the contexts that KeepAlive returned.
type keeper struct {
	contexts map[context.Context]context.CancelCauseFunc
	stop     context.CancelFunc // ends the goroutine and the renewal that it has in flight
	loss     *time.Timer
	lastErr  error // of the newest renewal; nil: it went well
}

// KeepAlive keeps the lock alive until Release: whenever half of the ttl of the acquire is left, it is extended by that
// ttl. The context that it returns is for the work under the lock. It ends
//   - with Release, its cause is then context.Canceled;
//   - with its parent ctx, and the renewals end with the last context of the lock;
//   - with the cause [ErrLost] a moment before Deadline, min(25 ms, ttl/20), if no renewal has succeeded;
//   - with the cause [ErrLost] at once, when the server says that the lock is not held, or when Locker.MaxHold is
//     reached;
//   - with the cause [ErrClosed] when the Locker is closed.
//
// It ends no later than Deadline as long as this process is scheduled; code that must not act late compares with
// [Lock.Deadline] itself. Called again, it returns another context of the same renewal.
func (k *Lock) KeepAlive(ctx context.Context) context.Context {
	if ctx == nil {
		kept, cancel := context.WithCancelCause(context.Background())
		cancel(invalid("keep alive", "ctx is nil"))
		return kept
	}
	kept, cancel := context.WithCancelCause(ctx)
	if end, cause := k.keep(kept, cancel); end {
		cancel(cause)
		return kept
	}
	context.AfterFunc(kept, func() { k.forget(kept) })
	return kept
}

// keep registers a context with the lock's keeper, and starts that. It says what the context must end with at once.
func (k *Lock) keep(kept context.Context, cancel context.CancelCauseFunc) (end bool, cause error) {
	l := k.locker
	l.state.mu.Lock() // before k.mu, here and nowhere the other way round
	defer l.state.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	now := l.now()
	switch {
	case k.released:
		return true, nil
	case l.state.closed.Load():
		return true, fmt.Errorf("%w: keep alive %s", ErrClosed, quote(k.key))
	case k.over(now):
		return true, is(ErrLost, "keep alive", k.key, "its time was over")
	case k.heldTooLong(now):
		return true, k.maxHoldError()
	}
	if k.keeper == nil {
		ctx, stop := context.WithCancel(context.Background())
		k.keeper = &keeper{contexts: map[context.Context]context.CancelCauseFunc{}, stop: stop}
		k.keeper.loss = time.AfterFunc(k.untilLoss(now), k.loseIfDue)
		if l.state.kept == nil {
			l.state.kept = map[*Lock]struct{}{}
		}
		l.state.kept[k] = struct{}{}
		k.renewing = make(chan struct{})
		go k.renew(ctx, k.keeper, k.renewing)
	}
	k.keeper.contexts[kept] = cancel
	return false, nil
}

// forget ends the renewals when the last context has ended.
func (k *Lock) forget(kept context.Context) {
	k.mu.Lock()
	kp := k.keeper
	if kp == nil {
		k.mu.Unlock()
		return
	}
	delete(kp.contexts, kept)
	k.mu.Unlock()
	k.endKeeper(kp, nil, true)
}

// endKeeping ends the contexts with the cause, nil for context.Canceled, and then waits until no renewal is in flight.
// The wait is bounded, for a renewal can hang in a dial that knows no context; it has sent nothing then, nor will it.
func (k *Lock) endKeeping(cause error) {
	if renewing := k.cancelKeeping(cause); renewing != nil {
		waitFor(k.locker.opTimeout(), renewing)
	}
}

// cancelKeeping is endKeeping without the wait. It returns the channel to wait for, nil if there never was a renewal.
func (k *Lock) cancelKeeping(cause error) <-chan struct{} {
	k.mu.Lock()
	kp, renewing := k.keeper, k.renewing
	k.mu.Unlock()
	if kp != nil {
		k.endKeeper(kp, cause, false)
	}
	return renewing
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

// endKeeper takes kp away from the lock, once, and ends its contexts; with idle only if it has none. It does not wait, for
// the keeper's own goroutine calls it too. It reports whether it was this call that did it.
func (k *Lock) endKeeper(kp *keeper, cause error, idle bool) bool {
	l := k.locker
	l.state.mu.Lock()
	k.mu.Lock()
	mine := k.keeper == kp && !(idle && len(kp.contexts) > 0)
	contexts := kp.contexts
	if mine {
		k.keeper, kp.contexts = nil, nil
		kp.loss.Stop()
		delete(l.state.kept, k)
	}
	k.mu.Unlock()
	l.state.mu.Unlock()
	if mine {
		kp.stop()
		for _, cancel := range contexts {
			cancel(cause)
		}
	}
	return mine
}

// lose ends the KeepAlive contexts because holding cannot be proven any longer.
func (k *Lock) lose(why error) {
	k.mu.Lock()
	kp := k.keeper
	k.mu.Unlock()
	if kp == nil {
		return
	}
	cause := why
	if !errors.Is(why, ErrLost) {
		cause = fmt.Errorf("%w: %w", ErrLost, why)
	}
	if k.endKeeper(kp, cause, false) {
		k.locker.Observer.lost(k.key, cause)
	}
}

// loseIfDue runs on the loss timer. It looks whether it is time, for Deadline may have moved, and sets the timer anew if not.
func (k *Lock) loseIfDue() {
	k.mu.Lock()
	kp, now := k.keeper, k.locker.now()
	if kp == nil {
		k.mu.Unlock()
		return
	}
	var why error
	switch {
	case k.heldTooLong(now):
		why = k.maxHoldError()
	case k.gone || passed(now.Add(k.early()), k.deadline):
		why = is(ErrLost, "keep alive", k.key, "no renewal succeeded before Deadline")
		if kp.lastErr != nil {
			why = fmt.Errorf("%w: %w", why, kp.lastErr)
		}
	default:
		kp.loss.Reset(k.untilLoss(now))
	}
	k.mu.Unlock()
	if why != nil {
		k.lose(why)
	}
}

// untilLoss is how long the loss timer may sleep. The caller holds k.mu.
func (k *Lock) untilLoss(now time.Time) time.Duration {
	left := min(k.deadline.Add(-k.early()).Sub(now), lossTick)
	if most := k.locker.MaxHold; most > 0 {
		left = min(left, k.acquired.Add(most).Sub(now))
	}
	return max(left, 0)
}

func (k *Lock) early() time.Duration { return min(earlyMost, k.ttl/20) }

func (k *Lock) heldTooLong(now time.Time) bool {
	most := k.locker.MaxHold
	return most > 0 && !now.Before(k.acquired.Add(most))
}

func (k *Lock) maxHoldError() error {
	return is(ErrLost, "keep alive", k.key, fmt.Sprintf("MaxHold of %v was reached", k.locker.MaxHold))
}

// renew is the goroutine of a keeper.
func (k *Lock) renew(ctx context.Context, kp *keeper, done chan<- struct{}) {
	defer close(done)
	timer := time.NewTimer(k.untilRenewal())
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := k.untilRenewal()
		if wait <= 0 {
			err := k.extend(ctx, k.ttl, k.renewTimeout())
			if ctx.Err() != nil {
				return
			}
			wait, failures = k.untilRenewal(), failures+1
			if err == nil {
				failures = 0
			} else {
				wait = min(renewPause<<min(failures-1, 10), renewAtMost)
			}
			k.mu.Lock()
			kp.lastErr = err
			k.mu.Unlock()
		}
		timer.Reset(wait)
	}
}

// untilRenewal counts until half of the ttl is left.
func (k *Lock) untilRenewal() time.Duration {
	return k.Deadline().Add(-k.ttl / 2).Sub(k.locker.now())
}

// renewTimeout is never longer than half of what is left, so that one connection that hangs does not cost the lock.
func (k *Lock) renewTimeout() time.Duration {
	return max(min(k.locker.opTimeout(), k.Deadline().Sub(k.locker.now())/2), time.Millisecond)
}

// loseIfOver makes up for a loss timer that comes late.
func (k *Lock) loseIfOver() {
	k.mu.Lock()
	over := k.over(k.locker.now())
	k.mu.Unlock()
	if over {
		k.lose(is(ErrNotHeld, "keep alive", k.key, "its time is over"))
	}
}

func (k *Lock) isReleased() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.released
}
