package fairmodel

import (
	"slices"

	"github.com/redigolock/redigolock/internal/fairqueue"
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

func (s *world) wasStolen(t token) bool { return t != none && slices.Contains(s.stolen[:], t) }

// forgetStolen forgets what nobody can believe to hold any more.
func (m *machine) forgetStolen() {
	for i, t := range m.stolen {
		if t != none && !m.believable(t) {
			m.stolen[i] = none
		}
	}
	if m.stolen[0] == none {
		slices.Reverse(m.stolen[:])
	}
}

// believable: t's process believes that it holds t, or may yet.
func (m *machine) believable(t token) bool {
	p := t.owner()
	if m.procs[p].crashed {
		return false
	}
	for _, h := range m.procs[p].handles {
		if h.tok == t && h.left > 0 {
			return true
		}
	}
	if m.queues[p].Entry() != "" && m.waitsFor(p, t) || slices.Contains(m.msgs[:m.msgLen], t) {
		return true
	}
	for _, c := range m.cmds[:m.cmdLen] {
		if c.phase == replied && c.res == granted && (c.tok == t || c.tok2 == t) || c.phase != ghost && c.pass && c.tok == t {
			return true
		}
	}
	return false
}

// waitsFor: t is the token of p that waits.
func (m *machine) waitsFor(p int, t token) bool {
	e := m.queues[p].Entry()
	return e != "" && tokenOf(p, e) == t
}

// overdue: where timers are punctual, one has still to fire before time passes.
func (m *machine) overdue() bool {
	if !m.cfg.Punctual {
		return false
	}
	for p := range m.cfg.TTLs {
		if q := m.queues[p]; q != nil && (q.Hearing() == fairqueue.Making || m.brokenUnnoticed(p) || q.IsDue(now.Add(tick))) {
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
		for _, h := range m.procs[p].handles {
			blind = blind || m.procs[p].waiting != 0 && h.left > 0 && m.k != h.tok
		}
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
	return c.verb == verbTry && m.procs[c.proc].waiting == bitOf(c.who)
}

// panics ends the waiter that sends the command i: its outcome is unknown, and the waiter leaves the FIFO. late: the command
// may still be executed.
func (m *machine) panics(i int, late bool) {
	c := m.cmds[i]
	if late {
		m.abandon(i)
	} else {
		m.removeCommand(i)
	}
	m.unknown(c)
	if m.procs[c.proc].waiting&bitOf(c.who) != 0 {
		m.left(int(c.proc), c.who)
	}
}
