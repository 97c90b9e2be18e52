package fairmodel

import (
	"bytes"
	"fmt"
	"slices"
)

// Limits of one state. A step that would need more is dropped and counted in Result.Overflow.
const (
	maxProcs    = 3
	maxOld      = 3
	maxEntries  = 6
	maxCommands = 9
	maxMessages = 5
	maxTokens   = 8 // of one process, all that anything still names
	maxAge      = 9 // ages stop here: more than any ttl
)

// token is none, foreign, or 2 + process*maxTokens + number. A number that nothing names any more is used again, which
// keeps the states finite and is sound: whoever could confuse the old token with the new one would have to name it.
type token uint8

const (
	none    token = 0
	foreign token = 1
)

func (t token) ours() bool { return t > foreign }
func (t token) owner() int { return int(t-2) / maxTokens }

func (t token) String() string {
	switch t {
	case none:
		return "-"
	case foreign:
		return "foreign"
	}
	return fmt.Sprintf("p%d.%c", t.owner(), 'a'+rune(t-2)%maxTokens)
}

type verb uint8

const (
	_           verb = iota
	verbTry          // TRY of an Acquire: names w
	verbTryOnce      // TRY of a TryAcquire: never w
	verbEnter
	verbRel // with entry2 when tok2 is set
	verbRelPoke
	verbPoke
	verbQuit
	verbExtend
	verbCheck // EXTEND that only asks whether h is still in K
)

var verbNames = [...]string{"", "TRY", "TRY(TryAcquire)", "ENTER", "REL", "REL+POKE", "POKE", "QUIT", "EXTEND", "CHECK"}

func (v verb) String() string { return verbNames[v] }

type phase uint8

const (
	_       phase = iota
	sent          // on its way to the server
	replied       // executed, the reply on its way back
	ghost         // the client knows nothing of it any more; it may still be executed, or never
	wedged        // only in a mutant: claimed for ever
)

type outcome uint8

const (
	_ outcome = iota
	granted
	queued
	held
	nosub
	gone
	done
	notMine
)

var outcomeNames = [...]string{"-", "granted", "queued", "held", "nosub", "gone", "done", "not mine"}

// command is one EVALSHA of process proc. All fields are bytes, so that a State can be hashed as memory.
type command struct {
	verb   verb
	phase  phase
	proc   uint8
	tok    token
	tok2   token
	ttl    uint8 // the ttl written in the entry; EXTEND's, TRY's
	heir   uint8 // POKE, REL+POKE: the ttl that the local head asks for
	age    uint8 // ticks since it was sent
	subOK  bool  // the subscription was confirmed when it was sent
	pass   bool  // EXTEND before a cohort pass
	left   uint8 // REL: what the lease had left when it was sent
	res    outcome
	valid  uint8 // what remains of a grant's validity, counted from the send
	holder token // of the own process, if it is not what the command asked for
}

// entry is one element of Q.
type entry struct {
	tok    token
	ttl    uint8
	late   bool // pushed by a ghost: nobody was left to answer for it
	broken bool // the subscription broke after the client had seen it confirmed: the place may be lost
}

type subscription uint8

const (
	subNone subscription = iota
	subMaking
	subConfirmed
)

// slot is what one process keeps for the key; the names are those of the package comment. The owed tokens are those
// of its REL commands in flight, since each is sent again at once until it is answered; the dead ones are all that it
// does not know.
type slot struct {
	crashed, closed bool
	joined          uint8 // Acquire calls made
	waiting         uint8 // fifo, one bit for each waiter, in the order of the bits
	w               token
	wTTL            uint8
	wQueued         bool  // queued, else entering
	wTry            bool  // sent by TRY: it is in no queue
	wUnseen         bool  // only in a mutant: w is not registered yet
	basis           uint8 // age
	pokeDue         bool
	h               token
	left            uint8 // until the Deadline of h; 0 is latched
	passing         bool  // Release of h waits for the EXTEND before a cohort pass
	checkDue        bool  // a tick has passed since K was last known to be h
	gone            uint8 // only in a mutant: the waiters whose goroutine is gone, one bit for each
	old             [maxOld]token
	quit            token
	sub             subscription
	heard           bool // at the server: NUMSUB > 0
}

// Budget is how often each fault and each event from outside may still happen.
type Budget struct {
	Slow        uint8 // ticks that pass while something is on its way
	Unknown     uint8 // a command or its reply is lost, or the command is executed late
	Refused     uint8 // a command gets a definite error (ACL, type, out of memory) and does nothing
	Repeat      uint8 // a command that may be repeated is executed twice
	LostMessage uint8
	Break       uint8 // the server ends a subscription
	Crash       uint8 // of a process, its subscription gone or half-open
	GiveUp      uint8
	Try         uint8 // TryAcquire calls
	Extend      uint8
	Foreign     uint8 // SET NX of a foreign client
	LostQueue   uint8 // somebody deletes Q
	Close       uint8
	Unsubscribe uint8 // an idle subscription ends
	Steal       uint8 // a foreign DEL of a token of ours, or its release by another process
	Panic       uint8 // of the waiter that sends TRY itself
}

// state is one state of the whole: the server, the network, the processes. It has no pointer.
type state struct {
	k        token
	kTTL     uint8
	kExcused bool     // a ghost took K, or the message of the grant was lost: nobody may know of it until it expires
	kTold    token    // only in a mutant: the newest that was granted by a message
	stolen   [2]token // taken out of K by somebody else, while their processes may believe to hold them
	blind    uint8    // ticks in a row for which somebody has waited behind such a holder, in Config.Punctual
	q        [maxEntries]entry
	qLen     uint8
	slots    [maxProcs]slot
	cmds     [maxCommands]command
	cmdLen   uint8
	msgs     [maxMessages]token
	msgLen   uint8
	budget   Budget
}

// normalise makes states that differ in names only equal: it sorts what has no order and renames the tokens.
func (s *state) normalise() {
	s.forgetStolen()
	s.sort()
	var names [2 + maxProcs*maxTokens]token
	var used [maxProcs]token
	s.eachToken(func(t *token) {
		if !t.ours() {
			return
		}
		if names[*t] == none {
			p := t.owner()
			names[*t] = token(2+p*maxTokens) + used[p]
			used[p]++
		}
		*t = names[*t]
	})
	s.sort()
}

func (s *state) sort() {
	slices.Sort(s.msgs[:s.msgLen])
	slices.SortFunc(s.cmds[:s.cmdLen], compareCommands)
}

func compareCommands(a, b command) int {
	ka, kb := a.key(), b.key()
	return bytes.Compare(ka[:], kb[:])
}

func (c *command) key() [14]byte {
	return [14]byte{byte(c.proc), byte(c.verb), byte(c.phase), byte(c.res), c.age, c.valid, byte(c.tok), byte(c.tok2),
		byte(c.holder), c.ttl, c.heir, c.left, bit(c.subOK), bit(c.pass)}
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// eachToken visits every place of the state that names a token.
func (s *state) eachToken(visit func(*token)) {
	for p := range s.slots {
		l := &s.slots[p]
		visit(&l.w)
		visit(&l.h)
		visit(&l.quit)
		for i := range l.old {
			visit(&l.old[i])
		}
	}
	visit(&s.k)
	visit(&s.kTold)
	for i := range s.stolen {
		visit(&s.stolen[i])
	}
	for i := range s.q[:s.qLen] {
		visit(&s.q[i].tok)
	}
	for i := range s.cmds[:s.cmdLen] {
		visit(&s.cmds[i].tok)
		visit(&s.cmds[i].tok2)
		visit(&s.cmds[i].holder)
	}
	for i := range s.msgs[:s.msgLen] {
		visit(&s.msgs[i])
	}
}

// tick lets one unit of time pass everywhere at once.
func (s *state) tick() {
	if s.kTTL > 0 {
		if s.kTTL--; s.kTTL == 0 {
			s.k, s.kExcused = none, false
		}
	}
	for p := range s.slots {
		l := &s.slots[p]
		if l.w != none {
			l.basis = min(l.basis+1, maxAge)
		}
		if l.left > 0 {
			l.left--
		}
		l.checkDue = l.left > 0 && l.waiting != 0
	}
	for i := range s.cmds[:s.cmdLen] {
		if c := &s.cmds[i]; c.ages() {
			c.age = min(c.age+1, maxAge)
			c.valid -= min(c.valid, 1)
		}
	}
}

// ages: how long ago it was sent still matters.
func (c *command) ages() bool {
	switch c.phase {
	case sent:
		return c.verb != verbQuit && c.verb != verbCheck && (c.verb != verbRel || c.tok2 != none || c.left > 0)
	case replied:
		return c.res == granted || c.res == queued || c.verb == verbExtend
	}
	return false
}

func (s *state) removeCommand(i int) command {
	c := s.cmds[i]
	s.cmdLen--
	s.cmds[i] = s.cmds[s.cmdLen]
	s.cmds[s.cmdLen] = command{}
	return c
}

func (s *state) removeMessage(i int) token {
	t := s.msgs[i]
	s.msgLen--
	s.msgs[i] = s.msgs[s.msgLen]
	s.msgs[s.msgLen] = none
	return t
}

func (s *state) removeEntry(i int) entry {
	e := s.q[i]
	copy(s.q[i:], s.q[i+1:s.qLen])
	s.qLen--
	s.q[s.qLen] = entry{}
	return e
}

func less(a, b uint8) uint8 { // a − b, not below 0
	return a - min(a, b)
}
