package main

func init() { mutants = append(mutants, queueMutants...) }

// queueMutants break the rules of a fair queue's slot, one each; explore names the exploration that must see a property broken.
var queueMutants = []mutant{
	{
		name: "queue: pass on a held token's message", in: "fairqueue.Slot.Told",
		old:     "case s.h.who != nil && s.h.token == token: // to pass",
		new:     "case false: // to pass",
		explore: "pass on a held token's message",
	},
	{
		name: "queue: same token enqueued twice", in: "fairqueue.Slot.nextOfWaiting",
		old: `		cmd = s.naming(Poke, x.TTL, s.dials())
`,
		new: `		if s.state == Entering && !t.tried && s.hearing == Confirmed {
			return s.naming(Enter, t.ttl, false), at
		}
		cmd = s.naming(Poke, x.TTL, s.dials())
`,
		explore: "same token enqueued twice",
	},
	{
		name: "queue: adopt from the send with a full ttl", in: "fairqueue.Slot.told",
		old: "		s.granted(now, s.validUntil(start, r.Left), cmd, a)\n",
		new: `		if len(s.fifo) > 0 {
			r.Left = s.fifo[0].TTL
		}
		s.granted(now, s.validUntil(start, r.Left), cmd, a)
`,
		explore: "adopt from the send with a full ttl",
	},
	{
		name: "queue: basis from an unanswered poke", in: "fairqueue.Slot.nextOfWaiting",
		old:     "t.busy, t.again, t.most, t.ctx = true, false, max(t.most, x.TTL), x.Ctx\n",
		new:     "t.busy, t.again, t.most, t.ctx, t.basis = true, false, max(t.most, x.TTL), x.Ctx, now\n",
		explore: "basis from an unanswered poke",
	},
	{
		name: "queue: pass without lease", in: "fairqueue.Slot.Released",
		old: `	case s.lasts(now, s.h.deadline):
		s.pass(now, s.h.deadline, k.Most, a)
`,
		new: `	case true:
		s.pass(now, s.validUntil(now, s.fifo[0].TTL), k.Most, a)
`,
		explore: "pass without lease",
	},
	{
		name: "queue: reuse after an unknown release", in: "fairqueue.Slot.Failed",
		old: `		s.freed(now, cmd.Debt, false)
`,
		new: `		s.freed(now, cmd.Debt, false)
		if o.Fate == Lost && len(s.fifo) > 0 && s.state == Idle && s.h.who == nil {
			s.settled(cmd.Debt)
			s.deliver(now, cmd.Owed, s.validUntil(now, s.fifo[0].TTL), 0, a)
		}
`,
		explore: "reuse after an unknown release",
	},
	{
		name: "queue: register after the reply", in: "fairqueue.Slot.Told",
		old:     "case s.names(token):",
		new:     "case s.names(token) && s.state == Queued:",
		explore: "register after the reply",
	},
	{
		name: "queue: late queued overwrites", in: "fairqueue.Slot.told",
		old: `	if !s.names(cmd.Token) { // a late "queued" does not undo a grant that a message brought
`,
		new: `	if r.Said == Held && s.state == Idle && s.h.who != nil && s.h.token == cmd.Token && len(s.fifo) > 0 {
		ttl := s.fifo[0].TTL
		s.state, s.t = Queued, ticket{token: cmd.Token, entry: entry(cmd.Token, s.channel, ttl), ttl: ttl, basis: start, due: now}
		return
	}
	if !s.names(cmd.Token) {
`,
		explore: "late queued overwrites",
	},
	{
		name: "queue: entry2 without a subscription", in: "fairqueue.Slot.leave",
		old:     "s.state == Idle && s.hearing == Confirmed && s.phase == open",
		new:     "s.state == Idle && s.phase == open",
		explore: "entry2 without a subscription",
	},
	{
		name: "queue: enqueue during QUIT", in: "fairqueue.Slot.nextOfQuitting",
		old: `	case t.busy:
`,
		new: `	case t.busy && len(s.fifo) > 0 && s.hearing == Confirmed && !s.holds(now):
		s.take(now)
		cmd = s.naming(Enter, s.t.ttl, false)
		cmd.Who = s.fifo[0].Who
		return cmd, at
	case t.busy:
`,
		explore: "enqueue during QUIT",
	},
	{
		name: "queue: local head asleep behind a lost holder", in: "fairqueue.Slot.nextEntry",
		old:     "	if s.holds(now) { // its",
		new:     "	if s.h.who != nil && !s.holds(now) {\n		return cmd, at\n	}\n	if s.holds(now) { // its",
		explore: "local head asleep behind a lost holder",
	},
	{
		name: "queue: give-up without passing on", in: "fairqueue.Slot.nextOfWaiting",
		old: `		s.giveUp(now)
`,
		new: `		s.drop()
`,
		explore: "give-up without passing on",
	},
	{
		name: "queue: QUIT concurrent with its ENTER", in: "fairqueue.Slot.nextOfWaiting",
		old: `	case t.busy: // the next waiter may yet inherit it
`,
		new: `	case t.busy && len(s.fifo) == 0 && !t.tried:
		s.giveUp(now)
		t.busy = false
	case t.busy:
`,
		explore: "QUIT concurrent with its ENTER",
	},
	{
		name: "queue: ghost dropped", in: "fairqueue.Slot.Told",
		old: `		s.owe(now, g.ctx, token, g.ttl)
`,
		new: `
`,
		explore: "ghost dropped",
	},
	{
		name: "queue: grant heard and forgotten", in: "fairqueue.Slot.granted",
		old: `		s.owe(now, t.ctx, t.token, t.longest())
`,
		new: `
`,
		explore: "grant heard and forgotten",
	},
	{
		name: "queue: owed release abandoned", in: "fairqueue.Slot.freed",
		old: `		o.next = now.Add(s.backoff(o.failures))
`,
		new: `		s.settled(n)
		return
`,
		explore: "owed release abandoned",
	},
	{
		name: "queue: entry2 while w waits", in: "fairqueue.Slot.leave",
		old:     "s.state == Idle && s.hearing == Confirmed && s.phase == open",
		new:     "s.hearing == Confirmed && s.phase == open",
		explore: "entry2 while w waits",
	},
	{
		name: "queue: late Release of an old h", in: "fairqueue.Slot.leave",
		old: `	o := s.owe(now, k.Ctx, k.Token, k.Most)
`,
		new: `	if s.h.who != nil {
		k.Token = s.h.token
	}
	o := s.owe(now, k.Ctx, k.Token, k.Most)
`,
		explore: "late Release of an old h",
	},
	{
		name: "queue: ttl of the heir instead of the entry's", in: "fairqueue.Slot.Told",
		old: `		s.granted(now, s.validUntil(s.t.basis, s.t.ttl), nil, a)
`,
		new: `		if len(s.fifo) > 0 {
			s.t.ttl = s.fifo[0].TTL
		}
		s.granted(now, s.validUntil(s.t.basis, s.t.ttl), nil, a)
`,
		explore: "ttl of the heir instead of the entry's",
	},
	{
		name: "queue: REL of a TRY in flight as ours", in: "fairqueue.Slot.lookAtLock",
		old:     "if g, isDead := s.dead[r.Holder]; isDead && !s.owesNow(now, r.Holder) {",
		new:     "if g := s.dead[r.Holder]; r.Holder != s.h.token && !s.names(r.Holder) && !s.owes(r.Holder) {",
		explore: "REL of a TRY in flight as ours",
	},
	{
		name: "queue: QUIT abandoned", in: "fairqueue.Slot.unquitted",
		old:     "case s.phase == closed:",
		new:     "case true:",
		explore: "QUIT abandoned",
	},
	{
		name: "queue: Close without QUIT", in: "fairqueue.Slot.nextOfWaiting",
		old: `		s.giveUp(now)
`,
		new: `		if s.phase != open {
			s.drop()
			break
		}
		s.giveUp(now)
`,
		explore: "Close without QUIT",
	},
	{
		name: "queue: POKE with a rebuilt entry", in: "fairqueue.Slot.nextOfWaiting",
		old: `		cmd = s.naming(Poke, x.TTL, s.dials())
`,
		new: `		t.entry = entry(t.token, s.channel, x.TTL)
		cmd = s.naming(Poke, x.TTL, s.dials())
`,
		explore: "POKE with a rebuilt entry",
	},
	{
		name: "queue: pass after an unknown EXTEND", in: "fairqueue.Slot.Extended",
		old: `	if !d.IsZero() && s.mayPass(now, k)`,
		new: `	if d.IsZero() && len(s.fifo) > 0 {
		d = now.Add(s.fifo[0].TTL)
	}
	if s.mayPass(now, k)`,
		explore: "pass after an unknown EXTEND",
	},
	{
		name: "queue: gone after a message drops w", in: "fairqueue.Slot.told",
		old:     "case t.again: // gone,",
		new:     "case false: // gone,",
		explore: "gone after a message drops w",
	},
	{
		name: "queue: a message ignored while QUIT is out", in: "fairqueue.Slot.Told",
		old:   "case s.owesNow(now, token): // it is",
		new:   "case s.owesNow(now, token), s.state == Quitting && s.t.token == token: // it is",
		tests: "fairqueue: TestTranscripts",
	},
	{
		name: "queue: a late CHECK ends another handle", in: "fairqueue.Slot.lost",
		old:     "s.h.who != nil && s.h.token == token",
		new:     "s.h.who != nil",
		explore: "a late CHECK ends another handle",
	},
	{
		name: "queue: an unanswered CHECK ends the handle", in: "fairqueue.Slot.Failed",
		old: `		road.fresh, road.unlent, s.checked = o.Fate == Lost, o.NoneLent, false
`,
		new: `		road.fresh, road.unlent, s.checked = o.Fate == Lost, o.NoneLent, false
		s.lost(cmd.Token, o.Err, a)
`,
		explore: "an unanswered CHECK ends the handle",
	},
	{
		name: "queue: the head enters and the handle stays valid", in: "fairqueue.Slot.lost",
		old: `		a.Losses = append(a.Losses, Loss{s.h.who, err})
`,
		new: `
`,
		explore: "the head enters and the handle stays valid",
	},
	{
		name: "queue: no POKE beats", in: "fairqueue.Slot.nextOfWaiting",
		old:     "cmd.Beat = now.Sub(t.beaten) >= beatEvery",
		new:     "cmd.Beat = false",
		explore: "no POKE beats",
	},
	{
		name: "queue: a lost ENTER is asked after once only", in: "fairqueue.Slot.gone",
		old: `	s.oweAgain(now, &t)
`,
		new: `
`,
		explore: "a lost ENTER is asked after once only",
	},
	{
		name: "queue: a lost ENTER is quit once only", in: "fairqueue.Slot.quitted",
		old: `	s.oweAgain(now, &t)
`,
		new: `	_ = t
`,
		explore: "a lost ENTER is quit once only",
	},
	{
		name: "queue: TRYAGAIN taken for done", in: "fairqueue.Slot.Failed",
		old: `		s.freed(now, cmd.Debt, false)
`,
		new: `		s.freed(now, cmd.Debt, o.Split)
`,
		explore: "TRYAGAIN taken for done",
	},
}
