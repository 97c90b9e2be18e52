package redigolock

import (
	"container/heap"
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/pools"
	"github.com/redigolock/redigolock/internal/subscription"
	"github.com/redigolock/redigolock/internal/wait"
)

// A slot is what a Locker has for one key. fair.mu protects it.
type slot struct {
	q                *fairqueue.Slot // decides what is done
	l                *fair
	key              string
	keyArg, queueArg any                  // boxed once
	beatsArg         any                  // as queueArg
	channel          subscription.Channel // this Locker's, for this key only; in the key's cluster slot

	moved   time.Time // when the key's cluster slot was last seen to move
	users   int       // goroutines and calls that send something for the slot
	timer   *time.Timer
	timerAt time.Time // zero: it does not run
	counted int       // in Stats.Owed
	removed bool

	lookAt time.Time // by the sweep
	place  int       // in its heap, from 1; 0: it is not there
}

// slotOf returns the slot of a key. The caller holds l.mu.
func (l *fair) slotOf(key string) *slot {
	if s := l.slots[key]; s != nil {
		return s
	}
	if l.slots == nil {
		l.start()
	}
	queue, _ := sibling("", key, names.Queue) // check has asked
	beats, _ := sibling("", key, names.Beats)
	channel := channelOf(l.id, key)
	s := &slot{q: fairqueue.New(&l.rules, channel), l: l, key: key, keyArg: key, queueArg: queue, beatsArg: beats}
	s.channel = subscription.Channel{Key: key, Name: channel, Ear: s}
	l.slots[key] = s
	if l.core.closed.Load() { // a late Release
		s.q.Closing(l.now(), &l.then)
	}
	if l.closed {
		s.q.Closed(l.now(), &l.then)
	}
	return s
}

// start makes what a fair Locker needs before its first slot.
func (l *fair) start() {
	l.slots, l.id = map[string]*slot{}, l.newID()
	l.places = make(chan struct{}, pools.MaxDials)
	l.lines.Init(subscription.Env{Mutex: &l.mu, Now: l.now, Bound: l.opTimeout(), Conns: &l.conns, Dial: l.dialLine, Told: l.tell, Nodes: l.nodes})
	l.rules = fairqueue.Config{
		OpTimeout: l.opTimeout(),
		Passes:    l.cohort.Passes,
		Slice:     l.cohort.slice(),
		Token:     l.newToken,
		Drift:     drift,
		Pause:     wait.Pause,
		Chance:    hooks.N,
	}
}

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
	f := s.l
	then := &f.then
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
		f.lines.Want(&s.channel)
	}
	if then.Relisten {
		f.lines.Renew(&s.channel)
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
	case then.Rest == fairqueue.Remembers && !f.closed:
		s.remember(then.Forget, now)
	default:
		s.remove()
	}
	f.checkIdle()
	return then.Mine
}

// countOwed counts what is to be removed in the background for the slot. The caller holds f.mu.
func (s *slot) countOwed() {
	n := s.q.Owed()
	s.l.owed.Add(int64(n - s.counted))
	s.counted = n
}

// lose ends a handle whose lock was taken away.
func (s *slot) lose(x fairqueue.Loss) {
	k, err := x.Who.(*Lock), x.Err
	if err == nil {
		err = fault.Gone("acquire", s.key)
	}
	k.latch()
	go k.lose(err) // it calls the user, who may call the Locker
}

// grant ends a wait: the waiter's handle has the lock.
func (s *slot) grant(now time.Time, g fairqueue.Grant) {
	k := g.Who.(*Lock)
	k.token, k.most, k.acquired, k.deadline = g.Token, g.Most, now, g.Deadline
	k.conn.Key, k.conn.Token = s.keyArg, g.Token
	k.countHeld(now)
	close(k.waiter.done)
}

// fail ends a wait.
func (s *slot) fail(x fairqueue.Failure) {
	k := x.Who.(*Lock)
	switch k.waiter.err = x.Err; x.Why {
	case fairqueue.Unclear:
		k.waiter.err = fault.AlsoUnknown(x.Err)
	case fairqueue.Endless:
		k.waiter.err = fault.Of(ErrConflict, "acquire", s.key, "a string without TTL")
	case fairqueue.TooLate:
		k.waiter.err = tooLate("acquire", s.key, k.ttl)
	}
	close(k.waiter.done)
}

// latch ends the handle: it says ErrNotHeld from now on.
func (k *Lock) latch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = true
	k.uncountHeld()
}

// busy says that something is left to do.
func (s *slot) busy() bool { return s.users > 0 || s.q.Busy() }

func (s *slot) remove() {
	f := s.l
	if s.timer != nil {
		s.timer.Stop()
	}
	s.removed = true
	f.sweep.forgotten(s)
	delete(f.slots, s.key)
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
	f := s.l
	f.mu.Lock()
	defer f.mu.Unlock()
	s.timerAt = time.Time{}
	s.look()
}

// look tells the queue that time has passed. The caller holds f.mu.
func (s *slot) look() {
	now := s.l.now()
	s.q.Wake(now, &s.l.then)
	s.follow(now)
}

// Some slots only remember a holder, or a token that is dead, and nothing else may ever look at them again. The sweep does,
// when there may be something to forget. fair.mu protects it.
type sweep struct {
	heap  sweepHeap
	timer *time.Timer
	at    time.Time // when the timer fires; zero: it does not run
}

const (
	// sweepEvery is how long the sweep pauses at least, so that it finds several slots at once.
	sweepEvery = 2 * time.Second
	// sweepMost is how many slots are looked at in one go: others wait for the mutex meanwhile.
	sweepMost = 50
)

// remember has the slot looked at when what it remembers may be forgotten. The caller holds f.mu.
func (s *slot) remember(until, now time.Time) {
	if soonest := now.Add(time.Millisecond); until.Before(soonest) {
		until = soonest
	}
	w := &s.l.sweep
	switch {
	case s.place == 0:
		s.lookAt = until
		heap.Push(&w.heap, s)
	case until.Before(s.lookAt): // a shorter lease has followed
		s.lookAt = until
		heap.Fix(&w.heap, s.place-1)
	default: // it may be looked at too early, and is put back then
		return
	}
	w.arm(s.l, s.lookAt, now)
}

// arm has the sweep run at that time, or at the next time that it may.
func (w *sweep) arm(l *fair, at, now time.Time) {
	if soonest := now.Add(sweepEvery); at.Before(soonest) {
		at = soonest
	}
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(at.Sub(now), l.sweepSlots)
	case w.at.IsZero() || at.Before(w.at):
		w.timer.Reset(at.Sub(now))
	default:
		return
	}
	w.at = at
}

func (w *sweep) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// sweepSlots looks at what is due, in portions.
func (l *fair) sweepSlots() {
	for l.sweepSome() {
		runtime.Gosched() // who waits for the mutex comes first
	}
}

func (l *fair) sweepSome() (more bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.sweep
	for range sweepMost {
		switch {
		case len(w.heap) == 0 || l.closed:
			w.at = time.Time{}
			return false
		case w.heap[0].lookAt.After(now):
			w.at = time.Time{}
			w.arm(l, w.heap[0].lookAt, now)
			return false
		}
		heap.Pop(&w.heap).(*slot).look()
	}
	return true
}

// forgotten takes a slot that was thrown away out of the sweep.
func (w *sweep) forgotten(s *slot) {
	if s.place > 0 {
		heap.Remove(&w.heap, s.place-1)
	}
}

// A sweepHeap has the slots in the order in which they are to be looked at. Each knows its place, counted from 1.
type sweepHeap []*slot

func (h sweepHeap) Len() int           { return len(h) }
func (h sweepHeap) Less(i, j int) bool { return h[i].lookAt.Before(h[j].lookAt) }
func (h sweepHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].place, h[j].place = i+1, j+1 }
func (h *sweepHeap) Push(x any)        { s := x.(*slot); *h = append(*h, s); s.place = len(*h) }
func (h *sweepHeap) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	s.place = 0
	return s
}

// What the subscription tells a slot: see [subscription.Ear]. f.mu is held.

func (s *slot) Heard(now time.Time) {
	s.q.Heard(now, &s.l.then)
	s.follow(now)
}

func (s *slot) Unheard(now time.Time) {
	s.q.Unheard(now, &s.l.then)
	s.follow(now)
}

func (s *slot) Silenced(now time.Time) {
	s.q.Silenced(now, &s.l.then)
	s.follow(now)
}

func (s *slot) Moved(now time.Time) { s.moved = now }

func (s *slot) Told(now time.Time, token string) {
	s.q.Told(now, token, &s.l.then)
	s.follow(now)
}

func (s *slot) Refused(now time.Time, err error, forGood bool) {
	f := s.l
	err = f.tooOld("subscribe", s.key, err)
	if x, waits := s.q.First(); waits && x.Ctx != nil {
		f.untold = append(f.untold, refusal{context.WithoutCancel(x.Ctx), s.key, err})
	}
	s.q.Refused(now, err, forGood, &f.then)
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

// tell tells the Observer what was refused. The caller does not hold f.mu.
func (l *fair) tell() {
	l.mu.Lock()
	untold := l.untold
	l.untold = nil
	l.mu.Unlock()
	for _, r := range untold {
		l.observer.outcome(r.ctx, r.key, "subscribe", r.err)
	}
}

// nodeOf returns the node of a Redis Cluster that has the key. That there is none for now is not for good.
func (l *fair) nodeOf(ctx context.Context, key string) (string, error) {
	addr, err := l.source.Nodes.NodeOf(ctx, key)
	if err != nil {
		return "", fault.NoConnection(context.Background(), "subscribe", key, err)
	}
	return addr, nil
}

// dialLine connects to where the channels are heard, in a Redis Cluster to the node that server names.
func (l *fair) dialLine(ctx context.Context, server string) (redis.Conn, error) {
	if at := l.source.Nodes; at != nil {
		c, err := at.DialNode(ctx, server)
		if err != nil && !fault.RefusedForGood(err) { // the node may be gone: the map says where to go then
			err = fmt.Errorf("%w: %s: %w", ErrUnavailable, server, err)
		}
		return c, err
	}
	c, err := l.source.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if l.source.Binds() {
		_ = c.Close()
		return nil, fmt.Errorf("%w: a fair Locker on a pool whose connections are bound to a node: use a Cluster", ErrUnsupported)
	}
	return c, nil
}
