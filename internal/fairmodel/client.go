package fairmodel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redigolock/redigolock/internal/fairqueue"
)

// What the Locker does around its slots: it tells them what happens, and does what they say.

// tell tells the slot of p of an event, and does what follows. what is the event as the table in fairqueue has it.
func (m *machine) tell(p int, what string, event func(*fairqueue.Slot, *fairqueue.Actions)) (mine fairqueue.Command) {
	s := m.slot(p)
	from := s.State()
	event(s, m.then)
	m.moves[Move{what, from, s.State()}] = struct{}{}
	mine = m.then.Mine
	m.follow(p)
	return mine
}

// A Move is what an event did to a slot's state.
type Move struct {
	Event    string
	From, To fairqueue.State
}

func (m *machine) follow(p int) {
	then := m.then
	for _, g := range then.Grants {
		m.granted(p, g)
	}
	for _, x := range then.Losses {
		m.lost(p, x)
	}
	for _, x := range then.Failures {
		m.procs[p].waiting &^= bitOf(x.Who)
	}
	if then.Relisten && m.procs[p].heard {
		m.unhear(p)
	}
	for _, c := range then.Commands {
		m.send(p, &c)
	}
	if l := &m.procs[p]; l.closed && m.queues[p].State() == fairqueue.Idle && m.queues[p].Hearing() != fairqueue.Deaf {
		l.heard = false
		m.loseMessages(p)
		m.slot(p).Silenced(now, then)
	}
}

func bitOf(who any) uint8 { return 1 << (who.(byte) - firstAcquire) }

// ttlOf is the ttl of a call.
func (m *machine) ttlOf(p int, who uint8) uint8 {
	if who >= firstTry {
		return m.cfg.TTLs[p][0]
	}
	return m.cfg.TTLs[p][who-firstAcquire]
}

// fresh is a token of p that nothing names.
func (m *machine) fresh(p int) token {
	var used [2 + maxProcs*maxTokens]bool
	m.eachToken(func(t *token) { used[*t] = true })
	m.queues[p].Tokens(func(name string, _ bool) { used[tokenOf(p, name)] = true })
	for t := token(2 + p*maxTokens); t < token(2+(p+1)*maxTokens); t++ {
		if !used[t] {
			return t
		}
	}
	m.overflow = true
	return token(2 + p*maxTokens)
}

var verbOf = map[fairqueue.Kind]verb{
	fairqueue.Try: verbTry, fairqueue.Enter: verbEnter, fairqueue.Poke: verbPoke, fairqueue.Quit: verbQuit,
	fairqueue.Release: verbRel, fairqueue.Check: verbCheck, fairqueue.Extend: verbExtend,
}

// send sends what a slot says.
func (m *machine) send(p int, cmd *fairqueue.Command) {
	c := command{verb: verbOf[cmd.Kind], proc: uint8(p), tok: tokenOf(p, cmd.Token), ttl: uint8(cmd.TTL / tick), most: uint8(cmd.Most / tick)}
	if cmd.Entry != "" && cmd.Kind != fairqueue.Try {
		ms, _, _ := strings.Cut(cmd.Entry, " ")
		n, _ := strconv.Atoi(ms)
		c.tok, c.ttl = tokenOf(p, cmd.Entry), uint8(n/1000)
	}
	switch cmd.Kind {
	case fairqueue.Try:
		c.who = cmd.Who.(byte)
	case fairqueue.Poke:
		c.heir, c.beat = uint8(cmd.TTL/tick), cmd.Beat && !(p == 0 && m.is(OneDoesNotBeat))
	case fairqueue.Release:
		if c.tok, c.tok2, c.debt, c.kept = tokenOf(p, cmd.Owed), c.tok, uint8(cmd.Debt), cmd.Kept; cmd.Alone {
			c.verb = verbRel1
		}
	}
	if cmd.Token != "" {
		m.slot(p).Sent(cmd, now)
	}
	m.post(c)
}

// post puts a command on its way.
func (m *machine) post(c command) {
	if m.cmdLen == maxCommands {
		m.overflow = true
		return
	}
	c.phase = sent
	c.subOK = m.queues[c.proc].Hearing() == fairqueue.Confirmed
	m.cmds[m.cmdLen] = c
	m.cmdLen++
}

// of is the command as the slot had it.
func (c *command) of() *fairqueue.Command {
	cmd := &fairqueue.Command{Token: name(c.tok), TTL: ticks(c.ttl), Most: ticks(c.most)}
	switch c.verb {
	case verbTry:
		cmd.Kind, cmd.Who = fairqueue.Try, c.who
	case verbEnter:
		cmd.Kind, cmd.Who = fairqueue.Enter, c.who
	case verbPoke:
		cmd.Kind, cmd.TTL, cmd.Beat = fairqueue.Poke, ticks(c.heir), c.beat
	case verbQuit:
		cmd.Kind = fairqueue.Quit
	case verbRel, verbRel1:
		cmd.Alone = c.verb == verbRel1
		cmd.Kind, cmd.Owed, cmd.Debt, cmd.Kept = fairqueue.Release, cmd.Token, uint64(c.debt), c.kept
		if cmd.Token = name(c.tok2); c.tok2 == none {
			cmd.Token = ""
		}
	case verbCheck:
		cmd.Kind = fairqueue.Check
	}
	return cmd
}

// granted gives a call its lock.
func (m *machine) granted(p int, g fairqueue.Grant) {
	l := &m.procs[p]
	who := g.Who.(byte)
	l.waiting &^= bitOf(who)
	m.give(p, handle{who, tokenOf(p, g.Token), inTicks(g.Deadline), uint8(g.Most / tick)})
}

func (m *machine) give(p int, h handle) {
	l := &m.procs[p]
	for i := range l.handles {
		if old := &l.handles[i]; old.left > 0 && !m.wasStolen(h.tok) && !(m.wasStolen(old.tok) && m.cfg.Budget.Try > 0) {
			m.violate("exclusion: two handles of one process are valid")
		}
	}
	for i := range l.handles {
		if l.handles[i].who == 0 {
			l.handles[i] = h
			return
		}
	}
	m.overflow = true
}

// handleOf is the handle of a call; nil if it is released.
func (m *machine) handleOf(p int, who uint8) *handle {
	l := &m.procs[p]
	for i := range l.handles {
		if l.handles[i].who == who {
			return &l.handles[i]
		}
	}
	return nil
}

// lost ends a handle, as a slot says: by what the server said of it, or because another token was granted (see give).
func (m *machine) lost(p int, x fairqueue.Loss) {
	if h := m.handleOf(p, x.Who.(byte)); h != nil {
		if x.Err != nil {
			m.end(p, h)
		}
		h.left = 0
	}
}

// end ends the handle of p whose token is not in K any more.
func (m *machine) end(p int, h *handle) {
	if h.left > 0 && m.k == h.tok {
		m.violate(fmt.Sprintf("lost for nothing: p%d gives up %v, which is in K", p, h.tok))
	}
	h.left = 0
}

// acquire is the next Acquire call of p.
func (m *machine) acquire(p int) {
	l := &m.procs[p]
	who := firstAcquire + l.joined
	l.waiting |= bitOf(who)
	l.joined++
	x := fairqueue.Waiter{Who: who, TTL: ticks(m.ttlOf(p, who))}
	cmd := m.tell(p, "Joined", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Joined(now, x, a) })
	if cmd.Kind != fairqueue.Nothing {
		m.send(p, &cmd)
	}
}

// left has a waiter leave.
func (m *machine) left(p int, who uint8) {
	m.procs[p].waiting &^= bitOf(who)
	m.tell(p, "Left", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Left(now, who, a) })
}

// tryAcquire is a TryAcquire call of p, beside the slot's own token.
func (m *machine) tryAcquire(p int) {
	who := uint8(firstTry)
	for m.handleOf(p, who) != nil || m.extending(p, who) {
		who++
	}
	m.post(command{verb: verbTryOnce, proc: uint8(p), tok: m.fresh(p), ttl: m.cfg.TTLs[p][0], who: who})
}

func (m *machine) extending(p int, who uint8) bool {
	for _, c := range m.cmds[:m.cmdLen] {
		if c.phase != ghost && int(c.proc) == p && c.who == who && (c.verb == verbExtend || c.verb == verbTryOnce) {
			return true
		}
	}
	return false
}

// told is what a slot is told of a handle.
func (m *machine) told(p int, h handle) fairqueue.Handle {
	return fairqueue.Handle{Who: h.who, Token: name(h.tok), TTL: ticks(m.ttlOf(p, h.who)), Most: ticks(h.most), Over: h.left == 0}
}

// release is Lock.Release of a handle.
func (m *machine) release(p, i int) {
	h := m.procs[p].handles[i]
	m.procs[p].handles[i] = handle{}
	cmd := m.tell(p, "Released", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Released(now, m.told(p, h), a) })
	m.goOn(p, h, cmd)
}

// goOn sends what Lock.Release is to send.
func (m *machine) goOn(p int, h handle, cmd fairqueue.Command) {
	switch cmd.Kind {
	case fairqueue.Release:
		m.send(p, &cmd)
	case fairqueue.Extend:
		ttl := uint8(cmd.TTL / tick)
		m.post(command{verb: verbExtend, proc: uint8(p), tok: h.tok, ttl: ttl, most: max(h.most, ttl), who: h.who, pass: true})
	}
}

func (m *machine) extend(p, i int, ttl uint8) {
	h := &m.procs[p].handles[i]
	h.most = max(h.most, ttl)
	m.post(command{verb: verbExtend, proc: uint8(p), tok: h.tok, ttl: ttl, who: h.who})
}

// close ends every wait of p for good; what it holds stays with its handles.
func (m *machine) close(p int) {
	l := &m.procs[p]
	l.closed = true
	m.tell(p, "Closing", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Closing(now, a) })
	for i := range m.cfg.TTLs[p] {
		if l.waiting&(1<<i) != 0 {
			m.left(p, uint8(firstAcquire+i))
		}
	}
}

// closeEnds has Close wait no longer: the subscription ends, and what is owed or given up is left to its ttl.
func (m *machine) closeEnds(p int) {
	l := &m.procs[p]
	l.gaveUp, l.heard = true, false
	m.loseMessages(p)
	if m.queues[p].Hearing() != fairqueue.Deaf {
		m.tell(p, "Silenced", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Silenced(now, a) })
	}
	m.tell(p, "Closed", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Closed(now, a) })
}

// crash ends process p; what it sent may still be executed.
func (m *machine) crash(p int, halfOpen bool) {
	m.loseMessages(p)
	heard := m.procs[p].heard && halfOpen
	m.procs[p] = proc{crashed: true, joined: uint8(len(m.cfg.TTLs[p])), heard: heard}
	m.queues[p] = nil
	for i := int(m.cmdLen) - 1; i >= 0; i-- {
		switch c := &m.cmds[i]; {
		case int(c.proc) != p:
		case c.phase == sent:
			m.abandon(i)
		case c.phase == replied:
			m.removeCommand(i)
		}
	}
}

// abandon makes a ghost of a command: nobody waits for it any more.
func (m *machine) abandon(i int) {
	c := &m.cmds[i]
	c.phase, c.age, c.subOK, c.debt, c.kept, c.again, c.who, c.most, c.pass = ghost, 0, false, 0, false, false, 0, 0, false
	if c.puts() == none {
		c.known = enough
	}
}

// reply lets the process of c read c's reply.
func (m *machine) reply(c command) {
	p := int(c.proc)
	start := now.Add(-ticks(c.age))
	r := fairqueue.Reply{Holder: nameOrNone(c.holder), Left: tick}
	switch c.res {
	case granted:
		r.Said, r.Left = fairqueue.Granted, ticks(c.valid+c.age)
	case queued, held:
		r.Said = fairqueue.Held
	case nosub:
		r.Said = fairqueue.NoSub
	case gone:
		r.Said = fairqueue.Gone
	case notMine:
		r.Said, r.Err = fairqueue.NotMine, errTaken
	}
	switch c.verb {
	case verbTryOnce:
		m.replyTryOnce(p, c, r)
	case verbExtend:
		m.replyExtend(p, c)
	default:
		m.tell(p, answer(c), func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Replied(now, c.of(), start, r, a) })
	}
}

// answer names a reply as the table in fairqueue does.
func answer(c command) string {
	t := c.tok
	if c.verb == verbRel || c.verb == verbRel1 {
		t = c.tok2
	}
	switch {
	case c.verb == verbCheck, c.verb == verbQuit, t == none:
		return verbNames[c.verb] + " answered"
	case c.res == queued:
		return "held"
	}
	return outcomeNames[c.res]
}

// failure names a command that has no reply.
func failure(c command, o fairqueue.Outcome) string {
	what := "lost"
	switch o.Fate {
	case fairqueue.Unsent:
		what = "unsent"
	case fairqueue.Refused:
		what = "refused"
	}
	if (c.verb == verbRel || c.verb == verbRel1) && c.tok2 == none || c.verb == verbCheck {
		return verbNames[c.verb] + " " + what
	}
	return what
}

var errTaken, errRefused, errLost = errors.New("it is not held"), errors.New("refused"), errors.New("no reply")

func nameOrNone(t token) string {
	if t == none {
		return ""
	}
	return name(t)
}

func (m *machine) replyTryOnce(p int, c command, r fairqueue.Reply) {
	if c.res != granted {
		m.tell(p, "TryRefused", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.TryRefused(now, r, a) })
		return
	}
	h := handle{c.who, c.tok, c.valid, c.ttl}
	if h.left > 0 {
		m.give(p, h)
	}
	m.tell(p, "Tried", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Tried(now, m.told(p, h), now.Add(ticks(h.left)), a) })
}

func (m *machine) replyExtend(p int, c command) {
	h := m.handleOf(p, c.who)
	switch {
	case c.pass:
		m.extended(p, c, c.res != notMine)
	case h == nil || h.tok != c.tok:
	case c.res == notMine || h.left == 0:
		m.end(p, h)
		m.tell(p, "Ended", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Ended(now, c.who, a) })
	default:
		h.left = max(h.left, c.valid)
		start, d := now.Add(-ticks(c.age)), now.Add(ticks(h.left))
		m.tell(p, "Moved", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Moved(now, c.who, start, d, a) })
	}
}

// extended goes on with a Release that asked for more lease first.
func (m *machine) extended(p int, c command, known bool) {
	h, d := handle{who: c.who, tok: c.tok, most: c.most, left: 1}, time.Time{}
	if known {
		d = now.Add(ticks(c.valid))
	}
	cmd := m.tell(p, "Extended", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Extended(now, d, m.told(p, h), a) })
	m.goOn(p, h, cmd)
}

// unknown tells the process of c that no reply will come.
func (m *machine) unknown(c command) {
	m.failed(c, fairqueue.Outcome{Fate: fairqueue.Lost, Err: errLost})
}

// refused tells the process of c that the server refused it: nothing was done.
func (m *machine) refused(c command) {
	m.failed(c, fairqueue.Outcome{Fate: fairqueue.Refused, Err: errRefused})
}

// tryAgain tells the process of c that the server has not both keys: nothing was done.
func (m *machine) tryAgain(c command) {
	m.failed(c, fairqueue.Outcome{Fate: fairqueue.Unsent, Split: true, Err: errRefused})
}

func (m *machine) failed(c command, o fairqueue.Outcome) {
	p := int(c.proc)
	switch {
	case c.verb == verbTryOnce && o.Fate == fairqueue.Lost:
		h := handle{c.who, c.tok, 0, c.ttl}
		m.tell(p, "TryLost", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.TryLost(now, m.told(p, h), a) })
	case c.verb == verbTryOnce, c.verb == verbExtend && !c.pass:
	case c.verb == verbExtend:
		m.extended(p, c, false)
	default:
		m.tell(p, failure(c, o), func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Failed(now, c.of(), o, a) })
		m.releaseAgain(p, c, o)
	}
}

// releaseAgain is what Lock.Release does after a try that failed.
func (m *machine) releaseAgain(p int, c command, o fairqueue.Outcome) {
	switch {
	case !c.kept:
	case o.Fate != fairqueue.Refused && !c.again:
		again := command{verb: verbRel, proc: c.proc, tok: c.tok, debt: c.debt, kept: true, again: true}
		if o.Split {
			again.verb = verbRel1
		}
		m.post(again)
	default:
		m.tell(p, "Forgone", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Forgone(now, uint64(c.debt), a) })
	}
}

// unhear ends the subscription of p at the server.
func (m *machine) unhear(p int) {
	m.procs[p].heard = false
	m.loseMessages(p)
	for i := range m.q[:m.qLen] {
		if m.q[i].tok.owner() == p {
			m.q[i].broken = true
		}
	}
}

// loseMessages drops what is on its way to p; nobody knows of a grant that was told so.
func (m *machine) loseMessages(p int) {
	for i := int(m.msgLen) - 1; i >= 0; i-- {
		if m.msgs[i].owner() == p {
			m.loseMessage(i)
		}
	}
}

func (m *machine) loseMessage(i int) {
	if t := m.removeMessage(i); t == m.k {
		m.kExcused = true
	}
}
