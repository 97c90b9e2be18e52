package fairmodel

import (
	"strings"

	"github.com/redigolock/redigolock/internal/fairqueue"
)

// machine is a state while a step is applied to it.
type machine struct {
	state
	cfg      *Config
	cfgs     *[maxProcs]*fairqueue.Config
	owned    [maxProcs]bool     // the slots that no other state shares
	then     *fairqueue.Actions // what follows from the newest event
	moves    map[Move]struct{}
	bad      string // the first property that the step broke
	overflow bool   // the step needs more than a state has room for
}

func (m *machine) is(x Mutant) bool { return m.cfg.Mutant == x }

func (m *machine) violate(property string) {
	if m.bad == "" && strings.HasPrefix(property, m.cfg.Only) {
		m.bad = property
	}
}

// execute runs a command's script and fills in its reply. late: a ghost runs. What it puts into K its process must know of, unless it
// was told often enough that it is not there.
func (m *machine) execute(c *command, late bool) {
	switch c.verb {
	case verbTry, verbTryOnce:
		m.scriptTry(c, late)
	case verbEnter:
		m.scriptEnter(c, late)
	case verbRel:
		m.scriptRel(c, late)
	case verbRel1:
		if m.k == c.tok || m.k != none && m.is(AloneUnconditional) {
			m.k, m.kTTL, m.kExcused = none, 0, false
		}
		c.res = done
		if !late {
			m.missed(c)
		}
		return // whoever comes next pumps
	case verbPoke:
		m.scriptPoke(c, c.tok, late)
	case verbQuit:
		m.scriptQuit(c)
	case verbExtend:
		m.scriptExtend(c)
	case verbCheck:
		m.scriptCheck(c)
	}
	if c.res == granted || c.verb == verbExtend && c.res == done {
		c.valid = less(m.kTTL, c.age)
	} else if m.k.ours() && m.k.owner() == int(c.proc) {
		c.holder = m.k
	}
	if c.res != granted && c.res != queued && c.res != nosub && c.verb != verbExtend {
		c.age = 0
	}
	m.checkPumped()
	if !late {
		m.missed(c)
	}
}

// missed counts for the ghosts that the server was seen without what they bring.
func (m *machine) missed(c *command) {
	t := none
	switch {
	case c.verb == verbRel, c.verb == verbRel1, c.verb == verbQuit, c.verb == verbPoke && c.res == gone:
		t = c.tok
	}
	for i := range m.cmds[:m.cmdLen] {
		if g := &m.cmds[i]; t != none && g.phase == ghost && g.puts() == t && g.known < enough {
			if g.known++; g.known == enough {
				g.age = 0
			}
		}
	}
}

// pump hands K to the first entry that is heard; mine is told by the reply.
func (m *machine) pump(mine token, late bool) {
	for m.k == none && m.qLen > 0 {
		e := m.removeEntry(0)
		l := &m.procs[e.tok.owner()]
		switch {
		case e.tok == mine:
			m.k, m.kTTL, m.kExcused = e.tok, e.ttl, late
		case l.heard || m.is(NoLivenessTest):
			m.k, m.kTTL, m.kExcused = e.tok, e.ttl, false
			m.publish(e.tok)
			if m.is(TakeFromUnheard) {
				m.kTold = e.tok
			}
			if !l.heard {
				m.violate("K was handed to an entry that nobody hears")
			}
		default:
			m.checkDropped(e)
			if m.is(PublishToDropped) && !l.crashed && m.queues[e.tok.owner()].Hearing() == fairqueue.Confirmed {
				m.publish(e.tok)
			}
		}
	}
}

func (m *machine) publish(t token) {
	if m.procs[t.owner()].crashed {
		return
	}
	if m.msgLen == maxMessages {
		m.overflow = true
		return
	}
	m.msgs[m.msgLen] = t
	m.msgLen++
}

// take gives the free K to t outside of the pump.
func (m *machine) take(t token, ttl uint8, late bool) {
	m.checkNotSkipped()
	m.k, m.kTTL, m.kExcused = t, ttl, late
}

func (m *machine) push(c *command, t token, late bool) {
	if m.qLen == maxEntries {
		m.overflow = true
		return
	}
	unheard := c.subOK && !m.procs[t.owner()].heard
	m.q[m.qLen] = entry{tok: t, ttl: c.ttl, late: late, broken: unheard && c.verb == verbRel}
	m.qLen++
	m.checkEnqueuedOnce(int(c.proc))
}

func (m *machine) scriptTry(c *command, late bool) {
	c.res = held
	if m.k != none {
		return
	}
	if !m.is(BargeInTry) {
		m.pump(none, late)
	}
	if m.k == none {
		m.take(c.tok, c.ttl, c.isExcused(late))
		c.res = granted
	}
}

func (c *command) isExcused(late bool) bool { return late && c.known >= enough }

func (m *machine) scriptEnter(c *command, late bool) {
	if !m.procs[c.proc].heard && !m.is(NoNosubTest) {
		if m.k == none && !m.is(NosubWithoutPump) {
			m.pump(none, late)
		}
		c.res = nosub
		return
	}
	if m.k == none && m.is(BargeInEnter) {
		m.take(c.tok, c.ttl, late)
		c.res = granted
		return
	}
	m.push(c, c.tok, late)
	if m.k == none && !m.is(EnterWithoutPump) {
		m.pump(c.tok, c.isExcused(late))
	}
	c.res = m.grantedOrQueued(c.tok)
}

func (m *machine) grantedOrQueued(t token) outcome {
	if m.k == t {
		return granted
	}
	return queued
}

// releaseK deletes K if it is the command's token.
func (m *machine) releaseK(c *command) (was bool) {
	if m.k == none || m.k != c.tok && !m.is(UnconditionalRelease) {
		return false
	}
	m.k, m.kTTL, m.kExcused = none, 0, false
	return true
}

func (m *machine) scriptRel(c *command, late bool) {
	was := m.releaseK(c)
	c.res = done
	if !was && m.is(NotMineForgetsNext) {
		return
	}
	if c.tok2 != none {
		m.push(c, c.tok2, late)
	}
	if m.k == none && !m.is(RelWithoutPump) {
		m.pump(c.tok2, c.isExcused(late))
	}
	if c.tok2 != none {
		c.res = m.grantedOrQueued(c.tok2)
	}
}

func (m *machine) scriptPoke(c *command, t token, late bool) {
	if k := m.k; m.is(TakeFromUnheard) && k != none && k == m.kTold {
		if p := k.owner(); p != int(c.proc) && !m.procs[p].heard {
			m.k, m.kTTL = none, 0
		}
	}
	if m.k == none {
		m.pokeFree(c, t, late)
	}
	if m.k == t {
		m.kTTL = max(m.kTTL, c.heir)
		c.res = granted
		return
	}
	i := m.find(t, c.ttl)
	if i >= 0 && c.beat {
		m.beat(i)
		i = m.find(t, c.ttl)
	}
	switch {
	case i < 0:
		c.res = gone
	case !m.procs[c.proc].heard && !m.is(NoNosubTest):
		c.res = nosub
	default:
		c.res = queued
	}
}

func (m *machine) pokeFree(c *command, t token, late bool) {
	if i := m.find(t, c.ttl); m.is(BargeInPoke) && i >= 0 {
		m.removeEntry(i)
		m.take(t, c.ttl, late)
		return
	}
	m.pump(t, late)
}

// find is the place of the entry in Q, compared byte for byte: so with its ttl.
func (m *machine) find(t token, ttl uint8) int {
	for i, e := range m.q[:m.qLen] {
		if e.tok == t && e.ttl == ttl {
			return i
		}
	}
	return -1
}

func (m *machine) scriptQuit(c *command) {
	for i := int(m.qLen) - 1; i >= 0; i-- {
		if m.q[i].tok == c.tok {
			m.removeEntry(i)
		}
	}
	m.releaseK(c)
	if m.k == none {
		m.pump(none, false)
	}
	c.res = done
}

func (m *machine) scriptExtend(c *command) {
	switch {
	case m.k == c.tok && m.is(ExtendLowers):
		m.kTTL, c.res = c.ttl, done
	case m.k == c.tok:
		m.kTTL, c.res = max(m.kTTL, c.ttl), done
	default:
		if m.k == none && !m.is(ExtendWithoutPump) {
			m.pump(none, false)
		}
		c.res = notMine
	}
}

// scriptCheck is EXTEND with the shortest ttl: it changes nothing about a lock that is held.
func (m *machine) scriptCheck(c *command) {
	c.res = done
	if m.k != c.tok {
		if m.k == none {
			m.pump(none, false)
		}
		c.res = notMine
	}
}
