package fairmodel

// reply lets the process of c read c's reply.
func (m *machine) reply(c command) {
	p := int(c.proc)
	l := &m.slots[p]
	switch c.verb {
	case verbTry:
		m.replyTry(p, c)
	case verbTryOnce:
		m.replyTryOnce(p, c)
	case verbEnter:
		m.replyW(p, c, c.tok)
	case verbPoke:
		m.replyW(p, c, c.tok)
	case verbRel, verbRelPoke:
		if c.tok2 != none {
			m.replyW(p, c, c.tok2)
		}
	case verbQuit:
		if l.quit == c.tok {
			l.quit = none
		}
	case verbExtend:
		m.replyExtend(p, c)
	case verbCheck:
		m.replyCheck(p, c)
	}
	if t := c.holder; t.ours() && t.owner() == p && !m.knows(t) {
		m.owe(t)
	}
	m.tend(p)
}

func (m *machine) replyTry(p int, c command) {
	l := &m.slots[p]
	if c.res == granted {
		m.onGranted(p, c)
		return
	}
	if l.w == c.tok {
		m.dropW(p)
		m.startSub(p)
	}
}

func (m *machine) replyTryOnce(p int, c command) {
	if c.res != granted {
		return
	}
	if left := c.valid; left > 0 {
		m.hold(p, c.tok, left)
	} else {
		m.owe(c.tok)
	}
}

// replyW is what a reply says about w.
func (m *machine) replyW(p int, c command, t token) {
	l := &m.slots[p]
	switch c.res {
	case granted:
		if c.tok2 != none {
			c.tok = c.tok2
		}
		m.onGranted(p, c)
	case queued:
		if t == l.w || m.is(LateQueuedOverwrites) && m.lateQueued(p, t) {
			l.w, l.wQueued, l.wUnseen, l.basis = t, true, false, c.age
		}
	case nosub:
		m.onNosub(p, c.verb, t)
	case gone:
		if l.w == t && (!l.pokeDue || m.is(GoneForgetsMessage)) { // else the next POKE decides: a message came meanwhile
			byTry := l.wTry
			m.dropW(p)
			if byTry { // it may still be on its way
				m.owe(t)
			}
		}
	}
}

// lateQueued is the mutant that takes a late "queued" for the newest word about t.
func (m *machine) lateQueued(p int, t token) bool {
	l := &m.slots[p]
	if l.w == none && l.waiting != 0 && t == l.h {
		l.wTTL = m.ttlOf(p)
		return true
	}
	return false
}

func (m *machine) onNosub(p int, v verb, t token) {
	l := &m.slots[p]
	if l.sub == subConfirmed {
		l.sub = subMaking
	}
	if v != verbEnter {
		l.wQueued = l.wQueued || l.w == t // it is in Q; the poke comes when the subscription is confirmed
		return
	}
	if l.w == t {
		m.dropW(p)
	}
}

func (m *machine) onGranted(p int, c command) {
	l := &m.slots[p]
	t, left := c.tok, c.valid
	switch {
	case t == l.w:
		if m.is(FullTTLFromSend) && left > 0 {
			left = less(m.ttlOf(p), c.age)
		}
		m.adopt(p, t, left)
	case t == l.h || m.owed(t):
	default:
		if !m.is(GrantForgotten) {
			m.owe(t)
		}
	}
}

func (m *machine) replyExtend(p int, c command) {
	l := &m.slots[p]
	if l.h != c.tok {
		return
	}
	switch {
	case c.res == notMine:
		m.lost(p)
	case l.left > 0:
		l.left = max(l.left, c.valid)
	}
	if c.pass && l.passing {
		m.extended(p, true)
	}
}

// message lets the owner of t hear that t was granted.
func (m *machine) message(t token) {
	p := t.owner()
	l := &m.slots[p]
	switch {
	case t == l.w && !l.wUnseen:
		m.messageW(p)
	case t == l.h && m.is(PassOnHeld):
		m.owe(t)
	case t == l.h || m.owed(t):
	case m.is(GhostDropped), m.is(IgnoredWhileQuitting) && t == l.quit:
	default:
		m.owe(t)
	}
	m.tend(p)
}

func (m *machine) messageW(p int) {
	l := &m.slots[p]
	ttl, age := l.wTTL, l.basis
	if m.is(ValidityFromMessage) {
		age = 0
	}
	if m.is(HeirsTTL) {
		ttl = m.ttlOf(p)
	}
	if m.is(BasisFromPoke) {
		for _, c := range m.cmds[:m.cmdLen] {
			if c.phase != ghost && c.verb == verbPoke && c.tok == l.w {
				age = min(age, c.age)
			}
		}
	}
	left := less(ttl, age)
	if left == 0 || 2*left < m.ttlOf(p) {
		l.pokeDue = true
		return
	}
	m.adopt(p, l.w, left)
}

// unknown tells the process of c that no reply will come.
func (m *machine) unknown(c command) {
	p := int(c.proc)
	l := &m.slots[p]
	switch c.verb {
	case verbTry, verbEnter, verbPoke:
		if l.w == c.tok {
			l.pokeDue = true
		}
	case verbTryOnce:
		m.owe(c.tok)
	case verbRel, verbRelPoke:
		m.unknownRel(p, c)
	case verbQuit:
		if m.is(QuitAbandoned) && l.quit == c.tok {
			l.quit = none
		}
	case verbExtend:
		if c.pass && l.passing && c.tok == l.h {
			m.extended(p, false)
		}
	case verbCheck:
		if m.is(CheckUnknownEnds) && l.h == c.tok {
			m.lost(p)
		}
	}
	m.tend(p)
}

func (m *machine) unknownRel(p int, c command) {
	l := &m.slots[p]
	again := command{verb: verbRel, proc: c.proc, tok: c.tok}
	switch {
	case m.is(ReuseAfterUnknown) && c.left > c.age && l.waiting != 0 && l.w == none && l.h == none:
		m.adopt(p, c.tok, less(c.left, c.age))
		return
	case m.is(OwedAbandoned):
		return
	case c.tok2 != none && c.tok2 == l.w && l.waiting != 0 && !m.carried(c.tok2) && (m.cfg.RelPoke || m.is(Entry2Twice)):
		again.verb, again.tok2, again.ttl, again.heir = verbRelPoke, c.tok2, l.wTTL, m.ttlOf(p)
		if m.is(Entry2Twice) {
			again.verb = verbRel
		}
		l.pokeDue = false
	}
	m.send(again)
}

// refused tells the process of c that the server refused it: nothing was done.
func (m *machine) refused(c command) {
	p := int(c.proc)
	l := &m.slots[p]
	switch c.verb {
	case verbTry, verbEnter:
		if l.w == c.tok {
			m.dropW(p)
			m.leave(p)
		}
	case verbPoke:
		m.refusedPoke(p, c.tok)
	case verbRel, verbRelPoke:
		switch {
		case c.verb == verbRelPoke:
			m.refusedPoke(p, c.tok2)
		case l.w == c.tok2:
			m.dropW(p)
		}
		m.send(command{verb: verbRel, proc: c.proc, tok: c.tok})
	case verbExtend:
		if c.pass && l.passing && c.tok == l.h {
			m.relHeld(p)
		}
	}
	m.tend(p)
}

// refusedPoke: every waiter gets the error, and w leaves the queue.
func (m *machine) refusedPoke(p int, t token) {
	if m.slots[p].w == t {
		m.slots[p].waiting = 0
		m.quitW(p)
	}
}
