package fairmodel

import (
	"time"

	"github.com/redigolock/redigolock/internal/fairqueue"
)

// The slots of the processes are those of internal/fairqueue. Time stands still in them: it is always now, and when a tick
// passes, all that they know of is moved back instead. So states that differ in the time of day only are equal.

const (
	tick  = time.Second // a cap of fairqueue
	pause = 1           // of what is to be sent again; it ends when the explorer says so
	far   = 8 * tick    // later is as good as never
)

var now = time.Unix(1e9, 0)

// config is the fairqueue.Config of process p.
func (e *explorer) config(p int) *fairqueue.Config {
	cfg := &fairqueue.Config{
		Token:  func() string { return name(e.at.fresh(p)) },
		Drift:  func(time.Duration) time.Duration { return 0 },
		Pause:  func(int) time.Duration { return pause },
		Chance: func(time.Duration) time.Duration { return 0 },
	}
	if e.cfg.Cohort {
		cfg.Passes, cfg.Slice = 1<<20, time.Hour
	}
	return cfg
}

// name is a token as the slot of its process has it, which knows no others: it does not say which process that is, so that slots of
// two processes can be equal.
func name(t token) string { return string([]byte{byte(t-2)%maxTokens + 1}) }

// tokenOf is the token that the slot of p calls so.
func tokenOf(p int, name string) token {
	if name == "" {
		return none
	}
	return tokenAt(p, name[len(name)-1]-1)
}

func tokenAt(p int, n byte) token { return token(2 + p*maxTokens + int(n)) }

// Times as they are when nothing has passed, when a tick has, and when the pauses are over.
func since(t time.Time) time.Time {
	if t.IsZero() || now.Sub(t) > maxAge*tick {
		return now.Add(-maxAge * tick)
	}
	return t
}

func due(t time.Time) time.Time {
	switch d := t.Sub(now); {
	case t.IsZero():
		return t
	case d < 0:
		return now
	case d > far:
		return now.Add(far)
	}
	return t
}

// beat is a time at which a slot's Poke has beaten: in this tick, or before it.
func beat(t time.Time) time.Time {
	if now.Sub(t) >= tick {
		return now.Add(-tick)
	}
	return t
}

func beatTick(t time.Time) time.Time { return beat(t.Add(-tick)) }

func sinceTick(t time.Time) time.Time { return since(t.Add(-tick)) }

func dueTick(t time.Time) time.Time {
	if t.IsZero() || t.Sub(now) >= far {
		return due(t)
	}
	return due(t.Add(-tick))
}

func dueRipe(t time.Time) time.Time {
	if d := t.Sub(now); !t.IsZero() && d < tick {
		return now
	}
	return due(t)
}

// inByte is a time in one byte.
func inByte(t time.Time) byte {
	if t.IsZero() {
		return 0
	}
	d := t.Sub(now)
	b := byte(100 + 2*(d/tick))
	if d%tick != 0 {
		b++
	}
	return b
}

var (
	asIs    = fairqueue.Change{Token: same, Since: since, Beat: beat, Due: due, Debt: sameDebt}
	aTick   = fairqueue.Change{Token: same, Since: sinceTick, Beat: beatTick, Due: dueTick, Debt: sameDebt}
	ripened = fairqueue.Change{Token: same, Since: since, Beat: beat, Due: dueRipe, Debt: sameDebt}
)

func same(token string) string    { return token }
func sameDebt(n uint64) uint64    { return n }
func ticks(n uint8) time.Duration { return time.Duration(n) * tick }

// inTicks is what is left until t.
func inTicks(t time.Time) uint8 { return uint8(max(t.Sub(now), 0) / tick) }

// slot is the slot of p, for this step alone.
func (m *machine) slot(p int) *fairqueue.Slot {
	if !m.owned[p] {
		m.change(p, asIs)
		m.owned[p] = true
	}
	return m.queues[p]
}

func (m *machine) change(p int, c fairqueue.Change) {
	m.queues[p] = m.queues[p].Copy(m.cfgs[p], c)
}

// normalise makes states that differ in names only equal: it sorts what has no order and renames the tokens and debts.
func (m *machine) normalise() {
	m.forgetStolen()
	m.sort()
	var names [2 + maxProcs*maxTokens]token
	var used [maxProcs]token
	give := func(t token) token {
		if !t.ours() {
			return t
		}
		if names[t] == none {
			p := t.owner()
			names[t] = token(2+p*maxTokens) + used[p]
			used[p]++
		}
		return names[t]
	}
	for p := range m.procs {
		if q := m.queues[p]; q != nil {
			q.Tokens(func(name string, dead bool) {
				if !dead {
					give(tokenOf(p, name))
				}
			})
		}
	}
	m.eachToken(func(t *token) { *t = give(*t) })
	var debts [maxProcs][256]uint8
	for p := range m.procs {
		if m.queues[p] == nil {
			continue
		}
		n := uint8(0)
		m.queues[p].Debts(func(debt uint64) {
			n++
			debts[p][debt] = n
		})
		if !m.owned[p] && m.isNamed(p, &names, &debts[p]) {
			continue // it is as it was, and states may share it
		}
		m.change(p, fairqueue.Change{
			Token: func(old string) string {
				if t := names[tokenOf(p, old)]; t != none {
					return name(t)
				}
				return ""
			},
			Since: since, Beat: beat, Due: due, Debt: func(n uint64) uint64 { return uint64(debts[p][n]) },
		})
		m.owned[p] = true
	}
	for i := range m.cmds[:m.cmdLen] {
		c := &m.cmds[i]
		c.debt = debts[c.proc][c.debt]
	}
	m.sort()
}

// isNamed reports whether all names that the slot of p has stay as they are.
func (m *machine) isNamed(p int, names *[2 + maxProcs*maxTokens]token, debts *[256]uint8) bool {
	same := true
	m.queues[p].Tokens(func(name string, _ bool) {
		t := tokenOf(p, name)
		same = same && names[t] == t
	})
	m.queues[p].Debts(func(n uint64) { same = same && uint64(debts[n]) == n })
	return same
}
