package redigolock

import (
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
)

// DefaultOpTimeout bounds one round trip of a Locker that sets no OpTimeout.
const DefaultOpTimeout = time.Second

// A Locker obtains locks over a pool. Set its fields, then use it; they must not be changed after the first use, and the
// Locker must not be copied. It is safe for concurrent use.
type Locker struct {
	// Pool lends the connections. Required.
	Pool Pool
	// AcquireWith is the command that acquires. Nil: SetNXGet where the server knows it, else SetNXVerified; see
	// docs/choosing.md.
	AcquireWith AcquireFunc
	// ReleaseWith is the command that releases. What undoes an acquire is never this, but Release. Nil: DELEX or DELIFEQ where the
	// server has one of them and the user the right to it, else Release; see docs/choosing.md.
	ReleaseWith ReleaseFunc
	// Retry says how long Acquire pauses between tries. Nil: DefaultRetry.
	Retry RetryFunc
	// Fair makes Acquire wait in a queue: first come, first served; see docs/waiting.md. AcquireWith, ReleaseWith and Retry must
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
	// hosts come one after the other: the key is not deleted, but changed to token|left, and expires by itself; see
	// docs/cron.md. Not with Fair. Zero: Release deletes the key at once.
	MinHold time.Duration
	// Replicas is how many replicas must have acknowledged an acquire, an Extend or a renewal (WAIT). With fewer in time, an
	// acquire is undone, and is ErrNotReplicated, which Acquire tries again; an Extend and a renewal do not count. A failover can
	// still lose the lock unless all replicas must acknowledge, see docs/sentinel.md. Not with Fair, over a Mux or a Cluster.
	// Zero: none, and nothing is sent for it.
	Replicas int
	// Observer is told what happens. Nil: nobody is.
	Observer *Observer

	clock func() time.Time // nil: time.Now; for tests
	core  core
}

// A Cohort bounds how a fair Locker hands a lock from one of its own waiters to the next without any command, which is
// fast, and lets other processes wait meanwhile. A hand-off is made only while at least a third of the lease, and of the next
// holder's ttl, is left; else the lease is extended first. The next holder's handle has the same token, and its fencing
// numbers are higher.
type Cohort struct {
	// Passes is how many such hand-offs may follow each other before the lock goes to whoever is first in the queue. Zero:
	// none.
	Passes int
	// Slice is how long after the server's grant they end. Zero: 5 ms.
	Slice time.Duration
}

const defaultSlice = 5 * time.Millisecond

func (c Cohort) slice() time.Duration {
	if c.Slice > 0 {
		return c.Slice
	}
	return defaultSlice
}

// TryAcquire tries once to acquire the lock for ttl, 10 ms to 24 h in whole milliseconds. If its connection breaks
// before the reply, it asks once more, on another one and within the same OpTimeout, with the same token; with Fair, with a
// new one unless the lock carries the first.
//
// It returns an error that is [ErrHeld] if somebody else has the lock; [ErrUnknown] if it cannot say whether it got it, and
// then removes what it may have got in the background; [ErrExpired], [ErrConflict], [ErrInvalid], [ErrClosed]; the context's
// error and cause; or what the server or the network refused it with.
func (l *Locker) TryAcquire(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	return l.acquire(ctx, want{verb: "try acquire", key: key, ttl: ttl})
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
	return l.acquire(ctx, want{verb: "acquire", key: key, ttl: ttl, wait: true})
}

func (l *Locker) acquire(ctx context.Context, w want) (*Lock, error) {
	c, err := l.begin(w.verb)
	if err != nil {
		return nil, err
	}
	return c.acquire(ctx, w)
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
	return obtainAndRun(ctx, "do", fn, func() (*Lock, error) { return l.Acquire(ctx, key, ttl) })
}

// TryDo is [Locker.Do] without the wait: it acquires the lock as [Locker.TryAcquire] does, and returns [ErrHeld] at once if
// somebody else has it.
//
// fn has not run if the acquire fails. After an acquire that ends with [ErrUnknown] the key may keep others out until it is
// cleaned up in the background, for about an OpTimeout. The errors of the release are joined with fn's, so let fn itself note
// whether it ran.
func (l *Locker) TryDo(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *Lock) error) error {
	return obtainAndRun(ctx, "try do", fn, func() (*Lock, error) { return l.TryAcquire(ctx, key, ttl) })
}

// obtainAndRun runs fn under the lock that acquire obtains.
func obtainAndRun(ctx context.Context, verb string, fn func(context.Context, *Lock) error, acquire func() (*Lock, error)) error {
	if fn == nil {
		return fault.Invalidf(verb, "fn is nil")
	}
	k, err := acquire()
	if err != nil {
		return err
	}
	return k.runUnder(ctx, verb, fn)
}

// runUnder keeps the lock alive while fn runs, and releases it.
func (k *Lock) runUnder(ctx context.Context, verb string, fn func(context.Context, *Lock) error) (err error) {
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
	w := want{verb: "attach", key: key, ttl: ttl}
	if err := checkBytes(w.verb, "token", token); err != nil {
		return nil, err
	}
	c, err := l.begin(w.verb)
	if err != nil {
		return nil, err
	}
	if err := c.check(ctx, w); err != nil {
		return nil, err
	}
	return c.obtain(ctx, w, func(ctx context.Context) (*Lock, error) {
		k := c.handle(w, token)
		err := c.nodes[0].attach(ctx, k)
		c.observer.outcome(ctx, key, w.verb, err)
		if err != nil {
			return nil, err
		}
		return k, nil
	})
}

// attach verifies that k is held, and counts it as held.
func (n *node) attach(ctx context.Context, k *Lock) error {
	const verb = "attach"
	if _, isLeft := names.CutLeft(k.token); isLeft {
		return fault.Of(ErrNotHeld, verb, k.key, "it was released, and MinHold keeps others out")
	}
	var left time.Duration
	start, err := n.ask(ctx, &k.claim, verb, func(c redis.Conn) (err error) {
		left, err = Verify(ctx, c, k.key, k.token)
		return err
	})
	if err != nil {
		return err
	}
	k.acquired, k.attached, k.deadline, k.most = start, true, deadline(start, left), left
	now := n.now()
	if k.latched(now) {
		return fault.Of(ErrNotHeld, verb, k.key, "too little of its TTL is left")
	}
	k.countHeld(now)
	return nil
}

// Close ends the Locker: waiting acquires and KeepAlive contexts end with [ErrClosed], and later acquires get it. Locks
// that are held are left to expire, and Release of them still works. It waits for clean-ups in the background, and for dials
// that were left because they took too long, for three OpTimeouts at most; and for one more each where renewals, the
// subscription or the clean-ups hang on a connection. It returns nil, also when called again.
func (l *Locker) Close() error { return l.core.close() }

// begin returns the core. At the first use it looks at the fields, and makes what they ask for.
func (l *Locker) begin(verb string) (*core, error) {
	return l.core.once(func() error { return l.prepare(verb) })
}

func (l *Locker) prepare(verb string) error {
	c := &l.core
	s := settings{owner: l.Owner, timeout: l.OpTimeout, maxHold: l.MaxHold, replicas: l.Replicas, observer: l.Observer, clock: l.clock}
	if err := s.check(verb, "Locker"); err != nil {
		return err
	}
	c.settings = s
	n := newNode(c, newSource(l.Pool))
	if n.source == nil {
		return fault.Invalidf(verb, "Locker.Pool is nil")
	}
	if err := l.checkReplicas(verb, n.source); err != nil {
		return err
	}
	by, err := l.discipline(verb, n)
	if err != nil {
		return err
	}
	c.setUp(by, n)
	return nil
}

// discipline chooses the discipline.
func (l *Locker) discipline(verb string, n *node) (discipline, error) {
	switch {
	case l.MinHold < 0 || l.MinHold > maxTTL:
		return nil, fault.Invalidf(verb, "Locker.MinHold is %v, allowed is 0 to %v", l.MinHold, maxTTL)
	case l.Cohort.Passes < 0 || l.Cohort.Slice < 0:
		return nil, fault.Invalidf(verb, "Locker.Cohort is negative")
	case !l.Fair && l.Cohort != Cohort{}:
		return nil, fault.Invalidf(verb, "Locker.Cohort needs Locker.Fair")
	case !l.Fair:
		return newPlain(l, n), nil
	case l.MinHold > 0:
		return nil, fault.Invalidf(verb, "Locker.MinHold keeps others out after a release, and Locker.Fair hands the lock to the next of them: choose one")
	case l.Replicas > 0:
		return nil, fault.Invalidf(verb, "Locker.Replicas does not go with Locker.Fair, whose lock is handed on without an acquire")
	case l.AcquireWith != nil || l.ReleaseWith != nil || l.Retry != nil:
		return nil, fault.Invalidf(verb, "a fair Locker acquires, releases and waits in its own way: AcquireWith, ReleaseWith and Retry must be nil")
	}
	return newFair(n, l.Cohort), nil
}
