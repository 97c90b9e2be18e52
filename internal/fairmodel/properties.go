package fairmodel

import "fmt"

// checkBelief is exclusion, told one step before two processes could believe: whoever believes to hold, holds.
func (m *machine) checkBelief() {
	for p := range m.procs {
		for _, h := range m.procs[p].handles {
			if h.left > 0 && m.k != h.tok && !m.wasStolen(h.tok) {
				m.violate(fmt.Sprintf("exclusion: p%d believes that it holds %v for %d more ticks, but K is %v",
					p, h.tok, h.left, m.k))
			}
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
		if m.procs[e.tok.owner()].heard {
			m.violate(fmt.Sprintf("skip: K was taken past the entry %v", e.tok))
			return
		}
	}
}

// checkDropped: an entry is dropped only if its process is gone, or its subscription broke, or nobody waited for it.
func (m *machine) checkDropped(e entry) {
	if l := &m.procs[e.tok.owner()]; !l.crashed && !l.closed && !e.late && !e.broken {
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
// put it there, or a message was lost, or its Close waits no longer.
func (m *machine) checkNoOrphan() {
	if m.k.ours() && !m.kExcused && m.answers(m.k.owner()) && !m.knows(m.k) {
		m.violate(fmt.Sprintf("leak: K is %v, of which its process knows nothing", m.k))
	}
	for _, e := range m.q[:m.qLen] {
		if !e.late && m.answers(e.tok.owner()) && !m.knows(e.tok) {
			m.violate(fmt.Sprintf("leak: the entry %v is in Q, and its process knows nothing of it", e.tok))
		}
	}
}

// answers: p is to end what it put at the server.
func (m *machine) answers(p int) bool { return !m.procs[p].crashed && !m.procs[p].gaveUp }

// knows says whether the token's process has any use for it, or is about to end it.
func (m *machine) knows(t token) (known bool) {
	p := t.owner()
	m.queues[p].Tokens(func(name string, dead bool) { known = known || tokenOf(p, name) == t && !dead })
	for _, h := range m.procs[p].handles {
		known = known || h.tok == t
	}
	for _, c := range m.cmds[:m.cmdLen] {
		known = known || c.phase != ghost && (c.verb == verbTryOnce || c.pass) && c.tok == t
	}
	return known
}
