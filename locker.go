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

// DefaultOpTimeout bounds one round trip of a Locker that sets no OpTimeout.
const DefaultOpTimeout = time.Second

// A Locker obtains locks over a pool. Set its fields, then use it; they must not be changed after the first use, and the
// Locker must not be copied. It is safe for concurrent use.
type Locker struct {
	// Pool lends the connections. Required.
	Pool Pool
	// AcquireWith is the command that acquires. Nil: SetNXVerified.
	AcquireWith AcquireFunc
	// ReleaseWith is the command that releases. What undoes an acquire is never this, but Release. Nil: Release.
	ReleaseWith ReleaseFunc
	// Retry says how long Acquire pauses between tries. Nil: DefaultRetry.
	Retry RetryFunc
	// Fair makes Acquire wait in a queue: first come, first served, see the manual. AcquireWith, ReleaseWith and Retry must
	// then be nil. False: whoever tries first after a release gets the lock.
	Fair bool
	// Cohort, with Fair, hands the lock from one waiter of this Locker to the next without any command, within bounds.
	// Zero: never.
	Cohort Cohort
	// Owner is a readable prefix of the tokens, shown by Inspect and HeldError, and so no secret: at most 128 bytes of
	// printable ASCII without space and '|'. Empty: none.
	Owner string
	// OpTimeout bounds a round trip together with all that comes before it: the wait for a connection of the pool, dialling it
	// with its TLS handshake, testing it, and asking again on another one if it breaks. An acquire waits for its reply no longer
	// than its ttl. At most 24 h. Zero: DefaultOpTimeout, 1 s.
	OpTimeout time.Duration
	// MaxHold is how long after the acquire KeepAlive gives up. Zero: never.
	MaxHold time.Duration
	// MinHold has Release keep others out until so long after the acquire, up to 24 h, so that a job runs once though its
	// hosts come one after the other: the key is not deleted, but changed to token|left, and expires by itself. See the
	// manual, "Cron jobs". Not with Fair. Zero: Release deletes the key at once.
	MinHold time.Duration
	// Observer is told what happens. Nil: nobody is.
	Observer *Observer

	clock func() time.Time // nil: time.Now; for tests
	state lockerState
}

type lockerState struct {
	closed  atomic.Bool
	waiting atomic.Int64 // calls that are to obtain a lock
	conns   atomic.Int64 // of the Locker's own
	held    heldSet
	source  atomic.Pointer[source]
	limit   atomic.Pointer[sharedLimit]
	ttl     atomic.Pointer[boxedTTL] // of the newest handle: most have the same
	tokens  tokens
	fair    fair
	crowds  crowds

	closing closing
	keeping keeping
	strays  strays
}

// TryAcquire tries once to acquire the lock for ttl, 10 ms to 24 h in whole milliseconds. If its connection breaks
// before the reply, it asks once more, on another one, with the same token and within the same OpTimeout.
//
// It returns an error that is [ErrHeld] if somebody else has the lock; [ErrUnknown] if it cannot say whether it got it, and
// then removes what it may have got in the background; [ErrExpired], [ErrConflict], [ErrInvalid], [ErrClosed]; the context's
// error and cause; or what the server or the network refused it with.
func (l *Locker) TryAcquire(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	if l.Fair {
		return l.tryFair(ctx, key, ttl)
	}
	k, err := l.newLock(ctx, "try acquire", key, ttl)
	if err != nil {
		return nil, err
	}
	return l.obtain(ctx, key, "try acquire", k, func(ctx context.Context) (*Lock, error) {
		return k.conclude(k.try(ctx, nil, l.opTimeout()))
	})
}

// Acquire tries to acquire the lock for ttl, as [Locker.TryAcquire] does, until ctx ends. It pauses between tries as Retry
// says. What the server or the network cannot do now (LOADING, BUSY, READONLY, MISCONF, NOREPLICAS…, connection refused
// or broken) is tried again, too; what is refused for good (NOAUTH, WRONGPASS, NOPERM, WRONGTYPE, OOM…) ends it at once.
// With Fair it does not pause: it waits in the queue until the lock is handed to it.
//
// Many may wait for one key: at most four of a Locker's calls for a key ask the server at a time, and the others take the
// newest answer as that of their own try. When a lock of this Locker is released, the call that has waited longest asks at
// once, whatever its pause.
//
// Once ctx has ended, errors.Is finds context.Cause(ctx) in the error; and ErrHeld if the lock was held by another;
// and ErrUnknown if a reply was lost, and then what it may have got is removed in the background.
func (l *Locker) Acquire(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	if l.Fair {
		return l.acquireFair(ctx, key, ttl)
	}
	k, err := l.newLock(ctx, "acquire", key, ttl)
	if err != nil {
		return nil, err
	}
	return l.obtain(ctx, key, "acquire", k, func(ctx context.Context) (*Lock, error) {
		return k.conclude(k.acquire(ctx))
	})
}

// Do acquires the lock as [Locker.Acquire] does, keeps it alive while fn runs, and releases it. fn gets the context of
// [Lock.KeepAlive], and must stop when that ends. If fn panics, the lock is released and the panic goes on.
//
// It returns what fn returned, joined with ErrLost if the lock was lost meanwhile, even if fn returned nil, and with
// what the release returned. fn may release the lock itself.
//
// Those who call Do at the same time run one after the other. A job that is to run once, on one of several hosts, wants
// [Locker.TryDo].
func (l *Locker) Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *Lock) error) error {
	if fn == nil {
		return fault.Invalidf("do", "fn is nil")
	}
	k, err := l.Acquire(ctx, key, ttl)
	if err != nil {
		return err
	}
	return k.run(ctx, "do", fn)
}

// TryDo is [Locker.Do] without the wait: it acquires the lock as [Locker.TryAcquire] does, and returns [ErrHeld] at once if
// somebody else has it.
//
// fn has not run if the acquire fails. After its [ErrUnknown] the key may keep others out until it is cleaned up in the
// background, for about an OpTimeout. Whether fn ran is therefore best noted by fn: the errors of the release are joined
// with fn's.
func (l *Locker) TryDo(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *Lock) error) error {
	if fn == nil {
		return fault.Invalidf("try do", "fn is nil")
	}
	k, err := l.TryAcquire(ctx, key, ttl)
	if err != nil {
		return err
	}
	return k.run(ctx, "try do", fn)
}

// run keeps the lock alive while fn runs, and releases it.
func (k *Lock) run(ctx context.Context, verb string, fn func(context.Context, *Lock) error) (err error) {
	kept := k.KeepAlive(ctx)
	defer func() {
		k.loseIfOver()
		var lost, freed error
		if cause := context.Cause(kept); errors.Is(cause, ErrLost) {
			lost = cause
		}
		if !k.isReleased() {
			freed = k.Release(ctx)
			if lost == nil && errors.Is(freed, ErrNotHeld) { // no renewal was due that would have seen it
				lost = fault.Of(ErrLost, verb, k.key, "it was gone when it was released")
			}
		}
		err = fault.Join(err, lost, freed)
	}()
	return fn(kept, k)
}

// Attach takes over a lock that was obtained elsewhere, as by a verb or in another process. It verifies it; the handle's
// Deadline comes from what is left of the lock's TTL, and its later renewals are for ttl. MaxHold and MinHold count from
// now.
//
// It returns [ErrNotHeld] if the key does not carry the token, or too little is left; also, without asking, for what MinHold
// has left in a key, which nobody holds; [ErrConflict], [ErrUnknown], [ErrInvalid], [ErrClosed]; the context's error and
// cause; or what the server or the network refused it with.
func (l *Locker) Attach(ctx context.Context, key, token string, ttl time.Duration) (*Lock, error) {
	const verb = "attach"
	if err := checkBytes(verb, "token", token); err != nil {
		return nil, err
	}
	k, err := l.handle(ctx, verb, key, token, ttl)
	if err != nil {
		return nil, err
	}
	return l.obtain(ctx, key, verb, nil, func(ctx context.Context) (*Lock, error) {
		err := k.attach(ctx, verb)
		l.Observer.outcome(ctx, key, verb, err)
		if err != nil {
			return nil, err
		}
		return k, nil
	})
}

func (k *Lock) attach(ctx context.Context, verb string) error {
	l := k.locker
	if _, isLeft := cutLeft(k.token); isLeft {
		return fault.Of(ErrNotHeld, verb, k.key, "it was released, and MinHold keeps others out")
	}
	var left time.Duration
	start, err := k.exchange(ctx, verb, func(c redis.Conn) (err error) {
		left, err = Verify(ctx, c, k.key, k.token)
		return err
	})
	if err != nil {
		return err
	}
	k.acquired, k.deadline = start, deadline(start, left)
	now := l.now()
	if k.over(now) {
		return fault.Of(ErrNotHeld, verb, k.key, "too little of its TTL is left")
	}
	k.countHeld(now)
	return nil
}

// newLock checks what an acquire needs, and makes its handle with a new token. The token serves the whole call.
func (l *Locker) newLock(ctx context.Context, verb, key string, ttl time.Duration) (*Lock, error) {
	if err := checkOwner(l.Owner); err != nil {
		return nil, fault.Invalidf(verb, "%v", err)
	}
	return l.handle(ctx, verb, key, l.newToken(), ttl)
}

func (l *Locker) handle(ctx context.Context, verb, key, token string, ttl time.Duration) (*Lock, error) {
	if err := l.check(ctx, verb, key, ttl); err != nil {
		return nil, err
	}
	k := &Lock{locker: l, key: key, token: token, ttl: ttl}
	k.conn.key, k.conn.token = key, token
	k.conn.ttl = l.state.ttl.Load()
	if b := k.conn.ttl; b == nil || b.ttl != ttl {
		k.conn.ttl = boxTTL(ttl)
		l.state.ttl.Store(k.conn.ttl)
	}
	return k, nil
}

func (l *Locker) check(ctx context.Context, verb, key string, ttl time.Duration) error {
	switch {
	case ctx == nil:
		return fault.Invalidf(verb, "ctx is nil")
	case l.source() == nil:
		return fault.Invalidf(verb, "Locker.Pool is nil")
	case l.OpTimeout < 0:
		return fault.Invalidf(verb, "Locker.OpTimeout is negative")
	case l.OpTimeout > maxTTL:
		return fault.Invalidf(verb, "Locker.OpTimeout is %v, allowed is up to %v", l.OpTimeout, maxTTL)
	case l.MaxHold < 0:
		return fault.Invalidf(verb, "Locker.MaxHold is negative")
	case l.MinHold < 0 || l.MinHold > maxTTL:
		return fault.Invalidf(verb, "Locker.MinHold is %v, allowed is 0 to %v", l.MinHold, maxTTL)
	case l.MinHold > 0 && l.Fair:
		return fault.Invalidf(verb, "Locker.MinHold keeps others out after a release, and Locker.Fair hands the lock to the next of them: choose one")
	}
	if err := checkBytes(verb, "key", key); err != nil {
		return err
	}
	if err := checkTTL(verb, ttl, minLockerTTL); err != nil {
		return err
	}
	if err := l.checkFair(verb, key); err != nil {
		return err
	}
	if l.state.closed.Load() {
		return fmt.Errorf("%w: %s %s", ErrClosed, verb, fault.Quote(key))
	}
	if ctx.Err() != nil {
		return fault.Failed(verb, key, fault.OfContext(ctx))
	}
	return nil
}

// obtain runs one call of TryAcquire, Acquire or Attach: the Observer and Stats see it begin and end, also if f panics. Then
// k, where it is given, may have been obtained without that anybody knows.
func (l *Locker) obtain(ctx context.Context, key, verb string, k *Lock, f func(context.Context) (*Lock, error)) (got *Lock, err error) {
	ctx, begin := l.Observer.waiting(ctx, key, verb), l.beginning()
	l.state.waiting.Add(1)
	err = errPanicked
	defer func() {
		l.state.waiting.Add(-1)
		if err != nil || l.Observer != nil {
			l.obtained(ctx, key, verb, begin, k, got, err)
		}
	}()
	return f(ctx)
}

// obtained tells how a call ended. A lock that its caller does not get, since the Observer panicked, is given back.
func (l *Locker) obtained(ctx context.Context, key, verb string, begin time.Time, k, got *Lock, err error) {
	switch {
	case err == errPanicked:
		if k != nil {
			k.abandon(ctx)
		}
		l.Observer.gaveUp(ctx, key, l.since(begin), fault.Failed(verb, key, err))
	case err != nil:
		l.Observer.gaveUp(ctx, key, l.since(begin), err)
	case l.Observer != nil:
		told := false
		defer func() {
			if !told {
				got.abandon(ctx)
			}
		}()
		l.Observer.acquired(ctx, got, l.since(begin))
		told = true
	}
}

// abandon has a lock removed in the background that may have been obtained, and that nobody has been given.
func (k *Lock) abandon(ctx context.Context) {
	if k.locker.Fair {
		f := &k.locker.state.fair
		f.mu.Lock()
		defer f.mu.Unlock()
		k.desert(ctx)
		return
	}
	k.latch()
	k.stray(ctx)
	k.owe()
}

// errPanicked is what an acquire ends with for its Observer when a func of the user's has panicked.
var errPanicked = errors.New("a func that it called panicked")

// beginning is the time for an Observer. Without one nobody asks for it.
func (l *Locker) beginning() (t time.Time) {
	if l.Observer != nil {
		t = l.now()
	}
	return t
}

// since is for what beginning returned.
func (l *Locker) since(begin time.Time) (d time.Duration) {
	if l.Observer != nil {
		d = l.now().Sub(begin)
	}
	return d
}

func (l *Locker) now() time.Time {
	if l.clock != nil {
		return l.clock()
	}
	return time.Now()
}

func (l *Locker) opTimeout() time.Duration {
	if l.OpTimeout > 0 {
		return l.OpTimeout
	}
	return DefaultOpTimeout
}

func (l *Locker) acquireFunc() AcquireFunc {
	if l.AcquireWith != nil {
		return l.AcquireWith
	}
	return SetNXVerified
}

func (l *Locker) releaseFunc() ReleaseFunc {
	if l.ReleaseWith != nil {
		return l.ReleaseWith
	}
	return Release
}
