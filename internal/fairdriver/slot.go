package fairdriver

import (
	"context"
	"time"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/subscription"
)

// A slot is what a Driver has for one key. Driver.mu protects it.
type slot struct {
	q                *fairqueue.Slot // decides what is done
	d                *Driver
	key              string
	keyArg, queueArg any                  // boxed once
	beatsArg         any                  // as queueArg
	channel          subscription.Channel // this Locker's, for this key only; in the key's cluster slot

	node    string    // that has the key, in a cluster, when something was last sent
	moved   time.Time // when the key's cluster slot was last seen to move
	users   int       // goroutines and calls that send something for the slot
	timer   *time.Timer
	timerAt time.Time // zero: it does not run
	counted int       // in Env.Owed
	rare    bool      // something is retried seldom: it is in Driver.rare
	place   any       // where that was, last
	removed bool

	lookAt time.Time // by the sweep
	nth    int       // in its heap, from 1; 0: it is not there
}

// slotOf returns the slot of a key, which can have a queue. The caller holds d.mu.
func (d *Driver) slotOf(key string) *slot {
	if s := d.slots[key]; s != nil {
		return s
	}
	if d.slots == nil {
		d.start()
	}
	queue, _ := names.Sibling(key, names.Queue)
	beats, _ := names.Sibling(key, names.Beats)
	channel := channelOf(d.id, key)
	s := &slot{q: fairqueue.New(&d.rules, channel), d: d, key: key, keyArg: key, queueArg: queue, beatsArg: beats}
	s.channel = subscription.Channel{Key: key, Name: channel, Ear: s}
	d.slots[key] = s
	if d.isClosing() { // a late Release
		s.q.Closing(d.env.Now(), &d.then)
	}
	if d.closed {
		s.q.Closed(d.env.Now(), &d.then)
	}
	return s
}

// channelPrefix begins the name of every channel, for the sake of ACLs.
const channelPrefix = "redigolock:"

// channelOf is a channel that hashes to the key's cluster slot. No two keys share one: what follows the id differs.
func channelOf(id, key string) string {
	if names.HasHashTag(key) {
		return channelPrefix + id + ":" + key
	}
	return channelPrefix + id + ".{" + key + "}"
}

// follow does what follows from the newest event, which was the slot's: it ends waits and handles, subscribes, sends what is due,
// sets the timer, or throws the slot away. Whoever tells the queue of an event calls it before the mutex is given back, and
// sends the command that it returns, if any.
func (s *slot) follow(now time.Time) (mine fairqueue.Command) {
	d := s.d
	then := &d.then
	for _, x := range then.Losses {
		s.lose(x)
	}
	for _, g := range then.Grants {
		s.grant(now, g)
	}
	for _, x := range then.Failures {
		s.fail(x)
	}
	if then.Listen {
		d.lines.Want(&s.channel)
	}
	if then.Relisten {
		d.lines.Renew(&s.channel)
	}
	for _, cmd := range then.Commands {
		s.users++
		go s.work(cmd)
	}
	s.countOwed()
	if !then.Wake.IsZero() {
		s.wakeAt(then.Wake, now)
	}
	switch {
	case s.removed, then.Rest == fairqueue.Busy, s.users > 0: // what ends this is followed again
	case then.Rest == fairqueue.Remembers && !d.closed:
		s.remember(then.Forget, now)
	default:
		s.remove()
	}
	d.checkIdle()
	return then.Mine
}

// countOwed counts what is to be removed in the background for the slot. The caller holds d.mu.
func (s *slot) countOwed() {
	n := s.q.Owed()
	s.d.env.Owed.Add(int64(n - s.counted))
	s.counted = n
	if rare := s.q.Rare(); rare != s.rare {
		s.rare = rare
		s.d.countRare(s)
	}
}

// lose ends a handle whose lock was taken away.
func (s *slot) lose(x fairqueue.Loss) {
	if x.Err == nil {
		x.Err = fault.Gone("acquire", s.key)
	}
	x.Who.(Handle).Lose(x.Err)
}

// grant ends a wait: the waiter's handle has the lock.
func (s *slot) grant(now time.Time, g fairqueue.Grant) {
	h := g.Who.(Handle)
	h.Grant(now, now, s.keyArg, g)
	close(h.Wait().done)
}

// fail ends a wait.
func (s *slot) fail(x fairqueue.Failure) {
	h := x.Who.(Handle)
	w := h.Wait()
	switch w.err = x.Err; x.Why {
	case fairqueue.Unclear:
		w.err = fault.AlsoUnknown(x.Err)
	case fairqueue.Endless:
		w.err = fault.Of(fault.Conflict, "acquire", s.key, "a string without TTL")
	case fairqueue.TooLate:
		w.err = tooLate("acquire", s.key, h.Lease().TTL)
	}
	close(w.done)
}

// busy says that something is left to do.
func (s *slot) busy() bool { return s.users > 0 || s.q.Busy() }

func (s *slot) remove() {
	d := s.d
	if s.timer != nil {
		s.timer.Stop()
	}
	s.removed = true
	d.sweep.forgotten(s)
	delete(d.slots, s.key)
}

func (s *slot) wakeAt(at, now time.Time) {
	if !s.timerAt.IsZero() && !at.Before(s.timerAt) {
		return
	}
	s.timerAt = at
	if s.timer == nil {
		s.timer = time.AfterFunc(at.Sub(now), s.wakeUp)
		return
	}
	s.timer.Reset(at.Sub(now))
}

func (s *slot) wakeUp() {
	d := s.d
	hooks.Turn("wake", s.key, "", "")
	d.mu.Lock()
	defer d.mu.Unlock()
	s.timerAt = time.Time{}
	s.look()
}

// look tells the queue that time has passed. The caller holds d.mu.
func (s *slot) look() {
	now := s.d.env.Now()
	s.q.Wake(now, &s.d.then)
	s.follow(now)
}

// What the subscription tells a slot: see [subscription.Ear]. d.mu is held.

func (s *slot) Heard(now time.Time) {
	s.q.Heard(now, &s.d.then)
	s.follow(now)
}

func (s *slot) Unheard(now time.Time) {
	s.q.Unheard(now, &s.d.then)
	s.follow(now)
}

func (s *slot) Silenced(now time.Time) {
	s.q.Silenced(now, &s.d.then)
	s.follow(now)
}

func (s *slot) Moved(now time.Time) { s.moved = now }

func (s *slot) Told(now time.Time, token string) {
	s.q.Told(now, token, &s.d.then)
	s.follow(now)
}

func (s *slot) Refused(now time.Time, err error, forGood bool) {
	d := s.d
	err = d.tooOld("subscribe", s.key, err)
	if x, waits := s.q.First(); waits && x.Ctx != nil {
		d.untold = append(d.untold, refusal{context.WithoutCancel(x.Ctx), s.key, err})
	}
	s.q.Refused(now, err, forGood, &d.then)
	s.follow(now)
}

func (s *slot) Wants() bool { return s.q.Hearing() == fairqueue.Making }

func (s *slot) Rests(now time.Time) bool { return s.q.Rests(now) }

// A refusal is a subscription that a waiter did not get.
type refusal struct {
	ctx context.Context // the waiter's
	key string
	err error
}

// tellRefusals tells the Observer what was refused. The caller does not hold d.mu.
func (d *Driver) tellRefusals() {
	d.mu.Lock()
	untold := d.untold
	d.untold = nil
	d.mu.Unlock()
	for _, r := range untold {
		d.tell(r.ctx, r.key, "subscribe", r.err)
	}
}
