package redigolock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/subscription"
	"github.com/redigolock/redigolock/internal/wait"
)

// Locker.Fair: the waiters of a key queue in Redis, one entry for each Locker with a local FIFO behind it, and a release
// hands the key to the next of them in its own script, which also queues the releasing Locker's next waiter.
//
//	internal/fairqueue  decides: what a Locker knows of one key, and what follows from each event
//	fair.go             acquire, and what a Locker keeps for it
//	fairrelease.go      release
//	internal/subscription  listens to the channels of the keys
//	fairslot.go         tells a slot's queue what happens, does what it says, and forgets the slots that are no longer used
//	fairsend.go         sends the scripts, and reads their replies
//	lua                 the scripts
//
// Whoever has the mutex tells a slot's queue what has happened, and does what it says: commands are sent without the mutex, by
// the waiter that has just come, by the releaser, or by a goroutine that lives for this one command.
type fair struct {
	single
	cohort  Cohort
	extends extension

	mu     sync.Mutex // protects this and all slots; taken for moments only, never while anything is sent
	rules  fairqueue.Config
	then   fairqueue.Actions   // what follows from the newest event
	id     string              // of this Locker, in its channels
	nodes  *subscription.Nodes // where messages are sharded (Redis Cluster); else nil
	slots  map[string]*slot
	sweep  sweep
	lines  subscription.Lines
	untold []refusal     // what the Observer is still to be told
	places chan struct{} // of commands on connections that are not the pool's; capacity maxDials
	idle   chan struct{} // closed when nothing is left to do; nil unless Close waits for it
	closed bool          // Close waits no longer: what comes to be owed or given up now is tried once
}

// channelPrefix begins the name of every channel, for the sake of ACLs.
const channelPrefix = "redigolock:"

// A waiter is one call of Acquire. Its handle is made with it, and is nobody's before it has the lock.
type waiter struct {
	done chan struct{} // closed when the handle has the lock, or err is set
	err  error
}

// inQueue is what a handle of a fair Locker has besides; others leave it empty. Its Lock.mu protects most, and fair.mu waiter.
type inQueue struct {
	waiter *waiter       // of an Acquire that has not returned yet
	most   time.Duration // the longest ttl that an Extend has asked for
}

func newFair(n *node, c Cohort) *fair {
	l := &fair{single: single{n}, cohort: c}
	if at := n.source.Nodes; at != nil {
		l.nodes = &subscription.Nodes{Of: l.nodeOf, Redirected: at.Redirected}
	}
	l.extends = extension{script: scriptFairExtend, most: 1, keys: 2, add: l.addTo}
	return l
}

func (l *fair) check(w want) error {
	_, err := sibling(w.verb, w.key, names.Queue)
	return err
}

func (l *fair) acquire(ctx context.Context, w want) (*Lock, error) {
	if w.wait {
		return l.queue(ctx, w.key, w.ttl)
	}
	k := l.handle(w, l.newToken())
	if err := l.try(ctx, k); err != nil {
		return nil, err
	}
	return k, nil
}

func (l *fair) abandon(ctx context.Context, k *Lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.desert(ctx, k)
}

func (l *fair) freed(string) {}

// queue waits in the FIFO.
func (l *fair) queue(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	k := &Lock{core: l.core, claim: claim{key: key, ttl: ttl}, inQueue: inQueue{waiter: &waiter{done: make(chan struct{})}}}
	l.mu.Lock()
	if l.core.closed.Load() { // Close may have looked at the slots already
		l.mu.Unlock()
		return nil, fmt.Errorf("%w: acquire %s", ErrClosed, fault.Quote(key))
	}
	s, now := l.slotOf(key), l.now()
	s.q.Joined(now, fairqueue.Waiter{Who: k, TTL: ttl, Ctx: l.observed(ctx)}, &l.then)
	cmd := s.follow(now)
	l.mu.Unlock()
	ok := false
	defer func() {
		if !ok {
			s.desert(ctx, k)
		}
	}()
	if cmd.Kind != fairqueue.Nothing {
		l.perform(ctx, s, &cmd, nil)
	}
	err := l.wait(ctx, s, k)
	ok = true
	l.tellTooLate(ctx, key, err)
	if err != nil {
		return nil, err
	}
	k.waiter = nil
	return k, nil
}

// observed is ctx if an Observer may be told of what is sent for it later, else nil: then it need not be kept.
func (l *core) observed(ctx context.Context) context.Context {
	if l.observer == nil {
		return nil
	}
	return ctx
}

// desert takes a waiter out of the FIFO whose goroutine ends: the user's code has panicked in it, in a pool, a connection or
// an Observer. If it had its lock already, nobody else knows of that.
func (s *slot) desert(ctx context.Context, k *Lock) {
	f := s.l
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-k.waiter.done:
		if k.waiter.err == nil {
			f.desert(ctx, k)
		}
	default:
		s.left(k)
	}
}

// left tells the queue that a waiter has left. The caller holds f.mu.
func (s *slot) left(k *Lock) {
	now := s.l.now()
	s.q.Left(now, k, &s.l.then)
	s.follow(now)
}

// desert has a lock released in the background that nobody was given. The caller holds l.mu.
func (l *fair) desert(ctx context.Context, k *Lock) {
	k.latch()
	s, now := l.slotOf(k.key), l.now()
	s.q.Deserted(now, k.handle(ctx), &l.then)
	s.follow(now)
}

// handle is what the queue is told of a handle. Its context is for the Observer.
func (k *Lock) handle(ctx context.Context) fairqueue.Handle {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fairqueue.Handle{Who: k, Token: k.token, TTL: k.ttl, Most: max(k.ttl, k.most), Ctx: k.core.observed(ctx)}
}

// wait returns when k has its lock or its error, or its waiter has given up. A lock that came in the same moment is returned.
func (l *fair) wait(ctx context.Context, s *slot, k *Lock) error {
	x := k.waiter
	var end error
	select {
	case <-x.done:
		return x.err
	case <-ctx.Done():
		end = fault.OfContext(ctx)
	case <-l.closingChan():
		end = ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-x.done:
		return x.err
	default:
	}
	err := s.givesUp(end)
	s.left(k)
	return err
}

// givesUp is the error of a waiter that leaves the FIFO for the reason end.
func (s *slot) givesUp(end error) error {
	err := fmt.Errorf("redigolock: acquire %s: gave up: %w", fault.Quote(s.key), fault.InLine(end))
	if token, left := s.q.Holder(s.l.now()); token != "" {
		err = fmt.Errorf("%w; %w", err, fault.InLine(&HeldError{Key: s.key, Holder: names.Holder(token), TTL: left}))
	}
	if trouble := s.q.Trouble(); trouble != nil {
		err = fmt.Errorf("%w; and before: %w", err, fault.InLine(trouble))
	}
	if s.q.Waiting() == 1 && s.q.State() == fairqueue.Entering && !errors.Is(err, ErrUnknown) {
		err = fmt.Errorf("%w; %w: its last command was not answered", err, ErrUnknown)
	}
	return err
}

// try is TryAcquire. Its token is not that of the slot, for it never waits.
func (l *fair) try(ctx context.Context, k *Lock) error {
	l.mu.Lock()
	s := l.slotOf(k.key)
	s.users++ // so that it is not thrown away meanwhile
	l.mu.Unlock()
	by := time.Now().Add(min(l.opTimeout(), k.ttl))
	cmd := k.asking()
	ok := false
	defer func() {
		if !ok {
			s.desertTry(ctx, k)
		}
	}()
	start, r, err := l.send(ctx, s, &cmd, &k.conn)
	if err == nil && r.Said != fairqueue.Granted {
		err = s.heldBy(r)
	}
	l.observer.outcome(ctx, k.key, "acquire", err)
	if errors.Is(err, ErrUnknown) && ctx.Err() == nil {
		start, r.Left, err = l.tryAgain(ctx, k, s, by, err)
	}
	ok = true
	err = l.concludeTry(ctx, k, s, start, r.Left, err)
	l.tellTooLate(ctx, k.key, err)
	return err
}

// asking is the command of a TryAcquire.
func (k *Lock) asking() fairqueue.Command {
	return fairqueue.Command{Kind: fairqueue.Try, Token: k.token, TTL: k.ttl}
}

// desertTry is desert for a TryAcquire.
func (s *slot) desertTry(ctx context.Context, k *Lock) {
	f := s.l
	f.mu.Lock()
	defer f.mu.Unlock()
	s.users--
	s.tryLost(ctx, k)
}

// tryLost leaves the token of a TryAcquire to the clean-up. The caller holds f.mu.
func (s *slot) tryLost(ctx context.Context, k *Lock) {
	now := s.l.now()
	s.q.TryLost(now, k.handle(ctx), &s.l.then)
	s.follow(now)
}

// tryAgain asks once more, on a connection of its own, until by: for the lock with the token of the try that was lost,
// else for the lock with a new one, since a token is sent by one TRY only. The old one is owed then: its TRY may still be on
// its way.
func (l *fair) tryAgain(ctx context.Context, k *Lock, s *slot, by time.Time, lost error) (start time.Time, left time.Duration, err error) {
	first := k.token
	timeout := time.Until(by)
	if timeout <= 0 {
		return start, 0, lost
	}
	err = l.onOwnBy(ctx, "acquire", k.key, k.token, by, timeout, func(c redis.Conn) (err error) {
		start = l.now()
		left, err = l.extendOn(ctx, c, k, k.ttl)
		if !errors.Is(err, ErrNotHeld) {
			return err
		}
		s.replaceTry(ctx, k)
		start = l.now()
		cmd := k.asking()
		r, err := s.run(ctx, c, &cmd)
		if left = r.Left; err == nil && r.Said != fairqueue.Granted {
			err = s.heldBy(r)
		}
		if r.Holder == first { // it was carried out just now, and is being released
			err = lost
		}
		return err
	})
	if err != nil && err != lost {
		l.observer.outcome(ctx, k.key, "acquire", err)
	}
	switch ctxErr := fault.Ended(ctx); {
	case err == nil:
		return start, left, nil
	case ctxErr != nil:
		return start, 0, fmt.Errorf("%w (%w)", lost, ctxErr)
	case k.token == first: // nothing more is known of it
		return start, 0, lost
	}
	return start, 0, err
}

// replaceTry gives a TryAcquire a new token, and leaves the old one to the clean-up.
func (s *slot) replaceTry(ctx context.Context, k *Lock) {
	f := s.l
	f.mu.Lock()
	defer f.mu.Unlock()
	s.tryLost(ctx, k)
	k.token = s.l.newToken()
	k.conn.Token = k.token
}

// heldBy is the error of a TryAcquire that was told who has the lock.
func (s *slot) heldBy(r fairReply) error {
	f := s.l
	f.mu.Lock()
	defer f.mu.Unlock()
	now := s.l.now()
	s.q.TryRefused(now, r.Reply, &f.then)
	s.follow(now)
	return &HeldError{Key: s.key, Holder: names.Holder(r.Holder), TTL: max(r.Left, 0)}
}

// concludeTry makes a lock that was obtained the slot's, and leaves one that may have been to the clean-up.
func (l *fair) concludeTry(ctx context.Context, k *Lock, s *slot, start time.Time, left time.Duration, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.users--
	if errors.Is(err, fault.Unread) && !errors.Is(err, ErrUnknown) {
		err = fault.AlsoUnknown(err)
	}
	now := l.now()
	switch {
	case errors.Is(err, ErrUnknown):
		s.q.TryLost(now, k.handle(ctx), &l.then)
	case err != nil:
		s.q.Wake(now, &l.then)
	default:
		k.acquired, k.deadline = start, deadline(start, left)
		if s.q.Tried(now, k.handle(ctx), k.deadline, &l.then) {
			k.countHeld(now)
		} else {
			err = tooLate("try acquire", k.key, k.ttl)
		}
	}
	s.follow(now)
	return err
}

// tellTooLate tells of a grant that came too late: its command went well, and the acquire has failed all the same.
func (l *fair) tellTooLate(ctx context.Context, key string, err error) {
	if errors.Is(err, ErrExpired) {
		l.observer.outcome(ctx, key, "acquire", err)
	}
}

func tooLate(verb, key string, ttl time.Duration) error {
	return fault.Of(ErrExpired, verb, key, fmt.Sprintf("the answer took longer than the ttl of %v is good for", ttl))
}

// close waits until what was given up is out of the queue, for so long at most; then it ends the subscription, and gives
// up what it has tried until then.
func (l *fair) close(most time.Duration) {
	l.mu.Lock()
	now := l.now()
	for _, s := range l.inOrder() {
		s.q.Closing(now, &l.then)
		s.follow(now)
	}
	idle := make(chan struct{})
	l.idle = idle
	l.checkIdle()
	l.mu.Unlock()
	wait.For(most, idle)
	l.mu.Lock()
	l.closed, l.idle = true, nil
	l.sweep.stop()
	now = l.now()
	done := l.lines.End(now)
	for _, s := range l.inOrder() {
		s.q.Closed(now, &l.then)
		s.follow(now)
	}
	l.mu.Unlock()
	if done != nil {
		wait.For(l.opTimeout(), done...)
	}
}

// checkIdle tells Close when nothing is left to do.
func (l *fair) checkIdle() {
	if l.idle == nil {
		return
	}
	for _, s := range l.slots {
		if s.busy() {
			return
		}
	}
	close(l.idle)
	l.idle = nil // or each slot that is settled would look at all others
}

// inOrder is all slots by their keys, so that what follows for all of them is the same each time.
func (l *fair) inOrder() []*slot {
	list := slices.Collect(maps.Values(l.slots))
	slices.SortFunc(list, func(a, b *slot) int { return strings.Compare(a.key, b.key) })
	return list
}
