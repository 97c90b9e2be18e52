package fairmodel

import "github.com/redigolock/redigolock/internal/fairqueue"

// maxCalm bounds the steps of a run without faults, maxCalmTicks its time: far more than any such run needs. maxTold
// is how much of a run that does not end is told.
const (
	maxCalm      = 400
	maxCalmTicks = 40
	maxTold      = 60
)

// calm runs on from s without faults, everything prompt and timers last, and says what is wrong with where that ends:
// no waiter may be left waiting, and nothing may be left at the server of which its process knows nothing. A live
// holder releases when nothing else is to be done; a holder past its Deadline never does. told, if not nil, gets the
// steps in words.
func (e *explorer) calm(s *state, told *[]string) (bad string) {
	m := e.machine(s)
	m.withoutFaults()
	ticks := 0
	e.passed = e.passed[:0]
	for n := 0; ; n++ {
		if told == nil {
			h := e.hash(&m.state)
			if _, ok := e.calmed[h]; ok {
				break
			}
			e.passed = append(e.passed, h)
		}
		next, ok := m.calmStep()
		if m.bad != "" {
			return m.bad
		}
		if !ok {
			break
		}
		if next.kind == stepTick {
			ticks++
		}
		if n > maxCalm || ticks > maxCalmTicks {
			m.violate("lost wake-up: without any further fault somebody waits for ever")
			return m.bad
		}
		if told != nil && len(*told) < maxTold {
			*told = append(*told, m.inWords(next))
		} else {
			m.apply(next)
		}
		if m.overflow {
			break
		}
		m.normalise()
	}
	for _, h := range e.passed {
		e.calmed[h] = struct{}{}
	}
	return ""
}

// withoutFaults takes all faults to come out of the state: no budget, no late command.
func (m *machine) withoutFaults() {
	m.budget = Budget{}
	for i := int(m.cmdLen) - 1; i >= 0; i-- {
		if m.cmds[i].phase == ghost {
			m.removeCommand(i)
		}
	}
	for p := range m.cfg.TTLs {
		m.procs[p].joined = uint8(len(m.cfg.TTLs[p]))
	}
	m.normalise()
}

// calmStep is what happens next in a run without faults; false when nobody waits any more.
func (m *machine) calmStep() (step, bool) {
	if s, ok := m.promptStep(); ok {
		return s, true
	}
	m.checkNoOrphan()
	waits := false
	for p := range m.cfg.TTLs {
		l := &m.procs[p]
		for i, h := range l.handles {
			if h.left > 0 {
				return step{stepRelease, uint8(p), uint8(i)}, true
			}
		}
		if q := m.queues[p]; q != nil && q.IsDue(now.Add(1)) {
			return step{stepWake, uint8(p), 0}, true
		}
		waits = waits || l.waiting != 0
	}
	return step{kind: stepTick}, waits
}

// promptStep is something that takes no time.
func (m *machine) promptStep() (step, bool) {
	if m.msgLen > 0 {
		return step{kind: stepMessage}, true
	}
	for i, c := range m.cmds[:m.cmdLen] {
		if c.phase == replied {
			return step{stepReply, uint8(i), 0}, true
		}
	}
	for i, c := range m.cmds[:m.cmdLen] {
		if c.phase == sent {
			return step{stepExecute, uint8(i), 0}, true
		}
	}
	for p := range m.cfg.TTLs {
		switch q := m.queues[p]; {
		case q == nil:
		case q.Hearing() == fairqueue.Making:
			return step{stepSubscribed, uint8(p), 0}, true
		case m.brokenUnnoticed(p):
			return step{stepNotice, uint8(p), 0}, true
		case q.IsDue(now.Add(tick)) && !q.IsDue(now.Add(1)): // a pause
			return step{stepWake, uint8(p), 0}, true
		}
	}
	return step{}, false
}
