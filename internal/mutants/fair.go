package main

func init() { mutants = append(mutants, fairMutants...) }

// fairMutants break what the Locker does with the fair queue, beyond its model.
var fairMutants = []mutant{
	{
		name: "fair: a full ttl from the send", in: "fairqueue.Slot.told", sim: "fair",
		old:   "s.granted(now, s.validUntil(start, r.Left), cmd, a)",
		new:   "s.granted(now, s.validUntil(start, t.ttl), cmd, a)",
		tests: "TestFairPokeTellsWhatIsLeft",
	},
	{
		name: "fair: validity from the message", in: "fairqueue.Slot.Told", sim: "fair",
		old:     "s.granted(now, s.validUntil(s.t.basis, s.t.ttl), nil, a)",
		new:     "s.granted(now, s.validUntil(now, s.t.ttl), nil, a)",
		tests:   "TestFairMessageValidityCountsFromAnAnsweredSend",
		explore: "validity from the message",
	},
	{
		name: "fair: TryAcquire does not look again", in: "fairdriver.Driver.TryAcquire",
		old: `	if errors.Is(err, fault.Unknown) && ctx.Err() == nil {
		start, r.Left`,
		new: `	if false {
		start, r.Left`,
		tests: "TestFairTryAcquireLooksAgainAfterALostReply",
	},
	{
		name: "fair: Acquire returns what is over", in: "fairqueue.Slot.granted",
		old:   "if len(s.fifo) == 0 || cmd != nil && passed(now, d) {",
		new:   "if len(s.fifo) == 0 {",
		tests: "TestFairGrantThatIsToldTooLateIsUndone",
	},
	{
		name: "fair: Acquire goes on late with what is over", in: "fairdriver.Driver.Acquire",
		old:   "if err == nil && h.IsOver() {",
		new:   "if false {",
		tests: "TestFairGrantThatItsCallerSeesTooLateIsUndone",
	},
	{
		name: "fair: Close waits for ever", in: "fairdriver.Driver.Close",
		old: `	wait.For(most, idle)
`,
		new: `	<-idle
`,
		tests: "TestFairOutcomeThatIsUnknownAfterCloseIsTriedOnce",
	},
	{
		name: "fair: no poke", in: "fairqueue.Slot.nextOfWaiting",
		old: `	case t.due.After(now):
		return cmd, t.due
	default:`,
		new: `	case true:
		return cmd, at
	default:`,
		tests:   "test/fair: TestFairHolderThatDied",
		explore: "no poke",
	},
	{
		name: "fair: the local FIFO is a stack", in: "fairqueue.Slot.deliver", sim: "fair",
		old:   "x := s.fifo[0]\n	s.removeAt(now, 0)",
		new:   "x := s.fifo[len(s.fifo)-1]\n	s.removeAt(now, len(s.fifo)-1)",
		tests: "TestFairServesInTheOrderOfArrival",
	},
	{
		name: "fair: pass past the Deadline", in: "fairqueue.Slot.mayPass", sim: "cohort",
		old:   "!k.Over && s.holds(now) && len(s.fifo) > 0 && !s.waits() &&", // the first waiter waits for a grant as soon as it passes
		new:   "len(s.fifo) > 0 &&",
		tests: "TestCohortDoesNotPassPastTheDeadline",
	},
	{
		name: "fair: release without compare", in: "lua/rel", sim: "fair",
		old:   "holder == ARGV[2]",
		new:   "holder",
		tests: "TestFairScriptsInEachState",
	},
	{
		name: "fair: TRY barges", in: "lua/try", sim: "fair",
		old:   "pump() or",
		new:   "",
		tests: "TestFairScriptsInEachState",
	},
	{
		name: "fair: SET after PUBLISH", in: "lua/parts/pump",
		old:   "local no = grant",
		new:   "if e ~= mine then redis.pcall(publish, channel, token) end; local no = grant",
		tests: "TestFairSetComesBeforePublish",
	},
	{
		name: "fair: a panic leaves its command in flight", in: "fairdriver.slot.sendAndGoBy",
		old: `			s.q.Failed(now, cmd, failure, &d.then)
`,
		new: `			if returned {
				s.q.Failed(now, cmd, failure, &d.then)
			}
`,
		tests: "TestFairPanicsThatAreRecovered",
	},
	{
		name: "fair: no question about a local holder", in: "fairqueue.Slot.nextBehind",
		old: `	case s.checked:
`,
		new: `	case true:
`,
		tests:   "test/fair: TestFairWaitersOfAHolderWhoseLockIsTaken",
		explore: "no CHECK|no CHECK, beside another process",
	},
	{
		name: "fair: queued counts from its reply", in: "fairqueue.Slot.told", sim: "fair",
		old:   "s.state, t.basis, t.failures = Queued, start, 0",
		new:   "s.state, t.basis, t.failures = Queued, now, 0",
		tests: "test/fair: TestFairMessageCountsFromTheSendNotFromItsReply",
	},
	{
		name: "fair: nosub to a POKE renews the basis", in: "fairqueue.Slot.told",
		old: `		s.state, t.due = Queued, now.Add(pokeCap)
`,
		new: `		s.state, t.due, t.basis = Queued, now.Add(pokeCap), start
`,
		tests: "test/fair: TestFairMessageDoesNotCountFromANoSub",
	},
	{
		name: "fair: a hand-off's extension counts from its reply", in: "fairdriver.slot.extendForNext", sim: "cohort",
		old: `		until = d.deadline(start, left)
`,
		new: `		until = d.deadline(d.env.Now().Add(0*time.Since(start)), left)
`,
		tests: "test/fair: TestCohortExtensionCountsFromItsSend",
	},
	{
		name: "fair: a hand-off under way is ignored", in: "fairqueue.Slot.nextEntry",
		old:   "|| s.passing != nil ||",
		new:   "||",
		tests: "test/fair: TestCohortNothingIsSentDuringAHandOff",
	},
	{
		name: "fair: an ENTER goes past the pool", in: "fairqueue.Slot.nextEntry",
		old:   "s.naming(kind, s.t.ttl, s.road.fresh)",
		new:   "s.naming(kind, s.t.ttl, s.dials())",
		tests: "TestFairAcquireWaitsForThePool",
	},
	{
		name: "fair: a QUIT waits for the pool", in: "fairqueue.Slot.nextOfQuitting",
		old:   "s.naming(Quit, 0, s.dials())",
		new:   "s.naming(Quit, 0, s.road.fresh)",
		tests: "TestFairWhatOthersWaitForGoesPastThePool",
	},
	{
		name: "fair: after a lost TRY the pool is asked", in: "fairqueue.Slot.Replied",
		old:   "road.fresh = road.fresh && r.Said == Gone //",
		new:   "road.fresh = false //",
		tests: "TestFairAcquireStaysOnFreshConnectionsAfterALostTry",
	},
	{
		name: "fair: after a restart each key has a connection", in: "fairdriver.slot.sendOwn",
		old: `	if !cmd.Kept {
`,
		new: `	if false {
`,
		tests: "test/fair: TestFairRestartMakesNoStormOfConnections",
	},
	{
		name: "fair: a late granted is ignored", in: "fairqueue.Slot.told",
		old: `			s.owe(now, cmd.Ctx, cmd.Token, cmd.Most)
`,
		new:   "",
		tests: "TestFairLateGrantedOfATokenThatAMessageGranted",
	},
	{
		name: "fair: a late granted releases what is held", in: "fairqueue.Slot.told",
		old:   "r.Said == Granted && s.h.token != cmd.Token && ",
		new:   "r.Said == Granted && ",
		tests: "TestFairLateGrantedOfATokenThatAMessageGranted",
	},
	{
		name: "fair: owed for the ttl alone", in: "fairqueue.Slot.owe",
		old:   "now.Add(ttl + s.cfg.OpTimeout)",
		new:   "now.Add(ttl)",
		tests: "test/fair: TestFairOwesForTheTTLAndAnOpTimeout",
	},
	{
		name: "fair: TryAcquire's late TRY is another holder", in: "fairdriver.slot.tryAgain",
		old:   "if r.Holder == first {",
		new:   "if false {",
		tests: "TestFairTryAcquireFindsItsOwnLateTry",
	},
	{
		name: "fair: TRY comes at once after a nosub", in: "fairqueue.Slot.misheard",
		old: `		s.tryAt = now.Add(s.cfg.Pause(s.tries))
`,
		new:   "",
		tests: "test/fair: TestFairPauseAfterANoSub",
	},
	{
		name: "fair: a subscription that stands ends no row of tries", in: "fairqueue.Slot.Heard",
		old:   "s.hearing, s.tries, s.heardAt = Confirmed, 0, now",
		new:   "s.hearing, s.heardAt = Confirmed, now",
		tests: "test/fair: TestFairPauseAfterANoSub",
	},
	{
		name: "fair: a reply ends no row of failures", in: "fairqueue.Slot.told",
		old: `	s.road.failures = 0
`,
		new:   "",
		tests: "test/fair: TestFairReplyEndsTheRowOfFailures",
	},
	{
		name: "fair: an unsent POKE loses the place", in: "fairqueue.Slot.unanswered",
		old:   "case o.Fate == Lost, o.Fate == Unsent && cmd.Kind == Poke:",
		new:   "case o.Fate == Lost:",
		tests: "test/fair: TestFairPokeThatCannotBeSentKeepsThePlace",
	},
	{
		name: "fair: a QUIT is repeated without pauses", in: "fairqueue.Slot.unquitted",
		old:   "t.due = now.Add(s.backoff(t.failures))",
		new:   "t.due = now",
		tests: "test/fair: TestFairRepeatsWithPauses",
	},
	{
		name: "fair: a REL is repeated without pauses", in: "fairqueue.Slot.freed",
		old:   "o.next = now.Add(s.backoff(o.failures))",
		new:   "o.next = now",
		tests: "test/fair: TestFairRepeatsWithPauses",
	},
	{
		name: "fair: a question about a holder comes again at once", in: "fairqueue.Slot.nextBehind",
		old:   `		s.heldAt(now) // if no answer`,
		new:   `		// if no answer`,
		tests: "test/fair: TestFairRepeatsWithPauses",
	},
	{
		name: "fair: a hand-off puts off the question about the holder", in: "fairqueue.Slot.pass",
		old:   "s.checkAt = at",
		new:   "_ = at",
		tests: "test/fair: TestCohortHandOffsDoNotPutOffTheQuestion",
	},
	{
		name: "fair: TryAcquire begins no cohort", in: "fairqueue.Slot.Tried",
		old: `	s.passes, s.since = 0, now
`,
		new:   "",
		tests: "test/fair: TestCohortBeginsWithAGrant",
	},
	{
		name: "fair: a grant begins no cohort", in: "fairqueue.Slot.granted",
		old: `	s.passes, s.since = 0, now
`,
		new:   "",
		tests: "test/fair: TestCohortBeginsWithAGrant",
	},
	{
		name: "fair: a silent subscription is kept", in: "subscription.line.receive",
		old:   "wire.Receive(c, pingEvery+n.of.env.Bound)",
		new:   "wire.Receive(c, time.Hour)",
		tests: "TestFairSilentSubscriptionIsMadeAnew",
	},
	{
		name: "fair: a subscription out of step goes on", in: "subscription.line.take",
		old: `			return false // the answers are out of step
`,
		new: `			return true
`,
		tests: "TestFairSubscriptionOutOfStep",
	},
	{
		name: "fair: a channel that was taken away counts as heard", in: "subscription.line.takenAway",
		old:   "return false",
		new:   "return true",
		tests: "TestFairSubscriptionOutOfStep",
	},
	{
		name: "fair: what was lost with a connection is waited for on the next", in: "subscription.line.forgetConn",
		old:   "n.conn, n.pending, n.joining, n.leaving = nil, nil, nil, nil",
		new:   "n.conn, n.joining, n.leaving = nil, nil, nil",
		tests: "TestFairSubscribeThatIsLostWithItsConnection",
	},
	{
		name: "fair: nobody is told of a refused subscription", in: "subscription.line.receive",
		old: `			n.of.tell()
`,
		new:   "",
		tests: "TestFairSubscriptionFailuresAreTold",
	},
	{
		name: "fair: a channel whose slot has moved is not asked for again", in: "subscription.line.takenAway",
		old:   "n.of.stray(c)",
		new:   "_ = c",
		tests: "subscription: TestSunsubscribe",
	},
	{
		name: "fair: MOVED to SSUBSCRIBE refuses it", in: "subscription.line.takeOther",
		old:   "n.of.sharded() && ",
		new:   "false && ",
		tests: "subscription: TestSunsubscribe",
	},
	{
		name: "fair: channels are asked for at a dead node only", in: "subscription.line.scatter",
		old:   `n.server == ""`,
		new:   "true",
		tests: "subscription: TestNodeDies",
	},
	{
		name: "fair: a release halfway is an error", in: "fairdriver.splitHalfway",
		old:   `strings.Contains(string(re), "non local key")`,
		new:   `strings.Contains(string(re), "no such text")`,
		tests: "test/cluster: TestFairClusterReleaseHalfway",
	},
	{
		name: "fair: a script follows a slot that moves", in: "cluster.Conn.Exchange",
		old:   "stays || !ok",
		new:   "!ok",
		tests: "cluster: TestStays",
	},
	{
		name: "fair: the sweep stops when there is nothing to remember", in: "fairdriver.Driver.sweepSome",
		old: `		case len(w.heap) == 0 || d.closed:
			w.at = time.Time{}
`,
		new: `		case len(w.heap) == 0 || d.closed:
`,
		tests: "TestFairForgetsWhateverEnds",
	},
	{
		name: "fair: a slot is remembered for its longest lease", in: "fairdriver.slot.remember",
		old:   "case until.Before(s.lookAt):",
		new:   "case false:",
		tests: "TestFairForgetsAfterAShorterLease",
	},
	{
		name: "fair: a grant to a waiter that panicked is kept", in: "fairdriver.slot.desert",
		old: `		if h.Wait().err == nil {
`,
		new: `		if false {
`,
		tests: "TestFairGrantToAWaiterThatPanics",
	},
	{
		name: "fair: an entry goes along with two RELs", in: "fairdriver.Driver.Release",
		old:   `cmd.Token, cmd.Entry, cmd.Own = "", "", true`,
		new:   `cmd.Own = true`,
		tests: "TestFairUnknownOutcomes",
	},
	{
		name: "fair: a waiter that panicked stays in the FIFO", in: "fairdriver.slot.desert",
		old:   "		s.left(h)\n",
		new:   "\n",
		tests: "TestFairPanicsThatAreRecovered",
	},
	{
		name: "fair: a silent entry stays", in: "lua/parts/beat",
		old:   "if tick - last <= 4 then",
		new:   "if tick then",
		tests: "TestFairBeatsDropTheSilent",
	},
	{
		name: "fair: a newcomer's first beat ends a tick", in: "lua/parts/beat",
		old:   "beaten[e] or tick - 1",
		new:   "beaten[e] or tick",
		tests: "TestFairBeatsDropTheSilent",
	},
	{
		name: "fair: thousands beat in one command", in: "lua/parts/beat",
		old:   "math.min(i + 999, #kept)",
		new:   "#kept",
		tests: "TestFairBeatsOfThousands",
	},
	{
		name: "fair: who may not beat waits on", in: "fairdriver.slot.muted",
		old:   "!fault.TransientReply(re) && fault.Word(re) != \"OOM\"",
		new:   "re == \"\"",
		tests: "TestFairWaiterWhoseBeatsAreRefused",
	},
	{
		name: "fair: a beat without memory ends the wait", in: "fairdriver.slot.muted",
		old:   " && fault.Word(re) != \"OOM\"",
		new:   "",
		tests: "fairdriver: TestFairRefusedBeat",
	},
	{
		name: "fair: a beat waits until the slot has moved", in: "fairdriver.slot.run",
		old:   "cmd.Beat && isSplit(err)",
		new:   "false",
		tests: "TestFairBeatWhileTheSlotMoves",
	},
	{
		name: "fair: every POKE beats", in: "fairqueue.Slot.nextOfWaiting",
		old:     "cmd.Beat = now.Sub(t.beaten) >= beatEvery",
		new:     "cmd.Beat = true",
		tests:   "TestFairLivingWaitersKeepTheirPlaces",
		explore: "every POKE beats",
	},
	{
		name: "fair: the wrong sibling of an older version", in: "names.Queue",
		old:   `"q2"`,
		new:   `"q1"`,
		tests: "TestFairBesideAnOlderVersion",
	},
}
