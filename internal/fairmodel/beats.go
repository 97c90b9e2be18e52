package fairmodel

import "fmt"

// The beats of those who wait, by which the server tells the entries of the dead.

// patience is for how many ticks of H's clock an entry may be silent.
const patience = 4

// beat is POKE's part in H: H has a tick of its own, and for each entry the tick in which it last beat. A tick ends when one and
// the same entry beats twice in it.
func (m *machine) beat(i int) {
	own := m.q[i].tok
	again := m.q[i].beats == 1
	m.q[i].beats = 1
	if !again && !m.is(EveryBeatEndsTick) {
		return
	}
	most := uint8(patience)
	switch {
	case m.is(Impatient):
		most = 0
	case m.cfg.Patience > 0:
		most = m.cfg.Patience
	}
	for j := int(m.qLen) - 1; j >= 0; j-- {
		e := &m.q[j]
		switch {
		case e.tok == own && !m.is(OwnSwept):
		case e.beats == 0 && !m.is(NewSwept):
			e.beats = 2 // it has beaten in the tick before the one that begins: its first beat is not to be the second in that
			if m.is(NewAsHeard) {
				e.beats = 1
			}
		case m.is(NothingSwept):
			e.beats = 2
		case e.beats > most, e.beats == 0, e.tok == own:
			m.checkSwept(m.removeEntry(j))
		default:
			e.beats++
		}
	}
}

// beaten: H knows some entry.
func (m *machine) beaten() bool {
	for _, e := range m.q[:m.qLen] {
		if e.beats > 0 {
			return true
		}
	}
	return false
}

// checkSwept: where all timers are punctual, nobody who waits is taken for dead.
func (m *machine) checkSwept(e entry) {
	p := e.tok.owner()
	l := &m.procs[p]
	if m.cfg.Punctual && !l.crashed && !l.closed && !e.late && !e.broken && m.waitsFor(p, e.tok) {
		m.violate(fmt.Sprintf("skip: the entry %v of a live waiter was dropped as silent", e.tok))
	}
}

// countWaste counts a tick that passes while a crashed process has K and somebody waits.
func (m *machine) countWaste() {
	if m.cfg.MaxWaste == 0 || !m.k.ours() || !m.procs[m.k.owner()].crashed {
		return
	}
	for p := range m.cfg.TTLs {
		if m.procs[p].waiting != 0 {
			if m.waste++; m.waste > m.cfg.MaxWaste {
				m.violate(fmt.Sprintf("waste: the dead have had K for %d ticks while somebody waited", m.waste))
			}
			return
		}
	}
}
