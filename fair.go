package redigolock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// Locker.Fair: the waiters of a key queue in Redis, one entry for each Locker with a local FIFO behind it, and a release
// hands the key to the next of them in its own script, which also queues the releasing Locker's next waiter.
//
//	fair.go         acquire, and what a Locker keeps for it
//	fairslot.go     a slot: what a Locker knows of one key
//	fairsweep.go    forgets the slots that are no longer used
//	fairdebt.go     the tokens of a slot that are to be released, or must be remembered as dead
//	fairnext.go     what is to be sent next for it
//	fairreply.go    what each reply, message and failure does to a slot
//	fairsend.go     sends the scripts, and reads their replies
//	fairrelease.go  release
//	fairline.go     the subscription
//	fairwire.go     what goes over its connection
//	cohort.go       hand-offs without any command
//	luafair.go      the scripts
//
// A slot is idle, entering (its token was sent), queued (a reply said so), held, held+w (its holder is lost, and a token
// waits), or quitting; each of its tokens may be owed. internal/fairmodel has the table of these states and all events, and
// explores it.
//
// Whoever has the mutex decides what is sent next, and marks it as in flight; it is sent without the mutex, by the waiter
// that has just come, by the releaser, or by a goroutine that lives for this one command. At most one command that
// names the slot's waiting token is in flight.
type fair struct {
	mu      sync.Mutex // protects this and all slots; taken for moments only, never while anything is sent
	id      string     // of this Locker, in its channels
	sharded bool       // messages are sharded (Redis Cluster); set before the first use, for the cluster work to switch on
	slots   map[string]*slot
	sweep   sweep
	line    line
	places  chan struct{} // of commands on connections that are not the pool's; capacity maxDials
	idle    chan struct{} // closed when nothing is left to do; nil unless Close waits for it
	owed    int           // what is to be removed in the background, over all slots
	closed  bool          // Close waits no longer: what comes to be owed or given up now is tried once
}

const (
	// channelPrefix begins the name of every channel, for the sake of ACLs.
	channelPrefix = "redigolock:"
	// queueName makes the queue's key. The number is that of the entries' format: versions of this package that do not
	// read each other's entries must not share a queue.
	queueName = "redigolock-q1"
	// pokeCap is how long a waiting Locker goes without asking. It bounds what a foreign DEL costs, and a plain Locker's
	// release, which do not hand over.
	pokeCap = time.Second
	// linger is how long a subscription lives after the last wait.
	linger = 3 * time.Second
	// lookAtDead is how often a slot looks which tokens it need not remember any longer.
	lookAtDead = time.Second
)

// A waiter is one call of Acquire.
type waiter struct {
	ctx  context.Context
	ttl  time.Duration
	done chan struct{} // closed when lock or err is set
	lock *Lock
	err  error
	prev *waiter // in the slot's FIFO
	next *waiter
}

// checkFair is what a fair Locker needs besides.
func (l *Locker) checkFair(verb, key string) error {
	switch c := l.Cohort; {
	case c.Passes < 0 || c.Slice < 0:
		return fault.Invalidf(verb, "Locker.Cohort is negative")
	case !l.Fair && c != Cohort{}:
		return fault.Invalidf(verb, "Locker.Cohort needs Locker.Fair")
	case !l.Fair:
		return nil
	case l.AcquireWith != nil || l.ReleaseWith != nil || l.Retry != nil:
		return fault.Invalidf(verb, "a fair Locker acquires, releases and waits in its own way: AcquireWith, ReleaseWith and Retry must be nil")
	}
	_, err := sibling(verb, key, queueName)
	return err
}

// acquireFair is Acquire.
func (l *Locker) acquireFair(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	if err := checkOwner(l.Owner); err != nil {
		return nil, fault.Invalidf("acquire", "%v", err)
	}
	if err := l.check(ctx, "acquire", key, ttl); err != nil {
		return nil, err
	}
	return l.obtain(ctx, key, "acquire", nil, func(ctx context.Context) (*Lock, error) {
		return l.queue(ctx, key, ttl)
	})
}

// queue waits in the FIFO.
func (l *Locker) queue(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	x := &waiter{ctx: ctx, ttl: ttl, done: make(chan struct{})}
	f := &l.state.fair
	f.mu.Lock()
	if l.state.closed.Load() { // Close may have looked at the slots already
		f.mu.Unlock()
		return nil, fmt.Errorf("%w: acquire %s", ErrClosed, fault.Quote(key))
	}
	s := l.slotOf(key)
	s.push(x)
	cmd := s.first(x)
	s.settle()
	f.mu.Unlock()
	ok := false
	defer func() {
		if !ok {
			s.desert(x)
		}
	}()
	if cmd.kind != nothing {
		l.perform(ctx, s, cmd, nil)
	}
	k, err := l.wait(ctx, s, x)
	ok = true
	l.tellTooLate(ctx, key, err)
	return k, err
}

// desert takes a waiter out of the FIFO whose goroutine ends: the user's code has panicked in it, in a pool, a connection or
// an Observer. If it had its lock already, nobody else knows of that.
func (s *slot) desert(x *waiter) {
	f := &s.l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-x.done:
		if x.lock != nil {
			x.lock.desert(x.ctx)
		}
	default:
		s.remove(x)
		s.settle()
	}
}

// desert has a lock released in the background that nobody was given. The caller holds f.mu.
func (k *Lock) desert(ctx context.Context) {
	k.latch()
	s := k.locker.slotOf(k.key)
	s.owe(ctx, k.token, k.longest())
	if s.h == k {
		s.h = nil
	}
	s.settle()
}

// wait returns when x has its lock or its error, or has given up. A lock that came in the same moment is returned.
func (l *Locker) wait(ctx context.Context, s *slot, x *waiter) (*Lock, error) {
	var end error
	select {
	case <-x.done:
		return x.lock, x.err
	case <-ctx.Done():
		end = fault.OfContext(ctx)
	case <-l.closingChan():
		end = ErrClosed
	}
	f := &l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-x.done:
		return x.lock, x.err
	default:
	}
	s.remove(x)
	err := s.gaveUp(end)
	s.settle()
	return nil, err
}

// gaveUp is the error of a waiter that has left the FIFO for the reason end.
func (s *slot) gaveUp(end error) error {
	err := fmt.Errorf("redigolock: acquire %s: gave up: %w", fault.Quote(s.key), end)
	if held := s.heldNow(); held != nil {
		err = fmt.Errorf("%w; %w", err, held)
	}
	if s.trouble != nil {
		err = fmt.Errorf("%w; and before: %w", err, s.trouble)
	}
	if s.head == nil && s.w != nil && !s.w.placed && !errors.Is(err, ErrUnknown) {
		err = fmt.Errorf("%w; %w: its last command was not answered", err, ErrUnknown)
	}
	return err
}

// heldNow is what is known of the holder, nil if it is not known that there is one.
func (s *slot) heldNow() *HeldError {
	if k := s.h; k != nil && !k.isOver() {
		return &HeldError{Key: s.key, Holder: holderOf(k.token), TTL: k.Deadline().Sub(s.l.now())}
	}
	return s.held
}

// tryFair is TryAcquire. Its token is not that of the slot, for it never waits.
func (l *Locker) tryFair(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	k, err := l.newLock(ctx, "try acquire", key, ttl)
	if err != nil {
		return nil, err
	}
	return l.obtain(ctx, key, "try acquire", nil, func(ctx context.Context) (*Lock, error) {
		err := k.tryFair(ctx)
		if err != nil {
			return nil, err
		}
		return k, nil
	})
}

func (k *Lock) tryFair(ctx context.Context) error {
	l := k.locker
	f := &l.state.fair
	f.mu.Lock()
	s := l.slotOf(k.key)
	s.users++ // so that it is not thrown away meanwhile
	f.mu.Unlock()
	by := time.Now().Add(min(l.opTimeout(), k.ttl))
	cmd := command{kind: try, t: &ticket{token: k.token, ttl: k.ttl, ctx: ctx}}
	ok := false
	defer func() {
		if !ok {
			s.desertTry(cmd.t)
		}
	}()
	start, r, err := l.send(ctx, s, cmd, &k.conn)
	if err == nil && r.said != saysGranted {
		err = s.heldBy(r)
	}
	l.Observer.outcome(ctx, k.key, "acquire", err)
	if errors.Is(err, ErrUnknown) && ctx.Err() == nil {
		start, r.left, err = k.tryFairAgain(ctx, s, &cmd, by, err)
	}
	ok = true
	err = l.concludeTry(ctx, s, k, cmd.t, start, r.left, err)
	l.tellTooLate(ctx, k.key, err)
	return err
}

// desertTry is desert for a TryAcquire.
func (s *slot) desertTry(t *ticket) {
	f := &s.l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	s.users--
	s.oweLate(t)
	s.settle()
}

// tryFairAgain asks once more, on a connection of its own, until by: for the lock with the token of the try that was lost,
// else for the lock with a new one, since a token is sent by one TRY only. The old one is owed then: its TRY may still be on
// its way.
func (k *Lock) tryFairAgain(ctx context.Context, s *slot, cmd *command, by time.Time, lost error) (start time.Time, left time.Duration, err error) {
	l, first := k.locker, cmd.t
	timeout := time.Until(by)
	if timeout <= 0 {
		return start, 0, lost
	}
	err = l.onOwnBy(ctx, "acquire", k.key, k.token, by, timeout, func(c redis.Conn) (err error) {
		start = l.now()
		left, err = k.extendOn(ctx, c, k.ttl)
		if !errors.Is(err, ErrNotHeld) {
			return err
		}
		s.replaceTry(ctx, k, cmd)
		start = l.now()
		r, err := s.run(ctx, c, *cmd)
		if left = r.left; err == nil && r.said != saysGranted {
			err = s.heldBy(r)
		}
		if r.holder == first.token { // it was carried out just now, and is being released
			err = lost
		}
		return err
	})
	if err != nil && err != lost {
		l.Observer.outcome(ctx, k.key, "acquire", err)
	}
	switch ctxErr := fault.Ended(ctx); {
	case err == nil:
		return start, left, nil
	case ctxErr != nil:
		return start, 0, fmt.Errorf("%w (%w)", lost, ctxErr)
	case cmd.t == first: // nothing more is known of it
		return start, 0, lost
	}
	return start, 0, err
}

// replaceTry gives a TryAcquire a new token, and leaves the old one to the clean-up.
func (s *slot) replaceTry(ctx context.Context, k *Lock, cmd *command) {
	f := &s.l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	s.oweLate(cmd.t)
	k.token = s.l.newToken()
	k.conn.token = k.token
	cmd.t = &ticket{token: k.token, ttl: k.ttl, ctx: ctx}
	s.settle()
}

// concludeTry makes a lock that was obtained the slot's, and leaves one that may have been to the clean-up.
func (l *Locker) concludeTry(ctx context.Context, s *slot, k *Lock, t *ticket, start time.Time, left time.Duration, err error) error {
	f := &l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	s.users--
	defer s.settle()
	if errors.Is(err, errUnread) && !errors.Is(err, ErrUnknown) {
		err = alsoUnknown(err)
	}
	if errors.Is(err, ErrUnknown) {
		s.oweLate(t)
	}
	if err != nil {
		return err
	}
	k.acquired, k.deadline = start, deadline(start, left)
	if k.over(l.now()) {
		s.owe(ctx, k.token, k.ttl)
		return tooLate("try acquire", k.key, k.ttl)
	}
	k.countHeld(l.now())
	s.hold(k)
	s.passes, s.since = 0, l.now()
	return nil
}

// tellTooLate tells of a grant that came too late: its command went well, and the acquire has failed all the same.
func (l *Locker) tellTooLate(ctx context.Context, key string, err error) {
	if errors.Is(err, ErrExpired) {
		l.Observer.outcome(ctx, key, "acquire", err)
	}
}

func tooLate(verb, key string, ttl time.Duration) error {
	return fault.Of(ErrExpired, verb, key, fmt.Sprintf("the answer took longer than the ttl of %v is good for", ttl))
}

// closeFair waits until what was given up is out of the queue, for so long at most; then it ends the subscription, and gives
// up what it has tried until then.
func (l *Locker) closeFair(most time.Duration) {
	f := &l.state.fair
	f.mu.Lock()
	now := time.Now()
	for _, s := range inOrder(f.slots) {
		s.hurry(now) // Close waits for it
		s.settle()
	}
	idle := make(chan struct{})
	f.idle = idle
	f.checkIdle()
	f.mu.Unlock()
	waitFor(most, idle)
	f.mu.Lock()
	f.closed, f.idle = true, nil
	f.sweep.stop()
	done := f.line.end()
	for _, s := range inOrder(f.slots) {
		s.owed, s.quit = nil, nil
		s.settle()
	}
	f.mu.Unlock()
	if done != nil {
		waitFor(l.opTimeout(), done)
	}
}

// checkIdle tells Close when nothing is left to do.
func (f *fair) checkIdle() {
	if f.idle == nil {
		return
	}
	for _, s := range f.slots {
		if s.busy() {
			return
		}
	}
	close(f.idle)
	f.idle = nil // or each slot that is settled would look at all others
}
