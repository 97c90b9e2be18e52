package fairdriver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
)

// A Wait is that of one call of Acquire.
type Wait struct {
	done chan struct{} // closed when the handle has the lock, or err is set
	err  error
}

// NewWait makes the Wait of a Handle.
func NewWait() *Wait { return &Wait{done: make(chan struct{})} }

// Acquire waits in the FIFO until the handle has the lock.
func (d *Driver) Acquire(ctx context.Context, key string, ttl time.Duration, h Handle) error {
	d.mu.Lock()
	if d.isClosing() {
		d.mu.Unlock()
		return fmt.Errorf("%w: acquire %s", fault.Closed, fault.Quote(key))
	}
	s, now := d.slotOf(key), d.env.Now()
	s.q.Joined(now, fairqueue.Waiter{Who: h, TTL: ttl, Ctx: d.observed(ctx)}, &d.then)
	cmd := s.follow(now)
	d.mu.Unlock()
	ok := false
	defer func() {
		if !ok {
			s.desert(ctx, h)
		}
	}()
	if cmd.Kind != fairqueue.Nothing {
		s.perform(ctx, &cmd, nil)
	}
	err := s.wait(ctx, h)
	ok = true
	if err == nil && h.IsOver() { // it was granted on another goroutine, and this one has gone on too late
		d.Desert(ctx, key, h)
		err = fault.Of(fault.Expired, "acquire", key, "its caller went on when its time was over")
	}
	d.tellTooLate(ctx, key, err)
	return err
}

// wait returns when h has its lock or its error, or its waiter has given up. A lock that came in the same moment is returned.
func (s *slot) wait(ctx context.Context, h Handle) error {
	d, x := s.d, h.Wait()
	var end error
	select {
	case <-x.done:
		return x.err
	case <-ctx.Done():
		end = fault.OfContext(ctx)
	case <-d.env.Closing:
		end = fault.Closed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-x.done:
		return x.err
	default:
	}
	err := s.givesUp(end)
	s.left(h)
	return err
}

// givesUp is the error of a waiter that leaves the FIFO for the reason end.
func (s *slot) givesUp(end error) error {
	err := fmt.Errorf("redigolock: acquire %s: gave up: %w", fault.Quote(s.key), fault.InLine(end))
	if token, left := s.q.Holder(s.d.env.Now()); token != "" {
		err = fmt.Errorf("%w; %w", err, fault.InLine(s.d.env.Held(s.key, token, left)))
	}
	if trouble := s.q.Trouble(); trouble != nil {
		err = fmt.Errorf("%w; and before: %w", err, fault.InLine(trouble))
	}
	if s.q.Waiting() == 1 && s.q.State() == fairqueue.Entering && !errors.Is(err, fault.Unknown) {
		err = fmt.Errorf("%w; %w: its last command was not answered", err, fault.Unknown)
	}
	return err
}

// left tells the queue that a waiter has left. The caller holds d.mu.
func (s *slot) left(h Handle) {
	now := s.d.env.Now()
	s.q.Left(now, h, &s.d.then)
	s.follow(now)
}

// desert takes a waiter out of the FIFO whose goroutine ends: the user's code has panicked in it, in a pool, a connection or
// an Observer. If it had its lock already, nobody else knows of that.
func (s *slot) desert(ctx context.Context, h Handle) {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-h.Wait().done:
		if h.Wait().err == nil {
			d.desert(ctx, s.key, h)
		}
	default:
		s.left(h)
	}
}

// Desert has a lock released in the background that nobody was given.
func (d *Driver) Desert(ctx context.Context, key string, h Handle) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.desert(ctx, key, h)
}

// desert is Desert. The caller holds d.mu.
func (d *Driver) desert(ctx context.Context, key string, h Handle) {
	h.Lose(nil)
	s, now := d.slotOf(key), d.env.Now()
	s.q.Deserted(now, d.lease(ctx, h), &d.then)
	s.follow(now)
}

// lease is what the queue is told of a handle. Its context is for the Observer.
func (d *Driver) lease(ctx context.Context, h Handle) fairqueue.Handle {
	x := h.Lease()
	x.Who, x.Ctx = h, d.observed(ctx)
	return x
}

// TryAcquire asks once. The handle has a token, which is not that of the slot, for it never waits.
func (d *Driver) TryAcquire(ctx context.Context, key string, h Handle) error {
	d.mu.Lock()
	s := d.slotOf(key)
	s.users++ // so that it is not thrown away meanwhile
	d.mu.Unlock()
	x := h.Lease()
	begin := time.Now()
	by := begin.Add(min(d.env.OpTimeout, x.TTL))
	cmd := asking(x)
	ok := false
	defer func() {
		if !ok {
			s.desertTry(ctx, h)
		}
	}()
	start, r, err := s.sendBy(ctx, &cmd, h.Bound(), begin.Add(d.env.OpTimeout))
	for d.mayRepeat(err) {
		if err = s.settled(ctx, &cmd, by); err != nil {
			break
		}
		start, r, err = s.sendNow(ctx, &cmd, h.Bound(), time.Until(by))
	}
	if err == nil && r.Said != fairqueue.Granted {
		err = s.heldBy(r)
	}
	d.tell(ctx, key, "acquire", err)
	if errors.Is(err, fault.Unknown) && ctx.Err() == nil {
		start, r.Left, err = s.tryAgain(ctx, h, by, err)
	}
	ok = true
	err = s.concludeTry(ctx, h, start, r.Left, err)
	d.tellTooLate(ctx, key, err)
	return err
}

// asking is the command of a TryAcquire.
func asking(x fairqueue.Handle) fairqueue.Command {
	return fairqueue.Command{Kind: fairqueue.Try, Token: x.Token, TTL: x.TTL}
}

// desertTry is desert for a TryAcquire.
func (s *slot) desertTry(ctx context.Context, h Handle) {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	s.users--
	s.tryLost(ctx, h)
}

// tryLost leaves the token of a TryAcquire to the clean-up. The caller holds d.mu.
func (s *slot) tryLost(ctx context.Context, h Handle) {
	now := s.d.env.Now()
	s.q.TryLost(now, s.d.lease(ctx, h), &s.d.then)
	s.follow(now)
}

// tryAgain asks once more, on a connection of its own, until by: for the lock with the token of the try that was lost,
// else for the lock with a new one, since a token is sent by one TRY only. The old one is owed then: its TRY may still be on
// its way.
func (s *slot) tryAgain(ctx context.Context, h Handle, by time.Time, lost error) (start time.Time, left time.Duration, err error) {
	d, x := s.d, h.Lease()
	first := x.Token
	timeout := time.Until(by)
	if timeout <= 0 {
		return start, 0, lost
	}
	err = d.env.Own(ctx, "acquire", s.key, first, by, timeout, func(c redis.Conn) (err error) {
		start = d.env.Now()
		left, err = d.Extend(ctx, c, s.key, x.Token, x.TTL)
		if !errors.Is(err, fault.NotHeld) {
			return err
		}
		x.Token = s.replaceTry(ctx, h)
		cmd := asking(x)
		var r Reply
		for {
			if err = s.settled(ctx, &cmd, by); err != nil {
				return err
			}
			start = d.env.Now()
			r, err = s.run(ctx, c, &cmd)
			if s.heedMove(err); !d.mayRepeat(err) {
				break
			}
		}
		if left = r.Left; err == nil && r.Said != fairqueue.Granted {
			err = s.heldBy(r)
		}
		if r.Holder == first { // it was carried out just now, and is being released
			err = lost
		}
		return err
	})
	if err != nil && err != lost {
		d.tell(ctx, s.key, "acquire", err)
	}
	switch ctxErr := fault.Ended(ctx); {
	case err == nil:
		return start, left, nil
	case ctxErr != nil:
		return start, 0, fmt.Errorf("%w (%w)", lost, ctxErr)
	case x.Token == first: // nothing more is known of it
		return start, 0, lost
	}
	return start, 0, err
}

// replaceTry gives a TryAcquire a new token, and leaves the old one to the clean-up.
func (s *slot) replaceTry(ctx context.Context, h Handle) (token string) {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	s.tryLost(ctx, h)
	token = d.env.Token()
	h.Rename(token)
	return token
}

// heldBy is the error of a TryAcquire that was told who has the lock.
func (s *slot) heldBy(r Reply) error {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.env.Now()
	s.q.TryRefused(now, r.Reply, &d.then)
	s.follow(now)
	return d.env.Held(s.key, r.Holder, r.Left)
}

// concludeTry makes a lock that was obtained the slot's, and leaves one that may have been to the clean-up.
func (s *slot) concludeTry(ctx context.Context, h Handle, start time.Time, left time.Duration, err error) error {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	s.users--
	if errors.Is(err, fault.Unread) && !errors.Is(err, fault.Unknown) {
		err = fault.AlsoUnknown(err)
	}
	now := d.env.Now()
	switch {
	case errors.Is(err, fault.Unknown):
		s.q.TryLost(now, d.lease(ctx, h), &d.then)
	case err != nil:
		s.q.Wake(now, &d.then)
	default:
		x, until := d.lease(ctx, h), d.deadline(start, left)
		if s.q.Tried(now, x, until, &d.then) {
			h.Grant(now, start, s.keyArg, fairqueue.Grant{Who: h, Token: x.Token, Deadline: until, Most: x.Most})
		} else {
			err = tooLate("try acquire", s.key, x.TTL)
		}
	}
	s.follow(now)
	return err
}

// tellTooLate tells of a grant that came too late: its command went well, and the acquire has failed all the same.
func (d *Driver) tellTooLate(ctx context.Context, key string, err error) {
	if errors.Is(err, fault.Expired) {
		d.tell(ctx, key, "acquire", err)
	}
}

func tooLate(verb, key string, ttl time.Duration) error {
	return fault.Of(fault.Expired, verb, key, fmt.Sprintf("the answer took longer than the ttl of %v is good for", ttl))
}
