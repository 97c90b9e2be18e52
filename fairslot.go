package redigolock

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redigolock/redigolock/internal/hooks"
)

// A slot is what a Locker knows of one key. Locker.state.fair.mu protects it.
type slot struct {
	l                *Locker
	key              string
	keyArg, queueArg any    // boxed once
	channel          string // heard by this Locker, for this key only; in the key's cluster slot

	head, tail *waiter   // the FIFO
	waited     time.Time // when somebody last came or left

	w       *ticket          // waits at the server; an entry belongs to the slot, and the next waiter inherits it
	quit    *ticket          // was given up, and its QUIT is not answered yet: until then nothing is queued
	h       *Lock            // the newest holder; it may have passed its Deadline, or hand the lock on at this moment
	checkAt time.Time        // of the next CHECK
	renewed time.Duration    // h.renewed, as far as checkAt goes by it
	checked bool             // a CHECK is in flight
	owed    []*debt          // tokens whose REL is not confirmed
	dead    map[string]grave // tokens dropped or given up
	deadAt  time.Time        // when to look next which of them can be forgotten
	sub     hearing
	ask     uint64     // the number of the SUBSCRIBE that was sent for it on the present connection; 0: none
	heardAt time.Time  // when it was last confirmed
	held    *HeldError // what the newest reply said of the holder; nil: nobody, or no reply yet
	passes  int        // since the server granted h's token
	since   time.Time  // when that was

	trouble   error // why the newest command failed; nil: it did not
	fresh     bool  // a connection has broken, or led astray: the next command needs one of its own
	unlent    bool  // the pool has lent none: the next command needs one of its own if somebody else waits for what it settles
	failures  int   // of ENTER and TRY in a row
	notBefore time.Time
	tries     int       // of TRY in a row, while there is no subscription
	tryAt     time.Time // of the next

	passing bool // Release asks whether the lease is long enough to pass on
	users   int  // goroutines and calls that send something for the slot
	timer   *time.Timer
	timerAt time.Time // zero: it does not run
	counted int       // in Stats.Owed
	removed bool

	lookAt time.Time // by the sweep
	place  int       // in its heap, from 1; 0: it is not there
}

// A ticket is a token that waits, or is about to.
type ticket struct {
	token    string
	ctx      context.Context // of the waiter that it was last sent for, for the Observer
	entry    string          // as it stands in the queue, byte for byte
	ttl      time.Duration   // as the entry says
	most     time.Duration   // the longest that a POKE has asked for, for an heir
	basis    time.Time       // a message's validity counts from it: the newest send that was answered "queued", or the first send
	tried    bool            // it was sent by a TRY: it is in no queue
	placed   bool            // a reply has told its place
	busy     bool            // a command that names it is in flight
	again    bool            // POKE as soon as that one is answered
	due      time.Time       // of the next POKE or QUIT
	failures int             // of these, in a row
	until    time.Time       // of a QUIT: then it is given up
}

// longest is how long the server may keep the token at most.
func (t *ticket) longest() time.Duration { return max(t.ttl, t.most) }

// hearing is the state of the subscription to a slot's channel.
type hearing int

const (
	deaf hearing = iota
	making
	confirmed
)

// slotOf returns the slot of a key. The caller holds f.mu.
func (l *Locker) slotOf(key string) *slot {
	f := &l.state.fair
	if s := f.slots[key]; s != nil {
		return s
	}
	if f.slots == nil {
		f.slots, f.id = map[string]*slot{}, l.newID()
		f.line.l, f.places = l, make(chan struct{}, maxDials)
	}
	queue, _ := sibling("", key, queueName) // checkFair has asked
	s := &slot{l: l, key: key, keyArg: key, queueArg: queue, channel: channelOf(f.id, key)}
	f.slots[key] = s
	return s
}

// channelOf is a channel that hashes to the key's cluster slot. No two keys share one: what follows the id differs.
func channelOf(id, key string) string {
	if hasHashTag(key) {
		return channelPrefix + id + ":" + key
	}
	return channelPrefix + id + ".{" + key + "}"
}

// newTicket makes a ticket with a new token, for a token is queued only once.
func (s *slot) newTicket(x *waiter) *ticket {
	t := s.ticketOf(s.l.newToken(), x.ttl)
	t.ctx = x.ctx
	return t
}

func (s *slot) ticketOf(token string, ttl time.Duration) *ticket {
	t := &ticket{token: token, ttl: ttl, busy: true}
	var b strings.Builder
	b.WriteString(strconv.FormatInt(ttl.Milliseconds(), 10))
	b.WriteByte(' ')
	b.WriteString(strconv.Itoa(len(s.channel)))
	b.WriteByte(' ')
	b.WriteString(s.channel)
	b.WriteByte(' ')
	b.WriteString(t.token)
	t.entry = b.String()
	return t
}

// push lets a waiter join the FIFO.
func (s *slot) push(x *waiter) {
	s.waited = time.Now()
	if s.tail == nil {
		s.head, s.tail = x, x
		s.hurry(s.waited)
		return
	}
	x.prev, s.tail.next = s.tail, x
	s.tail = x
}

// hurry ends the long pauses of what is retried in the background: somebody has come who waits for it.
func (s *slot) hurry(now time.Time) {
	soon := now.Add(renewMost)
	if t := s.quit; t != nil && t.due.After(soon) {
		t.due = soon
	}
	for _, o := range s.owed {
		if o.failures > 0 && o.next.After(soon) {
			o.next = soon
		}
	}
}

// remove takes a waiter out of the FIFO.
func (s *slot) remove(x *waiter) {
	if x.prev == nil {
		s.head = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		s.tail = x.prev
	} else {
		x.next.prev = x.prev
	}
	x.prev, x.next = nil, nil
	s.waited = time.Now()
}

// fail ends a waiter.
func (s *slot) fail(x *waiter, err error) {
	s.remove(x)
	x.err = err
	close(x.done)
}

func (s *slot) failAll(err error) {
	for s.head != nil {
		s.fail(s.head, err)
	}
}

// settle does what follows from a change: it subscribes, sends what is due, sets the timer, or throws the slot away. Whoever
// changes a slot calls it before the mutex is given back.
func (s *slot) settle() {
	if s.removed {
		return
	}
	f, now := &s.l.state.fair, time.Now()
	s.forgetDead(now)
	if s.sub == deaf && s.mustHear() && !f.closed {
		f.line.want(s, now)
	}
	cmd, at := s.next(now)
	for ; cmd.kind != nothing; cmd, at = s.next(now) {
		s.users++
		go s.l.work(s, cmd)
	}
	s.countOwed()
	if !at.IsZero() {
		s.wakeAt(at, now)
	}
	switch {
	case s.busy(), s.sub != deaf: // what ends this settles the slot again
	case len(s.dead) > 0 && !f.closed, s.h != nil && !s.h.isOver():
		s.remember(now)
	default:
		if s.timer != nil {
			s.timer.Stop()
		}
		s.removed = true
		f.sweep.forgotten(s)
		delete(f.slots, s.key)
	}
	f.checkIdle()
}

// mustHear says that somebody waits, but for one who just tries.
func (s *slot) mustHear() bool {
	alone := s.h == nil && s.head == s.tail && s.w != nil && s.w.tried && s.w.busy
	return s.head != nil && !alone && !s.l.state.closed.Load()
}

// dials says that the next command needs a connection of its own, unless it is a TRY or an ENTER: they wait for the pool, whose
// bound is its user's. Nobody waits for what they settle but their own waiters, while a POKE, QUIT, REL or CHECK that waits
// for the pool may keep the lock from all others, among them those whom the pool has lent its connections.
func (s *slot) dials() bool { return s.fresh || s.unlent }

// busy says that something is left to do.
func (s *slot) busy() bool {
	return s.head != nil || s.w != nil || s.quit != nil || len(s.owed) > 0 || s.users > 0
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
	f := &s.l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	s.timerAt = time.Time{}
	s.settle()
}

// heldAt says that the lock was h's at that time. Its waiters ask a cap later, not all Lockers in step.
func (s *slot) heldAt(t time.Time) { s.checkAt = t.Add(pokeCap - hooks.N(pokeCap/4)) }

// pokeIn is when to ask again after a reply that the holder has left.
func pokeIn(left, ttl time.Duration) time.Duration {
	jitter := hooks.N(min(ttl/10, 250*time.Millisecond) + 1)
	return min(max(left, 0)+jitter, pokeCap)
}
