package fairmodel

import "slices"

// ttlOf is the ttl of the local head's Acquire.
func (m *machine) ttlOf(p int) uint8 {
	return m.cfg.TTLs[p][m.head(p)]
}

func (m *machine) head(p int) int {
	for i := range m.cfg.TTLs[p] {
		if m.slots[p].waiting&(1<<i) != 0 {
			return i
		}
	}
	return 0
}

// fresh is a token of p that nothing names.
func (m *machine) fresh(p int) token {
	var used [2 + maxProcs*maxTokens]bool
	m.eachToken(func(t *token) { used[*t] = true })
	for t := token(2 + p*maxTokens); t < token(2+(p+1)*maxTokens); t++ {
		if !used[t] {
			return t
		}
	}
	m.overflow = true
	return token(2 + p*maxTokens)
}

func (m *machine) send(c command) {
	if m.cmdLen == maxCommands {
		m.overflow = true
		return
	}
	c.phase = sent
	c.subOK = m.slots[c.proc].sub == subConfirmed
	m.cmds[m.cmdLen] = c
	m.cmdLen++
}

// carried says whether a command that names t as w is in flight.
func (m *machine) carried(t token) bool {
	for _, c := range m.cmds[:m.cmdLen] {
		if c.phase != ghost && (c.names(t) || c.tok2 == t) {
			return true
		}
	}
	return false
}

func (c *command) names(t token) bool {
	switch c.verb {
	case verbTry, verbEnter, verbPoke:
		return c.tok == t
	}
	return false
}

// tend does what is due for p without any event: pokes, QUIT, the next waiter.
func (m *machine) tend(p int) {
	l := &m.slots[p]
	if l.crashed {
		return
	}
	if l.w != none && l.waiting == 0 && (!m.carried(l.w) || m.is(QuitBesideEnter)) {
		m.quitW(p)
	}
	if l.w != none && (l.pokeDue || !l.wQueued) && !m.carried(l.w) {
		m.pokeNow(p)
	}
	if l.quit != none && !m.quitting(l.quit) {
		m.send(command{verb: verbQuit, proc: uint8(p), tok: l.quit})
	}
	m.serve(p)
	if l.closed && l.w == none && l.quit == none && l.sub != subNone {
		l.sub, l.heard = subNone, false
		m.loseMessages(p)
	}
}

func (m *machine) quitting(t token) bool {
	for _, c := range m.cmds[:m.cmdLen] {
		if c.phase != ghost && c.verb == verbQuit && c.tok == t {
			return true
		}
	}
	return false
}

func (m *machine) pokeNow(p int) {
	l := &m.slots[p]
	l.pokeDue = false
	if m.is(NoPoke) {
		return
	}
	c := command{verb: verbPoke, proc: uint8(p), tok: l.w, ttl: l.wTTL, heir: m.ttlOf(p)}
	switch {
	case m.is(EnqueueTwice) && !l.wQueued && l.sub == subConfirmed:
		c = command{verb: verbEnter, proc: uint8(p), tok: l.w, ttl: l.wTTL}
	case m.is(RebuiltEntry):
		c.ttl = c.heir
	}
	m.send(c)
}

// serve sends the local head on the way of Acquire if it is its turn.
func (m *machine) serve(p int) {
	l := &m.slots[p]
	if l.waiting == 0 || l.w != none || l.left > 0 {
		return
	}
	if l.quit != none && !m.is(EnqueueDuringQuit) || l.h != none && m.is(HeadAsleep) {
		return
	}
	switch l.sub {
	case subNone:
		m.carry(p, command{verb: verbTry})
	case subConfirmed:
		m.carry(p, command{verb: verbEnter})
	}
}

// carry gives the local head a new token, registers it, and sends the command that carries it.
func (m *machine) carry(p int, c command) {
	l := &m.slots[p]
	t := m.fresh(p)
	l.w, l.wTTL, l.wQueued, l.wUnseen = t, m.ttlOf(p), false, m.is(RegisterAfterReply)
	l.basis, l.pokeDue, l.wTry = 0, false, c.verb == verbTry
	c.proc, c.ttl = uint8(p), l.wTTL
	if c.verb == verbRel {
		c.tok2 = t
	} else {
		c.tok = t
	}
	m.send(c)
}

func (m *machine) dropW(p int) {
	l := &m.slots[p]
	l.w, l.wTTL, l.wQueued, l.wTry, l.wUnseen, l.basis, l.pokeDue = none, 0, false, false, false, 0, false
}

// owe releases t at once, and again until that is answered.
func (m *machine) owe(t token) {
	if !m.owed(t) {
		m.send(command{verb: verbRel, proc: uint8(t.owner()), tok: t})
	}
}

// adopt gives the granted w to the local head.
func (m *machine) adopt(p int, t token, left uint8) {
	l := &m.slots[p]
	m.dropW(p)
	switch {
	case l.waiting != 0 && left > 0:
		m.leave(p)
		m.hold(p, t, left)
	case !m.is(GrantForgotten):
		m.owe(t)
	}
}

// hold gives the process a handle of t.
func (m *machine) hold(p int, t token, left uint8) {
	l := &m.slots[p]
	if l.left > 0 && !m.wasStolen(t) && !(m.wasStolen(l.h) && m.cfg.Budget.Try > 0) {
		m.violate("exclusion: two handles of one process are valid")
	}
	before := l.h
	l.h, l.left, l.checkDue = t, left, false
	switch {
	case before == none || before == t:
	case l.passing: // its Release waits
		m.owe(before)
	default:
		if i := slices.Index(l.old[:], none); i >= 0 {
			l.old[i] = before
		} else {
			m.overflow = true
		}
	}
	l.passing = false
}

func (m *machine) leave(p int) {
	head := uint8(1) << m.head(p)
	if m.slots[p].gone&head != 0 {
		m.violate("leak: the lock went to a waiter that is gone")
	}
	m.slots[p].waiting &^= head
}

func (m *machine) startSub(p int) {
	if l := &m.slots[p]; l.sub == subNone && l.waiting != 0 {
		l.sub = subMaking
	}
}

// loseMessages drops what is on its way to p; nobody knows of a grant that was told so.
func (m *machine) loseMessages(p int) {
	for i := int(m.msgLen) - 1; i >= 0; i-- {
		if m.msgs[i].owner() == p {
			m.loseMessage(i)
		}
	}
}

func (m *machine) loseMessage(i int) {
	if t := m.removeMessage(i); t == m.k {
		m.kExcused = true
	}
}
