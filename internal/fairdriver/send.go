package fairdriver

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/wire"
)

// work is a goroutine that sends one command in the background.
func (s *slot) work(cmd fairqueue.Command) {
	ctx := context.Background()
	if cmd.Ctx != nil {
		ctx = context.WithoutCancel(cmd.Ctx)
	}
	d := s.d
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		s.users--
		s.look()
	}()
	s.perform(ctx, &cmd, nil)
}

// perform sends a command, by b if that is not nil, has the slot go by the reply, and tells the Observer.
func (s *slot) perform(ctx context.Context, cmd *fairqueue.Command, b *wire.Bound) (Reply, error) {
	d := s.d
	r, err := s.sendAndGoBy(ctx, cmd, b)
	if err == nil && r.Said == fairqueue.Held && d.env.Outcome != nil && (cmd.Kind == fairqueue.Try || cmd.Kind == fairqueue.Enter) {
		d.tell(ctx, s.key, "acquire", d.env.Held(s.key, r.Holder, r.Left))
	}
	d.tell(ctx, s.key, verbOf(cmd.Kind), err)
	return r, err
}

// sendAndGoBy sends a command, and has the slot go by what became of it, also if the user's code panics meanwhile, in a pool, a
// connection or an Observer: then its outcome is unknown.
func (s *slot) sendAndGoBy(ctx context.Context, cmd *fairqueue.Command, b *wire.Bound) (r Reply, err error) {
	d := s.d
	var start time.Time
	returned := false
	defer func() {
		if !returned {
			err = fault.Of(fault.Unknown, verbOf(cmd.Kind), s.key, "a pool, a connection or an Observer has panicked")
		}
		said, failure := r.Reply, outcomeOf(ctx, err)
		if cmd.Kind == fairqueue.Check && fault.IsLoss(err) {
			said = fairqueue.Reply{Said: fairqueue.NotMine, Err: err}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		now := d.env.Now()
		if err == nil || said.Said == fairqueue.NotMine {
			s.q.Replied(now, cmd, start, said, &d.then)
		} else {
			s.q.Failed(now, cmd, failure, &d.then)
		}
		s.follow(now)
	}()
	start, r, err = s.send(ctx, cmd, b)
	returned = true
	return r, err
}

// outcomeOf is what became of a command that ended with err.
func outcomeOf(ctx context.Context, err error) (o fairqueue.Outcome) {
	if err == nil {
		return o
	}
	o = fairqueue.Outcome{Err: err, Left: ctx.Err() != nil, Unread: errors.Is(err, fault.Unread), NoneLent: errors.Is(err, fault.Unavailable)}
	o.Split = isSplit(err)
	switch {
	case errors.Is(err, fault.Unknown):
		o.Fate = fairqueue.Lost
	case fault.Transient(err), o.Left:
		o.Fate = fairqueue.Unsent
	default:
		o.Fate = fairqueue.Refused
	}
	return o
}

// send sends a command and reads its reply. start is the time just before the send.
func (s *slot) send(ctx context.Context, cmd *fairqueue.Command, b *wire.Bound) (start time.Time, r Reply, err error) {
	most := s.d.env.OpTimeout
	if err := s.settled(ctx, cmd, time.Now().Add(most)); err != nil {
		return start, r, err
	}
	return s.sendNow(ctx, cmd, b, most)
}

// sendBy is send that ends by then, and no later than an OpTimeout after the slot has settled.
func (s *slot) sendBy(ctx context.Context, cmd *fairqueue.Command, b *wire.Bound, by time.Time) (start time.Time, r Reply, err error) {
	if err := s.settled(ctx, cmd, by); err != nil {
		return start, r, err
	}
	within := s.d.env.OpTimeout
	if left := time.Until(by); left < within-time.Millisecond { // else what is lent in a whole OpTimeout costs less
		within = left
	}
	return s.sendNow(ctx, cmd, b, within)
}

// sendNow is send that does not wait until the slot has settled, and takes so long at most, with the wait for a connection.
func (s *slot) sendNow(ctx context.Context, cmd *fairqueue.Command, b *wire.Bound, within time.Duration) (start time.Time, r Reply, err error) {
	hooks.Turn(verbOf(cmd.Kind), s.key, cmp.Or(cmd.Owed, cmd.Token), "")
	timeout := within
	if cmd.Kind == fairqueue.Try || cmd.Kind == fairqueue.Enter {
		timeout = min(timeout, cmd.TTL)
	}
	if cmd.Own {
		start, r, err = s.sendOwn(ctx, *cmd, timeout)
	} else {
		start, r, err = s.sendLent(ctx, cmd, b, within, timeout)
	}
	s.heedMove(err)
	return start, r, err
}

// sendLent sends a command on a connection that the pool lends, by b, if that is not nil.
func (s *slot) sendLent(ctx context.Context, cmd *fairqueue.Command, b *wire.Bound, within, most time.Duration) (start time.Time, r Reply, err error) {
	if b == nil {
		b = &wire.Bound{Key: s.keyArg}
	}
	e, verb := &s.d.env, verbOf(cmd.Kind)
	began, err := e.Borrow(ctx, b, verb, s.key, within, most)
	if err != nil {
		return start, r, err
	}
	returned := false
	defer func() { e.GiveBack(ctx, b, began, returned, err) }()
	start, r, err = s.exchange(ctx, b, cmd)
	err = b.Outcome(ctx, verb, s.key, err)
	returned = true
	return start, r, err
}

// sendOwn sends a command on a connection that is not the pool's. After a break each key of a Locker wants one, so only a few are in
// use at a time, and the other commands wait for their turn; but a Release has its time, and no turn to wait for.
func (s *slot) sendOwn(ctx context.Context, cmd fairqueue.Command, most time.Duration) (start time.Time, r Reply, err error) {
	d := s.d
	verb, by := verbOf(cmd.Kind), time.Now().Add(d.env.OpTimeout)
	if !cmd.Kept {
		limit, cancel := context.WithDeadline(ctx, by)
		defer cancel()
		places := d.places
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-limit.Done():
			return start, r, fault.NoConnection(ctx, verb, s.key, limit.Err())
		}
	}
	err = d.env.Own(ctx, verb, s.key, "", by, most, func(c redis.Conn) (err error) {
		start, r, err = s.exchange(ctx, c, &cmd)
		return err
	})
	return start, r, err
}

// exchange sends a command on a connection, and reads its reply.
func (s *slot) exchange(ctx context.Context, c redis.Conn, cmd *fairqueue.Command) (start time.Time, r Reply, err error) {
	if s.handsOn(cmd) && s.unsettled() > 0 { // the slot has moved while a connection was awaited
		return start, r, errMoved
	}
	start = s.d.env.Now()
	if cmd.Kind == fairqueue.Check {
		_, err = s.d.extend(ctx, c, s.keyArg, s.queueArg, cmd.Token, cmd.TTL)
		return start, r, err
	}
	s.sending(cmd, start)
	r, err = s.run(ctx, c, cmd)
	return start, r, err
}

// sending registers when a token is first sent, for its message may overtake the reply, and when it beats.
func (s *slot) sending(cmd *fairqueue.Command, start time.Time) {
	if cmd.Token == "" || cmd.Kind == fairqueue.Poke && !cmd.Beat || cmd.Kind == fairqueue.Quit {
		return
	}
	d := s.d
	d.mu.Lock()
	s.q.Sent(cmd, start)
	d.mu.Unlock()
}

// verbOf is a command's name for errors and the Observer.
func verbOf(kind fairqueue.Kind) string {
	switch kind {
	case fairqueue.Poke:
		return "poke"
	case fairqueue.Quit:
		return "quit"
	case fairqueue.Release:
		return "release"
	case fairqueue.Check:
		return "extend"
	}
	return "acquire"
}
