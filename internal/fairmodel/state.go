package fairmodel

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/redigolock/redigolock/internal/fairqueue"
)

// Limits of one state. A step that would need more is dropped and counted in Result.Overflow.
const (
	maxProcs    = 4
	maxHandles  = 4
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
	verbRel  // with entry2 when tok2 is set
	verbRel1 // without Q
	verbPoke
	verbQuit
	verbExtend
	verbCheck // EXTEND that only asks whether h is still in K
)

var verbNames = [...]string{"", "TRY", "TRY(TryAcquire)", "ENTER", "REL", "REL1", "POKE", "QUIT", "EXTEND", "CHECK"}

func (v verb) String() string { return verbNames[v] }

type phase uint8

const (
	_       phase = iota
	sent          // on its way to the server
	replied       // executed, the reply on its way back
	ghost         // the client knows nothing of it any more; it may still be executed, or never
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
	heir   uint8 // POKE: the ttl that the local head asks for
	most   uint8 // the longest lease that was asked for tok; EXTEND before a cohort pass: for the handle's
	age    uint8 // ticks since it was sent
	debt   uint8 // REL: the number of the debt in its slot; 0: it is settled
	kept   bool  // REL: of Lock.Release, which tries twice
	again  bool  // it is the second try
	who    uint8 // the waiter that it is sent for, or the handle
	subOK  bool  // the subscription was confirmed when it was sent
	pass   bool  // EXTEND before a cohort pass
	beat   bool  // POKE: it beats
	known  uint8 // of a ghost that may put a token into K: how often the server has been seen without that token since, 2 at most
	res    outcome
	valid  uint8 // what remains of a grant's validity, counted from the send
	holder token // of the own process, if it is not what the command asked for
}

// entry is one element of Q.
type entry struct {
	tok    token
	ttl    uint8
	late   bool  // pushed by a ghost: nobody was left to answer for it
	broken bool  // the subscription broke after the client had seen it confirmed: the place may be lost
	beats  uint8 // in H: 1 + the ticks of H's clock since the one in which it last beat; 0: H does not know it
}

// proc is what there is of a process besides its fairqueue.Slot.
type proc struct {
	crashed, closed bool
	gaveUp          bool  // Close waits no longer: what is owed is given up
	joined          uint8 // Acquire calls made
	waiting         uint8 // those that wait, one bit for each
	handles         [maxHandles]handle
	heard           bool // at the server: NUMSUB > 0
}

// handle is a lock that a call of the process was given, until it is released.
type handle struct {
	who  uint8 // which call: of Acquire from firstAcquire, of TryAcquire from firstTry; 0: none
	tok  token
	left uint8 // until its Deadline; 0: it is latched
	most uint8 // the longest lease that was asked for
}

const (
	firstAcquire = 1
	firstTry     = 9
)

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
	LostQueue   uint8 // somebody deletes Q, or H
	Close       uint8
	Unsubscribe uint8 // an idle subscription ends
	Steal       uint8 // a foreign DEL of a token of ours, or its release by another process
	Panic       uint8 // of the waiter that sends TRY itself
	TryAgain    uint8 // the server has not both keys of a command, for their slot is moving
	CrashAll    uint8 // all processes but the first crash together, half open
}

// state is one state of the whole.
type state struct {
	world
	queues [maxProcs]*fairqueue.Slot // of a step that is not applied, shared with other states
}

// world is the server, the network and the processes, but for their slots. It has no pointer.
type world struct {
	k        token
	kTTL     uint8
	kExcused bool     // a ghost took K, or the message of the grant was lost: nobody may know of it until it expires
	kTold    token    // only in a mutant: the newest that was granted by a message
	stolen   [2]token // taken out of K by somebody else, while their processes may believe to hold them
	waste    uint8    // with Config.MaxWaste: ticks for which K was a crashed process's while somebody waited
	blind    uint8    // ticks in a row for which somebody has waited behind such a holder, in Config.Punctual
	q        [maxEntries]entry
	qLen     uint8
	procs    [maxProcs]proc
	cmds     [maxCommands]command
	cmdLen   uint8
	msgs     [maxMessages]token
	msgLen   uint8
	budget   Budget
}

func compareCommands(a, b command) int {
	ka, kb := a.key(), b.key()
	return bytes.Compare(ka[:], kb[:])
}

func (c *command) key() [20]byte {
	return [20]byte{byte(c.proc), byte(c.verb), byte(c.phase), byte(c.res), c.age, c.valid, byte(c.tok), byte(c.tok2),
		byte(c.holder), c.ttl, c.heir, c.most, c.debt, bit(c.kept), bit(c.again), c.who, bit(c.subOK), bit(c.pass), bit(c.beat), c.known}
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// eachToken visits every place of the world that names a token.
func (s *world) eachToken(visit func(*token)) {
	for p := range s.procs {
		for i := range s.procs[p].handles {
			visit(&s.procs[p].handles[i].tok)
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

// tick lets one unit of time pass at the server, on the way, and for the handles.
func (s *world) tick() {
	if s.kTTL > 0 {
		if s.kTTL--; s.kTTL == 0 {
			s.k, s.kExcused = none, false
		}
	}
	for p := range s.procs {
		for i := range s.procs[p].handles {
			h := &s.procs[p].handles[i]
			h.left -= min(h.left, 1)
		}
	}
	for i := range s.cmds[:s.cmdLen] {
		switch c := &s.cmds[i]; {
		case c.phase == ghost && c.known < enough:
			if c.age++; c.age >= c.ttl { // what was sent for it in vain need not be sent any longer
				c.age, c.known = 0, enough
			}
		case c.ages():
			c.age = min(c.age+1, maxAge)
			c.valid -= min(c.valid, 1)
		}
	}
}

// enough is how often a process must have been told that a token of its is not at the server before it may forget a command that
// may yet put it there.
const enough = 2

// puts is the token that the command puts into K or Q.
func (c *command) puts() token {
	switch c.verb {
	case verbTry, verbTryOnce, verbEnter:
		return c.tok
	case verbRel:
		return c.tok2
	}
	return none
}

// ages: how long ago it was sent still matters.
func (c *command) ages() bool {
	switch c.phase {
	case sent:
		return c.verb != verbQuit && c.verb != verbCheck && c.verb != verbRel1 && (c.verb != verbRel || c.tok2 != none)
	case replied:
		return c.res == granted || c.res == queued || c.res == nosub || c.verb == verbExtend
	}
	return false
}

func (s *world) removeCommand(i int) command {
	c := s.cmds[i]
	s.cmdLen--
	s.cmds[i] = s.cmds[s.cmdLen]
	s.cmds[s.cmdLen] = command{}
	return c
}

func (s *world) removeMessage(i int) token {
	t := s.msgs[i]
	s.msgLen--
	s.msgs[i] = s.msgs[s.msgLen]
	s.msgs[s.msgLen] = none
	return t
}

func (s *world) removeEntry(i int) entry {
	e := s.q[i]
	copy(s.q[i:], s.q[i+1:s.qLen])
	s.qLen--
	s.q[s.qLen] = entry{}
	return e
}

func less(a, b uint8) uint8 { // a − b, not below 0
	return a - min(a, b)
}

func (s *world) sort() {
	slices.Sort(s.msgs[:s.msgLen])
	slices.SortFunc(s.cmds[:s.cmdLen], compareCommands)
}
