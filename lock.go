package redigolock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/redigolock/redigolock/internal/fairdriver"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/quorum"
)

// A Lock is a lock that was obtained. It is safe for concurrent use.
//
// What makes it safe to act on is Deadline: the server's TTL runs whatever this process does, and no message of the
// server can be relied on to arrive. Code that must not act late asks [Lock.Valid] right before it acts. Where even that
// is not enough, as with a process that stalls between looking at the clock and writing, use [Lock.Fence].
//
// A nil *Lock and a zero Lock are locks that nobody holds: no method panics, Verify, Extend, Fence and Release return
// [ErrNotHeld], and the context of KeepAlive has ended with it.
type Lock struct {
	core *core
	claim
	votes    *quorum.Votes    // where the nodes of a Quorum have voted for it; nil: it is of a Locker
	wait     *fairdriver.Wait // of an Acquire of a fair Locker that has not returned yet
	acquired time.Time        // the basis of the acquire; MaxHold counts from it
	attached bool             // its token is the user's

	mu       sync.Mutex // protects what follows; taken for moments only, never while anything is sent
	deadline time.Time
	most     time.Duration // the longest ttl that an Extend has asked for, or that Attach has found
	gone     bool          // the server said "not held", or Deadline was seen to have passed: never held again
	released bool          // Release was called
	lost     bool          // a KeepAlive context ended with ErrLost
	place    int32         // among the locks that are held, plus 1; 0: it does not count
	keeper   *keeper       // nil: KeepAlive was never called
}

// isNone reports whether k is nil or zero, and so was never obtained.
func (k *Lock) isNone() bool { return k == nil || k.core == nil }

// Key returns the lock's key.
func (k *Lock) Key() string {
	if k.isNone() {
		return ""
	}
	return k.key
}

// Token returns the lock's token, all that is needed to release it: keep it out of logs.
func (k *Lock) Token() string {
	if k.isNone() {
		return ""
	}
	return k.token
}

// String returns the key, and who holds the lock as [HeldError] shows it: the Owner and a short hash of the token.
func (k *Lock) String() string {
	if k.isNone() {
		return ""
	}
	return fault.Quote(k.key) + " " + names.Holder(k.token)
}

// Format writes String, whatever the verb: no format shows the token.
func (k *Lock) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue returns String, for log/slog.
func (k *Lock) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Valid reports whether this process may act as the holder right now. It asks both the monotonic and the wall clock, since
// the first stands still while a machine is suspended; comparing time.Now() with [Lock.Deadline] asks the first alone. It
// is false once the lock was released or lost, or a context of [Lock.KeepAlive] has ended with [ErrLost], and never true
// again after that. It sends nothing.
func (k *Lock) Valid() bool {
	if k.isNone() {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.released && !k.lost && !k.latched(k.core.now())
}

// Deadline returns the time until which this process may act as the holder: the local time just before the send that
// acquired or last extended the lock, plus its ttl, less 1 % and 2 ms for the drift of clocks. It never moves back. Code
// that must not act late asks [Lock.Valid].
func (k *Lock) Deadline() time.Time {
	if k.isNone() {
		return time.Time{}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deadline
}

// deadline is what a ttl that was set no earlier than at start is good for.
func deadline(start time.Time, ttl time.Duration) time.Time { return start.Add(ttl - drift(ttl)) }

func drift(ttl time.Duration) time.Duration { return ttl/100 + 2*time.Millisecond }

// passed reports whether now is no longer before t by either clock: the monotonic one stands still while the machine is
// suspended, and the server's TTL does not.
func passed(now, t time.Time) bool {
	return !now.Before(t) || !now.Round(0).Before(t.Round(0))
}

// latched reports whether the lock is gone or its Deadline has passed, which is latched. The caller holds k.mu, or is the
// only one to know k.
func (k *Lock) latched(now time.Time) bool {
	k.gone = k.gone || passed(now, k.deadline)
	return k.gone
}

// isOver reports whether the lock is gone or its Deadline has passed.
func (k *Lock) isOver() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.latched(k.core.now())
}

// latch ends the handle: it says ErrNotHeld from now on.
func (k *Lock) latch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = true
	k.uncountHeld()
}

// usable says no once the lock has been released or is over; nothing is sent then.
func (k *Lock) usable(ctx context.Context, verb string) error {
	if ctx == nil {
		return fault.Invalidf(verb, "ctx is nil")
	}
	if k.isNone() {
		return neverHeld(verb)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.released:
		return fault.Of(ErrNotHeld, verb, k.key, "it was released")
	case k.latched(k.core.now()):
		return fault.Of(ErrNotHeld, verb, k.key, "it was lost, or its time is over")
	}
	return nil
}

// neverHeld is the ErrNotHeld of a nil or zero handle.
func neverHeld(verb string) error {
	return fault.Of(ErrNotHeld, verb, "", "no lock was obtained: the handle is nil or zero")
}

// Verify asks the server whether the key still carries the token. It returns nil, [ErrNotHeld], [ErrConflict],
// [ErrUnknown], the context's error and cause, or what the server or the network refused it with.
func (k *Lock) Verify(ctx context.Context) error {
	if err := k.usable(ctx, "verify"); err != nil {
		return err
	}
	return k.heard(ctx, "verify", k.core.by.verify(ctx, k))
}

// Fence returns a fencing number for this holder, as the verb [Fence] does, with the errors of [Lock.Verify].
func (k *Lock) Fence(ctx context.Context) (int64, error) {
	if err := k.usable(ctx, "fence"); err != nil {
		return 0, err
	}
	n, err := k.core.by.fence(ctx, k)
	if err == nil && k.isReleased() { // a cohort's next holder has the same token: this number may be higher than its own
		err = fault.Of(ErrNotHeld, "fence", k.key, "it was released meanwhile")
	}
	err = k.heard(ctx, "fence", err)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Extend makes the lock last at least ttl from now, and moves Deadline accordingly; with a shorter ttl than is left it
// changes nothing. Later renewals by KeepAlive still use the ttl of the acquire. After [ErrUnknown] Deadline is as
// before, and Extend can be called again. It has the errors of [Lock.Verify], and [ErrInvalid].
func (k *Lock) Extend(ctx context.Context, ttl time.Duration) error {
	if err := checkTTL("extend", ttl, minLockerTTL); err != nil {
		return err
	}
	return k.extend(ctx, ttl)
}

func (k *Lock) extend(ctx context.Context, ttl time.Duration) error {
	if err := k.usable(ctx, "extend"); err != nil {
		return err
	}
	start, err := k.core.by.extend(ctx, k, ttl)
	if err != nil {
		return k.heard(ctx, "extend", err)
	}
	return k.extended(ctx, start, ttl)
}

// asking notes that an Extend asks for this ttl. Whether it is answered or not, the server may keep the token for so long.
func (k *Lock) asking(ttl time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.most = max(k.most, ttl)
}

// longest is for how long the server may keep the token at most, from the newest send on.
func (k *Lock) longest() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(k.ttl, k.most)
}

// extended moves Deadline after a reply said that the lock was extended by a command that was sent after start.
func (k *Lock) extended(ctx context.Context, start time.Time, ttl time.Duration) error {
	k.mu.Lock()
	now, old := k.core.now(), k.deadline
	if k.latched(now) { // looked at under the same mutex that Deadline moves under
		k.mu.Unlock()
		return k.heard(ctx, "extend", nil)
	}
	if d := deadline(start, ttl); d.After(old) {
		k.core.held.Move(k.place, old, d)
		k.deadline = d
	}
	d := k.deadline
	k.mu.Unlock()
	k.core.by.moved(k, start, d)
	k.core.observer.extended(ctx, k, soonest(now, old).Sub(now))
	return nil
}

// heard ends the lock at once when the server has said that it is not held, or when the answer came after Deadline:
// others were told then that it is over.
func (k *Lock) heard(ctx context.Context, verb string, err error) error {
	k.mu.Lock()
	if err == nil && k.latched(k.core.now()) {
		err = fault.Of(ErrNotHeld, verb, k.key, "its time was over when the answer came")
	}
	lost := fault.IsLoss(err)
	if lost {
		k.gone = true
		k.uncountHeld()
	}
	k.mu.Unlock()
	if lost {
		defer k.core.by.lost(k)
		defer k.lose(err) // also if the Observer panics
	}
	k.core.observer.outcome(ctx, k.key, verb, err)
	return err
}

// Release gives the lock back. It first ends KeepAlive, and waits until no renewal is in flight; within that OpTimeout a
// Cohort's lease is extended, too. A cancelled ctx does not stop it, or a lock would stay behind whenever a request is
// cancelled; only ctx's values are used. It then tries at most twice, each time for at most OpTimeout, the second time on a
// connection of its own; without Fair, the wait and both tries take two OpTimeouts together at most. Before Locker.MinHold is
// over, it does not delete the key, but leaves it to expire then.
//
// It returns [ErrNotHeld] if the lock was lost before, if Deadline had passed (what may be left of it is removed
// all the same), or if it was released already; [ErrUnknown] if no reply came; or what the server or the network refused it
// with. After ErrUnknown, and after a refusal that may pass, the Locker goes on releasing the lock in the background; until
// that succeeds, at most until its TTL ends, the key keeps others out.
func (k *Lock) Release(ctx context.Context) error {
	if ctx == nil {
		return fault.Invalidf("release", "ctx is nil")
	}
	if k.isNone() {
		return neverHeld("release")
	}
	k.mu.Lock()
	again, late := k.released, k.latched(k.core.now())
	k.released = true
	k.uncountHeld()
	k.mu.Unlock()
	if again {
		return fault.Of(ErrNotHeld, "release", k.key, "it was released")
	}
	by := time.Now().Add(k.core.opTimeout()) // of what comes before the tries
	k.endKeeping()
	if ctx.Done() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	err := k.core.by.release(ctx, k, by)
	if errors.Is(err, ErrNotHeld) {
		k.core.observer.outcome(ctx, k.key, "release", err)
	} else if late {
		err = fault.Join(fault.Of(ErrNotHeld, "release", k.key, "its time was over"), err)
	}
	if o := k.core.observer; o != nil {
		o.released(ctx, k, k.core.now().Sub(k.acquired), err)
	}
	return err
}
