package fairmodel

import "fmt"

type stepKind uint8

const (
	stepTick stepKind = iota
	stepAcquire
	stepGiveUp
	stepTryAcquire
	stepRelease
	stepReleaseOld
	stepExtend
	stepClose
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
	stepPoke
	stepPollTry
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
	stepCheck
)

// step is one thing that may happen; a and b say to which process, command, message or waiter.
type step struct {
	kind stepKind
	a, b uint8
}

// steps lists all that may happen next.
func (m *machine) steps(out []step) []step {
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
	add(m.k.ours() && b.Steal > 0, stepSteal, 0, 0)
	add(m.k.ours() && b.Steal > 0, stepStealRel, 0, 0)
	for p := range m.cfg.TTLs {
		if !m.slots[p].crashed {
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
		if c.phase != ghost && c.phase != wedged {
			return false
		}
	}
	return m.msgLen == 0
}

// callSteps are the local calls that p's users may make.
func (m *machine) callSteps(p int, add func(bool, stepKind, int, int)) {
	l, b := &m.slots[p], &m.budget
	add(int(l.joined) < len(m.cfg.TTLs[p]) && !l.closed, stepAcquire, p, 0)
	for i := range m.cfg.TTLs[p] {
		add(l.waiting&(1<<i) != 0 && b.GiveUp > 0, stepGiveUp, p, i)
	}
	add(b.Try > 0 && !l.closed, stepTryAcquire, p, 0)
	add(l.h != none && !l.passing, stepRelease, p, 0)
	for i := range l.old {
		add(l.old[i] != none, stepReleaseOld, p, i)
	}
	for i := range m.cfg.TTLs[p] {
		add(l.left > 0 && !l.passing && b.Extend > 0, stepExtend, p, i)
	}
	add(b.Close > 0 && !l.closed, stepClose, p, 0)
	add(b.Crash > 0, stepCrash, p, 0)
	add(b.Crash > 0 && l.heard, stepCrashHalfOpen, p, 0)
}

// slotSteps are p's timers and its subscription.
func (m *machine) slotSteps(p int, add func(bool, stepKind, int, int)) {
	l, b := &m.slots[p], &m.budget
	add(l.w != none && l.wQueued && l.basis > 0 && !m.is(NoPoke) && !m.carried(l.w), stepPoke, p, 0)
	add(m.pollable(p), stepPollTry, p, 0)
	add(m.checkable(p), stepCheck, p, 0)
	add(l.sub == subMaking, stepSubscribed, p, 0)
	add(l.heard && b.Break > 0, stepBreak, p, 0)
	add(l.sub == subConfirmed && !l.heard, stepNotice, p, 0)
	idle := l.waiting == 0 && l.w == none && l.quit == none
	add(idle && l.sub == subConfirmed && b.Unsubscribe > 0, stepUnsubscribe, p, 0)
}

func (m *machine) pollable(p int) bool {
	l := &m.slots[p]
	return l.waiting != 0 && l.w == none && l.quit == none && l.left == 0 && l.sub == subMaking
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
		add(b.Panic > 0 && m.sentByWaiter(c), stepPanic, i, 0)
		add(b.Panic > 0 && m.sentByWaiter(c), stepPanicDelay, i, 0)
		add(b.Unknown > 0 && c.verb == verbRel && c.tok2 == none, stepExecuteUnheard, i, 0)
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
		stepDelayCommand, stepLoseReply, stepPanic, stepPanicDelay:
		m.applyCommand(s.kind, i)
	case stepMessage:
		m.message(m.removeMessage(i))
	case stepLoseMessage:
		m.budget.LostMessage--
		m.loseMessage(i)
	case stepPoke, stepCheck, stepPollTry, stepSubscribed, stepBreak, stepNotice, stepUnsubscribe:
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
	default:
		m.applyCall(s)
	}
	m.checkBelief()
}

func (m *machine) passTime() {
	m.tick()
	m.checkBlind()
	for p := range m.cfg.TTLs {
		if m.slots[p].left == 0 {
			m.tend(p)
		}
	}
}

func (m *machine) applyCall(s step) {
	p := int(s.a)
	switch s.kind {
	case stepAcquire:
		m.acquire(p)
	case stepGiveUp:
		m.budget.GiveUp--
		m.giveUp(p, int(s.b))
	case stepTryAcquire:
		m.budget.Try--
		m.tryAcquire(p)
	case stepRelease:
		m.release(p)
	case stepReleaseOld:
		m.releaseOld(p, int(s.b))
	case stepExtend:
		m.budget.Extend--
		m.extend(p, m.cfg.TTLs[p][s.b])
	case stepClose:
		m.budget.Close--
		m.close(p)
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
	if c.verb == verbRel && c.tok2 == none {
		m.reply(m.removeCommand(i))
	}
}

func (m *machine) applySlot(kind stepKind, p int) {
	l := &m.slots[p]
	switch kind {
	case stepPoke:
		l.pokeDue = true
	case stepCheck:
		l.checkDue = false
		m.send(command{verb: verbCheck, proc: uint8(p), tok: l.h})
	case stepPollTry:
		m.carry(p, command{verb: verbTry})
	case stepSubscribed:
		l.sub, l.heard = subConfirmed, true
		l.pokeDue = l.w != none
	case stepBreak:
		m.budget.Break--
		l.heard = false
		m.loseMessages(p)
		for i := range m.q[:m.qLen] {
			if m.q[i].tok.owner() == p {
				m.q[i].broken = true
			}
		}
	case stepNotice:
		l.sub = subMaking
		if l.waiting == 0 && l.w == none && l.quit == none {
			l.sub = subNone
		}
	case stepUnsubscribe:
		m.budget.Unsubscribe--
		l.sub, l.heard = subNone, false
		m.loseMessages(p)
	}
	m.tend(p)
}
