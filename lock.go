package redigolock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
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
	locker     *Locker
	key, token string
	ttl        time.Duration
	acquired   time.Time // the basis of the acquire; MaxHold counts from it

	conn boundConn // of the acquire and of the first try of the release; allocated with the handle

	mu       sync.Mutex // protects what follows; taken for moments only, never while anything is sent
	deadline time.Time
	gone     bool          // the server said "not held", or Deadline was seen to have passed: never held again
	released bool          // Release was called
	lost     bool          // a KeepAlive context ended with ErrLost
	most     time.Duration // the longest ttl that an Extend has asked for, with Fair
	waiter   *waiter       // of an Acquire of a fair Locker that has not returned yet
	place    int32         // among the locks that are held, plus 1; 0: it does not count
	lostTry  *lostTry      // of the acquire; nil: none
	keeper   *keeper       // nil: KeepAlive was never called
}

// isNone reports whether k is nil or zero, and so was never obtained.
func (k *Lock) isNone() bool { return k == nil || k.locker == nil }

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
	return fault.Quote(k.key) + " " + holderOf(k.token)
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
	return !k.released && !k.lost && !k.over(k.locker.now())
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

// over reports whether the lock is gone or its Deadline has passed, which is latched. The caller holds k.mu, or is the
// only one to know k.
func (k *Lock) over(now time.Time) bool {
	k.gone = k.gone || passed(now, k.deadline)
	return k.gone
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
	case k.over(k.locker.now()):
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
	_, err := k.exchange(ctx, "verify", func(c redis.Conn) error {
		_, err := Verify(ctx, c, k.key, k.token)
		return err
	})
	return k.judge(ctx, "verify", err)
}

// Fence returns a fencing number for this holder, as the verb [Fence] does, with the errors of [Lock.Verify].
func (k *Lock) Fence(ctx context.Context) (int64, error) {
	if err := k.usable(ctx, "fence"); err != nil {
		return 0, err
	}
	var n int64
	_, err := k.exchange(ctx, "fence", func(c redis.Conn) (err error) {
		n, err = Fence(ctx, c, k.key, k.token)
		return err
	})
	if err == nil && k.isReleased() { // a cohort's next holder has the same token: this number may be higher than its own
		err = fault.Of(ErrNotHeld, "fence", k.key, "it was released meanwhile")
	}
	err = k.judge(ctx, "fence", err)
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
	if k.locker.Fair {
		k.asked(ttl)
	}
	start, err := k.exchange(ctx, "extend", func(c redis.Conn) error {
		_, err := k.extendOn(ctx, c, ttl)
		return err
	})
	if err != nil {
		return k.judge(ctx, "extend", err)
	}
	return k.extended(ctx, start, ttl)
}

// extended moves Deadline after a reply said that the lock was extended by a command that was sent after start.
func (k *Lock) extended(ctx context.Context, start time.Time, ttl time.Duration) error {
	k.mu.Lock()
	now, old := k.locker.now(), k.deadline
	if k.over(now) { // looked at under the same mutex that Deadline moves under
		k.mu.Unlock()
		return k.judge(ctx, "extend", nil)
	}
	if d := deadline(start, ttl); d.After(old) {
		k.locker.state.held.move(k.place, old, d)
		k.deadline = d
	}
	d := k.deadline
	k.mu.Unlock()
	if k.locker.Fair {
		k.movedFair(start, d)
	}
	k.locker.Observer.extended(ctx, k, soonest(now, old).Sub(now))
	return nil
}

// judge ends the lock at once when the server has said that it is not held, or when the answer came after Deadline:
// others were told then that it is over.
func (k *Lock) judge(ctx context.Context, verb string, err error) error {
	k.mu.Lock()
	if err == nil && k.over(k.locker.now()) {
		err = fault.Of(ErrNotHeld, verb, k.key, "its time was over when the answer came")
	}
	lost := errors.Is(err, ErrNotHeld) || errors.Is(err, ErrConflict) && !errors.Is(err, fault.NoTTL)
	if lost {
		k.gone = true
		k.uncountHeld()
	}
	k.mu.Unlock()
	if lost {
		if k.locker.Fair {
			defer k.lostFair()
		}
		defer k.lose(err) // also if the Observer panics
	}
	k.locker.Observer.outcome(ctx, k.key, verb, err)
	return err
}

// exchange runs f, which may be carried out twice, on a connection of its own choice, and returns the time just before the
// f that was answered sent anything. Where the connection breaks, it asks on another one within the same OpTimeout.
func (k *Lock) exchange(ctx context.Context, verb string, f func(redis.Conn) error) (time.Time, error) {
	return k.exchangeBy(ctx, verb, time.Now().Add(k.locker.opTimeout()), f)
}

// exchangeBy is exchange that ends at by.
func (k *Lock) exchangeBy(ctx context.Context, verb string, by time.Time, f func(redis.Conn) error) (time.Time, error) {
	l := k.locker
	b := &boundConn{key: k.conn.key, token: k.conn.token, ttl: k.conn.ttl}
	start, err := l.exchangeBy(ctx, b, verb, k.key, time.Now(), by, l.opTimeout(), f)
	if !b.mayAskAgain(ctx, err) {
		return start, err
	}
	l.Observer.outcome(ctx, k.key, verb, err)
	start, again := l.askAgain(ctx, b, verb, l.opTimeout(), f)
	if again != nil && !answered(again) {
		return start, fault.Followed(err, "and on another connection: ", again)
	}
	return start, again
}

// answered reports whether err says what the server said, and not that it could not be asked.
func answered(err error) bool { return !errors.Is(err, ErrUnknown) && !fault.Transient(err) }

// exchangeOn runs f on a connection that the pool lends, and returns the time just before f sent anything. OpTimeout bounds
// both; the exchange takes most, at the most.
func (l *Locker) exchangeOn(ctx context.Context, b *boundConn, verb, key string, most time.Duration, f func(redis.Conn) error) (start time.Time, err error) {
	now := time.Now()
	return l.exchangeBy(ctx, b, verb, key, now, now.Add(l.opTimeout()), most, f)
}

// exchangeBy is exchangeOn that ends at by.
func (l *Locker) exchangeBy(ctx context.Context, b *boundConn, verb, key string, now, by time.Time, most time.Duration, f func(redis.Conn) error) (start time.Time, err error) {
	if ctx.Err() != nil {
		return start, fault.Failed(verb, key, fault.OfContext(ctx))
	}
	src := l.source()
	b.sent, b.forgets = false, src.mux != nil || src.tuned != nil
	if err := l.lend(ctx, b, verb, key, now, by); err != nil {
		return start, err
	}
	returned := false
	defer func() {
		b.takeBack(returned, err)
		src.returned()
	}()
	if ctx.Err() != nil { // it ended meanwhile, and an AcquireFunc of the user's may not look
		return start, fault.Failed(verb, key, fault.OfContext(ctx))
	}
	if src.mux == nil { // a Mux lends at once
		now = time.Now()
	}
	b.until(now, by, most)
	if start = now; l.clock != nil {
		start = l.now()
	}
	err = b.outcome(ctx, verb, key, f(b))
	returned = true
	if errors.Is(err, ErrUnknown) && (ctx.Err() == nil || time.Since(now) > l.opTimeout()/4) { // else its caller was impatient
		src.doubt(now)
	}
	return start, err
}

// lend has the pool lend a connection, at the latest by by.
func (l *Locker) lend(ctx context.Context, b *boundConn, verb, key string, now, by time.Time) error {
	limit, cancel := l.limit(ctx, now, by)
	defer cancel()
	err := l.source().lend(ctx, limit, b, verb, key)
	if err == nil || limit.Err() == nil || ctx.Err() != nil || !time.Now().Before(by) {
		return err
	}
	exact, cancelExact := context.WithDeadline(ctx, by)
	defer cancelExact()
	return l.source().lend(ctx, exact, b, verb, key)
}

// mayAskAgain reports whether an exchange that ended with err may be repeated on another connection: its own has
// broken, and there is time left.
func (b *boundConn) mayAskAgain(ctx context.Context, err error) bool {
	return errors.Is(err, ErrUnknown) && ctx.Err() == nil && time.Now().Before(b.end())
}

// askAgain repeats an exchange on a connection that was not idle, for as long as is left: a new one, or what the Mux uses
// by now.
func (l *Locker) askAgain(ctx context.Context, b *boundConn, verb string, most time.Duration, f func(redis.Conn) error) (start time.Time, err error) {
	key, _ := b.key.(string)
	if l.source().mux != nil {
		return l.exchangeBy(ctx, b, verb, key, time.Now(), b.end(), most, f)
	}
	token, _ := b.token.(string)
	err = l.onFresh(ctx, verb, key, token, b.end(), most, func(c redis.Conn) error {
		start = l.now()
		return f(c)
	})
	return start, err
}

// onFresh is onOwnBy for an f that may be carried out again. A pool that cannot dial may lend broken connections one after
// the other: then the next is tried.
func (l *Locker) onFresh(ctx context.Context, verb, key, token string, by time.Time, most time.Duration, f func(redis.Conn) error) error {
	for tries := 1; ; tries++ {
		err := l.onOwnBy(ctx, verb, key, token, by, most, f)
		if l.source().canDial() || tries == maxStale || !errors.Is(err, ErrUnknown) || ctx.Err() != nil || !time.Now().Before(by) {
			return err
		}
	}
}

// maxStale is how many connections of a pool that cannot dial are tried in a row, one after the other being broken.
const maxStale = 64

// onOwn runs f on a connection that is not the pool's, within an OpTimeout; the exchange takes most, at the most.
func (l *Locker) onOwn(ctx context.Context, verb, key, token string, most time.Duration, f func(redis.Conn) error) error {
	return l.onOwnBy(ctx, verb, key, token, time.Now().Add(l.opTimeout()), most, f)
}

// onOwnBy is onOwn that ends at by, which is no end of the caller's ctx.
func (l *Locker) onOwnBy(ctx context.Context, verb, key, token string, by time.Time, most time.Duration, f func(redis.Conn) error) error {
	limit, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	b := &boundConn{key: key, token: token}
	if err := l.source().lendOwn(ctx, limit, b, verb, key); err != nil {
		return err
	}
	l.state.conns.Add(1)
	defer l.state.conns.Add(-1)
	returned := false
	defer func() { b.takeBack(returned, nil) }()
	b.until(time.Now(), by, most)
	err := b.outcome(ctx, verb, key, f(b))
	returned = true
	return err
}

// Release gives the lock back. It first ends KeepAlive, and waits until no renewal is in flight; within that OpTimeout a
// Cohort's lease is extended, too. A cancelled ctx does not stop it, or a lock would stay behind whenever a request is
// cancelled; only ctx's values are used. It then tries at most twice, each time for at most OpTimeout, the second time on a
// connection of its own. Before Locker.MinHold is over, it does not delete the key, but leaves it to expire then.
//
// It returns [ErrNotHeld] if the lock was lost before, if Deadline had passed (what may be left of it is removed
// all the same), or if it was released already; [ErrUnknown] if no reply came, and then the key goes with its TTL; or
// what the server or the network refused it with.
func (k *Lock) Release(ctx context.Context) error {
	if ctx == nil {
		return fault.Invalidf("release", "ctx is nil")
	}
	if k.isNone() {
		return neverHeld("release")
	}
	return k.giveBack(ctx, k.locker.MinHold > 0)
}

// giveBack is Release; with leave as Locker.MinHold has it.
func (k *Lock) giveBack(ctx context.Context, leave bool) error {
	k.mu.Lock()
	again, late := k.released, k.over(k.locker.now())
	k.released = true
	k.uncountHeld()
	k.mu.Unlock()
	if again {
		return fault.Of(ErrNotHeld, "release", k.key, "it was released")
	}
	by := time.Now().Add(k.locker.opTimeout()) // of what comes before the tries
	k.endKeeping()
	if ctx.Done() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	returned, freed := false, false
	defer func() {
		kept := leave && k.keptOut() > 0          // nothing may delete the key yet
		if !returned && !kept && !k.locker.Fair { // somebody's code has panicked, maybe before anything was sent
			k.stray(ctx)
		}
		switch {
		case k.lostTry == nil:
		case leave && !freed: // the key may carry the token still, and keeps others out
			k.oweFrom(k.acquired.Add(k.locker.MinHold))
		default:
			k.owe()
		}
	}()
	err := k.free(ctx, leave, late, by)
	returned, freed = true, err == nil || errors.Is(err, ErrNotHeld)
	if l := k.locker; l.Observer != nil {
		l.Observer.released(ctx, k, l.now().Sub(k.acquired), err)
	}
	return err
}

// free has the key deleted, or left, and says what Release returns. by is when what it does before has to be over.
func (k *Lock) free(ctx context.Context, leave, late bool, by time.Time) (err error) {
	switch l := k.locker; {
	case l.Fair:
		err = k.releaseFair(ctx, by)
	case leave:
		err = k.releaseBy(ctx, k.leave)
	default:
		err = k.release(ctx)
	}
	if errors.Is(err, ErrNotHeld) {
		k.locker.Observer.outcome(ctx, k.key, "release", err)
	} else if late {
		err = fault.Join(fault.Of(ErrNotHeld, "release", k.key, "its time was over"), err)
	}
	return err
}

// release deletes the key, whatever MinHold is.
func (k *Lock) release(ctx context.Context) error { return k.releaseBy(ctx, k.locker.releaseFunc()) }

// leave is the ReleaseFunc of a Locker with MinHold: before its time is over, the key is left to expire then. It counts by
// the monotonic clock alone: a wall clock that is put forward must not let the next host in.
func (k *Lock) leave(ctx context.Context, c redis.Conn, key, token string) error {
	left := k.keptOut()
	if left <= 0 {
		return k.locker.releaseFunc()(ctx, c, key, token)
	}
	return leave(ctx, c, key, token, (left + time.Millisecond - 1).Truncate(time.Millisecond))
}

// keptOut is how long MinHold still keeps others out.
func (k *Lock) keptOut() time.Duration {
	l := k.locker
	return min(k.acquired.Add(l.MinHold).Sub(l.now()), l.MinHold)
}

func (k *Lock) releaseBy(ctx context.Context, free ReleaseFunc) (err error) {
	l := k.locker
	defer func() {
		if err == nil || errors.Is(err, ErrNotHeld) {
			l.state.crowds.released(k.key)
		}
	}()
	_, err = l.exchangeOn(ctx, &k.conn, "release", k.key, l.opTimeout(), func(c redis.Conn) error {
		return free(ctx, c, k.key, k.token)
	})
	k.tellRelease(ctx, err)
	if err == nil || !fault.Transient(err) && !k.conn.notLent(err) {
		return err
	}
	again := l.onFresh(ctx, "release", k.key, k.token, time.Now().Add(l.opTimeout()), l.opTimeout(), func(c redis.Conn) error {
		return free(ctx, c, k.key, k.token)
	})
	k.tellRelease(ctx, again)
	err = k.releasedAgain(err, again)
	return err
}

// tellRelease tells how a try of a release ended. Whether one that found nothing has failed is for its caller to say.
func (k *Lock) tellRelease(ctx context.Context, err error) {
	if !errors.Is(err, ErrNotHeld) {
		k.locker.Observer.outcome(ctx, k.key, "release", err)
	}
}

// releasedAgain is what Release returns after two tries.
func (k *Lock) releasedAgain(err, again error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case again == nil:
		return nil
	case errors.Is(again, ErrNotHeld) && errors.Is(err, ErrUnknown) && !k.over(k.locker.now()):
		return nil // the first try did it, and only its reply was lost
	case errors.Is(again, ErrNotHeld):
		return again
	}
	return fault.Followed(err, "and on a new connection: ", again)
}
