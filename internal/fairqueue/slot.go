package fairqueue

import (
	"context"
	"strconv"
	"strings"
	"time"
)

const (
	// pokeCap is how long a waiting Locker goes without asking. It bounds what a foreign DEL costs, and a plain Locker's
	// release, which do not hand over.
	pokeCap = time.Second
	// beatEvery is how much time lies at least between two Pokes that beat. A client whose replies are lost pokes every few
	// milliseconds: were each a beat, those who wait beside it would seem to be silent.
	beatEvery = pokeCap * 3 / 4
	// Linger is how long a subscription lives after the last wait.
	Linger = 3 * time.Second
	// lookAtDead is how often a slot looks which tokens it need not remember any longer.
	lookAtDead = time.Second
	// mostPause is the longest pause before what somebody waits for is sent again; longPause before anything else.
	mostPause = 250 * time.Millisecond
	longPause = 30 * time.Second
	// splitsSoon is how often in a row what a server has not all keys for is sent again soon; then once in a cap.
	splitsSoon = 8
)

// A Config is what the slots of one Locker share.
type Config struct {
	OpTimeout time.Duration                           // bounds each command
	Passes    int                                     // how many hand-offs without any command may follow each other
	Slice     time.Duration                           // how long after the server's grant they end
	Token     func() string                           // makes a token
	Drift     func(ttl time.Duration) time.Duration   // what a lease of ttl is less good for
	Pause     func(failures int) time.Duration        // before what has failed so often before is sent again; jittered
	Chance    func(below time.Duration) time.Duration // a random duration, not negative, for jitter
}

// A Waiter is one call of Acquire.
type Waiter struct {
	Who any // a pointer of the caller's; the name of its handle later
	TTL time.Duration
	Ctx context.Context // is only handed on, with what is sent for the waiter; may be nil
}

// A State is what a slot has at the server.
type State uint8

const (
	Idle     State = iota // no token of the slot waits
	Entering              // one was sent by a Try, an Enter or along with a Release, and no reply has told its place
	Queued                // a reply has told its place
	Quitting              // it was given up, and its Quit is not answered yet: until then no other is sent
)

var stateNames = [...]string{"idle", "entering", "queued", "quitting"}

func (s State) String() string { return stateNames[s] }

// A Hearing is the state of the subscription to a slot's channel.
type Hearing uint8

const (
	Deaf Hearing = iota
	Making
	Confirmed
)

// A phase is how far the Locker's end is.
type phase uint8

const (
	open    phase = iota
	closing       // all waiters are leaving; what is owed or given up is sent
	closed        // nobody waits for that any longer: it is tried once
)

// A Slot is what a Locker knows of one key.
type Slot struct {
	cfg     *Config
	channel string // heard by this Locker, for this key only
	phase   phase

	fifo   []Waiter
	waited time.Time // when somebody last came or left

	state State
	t     ticket // that waits or quits, unless Idle. An entry belongs to the slot, and the next waiter inherits it

	h       holder           // the newest; it may have passed its Deadline, or be handing the lock on
	passes  int              // since the server granted its token
	since   time.Time        // when that was
	passing any              // the handle whose Release has asked for its lease to last for the next; nil: none
	checkAt time.Time        // of the next Check
	checked bool             // one is in flight
	owed    []debt           // tokens whose Release is not confirmed
	debts   uint64           // how many there were
	dead    map[string]grave // tokens dropped or given up
	deadAt  time.Time        // when to look next which of them can be forgotten

	hearing Hearing
	heardAt time.Time // when it was last confirmed
	tries   int       // of Try in a row, while there is no subscription
	tryAt   time.Time // of the next

	lock lock // by the newest reply
	road road
	wake time.Time // as the newest Actions say
}

// A holder is a handle that a slot knows. The zero value is none.
type holder struct {
	who      any
	token    string
	ttl      time.Duration
	deadline time.Time
}

// A lock is what a reply says of the lock: who has it, and for how long. The zero value is not known, or free.
type lock struct {
	holder string
	left   time.Duration
}

// A road is how commands fare.
type road struct {
	trouble   error // why the newest has failed; nil: it did not
	fresh     bool  // a connection has broken, or led astray: the next command needs one of its own
	unlent    bool  // the pool has lent none: the next command needs one of its own if somebody else waits for what it settles
	failures  int   // of Try and Enter in a row
	notBefore time.Time
}

// A ticket is a token that waits, or is about to.
type ticket struct {
	token    string
	ctx      context.Context // of the waiter that it was last sent for
	entry    string          // as it stands in the queue, byte for byte
	ttl      time.Duration   // as the entry says
	most     time.Duration   // the longest that a Poke has asked for, for an heir
	basis    time.Time       // a message's validity counts from it: the newest send that was answered "queued", or the first send
	beaten   time.Time       // the send of the newest Poke that beats, or the first send
	tried    bool            // it was sent by a Try: it is in no queue
	late     bool            // what was to queue it, or to take the lock for it, has no answer: it may be carried out yet
	busy     bool            // a command that names it is in flight
	again    bool            // Poke as soon as that one is answered
	due      time.Time       // of the next Poke or Quit
	failures int             // of these, in a row
	until    time.Time       // of a Quit: then it is given up
}

// longest is how long the server may keep the token at most.
func (t *ticket) longest() time.Duration { return max(t.ttl, t.most) }

// New makes a slot whose channel is heard by its Locker, for its key only.
func New(cfg *Config, channel string) *Slot { return &Slot{cfg: cfg, channel: channel} }

// State is what the slot has at the server.
func (s *Slot) State() State { return s.state }

// Hearing is the state of the slot's subscription.
func (s *Slot) Hearing() Hearing { return s.hearing }

// Waiting is how many wait.
func (s *Slot) Waiting() int { return len(s.fifo) }

// First is the waiter that has waited longest; ok says whether anybody waits.
func (s *Slot) First() (x Waiter, ok bool) {
	if len(s.fifo) == 0 {
		return x, false
	}
	return s.fifo[0], true
}

// Entry is that of the token that waits, "" if there is none.
func (s *Slot) Entry() string {
	if !s.waits() {
		return ""
	}
	return s.t.entry
}

// PokesAgain reports whether a Poke is to follow as soon as what is in flight for the token that waits is answered.
func (s *Slot) PokesAgain() bool { return s.waits() && s.t.again }

// Trouble is why the newest command has failed; nil: it did not.
func (s *Slot) Trouble() error { return s.road.trouble }

// Holder is the token that is known to have the lock, and how long it will at most; "": none is known.
func (s *Slot) Holder(now time.Time) (token string, left time.Duration) {
	if s.holds(now) {
		return s.h.token, s.h.deadline.Sub(now)
	}
	return s.lock.holder, s.lock.left
}

// Owed is how many tokens are to be removed in the background. One that Release is removing is not of them.
func (s *Slot) Owed() (n int) {
	if s.state == Quitting {
		n++
	}
	for i := range s.owed {
		if !s.owed[i].kept {
			n++
		}
	}
	return n
}

// Owes reports whether the release of some token is not confirmed yet.
func (s *Slot) Owes() bool { return len(s.owed) > 0 }

// Rests reports whether nobody has waited for longer than Linger, so that the subscription may end: see Silenced.
func (s *Slot) Rests(now time.Time) bool {
	return len(s.fifo) == 0 && s.state == Idle && now.Sub(s.waited) > Linger
}

// waits reports whether a token of the slot waits at the server, or may.
func (s *Slot) waits() bool { return s.state == Entering || s.state == Queued }

// names reports whether token is the one that waits.
func (s *Slot) names(token string) bool { return s.waits() && s.t.token == token }

// holds reports whether the slot's holder is one still.
func (s *Slot) holds(now time.Time) bool { return s.h.who != nil && !passed(now, s.h.deadline) }

// passed reports whether now is no longer before t by either clock: the monotonic one stands still while the machine is
// suspended, and the server's TTL does not.
func passed(now, t time.Time) bool { return !now.Before(t) || !now.Round(0).Before(t.Round(0)) }

// validUntil is what a lease that was set no earlier than at start is good for.
func (s *Slot) validUntil(start time.Time, left time.Duration) time.Time {
	return start.Add(left - s.cfg.Drift(left))
}

// take has a new token wait for the first waiter, for a token is queued only once.
func (s *Slot) take(now time.Time) {
	x := &s.fifo[0]
	s.state = Entering
	s.t = ticket{token: s.cfg.Token(), ctx: x.Ctx, ttl: x.TTL, basis: now, beaten: now, busy: true}
	s.t.entry = entry(s.t.token, s.channel, x.TTL)
}

// entry is what the queue holds of a token.
func entry(token, channel string, ttl time.Duration) string {
	ms, n := strconv.FormatInt(ttl.Milliseconds(), 10), strconv.Itoa(len(channel))
	var b strings.Builder
	b.Grow(len(ms) + len(n) + len(channel) + len(token) + 3)
	b.WriteString(ms)
	b.WriteByte(' ')
	b.WriteString(n)
	b.WriteByte(' ')
	b.WriteString(channel)
	b.WriteByte(' ')
	b.WriteString(token)
	return b.String()
}

// Waiting reads an entry as the scripts do: the token that waits, and the ttl that it would hold the lock for.
func Waiting(entry string) (token string, ttl time.Duration, ok bool) {
	ms, rest, _ := strings.Cut(entry, " ")
	n, rest, _ := strings.Cut(rest, " ")
	left, err1 := strconv.ParseUint(ms, 10, 32)
	at, err2 := strconv.ParseUint(n, 10, 20)
	if err1 != nil || err2 != nil || left == 0 || at == 0 || int(at) >= len(rest) || rest[at] != ' ' || len(rest) == int(at)+1 {
		return "", 0, false
	}
	return rest[at+1:], time.Duration(left) * time.Millisecond, true
}

// drop has no token wait any more.
func (s *Slot) drop() { s.state, s.t = Idle, ticket{} }

// giveUp has the slot quit the token that waits.
func (s *Slot) giveUp(now time.Time) {
	s.state = Quitting
	t := &s.t
	t.due, t.failures, t.until = now, 0, now.Add(t.longest()+time.Minute)
	s.bury(now, t)
}

// remove takes a waiter out of the FIFO. It reports false if it was not there.
func (s *Slot) remove(now time.Time, who any) bool {
	for i := range s.fifo {
		if s.fifo[i].Who == who {
			s.removeAt(now, i)
			return true
		}
	}
	return false
}

func (s *Slot) removeAt(now time.Time, i int) {
	if s.waited = now; i == 0 { // as a rule
		s.fifo[0] = Waiter{}
		s.fifo = s.fifo[1:]
		return
	}
	copy(s.fifo[i:], s.fifo[i+1:])
	s.fifo[len(s.fifo)-1] = Waiter{}
	s.fifo = s.fifo[:len(s.fifo)-1]
}

// fail ends the wait of the first waiter.
func (s *Slot) fail(now time.Time, why Why, err error, a *Actions) {
	a.Failures = append(a.Failures, Failure{s.fifo[0].Who, why, err})
	s.removeAt(now, 0)
}

func (s *Slot) failAll(now time.Time, why Why, err error, a *Actions) {
	for len(s.fifo) > 0 {
		s.fail(now, why, err, a)
	}
}

// hurry ends the long pauses of what is retried in the background: somebody has come who waits for it, or there is another server.
func (s *Slot) hurry(now time.Time) {
	soon := now.Add(mostPause)
	if s.state == Quitting && s.t.due.After(soon) {
		s.t.due = soon
	}
	for i := range s.owed {
		if o := &s.owed[i]; o.failures > 0 && o.next.After(soon) {
			o.next = soon
		}
	}
}

// settle finds what follows from a change. Each event ends with it.
func (s *Slot) settle(now time.Time, a *Actions) {
	s.forgetDead(now)
	if s.hearing == Deaf && s.mustHear() && s.phase != closed {
		s.hearing, s.tries, s.tryAt = Making, 0, now.Add(s.cfg.Pause(0))
		a.Listen = true
	}
	var at time.Time
	for {
		var cmd Command
		if cmd, at = s.next(now); cmd.Kind == Nothing {
			break
		}
		a.Commands = append(a.Commands, cmd)
	}
	a.Wake, s.wake = at, at
	switch {
	case s.Busy(), s.hearing != Deaf: // what ends this is an event of the slot again
		a.Rest = Busy
	case len(s.dead) > 0 && s.phase != closed, s.holds(now):
		a.Rest, a.Forget = Remembers, s.deadAt
		if s.h.who != nil && (len(s.dead) == 0 || s.h.deadline.After(s.deadAt)) {
			a.Forget = s.h.deadline
		}
	default:
		a.Rest = Done
	}
}

// mustHear reports whether somebody waits, but for one who just tries.
func (s *Slot) mustHear() bool {
	alone := s.h.who == nil && len(s.fifo) == 1 && s.waits() && s.t.tried && s.t.busy
	return len(s.fifo) > 0 && !alone && s.phase == open
}

// Busy reports whether something is left to do.
func (s *Slot) Busy() bool { return len(s.fifo) > 0 || s.state != Idle || len(s.owed) > 0 }

// dials reports whether the next command needs a connection of its own, unless it is a Try or an Enter: they wait for the
// pool, whose bound is its user's. Nobody waits for what they settle but their own waiters, while a Poke, Quit, Release or
// Check that waits for the pool may keep the lock from all others, among them those whom the pool has lent its connections.
func (s *Slot) dials() bool { return s.road.fresh || s.road.unlent }

// heldAt says that the lock was the holder's at that time. Its waiters ask a cap later, not all Lockers in step.
func (s *Slot) heldAt(t time.Time) { s.checkAt = t.Add(pokeCap - s.cfg.Chance(pokeCap/4)) }

// pokeIn is when to ask again after a reply that the holder has left. It is at most a cap, and not for all Lockers in step.
func (s *Slot) pokeIn(left, ttl time.Duration) time.Duration {
	jitter := s.cfg.Chance(min(ttl/10, 250*time.Millisecond) + 1)
	return min(max(left, 0)+jitter, pokeCap-s.cfg.Chance(pokeCap/4))
}

// Rare reports whether something is retried in the background that has failed so often that its pauses are long.
func (s *Slot) Rare() bool {
	for i := range s.owed {
		if s.owed[i].failures > retriedSoon {
			return true
		}
	}
	return s.state == Quitting && s.t.failures > retriedSoon
}

// retriedSoon is how many failures are followed by a short pause where nobody waits.
const retriedSoon = 5

// backoff is the pause before what is retried in the background: short while somebody waits for it, as Close does.
func (s *Slot) backoff(failures int) time.Duration {
	if len(s.fifo) > 0 || failures < retriedSoon || s.phase != open {
		return s.cfg.Pause(failures)
	}
	return min(10*time.Millisecond<<min(failures, 12), longPause)
}

// earlier is the earlier of two times that are known.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
