package fairmodel

import (
	"fmt"
	"slices"
)

// checkBelief is exclusion, told one step before two processes could believe: whoever believes to hold, holds.
func (m *machine) checkBelief() {
	for p := range m.slots {
		l := &m.slots[p]
		if l.left > 0 && m.k != l.h && !m.wasStolen(l.h) {
			m.violate(fmt.Sprintf("exclusion: p%d believes that it holds %v for %d more ticks, but K is %v",
				p, l.h, l.left, m.k))
		}
	}
}

// checkPumped is I1.
func (m *machine) checkPumped() {
	if m.k == none && m.qLen > 0 {
		m.violate("I1: after a script K is free and Q is not empty")
	}
}

// checkNotSkipped: K may be taken past the queue only if nobody in it is heard.
func (m *machine) checkNotSkipped() {
	for _, e := range m.q[:m.qLen] {
		if m.slots[e.tok.owner()].heard {
			m.violate(fmt.Sprintf("skip: K was taken past the entry %v", e.tok))
			return
		}
	}
}

// checkDropped: an entry is dropped only if its process is gone, or its subscription broke, or nobody waited for it.
func (m *machine) checkDropped(e entry) {
	if l := &m.slots[e.tok.owner()]; !l.crashed && !l.closed && !e.late && !e.broken {
		m.violate(fmt.Sprintf("skip: the entry %v of a live process was dropped", e.tok))
	}
}

// checkEnqueuedOnce: a process has one place in the queue.
func (m *machine) checkEnqueuedOnce(p int) {
	n := 0
	for _, e := range m.q[:m.qLen] {
		if e.tok.owner() == p && !e.late {
			n++
		}
	}
	if n > 1 {
		m.violate(fmt.Sprintf("twice: p%d has %d places in the queue", p, n))
	}
}

// checkNoOrphan holds once nothing is on its way: what a live process put at the server it still knows, unless a ghost
// put it there or a message was lost.
func (m *machine) checkNoOrphan() {
	if m.k.ours() && !m.kExcused && !m.slots[m.k.owner()].crashed && !m.knows(m.k) {
		m.violate(fmt.Sprintf("leak: K is %v, of which its process knows nothing", m.k))
	}
	for _, e := range m.q[:m.qLen] {
		if !e.late && !m.slots[e.tok.owner()].crashed && !m.knows(e.tok) {
			m.violate(fmt.Sprintf("leak: the entry %v is in Q, and its process knows nothing of it", e.tok))
		}
	}
}

// knows says whether the token's process has any use for it, or is about to end it; what it does not know is dead.
func (m *machine) knows(t token) bool {
	p := t.owner()
	l := &m.slots[p]
	if t == l.w && !l.wUnseen || t == l.h || t == l.quit || slices.Contains(l.old[:], t) || m.owed(t) {
		return true
	}
	for _, c := range m.cmds[:m.cmdLen] {
		if c.phase != ghost && c.verb == verbTryOnce && c.tok == t && !m.is(RelOfTryInFlight) {
			return true
		}
	}
	return false
}

// owed says whether a REL of t is on its way.
func (m *machine) owed(t token) bool {
	for _, c := range m.cmds[:m.cmdLen] {
		if c.phase != ghost && (c.verb == verbRel || c.verb == verbRelPoke) && c.tok == t {
			return true
		}
	}
	return false
}
