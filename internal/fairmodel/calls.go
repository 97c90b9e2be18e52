package fairmodel

// acquire is the next Acquire call of p.
func (m *machine) acquire(p int) {
	l := &m.slots[p]
	l.waiting |= 1 << l.joined
	l.joined++
	if behind := l.waiting&(l.waiting-1) != 0; behind || l.left > 0 || l.quit != none {
		m.startSub(p)
	}
	m.tend(p)
}

// tryAcquire is a TryAcquire call of p, beside the slot's own w.
func (m *machine) tryAcquire(p int) {
	m.send(command{verb: verbTryOnce, proc: uint8(p), tok: m.fresh(p), ttl: m.cfg.TTLs[p][0]})
}

// giveUp ends the wait of one local waiter.
func (m *machine) giveUp(p, waiter int) {
	l := &m.slots[p]
	l.waiting &^= 1 << waiter
	m.tend(p)
}

// quitW gives up w, for which nobody waits any more and that no command in flight names.
func (m *machine) quitW(p int) {
	l := &m.slots[p]
	t, byTry := l.w, l.wTry
	m.dropW(p)
	switch {
	case m.is(GiveUpWithoutQuit), l.closed && m.is(CloseWithoutQuit):
	case byTry:
		m.owe(t)
	default:
		l.quit = t
	}
}

// release is Release of the handle that the slot holds.
func (m *machine) release(p int) {
	l := &m.slots[p]
	switch {
	case !m.passable(p):
		m.relHeld(p)
	case 3*l.left >= m.ttlOf(p) || m.is(PassWithoutLease):
		m.pass(p)
	default:
		l.passing = true
		m.send(command{verb: verbExtend, proc: uint8(p), tok: l.h, ttl: m.ttlOf(p), pass: true})
	}
}

// relHeld ends the holding of h at the server.
func (m *machine) relHeld(p int) {
	l := &m.slots[p]
	t, left := l.h, l.left
	l.h, l.left, l.passing = none, 0, false
	m.rel(p, t, left)
}

// rel releases t, with the next local waiter's entry where T3 allows it.
func (m *machine) rel(p int, t token, left uint8) {
	l := &m.slots[p]
	c := command{verb: verbRel, proc: uint8(p), tok: t}
	if m.is(ReuseAfterUnknown) {
		c.left = left
	}
	switch {
	case l.waiting == 0, l.w != none && !m.is(Entry2WhileWaiting), l.quit != none && !m.is(EnqueueDuringQuit),
		l.sub != subConfirmed && !m.is(Entry2Unsubscribed):
		m.send(c)
	default:
		m.carry(p, c)
	}
	m.tend(p)
}

// passable: the cohort allows a pass, if the lease is long enough.
func (m *machine) passable(p int) bool {
	l := &m.slots[p]
	return m.cfg.Cohort && l.waiting != 0 && l.w == none && l.left > 0
}

// pass is the cohort pass: the next local waiter gets a new handle of the same token.
func (m *machine) pass(p int) {
	l := &m.slots[p]
	if ttl := m.ttlOf(p); 3*l.left < ttl {
		l.left = ttl // only in a mutant
	}
	m.leave(p)
	l.passing = false
	m.tend(p)
}

// extended goes on with a Release that asked for more lease first.
func (m *machine) extended(p int, known bool) {
	l := &m.slots[p]
	long := m.passable(p) && 3*l.left >= m.ttlOf(p)
	if m.passable(p) && (known && long || !known && m.is(PassUnextended)) {
		m.pass(p)
	} else {
		m.relHeld(p)
	}
}

// releaseOld is Release of a handle that was latched and is no longer the slot's.
func (m *machine) releaseOld(p, i int) {
	l := &m.slots[p]
	t := l.old[i]
	l.old[i] = none
	if m.is(OldReleaseAsNew) && l.h != none {
		t = l.h
	}
	m.owe(t)
	m.tend(p)
}

func (m *machine) extend(p int, ttl uint8) {
	m.send(command{verb: verbExtend, proc: uint8(p), tok: m.slots[p].h, ttl: ttl})
}

// close ends every wait of p for good; what it holds stays with its handles.
func (m *machine) close(p int) {
	l := &m.slots[p]
	l.closed, l.waiting = true, 0
	m.tend(p)
}

// crash ends process p; what it sent may still be executed.
func (m *machine) crash(p int, halfOpen bool) {
	m.loseMessages(p)
	heard := m.slots[p].heard && halfOpen
	m.slots[p] = slot{crashed: true, joined: uint8(len(m.cfg.TTLs[p])), heard: heard}
	for i := int(m.cmdLen) - 1; i >= 0; i-- {
		switch c := &m.cmds[i]; {
		case int(c.proc) != p:
		case c.phase == sent:
			m.abandon(i)
		case c.phase == replied:
			m.removeCommand(i)
		}
	}
}

// abandon makes a ghost of a command: nobody waits for it any more.
func (m *machine) abandon(i int) {
	c := &m.cmds[i]
	c.phase, c.age, c.subOK, c.left = ghost, 0, false, 0
}
