package fairmodel

import (
	"fmt"

	"github.com/redigolock/redigolock/internal/fairqueue"
)

type stepKind uint8

const (
	stepTick stepKind = iota
	stepAcquire
	stepGiveUp
	stepTryAcquire
	stepRelease
	stepExtend
	stepClose
	stepCloseEnds
	stepCrash
	stepCrashHalfOpen
	stepExecute
	stepExecuteTwice
	stepExecuteGhost
	stepExecuteUnheard
	stepRefuse
	stepReply
	stepLoseCommand
	stepDelayCommand
	stepLoseReply
	stepMessage
	stepLoseMessage
	stepWake
	stepSubscribed
	stepBreak
	stepNotice
	stepUnsubscribe
	stepForeignSet
	stepForeignDel
	stepDropQueue
	stepSteal
	stepStealRel
	stepPanic
	stepPanicDelay
	stepTryAgain
	stepDropBeats
	stepCrashAll
)

// step is one thing that may happen; a and b say to which process, command, message or waiter.
type step struct {
	kind stepKind
	a, b uint8
}

// steps lists all that may happen next.
func (m *machine) steps(out []step) []step {
	if m.cfg.Prompt {
		if s, ok := m.promptStep(); ok {
			return append(out, s)
		}
	}
	add := func(ok bool, kind stepKind, a, b int) {
		if ok {
			out = append(out, step{kind, uint8(a), uint8(b)})
		}
	}
	b := &m.budget
	add((b.Slow > 0 || m.quiet()) && !m.overdue(), stepTick, 0, 0)
	add(m.k == none && b.Foreign > 0, stepForeignSet, 0, 0)
	add(m.k == foreign, stepForeignDel, 0, 0)
	add(m.qLen > 0 && b.LostQueue > 0, stepDropQueue, 0, 0)
	add(m.beaten() && b.LostQueue > 0, stepDropBeats, 0, 0)
	add(b.CrashAll > 0, stepCrashAll, 0, 0)
	add(m.k.ours() && b.Steal > 0, stepSteal, 0, 0)
	add(m.k.ours() && b.Steal > 0, stepStealRel, 0, 0)
	for p := range m.cfg.TTLs {
		if !m.procs[p].crashed {
			m.callSteps(p, add)
			m.slotSteps(p, add)
		}
	}
	for i := range m.cmds[:m.cmdLen] {
		m.commandSteps(i, add)
	}
	for i := range int(m.msgLen) {
		add(true, stepMessage, i, 0)
		add(b.LostMessage > 0, stepLoseMessage, i, 0)
	}
	return out
}

// quiet: nothing is on its way that a process waits for.
func (m *machine) quiet() bool {
	for _, c := range m.cmds[:m.cmdLen] {
		if c.phase != ghost {
			return false
		}
	}
	return m.msgLen == 0
}

// callSteps are the local calls that p's users may make.
func (m *machine) callSteps(p int, add func(bool, stepKind, int, int)) {
	l, b := &m.procs[p], &m.budget
	add(int(l.joined) < len(m.cfg.TTLs[p]) && !l.closed, stepAcquire, p, 0)
	for i := range m.cfg.TTLs[p] {
		add(l.waiting&(1<<i) != 0 && b.GiveUp > 0, stepGiveUp, p, i)
	}
	add(b.Try > 0 && !l.closed, stepTryAcquire, p, 0)
	for i, h := range l.handles {
		add(h.who != 0, stepRelease, p, i)
		for n := range m.cfg.TTLs[p] {
			add(h.left > 0 && b.Extend > 0, stepExtend, p, i<<4|n)
		}
	}
	add(b.Close > 0 && !l.closed, stepClose, p, 0)
	add(l.closed && !l.gaveUp, stepCloseEnds, p, 0)
	add(b.Crash > 0, stepCrash, p, 0)
	add(b.Crash > 0 && l.heard, stepCrashHalfOpen, p, 0)
}

// slotSteps are p's timer and its subscription.
func (m *machine) slotSteps(p int, add func(bool, stepKind, int, int)) {
	l, b, q := &m.procs[p], &m.budget, m.queues[p]
	add(q.IsDue(now.Add(tick)), stepWake, p, 0)
	add(q.Hearing() == fairqueue.Making, stepSubscribed, p, 0)
	add(l.heard && b.Break > 0, stepBreak, p, 0)
	add(m.brokenUnnoticed(p), stepNotice, p, 0)
	idle := l.waiting == 0 && q.State() == fairqueue.Idle
	add(idle && q.Hearing() == fairqueue.Confirmed && b.Unsubscribe > 0, stepUnsubscribe, p, 0)
}

func (m *machine) brokenUnnoticed(p int) bool {
	return m.queues[p].Hearing() == fairqueue.Confirmed && !m.procs[p].heard
}

func (m *machine) commandSteps(i int, add func(bool, stepKind, int, int)) {
	c, b := &m.cmds[i], &m.budget
	switch c.phase {
	case sent:
		add(true, stepExecute, i, 0)
		add(b.Repeat > 0 && c.repeatable(), stepExecuteTwice, i, 0)
		add(b.Unknown > 0, stepLoseCommand, i, 0)
		add(b.Unknown > 0, stepDelayCommand, i, 0)
		add(b.Refused > 0, stepRefuse, i, 0)
		add(b.TryAgain > 0 && c.verb != verbRel1, stepTryAgain, i, 0)
		add(b.Panic > 0 && m.sentByWaiter(c), stepPanic, i, 0)
		add(b.Panic > 0 && m.sentByWaiter(c), stepPanicDelay, i, 0)
		add(b.Unknown > 0 && (c.verb == verbRel && c.tok2 == none || c.verb == verbRel1), stepExecuteUnheard, i, 0)
	case replied:
		add(true, stepReply, i, 0)
		add(b.Unknown > 0, stepLoseReply, i, 0)
		add(b.Panic > 0 && m.sentByWaiter(c), stepPanic, i, 0)
	case ghost:
		add(true, stepExecuteGhost, i, 0)
	}
}

// repeatable: section 3 allows the command to run any number of times.
func (c *command) repeatable() bool {
	switch c.verb {
	case verbTry, verbTryOnce, verbEnter:
		return false
	case verbRel:
		return c.tok2 == none
	}
	return true
}

// apply takes one step.
func (m *machine) apply(s step) {
	i := int(s.a)
	switch s.kind {
	case stepTick:
		if !m.quiet() && m.budget.Slow > 0 {
			m.budget.Slow--
		}
		m.passTime()
	case stepExecute, stepExecuteTwice, stepExecuteGhost, stepExecuteUnheard, stepRefuse, stepReply, stepLoseCommand,
		stepDelayCommand, stepLoseReply, stepPanic, stepPanicDelay, stepTryAgain:
		m.applyCommand(s.kind, i)
	case stepMessage:
		m.message(m.removeMessage(i))
	case stepLoseMessage:
		m.budget.LostMessage--
		m.loseMessage(i)
	case stepWake, stepSubscribed, stepBreak, stepNotice, stepUnsubscribe:
		m.applySlot(s.kind, i)
	case stepSteal, stepStealRel:
		m.budget.Steal--
		m.steal(s.kind == stepStealRel)
	case stepForeignSet:
		m.budget.Foreign--
		m.k, m.kTTL, m.kExcused = foreign, m.cfg.TTLs[0][0], false
	case stepForeignDel:
		m.k, m.kTTL = none, 0
	case stepDropQueue:
		m.budget.LostQueue--
		m.q, m.qLen = [maxEntries]entry{}, 0
	case stepDropBeats:
		m.budget.LostQueue--
		for i := range m.q[:m.qLen] {
			m.q[i].beats = 0
		}
	case stepCrashAll:
		m.budget.CrashAll--
		for p := 1; p < len(m.cfg.TTLs); p++ {
			if !m.procs[p].crashed {
				m.crash(p, true)
			}
		}
	default:
		m.applyCall(s)
	}
	m.checkBelief()
}

func (m *machine) passTime() {
	m.countWaste()
	m.tick()
	for p := range m.cfg.TTLs {
		if m.queues[p] != nil {
			m.change(p, aTick)
			m.owned[p] = true
		}
	}
	m.checkBlind()
}

func (m *machine) applyCall(s step) {
	p := int(s.a)
	switch s.kind {
	case stepAcquire:
		m.acquire(p)
	case stepGiveUp:
		m.budget.GiveUp--
		m.left(p, firstAcquire+s.b)
	case stepTryAcquire:
		m.budget.Try--
		m.tryAcquire(p)
	case stepRelease:
		m.release(p, int(s.b))
	case stepExtend:
		m.budget.Extend--
		m.extend(p, int(s.b>>4), m.cfg.TTLs[p][s.b&15])
	case stepClose:
		m.budget.Close--
		m.close(p)
	case stepCloseEnds:
		m.closeEnds(p)
	case stepCrash, stepCrashHalfOpen:
		m.budget.Crash--
		m.crash(p, s.kind == stepCrashHalfOpen)
	default:
		panic(fmt.Sprintf("fairmodel: unknown step %d", s.kind))
	}
}

func (m *machine) applyCommand(kind stepKind, i int) {
	switch kind {
	case stepExecuteTwice:
		m.budget.Repeat--
		if again := m.cmds[i]; m.cmdLen < maxCommands {
			m.cmds[m.cmdLen] = again
			m.cmdLen++
			m.abandon(int(m.cmdLen) - 1)
		} else {
			m.overflow = true
		}
		m.executeAt(i)
	case stepExecute:
		m.executeAt(i)
	case stepExecuteGhost:
		c := m.removeCommand(i)
		m.execute(&c, true)
	case stepExecuteUnheard:
		m.budget.Unknown--
		c := m.removeCommand(i)
		m.execute(&c, false)
		m.unknown(c)
	case stepRefuse:
		m.budget.Refused--
		m.refused(m.removeCommand(i))
	case stepTryAgain:
		if m.cmds[i].beat { // it goes again at once, without H
			m.cmds[i].beat = false
			break
		}
		m.budget.TryAgain--
		m.tryAgain(m.removeCommand(i))
	case stepPanic, stepPanicDelay:
		m.budget.Panic--
		m.panics(i, kind == stepPanicDelay)
	case stepReply:
		m.reply(m.removeCommand(i))
	case stepLoseCommand, stepLoseReply:
		m.budget.Unknown--
		m.unknown(m.removeCommand(i))
	case stepDelayCommand:
		m.budget.Unknown--
		c := m.cmds[i]
		m.abandon(i)
		m.unknown(c)
	}
}

func (m *machine) executeAt(i int) {
	c := m.cmds[i]
	m.execute(&c, false)
	c.phase = replied
	m.cmds[i] = c
	if c.verb == verbRel && c.tok2 == none || c.verb == verbRel1 {
		m.reply(m.removeCommand(i))
	}
}

func (m *machine) applySlot(kind stepKind, p int) {
	l := &m.procs[p]
	switch kind {
	case stepWake:
		m.change(p, ripened)
		m.owned[p] = true
		m.tell(p, "Wake", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Wake(now, a) })
	case stepSubscribed:
		l.heard = true
		m.tell(p, "Heard", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Heard(now, a) })
	case stepBreak:
		m.budget.Break--
		m.unhear(p)
	case stepNotice:
		m.tell(p, "Unheard", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Unheard(now, a) })
	case stepUnsubscribe:
		m.budget.Unsubscribe--
		l.heard = false
		m.loseMessages(p)
		m.tell(p, "Silenced", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Silenced(now, a) })
	}
}

// message lets the owner of t hear that t was granted.
func (m *machine) message(t token) {
	m.tell(t.owner(), "Told", func(s *fairqueue.Slot, a *fairqueue.Actions) { s.Told(now, name(t), a) })
}
