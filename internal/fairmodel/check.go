package fairmodel

import (
	"fmt"
	"slices"
)

// Locks that somebody else takes away, and waiters that panic.

// steal takes K away from its process: by DEL, or by a release with the script.
func (m *machine) steal(byScript bool) {
	switch {
	case !m.believable(m.k):
	case m.stolen[1] != none:
		m.overflow = true
	default:
		slices.Reverse(m.stolen[:])
		m.stolen[0] = m.k
	}
	m.k, m.kTTL, m.kExcused = none, 0, false
	if byScript {
		m.pump(none, false)
		m.checkPumped()
	}
}

func (s *state) wasStolen(t token) bool { return t != none && slices.Contains(s.stolen[:], t) }

// forgetStolen forgets what nobody can believe to hold any more.
func (s *state) forgetStolen() {
	for i, t := range s.stolen {
		if t != none && !s.believable(t) {
			s.stolen[i] = none
		}
	}
	if s.stolen[0] == none {
		slices.Reverse(s.stolen[:])
	}
}

// believable: t's process believes that it holds t, or may yet.
func (s *state) believable(t token) bool {
	l := &s.slots[t.owner()]
	if l.w == t || l.h == t && l.left > 0 || slices.Contains(s.msgs[:s.msgLen], t) {
		return true
	}
	for _, c := range s.cmds[:s.cmdLen] {
		if c.phase == replied && c.res == granted && (c.tok == t || c.tok2 == t) {
			return true
		}
	}
	return false
}

// checkable: somebody waits behind a holder of the own process, and a tick has passed since K was known to be its.
func (m *machine) checkable(p int) bool {
	l := &m.slots[p]
	return l.checkDue && l.left > 0 && l.waiting != 0 && l.w == none && !l.passing && !l.closed && !l.crashed &&
		!m.is(NoCheck) && !m.checking(l.h)
}

func (m *machine) checking(t token) bool {
	for _, c := range m.cmds[:m.cmdLen] {
		if c.phase != ghost && c.verb == verbCheck && c.tok == t {
			return true
		}
	}
	return false
}

// replyCheck: "not mine" ends the handle that has the token still, and no other.
func (m *machine) replyCheck(p int, c command) {
	l := &m.slots[p]
	switch {
	case c.res != notMine, l.h == none, l.h != c.tok && !m.is(CheckEndsAny):
	case m.is(CheckWithoutLatch):
		if l.waiting != 0 && l.w == none && l.quit == none && l.sub == subConfirmed {
			m.carry(p, command{verb: verbEnter})
		}
	default:
		m.lost(p)
	}
}

// lost ends the handle of p, because its token is not in K any more.
func (m *machine) lost(p int) {
	l := &m.slots[p]
	if l.left > 0 && m.k == l.h {
		m.violate(fmt.Sprintf("lost for nothing: p%d gives up %v, which is in K", p, l.h))
	}
	l.left, l.checkDue = 0, false
}

// overdue: where timers are punctual, one has still to fire before time passes.
func (m *machine) overdue() bool {
	if !m.cfg.Punctual {
		return false
	}
	for p := range m.cfg.TTLs {
		l := &m.slots[p]
		if l.sub == subMaking || l.sub == subConfirmed && !l.heard || m.checkable(p) {
			return true
		}
	}
	return false
}

// maxBlind is how many ticks may begin while a waiter sits behind a holder that has lost its lock: one, in which CHECK is due.
const maxBlind = 1

// checkBlind: where timers are punctual, nobody waits for long behind a holder of the own process that has lost its lock.
func (m *machine) checkBlind() {
	if !m.cfg.Punctual {
		return
	}
	blind := false
	for p := range m.cfg.TTLs {
		l := &m.slots[p]
		blind = blind || l.waiting != 0 && l.left > 0 && m.k != l.h
	}
	if m.blind++; !blind {
		m.blind = 0
	}
	if m.blind > maxBlind {
		m.violate("late: somebody waits behind a holder whose lock is gone, and nothing is done")
	}
}

// sentByWaiter: the goroutine that sends c is that of the waiter for whom it is sent.
func (m *machine) sentByWaiter(c *command) bool {
	l := &m.slots[c.proc]
	return c.verb == verbTry && l.w == c.tok && l.waiting != 0 && l.waiting&(l.waiting-1) == 0
}

// panics ends the waiter that sends the command i: its outcome is unknown, and the waiter leaves the FIFO. late: the command
// may still be executed.
func (m *machine) panics(i int, late bool) {
	c := m.cmds[i]
	l := &m.slots[c.proc]
	head := uint8(1) << m.head(int(c.proc))
	switch {
	case m.is(PanicWedges):
		m.cmds[i].phase, m.cmds[i].age, m.cmds[i].valid = wedged, 0, 0
	case late:
		m.abandon(i)
	default:
		m.removeCommand(i)
	}
	if m.is(PanicKeepsWaiter) {
		l.gone |= head
	} else {
		l.waiting &^= head
	}
	if !m.is(PanicWedges) {
		m.unknown(c)
	}
}
