package main

// The mutants of Locker.Fair.

func init() { mutants = append(mutants, fairMutants...) }

const (
	inEachState       = "TestFairScriptsInEachState"
	outcomeAfterClose = "TestFairOutcomeThatIsUnknownAfterCloseIsTriedOnce"
)

var fairMutants = []mutant{
	{
		name: "fair: a held token's message is passed on", file: "fairreply.go",
		old:   "case s.h != nil && s.h.token == token: // to pass",
		new:   "case false: // to pass",
		tests: "TestFairLostMessageIsFoundByAPoke",
	},
	{
		name: "fair: the same token queued twice", file: "fairnext.go",
		old:   "return command{kind: poke, t: t,",
		new:   "return command{kind: enter, t: t,",
		tests: "TestFairUnknownOutcomes",
	},
	{
		name: "fair: a full ttl from the send", file: "fairreply.go",
		old:   "s.granted(t, deadline(start, r.left), cmd)",
		new:   "s.granted(t, deadline(start, t.ttl), cmd)",
		tests: "TestFairPokeTellsWhatIsLeft",
	},
	{
		name: "fair: validity from the message", file: "fairreply.go",
		old:   "s.granted(t, deadline(t.basis, t.ttl), command{})",
		new:   "s.granted(t, deadline(s.l.now(), t.ttl), command{})",
		tests: "TestFairMessageValidityCountsFromAnAnsweredSend",
	},
	{
		name: "fair: validity from an unanswered poke", file: "fairsend.go",
		old:   "cmd.t == nil || cmd.kind == poke ||",
		new:   "cmd.t == nil ||",
		tests: "TestFairMessageValidityCountsFromAnAnsweredSend",
	},
	{
		name: "fair: a message is forgotten", file: "fairreply.go",
		old:   "		s.granted(t, deadline(t.basis, t.ttl), command{})\n",
		new:   "",
		tests: "TestFairMessageOvertakesTheReplyToTheOnlyWaiter",
	},
	{
		name: "fair: the ttl of the heir", file: "fairreply.go",
		old:   "s.granted(t, deadline(t.basis, t.ttl), command{})",
		new:   "s.granted(t, deadline(t.basis, s.head.ttl), command{})",
		tests: "TestFairHeirHasItsOwnTTL",
	},
	{
		name: "fair: a poke with a rebuilt entry", file: "fairsend.go",
		old:   "args = append(args, cmd.t.entry, cmd.ttl.Milliseconds())",
		new:   "args = append(args, s.ticketOf(cmd.t.token, cmd.ttl).entry, cmd.ttl.Milliseconds())",
		tests: "TestFairHeirHasItsOwnTTL",
	},
	{
		name: "fair: nobody is told of a short rest", file: "fairreply.go",
		old:   "case passed(now.Add(x.ttl/2), d) && cmd.ttl < x.ttl:",
		new:   "case false:",
		tests: "TestFairLongWaitIsRefreshed|TestFairHeirHasItsOwnTTL",
	},
	{
		name: "fair: a short rest by the monotonic clock only", file: "fairreply.go",
		old:   "case passed(now.Add(x.ttl/2), d) && cmd.ttl < x.ttl:",
		new:   "case d.Sub(now) < x.ttl/2 && cmd.ttl < x.ttl:",
		tests: "TestFairMessageAfterASuspend",
	},
	{
		name: "fair: a lost TRY is forgotten", file: "fairdebt.go",
		old:   "	o.confirm, o.own = 2, true\n	s.bury(t)\n",
		new:   "	o.confirm, o.own = 2, true\n",
		tests: "TestFairTryCarriedOutAfterItsCleanUp",
	},
	{
		name: "fair: a lost TRY is cleaned up through the pool", file: "fairdebt.go",
		old:   "	o.confirm, o.own = 2, true\n",
		new:   "	o.confirm = 2\n",
		tests: "TestFairCleanUpOfALostTryDials",
	},
	{
		name: "fair: a TRY that is gone is cleaned up through the pool", file: "fairreply.go",
		old:   "			o.next, o.own = now.Add(s.l.opTimeout()), true\n",
		new:   "			o.next = now.Add(s.l.opTimeout())\n",
		tests: "TestFairCleanUpOfATryThatIsGoneDials",
	},
	{
		name: "fair: REL hands on after it has queued", file: "luafair.go",
		old: "local no = pump(ARGV[3]) or token and not holder and grant(token, ttl)\nif no then return no end\n" +
			"if token and holder ~= token then\n  queued = redis.pcall('RPUSH', KEYS[2], ARGV[3])\n" +
			"  if type(queued) == 'table' then return queued end\nend\n",
		new: "if token and (holder or queued > 0) then\n  queued = redis.pcall('RPUSH', KEYS[2], ARGV[3])\n" +
			"  if type(queued) == 'table' then return queued end\nend\n" +
			"local no = pump(ARGV[3]) or token and not holder and grant(token, ttl)\nif no then return no end\n",
		tests: "TestFairScriptsWithoutRights",
	},
	{
		name: "fair: an heir's longer ttl is forgotten", file: "fairslot.go",
		old:   "return max(t.ttl, t.most) }",
		new:   "return t.ttl }",
		tests: "TestFairReleaseOfAnHeirsGrantIsRepeatedForTheHeirsTTL",
	},
	{
		name: "fair: a longer ttl of Extend is forgotten", file: "cohort.go",
		old:   "return max(k.ttl, k.most)",
		new:   "return k.ttl",
		tests: "TestFairReleaseOfAnExtendedLockIsRepeatedForThatTTL",
	},
	{
		name: "fair: who comes waits for a long pause", file: "fairslot.go",
		old:   "		s.hurry(s.waited)\n",
		new:   "",
		tests: "TestFairComerDoesNotWaitForALongPause",
	},
	{
		name: "fair: a refused REL counts as done", file: "fairreply.go",
		old:   "\tif err == nil {\n\t\to.confirm--\n",
		new:   "\tif err == nil || errors.Is(err, ErrConflict) {\n\t\to.confirm--\n",
		tests: "TestFairReleaseThatWasRefusedForTheQueueIsRepeated",
	},
	{
		name: "fair: an old nosub ends a new subscription", file: "fairreply.go",
		old:   "if start.After(s.heardAt) {",
		new:   "if true {",
		tests: "TestFairOldNoSubDoesNotEndTheNewSubscription",
	},
	{
		name: "fair: registered after the reply", file: "fairsend.go",
		old:   "	cmd.t.basis = start\n",
		new:   "",
		tests: "TestFairMessageOvertakesTheReplyToTheOnlyWaiter",
	},
	{
		name: "fair: the only waiter sends its ENTER itself", file: "fairnext.go",
		old:   "|| s.quit != nil || s.sub == confirmed {",
		new:   "|| s.quit != nil {",
		tests: "TestFairMessageOvertakesTheReplyToTheOnlyWaiter",
	},
	{
		name: "fair: a late queued undoes a grant", file: "fairreply.go",
		old: `	case s.w != t && r.said != saysGranted: // a late "queued" does not undo a grant that a message brought
`,
		new: `	case s.w != t && r.said == saysHeld: s.w = t
`,
		tests: "TestFairMessageOvertakesTheReply",
	},
	{
		name: "fair: an entry goes along without a subscription", file: "fairrelease.go",
		old:   "&& s.quit == nil && s.sub == confirmed &&",
		new:   "&& s.quit == nil &&",
		tests: "TestFairReleaseTakesNobodyAlongWithoutSubscription",
	},
	{
		name: "fair: an entry goes along while one waits", file: "fairrelease.go",
		old:   "s.head != nil && s.w == nil && s.quit == nil",
		new:   "s.head != nil && s.quit == nil",
		tests: "TestFairLateReleaseBehindAQueuedToken",
	},
	{
		name: "fair: an old handle takes somebody along", file: "fairrelease.go",
		old: `	if s.h != k {
		return cmd
	}
`,
		new:   "",
		tests: "TestFairLocalHolderThatNeverReleases",
	},
	{
		name: "fair: the entry of a release is sent twice", file: "fairrelease.go",
		old:   "cmd.t, cmd.fresh = nil, true",
		new:   "cmd.fresh = true",
		tests: "TestFairUnknownOutcomes",
	},
	{
		name: "fair: ENTER during QUIT", file: "fairnext.go",
		old: `	case t == nil:
		return s.nextEntry(now)
	case t.busy:
		return cmd, at
`,
		new: `	case t == nil || t.busy:
		return s.nextEntry(now)
`,
		tests: "TestFairNothingIsQueuedDuringQuit",
	},
	{
		name: "fair: TRY during QUIT", file: "fairnext.go",
		old:   "|| s.quit != nil || s.sub == confirmed {",
		new:   "{",
		tests: "TestFairNothingIsQueuedDuringQuit",
	},
	{
		name: "fair: QUIT beside its ENTER", file: "fairnext.go",
		old:   "case t.busy: // the next waiter may yet inherit it",
		new:   "case t.busy && s.head == nil:\n\t\tt.busy = false\n\t\ts.giveUp(t)\n\tcase t.busy:",
		tests: "TestFairQuitDoesNotOvertakeItsEnter",
	},
	{
		name: "fair: a channel is left at the next ping", file: "fairwire.go",
		old: `		over := len(n.slots) == 0 || due && n.over() // first: what it forgets is told to the server at once
		requests := n.requests(due)
`,
		new: `		requests := n.requests(due)
		over := len(n.slots) == 0 || due && n.over()
`,
		tests: "TestFairChannelIsLeftAtOnce",
	},
	{
		name: "fair: a channel is not left", file: "fairline.go",
		old:   "		n.leaving = append(n.leaving, s.channel)\n",
		new:   "",
		tests: "TestFairChannelIsLeftAtOnce",
	},
	{
		name: "fair: a late answer of a SUBSCRIBE counts", file: "fairwire.go",
		old:   "if s != nil && s.ask == q.ask {",
		new:   "if s != nil && s.ask != 0 {",
		tests: "TestFairLateAnswersOfASubscriptionAreToldApart",
	},
	{
		name: "fair: a late answer of an UNSUBSCRIBE ends the subscription", file: "fairwire.go",
		old:   "(s == nil || s.ask == 0 || s.sub == making)",
		new:   "(s == nil || s.ask == 0)",
		tests: "TestFairLateAnswersOfASubscriptionAreToldApart",
	},
	{
		name: "fair: a late refusal of a SUBSCRIBE counts", file: "fairwire.go",
		old:   "if refusal == \"\" || s == nil || s.ask != q.ask {",
		new:   "if refusal == \"\" || s == nil {",
		tests: "TestFairLateRefusalOfASubscriptionIsToldApart",
	},
	{
		name: "fair: TryAcquire does not look again", file: "fair.go",
		old:   "	if errors.Is(err, ErrUnknown) && ctx.Err() == nil {\n		start, r.left",
		new:   "	if false {\n		start, r.left",
		tests: "TestFairTryAcquireLooksAgainAfterALostReply",
	},
	{
		name: "fair: TryAcquire does not count from its look", file: "fair.go",
		old:   "		start, r.left, err = k.tryFairAgain(ctx, s, &cmd, by, err)\n",
		new:   "		_, r.left, err = k.tryFairAgain(ctx, s, &cmd, by, err)\n		start = time.Time{}\n",
		tests: "TestFairTryAcquireLooksAgainAfterALostReply",
	},
	{
		name: "fair: TryAcquire returns what is over", file: "fair.go",
		old:   "	if k.over(l.now()) {\n",
		new:   "	if false {\n",
		tests: "TestFairGrantThatIsToldTooLateIsUndone",
	},
	{
		name: "fair: TryAcquire leaves what is over", file: "fair.go",
		old:   "		s.owe(ctx, k.token, k.ttl)\n		return tooLate",
		new:   "		return tooLate",
		tests: "TestFairGrantThatIsToldTooLateIsUndone",
	},
	{
		name: "fair: Acquire returns what is over", file: "fairreply.go",
		old:   "case x == nil, cmd.kind != nothing && passed(now, d):",
		new:   "case x == nil:",
		tests: "TestFairGrantThatIsToldTooLateIsUndone",
	},
	{
		name: "fair: Acquire does not say that it was too late", file: "fairreply.go",
		old:   "if x != nil && (cmd.kind == try || cmd.kind == enter) {",
		new:   "if false {",
		tests: "TestFairGrantThatIsToldTooLateIsUndone",
	},
	{
		name: "fair: a Release after Close is repeated", file: "fairrelease.go",
		old:   "	if f.closed { // nobody is left",
		new:   "	if false { // nobody is left",
		tests: "TestFairReleaseAfterCloseIsNotRepeated",
	},
	{
		name: "fair: Release does not see a conflict", file: "fairrelease.go",
		old:   "	case r.holder != \"\" && r.left < 0:\n",
		new:   "	case false:\n",
		tests: "TestFairReleaseFindsAConflict",
	},
	{
		name: "fair: Release does not say that nobody was told", file: "fairrelease.go",
		old:   "	case r.deaf != nil && r.was:\n",
		new:   "	case false:\n",
		tests: "TestFairReleaseThatMayNotPublish",
	},
	{
		name: "fair: the entry of who lost its rights stays", file: "fairreply.go",
		old:   "	case cmd.kind == poke:\n		s.failAll(err)\n		s.giveUp(t)\n",
		new:   "	case cmd.kind == poke:\n		s.failAll(err)\n		s.w = nil\n",
		tests: "TestFairQueuedWaiterThatLosesItsRights",
	},
	{
		name: "fair: who comes during a refused QUIT waits", file: "fairreply.go",
		old:   "	if fateOf(ctx, err) == refused {\n		s.failAll(err)\n	}\n",
		new:   "",
		tests: "TestFairQueuedWaiterThatLosesItsRights",
	},
	{
		name: "fair: a forgotten token's message is dropped", file: "fairreply.go",
		old:   "			g.ttl = time.Minute\n",
		new:   "			return\n",
		tests: "TestFairMessageOfAForgottenToken",
	},
	{
		name: "fair: the subscription is the pool's", file: "fairline.go",
		old:   "c, err := n.l.source().dial(ctx)",
		new:   "c := n.l.Pool.Get()\n	err := ctx.Err()",
		tests: "TestFairOneSubscriptionForAllKeysBesideThePool",
	},
	{
		name: "fair: AcquireWith is allowed", file: "fair.go", tests: "TestFairCheck",
		old: "case l.AcquireWith != nil || ", new: "case ",
	},
	{
		name: "fair: ReleaseWith is allowed", file: "fair.go", tests: "TestFairCheck",
		old: "l.ReleaseWith != nil || l.Retry != nil:", new: "l.Retry != nil:",
	},
	{
		name: "fair: Retry is allowed", file: "fair.go", tests: "TestFairCheck",
		old: " || l.Retry != nil:", new: ":",
	},
	{
		name: "fair: a negative Cohort is allowed", file: "fair.go", tests: "TestFairCheck",
		old: "case c.Passes < 0 || c.Slice < 0:", new: "case c.Passes < 0:",
	},
	{
		name: "fair: a bad Owner is allowed", file: "fair.go", tests: "TestFairCheck",
		old: "	if err := checkOwner(l.Owner); err != nil {", new: "	if err := error(nil); err != nil {",
	},
	{
		name: "fair: an unknown outcome is asked for through the pool", file: "fairreply.go",
		old:   "		s.fresh = true\n		fallthrough\n",
		new:   "		fallthrough\n",
		tests: "TestFairUnknownOutcomeIsAskedForOnANewConnection",
	},
	{
		name: "fair: Release tries again through the pool", file: "fairrelease.go",
		old:   "cmd.t, cmd.fresh = nil, true",
		new:   "cmd.t = nil",
		tests: "TestFairUnknownOutcomeIsAskedForOnANewConnection",
	},
	{
		name: "fair: a slot that nobody uses again stays", file: "fairslot.go",
		old:   "		s.remember(now)\n",
		new:   "",
		tests: "TestFairSlotsThatNobodyUsesAgainGo",
	},
	{
		name: "fair: QUIT abandoned", file: "fairreply.go",
		old: `	t.busy = false
	if err == nil || s.l.state.fair.closed {
		s.quit = nil
`,
		new: `	t.busy = false
	if true {
		s.quit = nil
`,
		tests: "TestFairQuitIsRepeated",
	},
	{
		name: "fair: nothing is sent after Close", file: "fairnext.go",
		old:   "	for _, o := range s.owed {\n",
		new:   "	if s.l.state.fair.closed {\n\t\treturn cmd, at\n\t}\n	for _, o := range s.owed {\n",
		tests: outcomeAfterClose,
	},
	{
		name: "fair: what is owed after Close is repeated", file: "fairreply.go",
		old:   "case o.confirm <= 0, now.After(o.until), s.l.state.fair.closed && !o.kept:",
		new:   "case o.confirm <= 0, now.After(o.until):",
		tests: outcomeAfterClose,
	},
	{
		name: "fair: QUIT after Close is repeated", file: "fairreply.go",
		old:   "if err == nil || s.l.state.fair.closed {",
		new:   "if err == nil {",
		tests: outcomeAfterClose,
	},
	{
		name: "fair: no QUIT after Close", file: "fairnext.go",
		old:   "	t := s.quit\n	switch {\n",
		new:   "	t := s.quit\n	switch {\n	case s.l.state.fair.closed:\n		s.quit = nil\n		return cmd, at\n",
		tests: outcomeAfterClose,
	},
	{
		name: "fair: Close waits for ever", file: "fair.go",
		old:   "	waitFor(most, idle)\n",
		new:   "	<-idle\n",
		tests: outcomeAfterClose,
	},
	{
		name: "fair: Close waits for the subscription for ever", file: "fair.go",
		old:   "		waitFor(l.opTimeout(), done)\n",
		new:   "		<-done\n",
		tests: outcomeAfterClose,
	},
	{
		name: "fair: Close does not wait for what is in flight", file: "fairslot.go",
		old:   " || len(s.owed) > 0 || s.users > 0\n",
		new:   " || len(s.owed) > 0\n",
		tests: "TestFairCloseWaitsForAnUnansweredTry",
	},
	{
		name: "fair: Close does not wait for what is owed", file: "fairslot.go",
		old:   " || len(s.owed) > 0 || s.users > 0\n",
		new:   " || s.users > 0\n",
		tests: "TestFairCloseWaitsForAnUnansweredTry",
	},
	{
		name: "fair: a lost TRY is confirmed once", file: "fairdebt.go",
		old:   "	o.confirm, o.own = 2, true\n",
		new:   "	o.own = true\n",
		tests: "TestFairCloseWaitsForAnUnansweredTry",
	},
	{
		name: "fair: Close does not end a long pause", file: "fair.go",
		old:   "		s.hurry(now) // Close waits for it\n",
		new:   "		_ = now\n",
		tests: "TestFairCloseEndsLongPauses",
	},
	{
		name: "fair: pauses are long while Close waits", file: "fairreply.go",
		old:   " || s.l.state.closed.Load() {\n		return pauseAfter",
		new:   " {\n		return pauseAfter",
		tests: "TestFairCloseEndsLongPauses",
	},
	{
		name: "fair: Close without QUIT", file: "fairnext.go",
		old:   "	case s.head == nil:\n		s.giveUp(t)\n",
		new:   "	case s.head == nil && s.l.state.closed.Load():\n		s.w = nil\n	case s.head == nil:\n		s.giveUp(t)\n",
		tests: "TestFairGivenUpWaitSaysWhy",
	},
	{
		name: "fair: no poke", file: "fairnext.go",
		old:   "	case t.due.After(now):\n		return cmd, t.due\n	default:",
		new:   "	case true:\n		return cmd, at\n	default:",
		tests: "TestFairHolderThatDied|TestFairLostMessageIsFoundByAPoke",
	},
	{
		name: "fair: no poke after a new subscription", file: "fairreply.go",
		old:   "		t.due, t.again = time.Now(), t.busy\n	}\n}",
		new:   "	}\n}",
		tests: "TestFairResubscriptionIsFollowedByAPoke",
	},
	{
		name: "fair: asleep behind a lost holder", file: "fairnext.go",
		old:   "if s.h != nil && !s.h.isOver() { // its Release",
		new:   "if s.h != nil { // its Release",
		tests: "TestFairLocalHolderThatNeverReleases",
	},
	{
		name: "fair: a grant for nobody is dropped", file: "fairreply.go",
		old:   "		s.w = nil\n		s.owe(t.ctx, t.token, t.longest())\n		s.bury(t)\n		if x != nil",
		new:   "		s.w = nil\n		if x != nil",
		tests: "TestFairGrantForNobodyIsPassedOn",
	},
	{
		name: "fair: a ghost's message is dropped", file: "fairreply.go",
		old:   "		s.owe(g.ctx, token, g.ttl)\n",
		new:   "",
		tests: "TestFairLateCommandOfADeadToken",
	},
	{
		name: "fair: a message for a token that quits is dropped", file: "fairreply.go",
		old:   "	case s.owes(token): // it is",
		new:   "	case s.owes(token), s.quit != nil && s.quit.token == token: // it is",
		tests: "TestFairMessageForATokenThatQuits",
	},
	{
		name: "fair: an old gone counts", file: "fairreply.go",
		old:   "	case t.again: // gone",
		new:   "	case false: // gone",
		tests: "TestFairGoneMayBeOlderThanAMessage",
	},
	{
		name: "fair: a dead holder is waited for", file: "fairreply.go",
		old:   "case isDead && !s.owes(r.holder):",
		new:   "case isDead && false:",
		tests: "TestFairLateCommandOfADeadToken",
	},
	{
		name: "fair: an owed release is abandoned", file: "fairreply.go",
		old:   "case o.confirm <= 0, now.After(o.until), s.l.state.fair.closed && !o.kept:",
		new:   "case true:",
		tests: "TestFairReleaseIsRepeated",
	},
	{
		name: "fair: the local FIFO is a stack", file: "fairreply.go",
		old:   "now, x := s.l.now(), s.head",
		new:   "now, x := s.l.now(), s.tail",
		tests: "TestFairServesInTheOrderOfArrival",
	},
	{
		name: "fair: pass without lease", file: "cohort.go",
		old:   "return !passed(s.l.now().Add(max(k.ttl, s.head.ttl)/3), d)",
		new:   "return true",
		tests: "TestCohortExtendsAShortLease",
	},
	{
		name: "fair: pass past the Deadline", file: "cohort.go",
		old:   "!s.l.state.closed.Load() && !k.isOver() &&",
		new:   "!s.l.state.closed.Load() &&",
		tests: "TestCohortDoesNotPassPastTheDeadline",
	},
	{
		name: "fair: pass after an extend that failed", file: "cohort.go",
		old:   "if d, ok = s.extendForNext(ctx, k); !ok || !s.mayPass(k) || !s.lasts(d, k) {",
		new:   "if d, ok = s.extendForNext(ctx, k); !ok && !s.mayPass(k) {",
		tests: "TestCohortDoesNotPassALostLock",
	},
	{
		name: "fair: pass to another head without lease", file: "cohort.go",
		old:   "|| !s.mayPass(k) || !s.lasts(d, k) {",
		new:   "|| !s.mayPass(k) {",
		tests: "TestCohortHeadLeavesWhileTheLeaseIsExtended",
	},
	{
		name: "fair: a late Fence of the old holder", file: "lock.go",
		old:   "if err == nil && k.isReleased() {",
		new:   "if false {",
		tests: "TestCohortLateFenceOfTheOldHolder",
	},
	{
		name: "fair: passes without number", file: "cohort.go",
		old:   "s.passes < c.Passes && ",
		new:   "",
		tests: "TestCohortEndsAfterItsPasses",
	},
	{
		name: "fair: passes without end", file: "cohort.go",
		old:   " && s.l.now().Sub(s.since) < c.slice()",
		new:   "",
		tests: "TestCohortEndsAfterItsSlice",
	},
	{
		name: "fair: keys share a channel", file: "fairslot.go",
		old:   `return channelPrefix + id + ".{" + key + "}"`,
		new:   `return channelPrefix + id + ":{" + key + "}"`,
		tests: "TestFairChannelsAreInjectiveAndShareTheSlot",
	},

	{name: "fair: publish to a dropped entry", file: "luafair.go", tests: inEachState,
		old: "if token and (e == mine or heard(channel)) then",
		new: "if token and redis.call(publish, channel, token) and (e == mine or heard(channel)) then"},
	{name: "fair: no liveness test", file: "luafair.go", tests: inEachState,
		old: "if token and (e == mine or heard(channel)) then", new: "if token then"},
	{name: "fair: release without compare", file: "luafair.go", tests: inEachState,
		old: "if holder == ARGV[2] then\n  local deleted", new: "if holder then\n  local deleted"},
	{name: "fair: TRY barges", file: "luafair.go", tests: inEachState,
		old: "no = pump() or not holder and grant(ARGV[2]", new: "no = not holder and grant(ARGV[2]"},
	{name: "fair: TRY writes more without memory", file: "luafair.go", tests: "TestServerErrorsFair",
		old: "while queued > 0 and not holder do", new: "while not holder do"},
	{name: "fair: ENTER barges", file: "luafair.go", tests: inEachState,
		old: "queued = redis.pcall('RPUSH', KEYS[2], ARGV[2])", new: "queued = redis.pcall('LPUSH', KEYS[2], ARGV[2])"},
	{name: "fair: ENTER is not queued behind those who wait", file: "luafair.go", tests: inEachState,
		old: "local no = pump(ARGV[2]) or not holder and grant(token, ttl)", new: "local no = not holder and grant(token, ttl) or pump(ARGV[2])"},
	{name: "fair: an entry of REL is not queued behind those who wait", file: "luafair.go", tests: inEachState,
		old: "local no = pump(ARGV[3]) or token and not holder and grant(token, ttl)",
		new: "local no = token and not holder and grant(token, ttl) or pump(ARGV[3])"},
	{name: "fair: an entry of REL alone is forgotten", file: "luafair.go", tests: inEachState,
		old: "local no = pump(ARGV[3]) or token and not holder and grant(token, ttl)", new: "local no = pump(ARGV[3])"},
	{name: "fair: ENTER alone is forgotten", file: "luafair.go", tests: inEachState,
		old: "local no = pump(ARGV[2]) or not holder and grant(token, ttl)", new: "local no = pump(ARGV[2])"},
	{name: "fair: a queue of one is taken for empty", file: "luafair.go", tests: inEachState,
		old: "while queued > 0 and not holder do", new: "while queued > 1 and not holder do"},
	{name: "fair: what is pushed does not count as queued", file: "luafair.go", tests: inEachState,
		old: "  queued = redis.pcall('RPUSH', KEYS[2], ARGV[2])\n  if type(queued) == 'table' then return queued end\n",
		new: "  redis.pcall('RPUSH', KEYS[2], ARGV[2])\n"},
	{name: "fair: POKE barges", file: "luafair.go", tests: inEachState,
		old: "local no = pump(ARGV[2])\nif no then return no end\nif holder == token then\n  local left",
		new: "if not holder then redis.call('SET', KEYS[1], token, 'PX', ttl) holder = token end\nif holder == token then\n  local left"},
	{name: "fair: ENTER without pump", file: "luafair.go", tests: inEachState,
		old: "local no = pump(ARGV[2]) or not holder and grant(token, ttl)\nif no then return no end\n", new: ""},
	{name: "fair: nosub without pump", file: "luafair.go", tests: inEachState,
		old: "  local no = pump()\n  if no then return no end\n  return tell(0, 3)", new: "  return tell(0, 3)"},
	{name: "fair: no nosub test", file: "luafair.go", tests: inEachState,
		old: "if not heard(channel) then\n", new: "if false then\n"},
	{name: "fair: REL without pump", file: "luafair.go", tests: inEachState,
		old: "local no = pump(ARGV[3]) or token and not holder and grant(token, ttl)\nif no then return no end\n", new: ""},
	{name: "fair: REL not mine forgets the next", file: "luafair.go", tests: inEachState,
		old: "if token and holder ~= token then", new: "if token and was == 1 and holder ~= token then"},
	{name: "fair: QUIT without pump", file: "luafair.go", tests: inEachState,
		old: "local no = pump()\nif no then return no end\nreturn tell(was, 0)", new: "return tell(was, 0)"},
	{name: "fair: EXTEND without pump", file: "luafair.go", tests: inEachState,
		old: "  local no = pump()\n  if no then return no end\n  tell(0, 0)\n", new: "  tell(0, 0)\n"},
	{name: "fair: EXTEND lowers", file: "luafair.go", tests: inEachState,
		old: "if left >= ttl then return left end\nlocal set", new: "local set"},
	{name: "fair: POKE lowers", file: "luafair.go", tests: inEachState,
		old: "if left < tonumber(ARGV[3]) then", new: "if true then"},
	{name: "fair: the queue's TTL is forgotten", file: "luafair.go", tests: inEachState,
		old: "if kept ~= -2 and kept < left + 60000 then", new: "if false then"},
	{name: "fair: the queue's TTL is lowered", file: "luafair.go", tests: "TestFairTTLOfQueueIsNotLowered",
		old: "if kept ~= -2 and kept < left + 60000 then", new: "if kept ~= -2 then"},
	{name: "fair: SET after PUBLISH", file: "luafair.go", tests: "TestFairSetComesBeforePublish",
		old: "      local no = grant(token, ttl)\n",
		new: "      if e ~= mine then redis.pcall(publish, channel, token) end\n      local no = grant(token, ttl)\n"},
	{name: "fair: no rights probe", file: "luafair.go", tests: "TestFairScriptsWithoutRights",
		old: "if right.err then return right end", new: ""},
	{name: "fair: no type check of the queue", file: "luafair.go", tests: "TestFairScriptsRefuseBeforeTheyWrite",
		old: "if type(queued) == 'table' then return queued end\nlocal right", new: "local right"},
	{name: "fair: two keys share a queue", file: "check.go", tests: "TestFairKeysDoNotShareAQueue",
		old: `return "{" + key + "}:" + s, nil`, new: `return s + ":{" + key + "}", nil`},
	{
		name: "fair: a panic leaves its command in flight", file: "fairsend.go",
		old:   "		s.answered(ctx, cmd, start, r, err)\n",
		new:   "		if returned {\n			s.answered(ctx, cmd, start, r, err)\n		}\n",
		tests: "TestFairPanicsThatAreRecovered",
	},
	{
		name: "fair: a waiter that panicked stays in line", file: "fair.go",
		old:   "			s.desert(x)\n",
		new:   "			_ = s.desert\n",
		tests: "TestFairPanicsThatAreRecovered",
	},
	{
		name: "fair: a panic in TryAcquire leaves its token", file: "fair.go",
		old:   "			s.desertTry(cmd.t)\n",
		new:   "			_ = cmd\n",
		tests: "TestFairPanicsThatAreRecovered",
	},
	{
		name: "fair: a panic in a pass keeps the slot passing", file: "cohort.go",
		old:   "			k.desert(ctx)\n",
		new:   "			s.passing = true\n",
		tests: "TestFairPanicsThatAreRecovered",
	},
	{
		name: "fair: a subscription whose goroutine was ended is not made again", file: "fairline.go",
		old:   "			go n.goOn(done, failures)\n",
		new:   "			_ = n.goOn\n",
		tests: "TestFairSubscriptionWhoseDialExits",
	},
	{
		name: "fair: no question about a local holder", file: "fairnext.go",
		old:   "	case s.checked:\n",
		new:   "	case true:\n",
		tests: "TestFairWaitersOfAHolderWhoseLockIsTaken",
	},
	{
		name: "fair: a late answer ends another handle", file: "fairreply.go",
		old:   "|| s.h == nil || s.h.token != k.token {",
		new:   "|| s.h == nil {",
		tests: "TestFairLateAnswerAboutAnEarlierHolder",
	},
	{
		name: "fair: a question without an answer ends the handle", file: "fairreply.go",
		old:   "	if !errors.Is(err, ErrNotHeld) && (!errors.Is(err, ErrConflict) || errors.Is(err, errNoTTL)) || s.h == nil",
		new:   "	if err == nil || s.h == nil",
		tests: "TestFairQuestionAboutALocalHolderIsLost",
	},
	{
		name: "fair: the head goes on, and the handle stays valid", file: "fairreply.go",
		old:   "	s.h.latch()\n	go s.h.lose(err) // it calls the user, who may call the Locker\n	s.h = nil\n",
		new:   "	s.h = nil\n",
		tests: "TestFairWaitersOfAHolderWhoseLockIsTaken",
	},
	{
		name: "fair: a renewed holder is asked after", file: "fairnext.go",
		old:   "renewed != s.renewed {",
		new:   "false && renewed > 0 {",
		tests: "TestFairQuestionsAboutALocalHolder",
	},
	{
		name: "fair: a refused TRY is remembered", file: "fairreply.go",
		old:   "	default: // nothing was done: the scripts look for rights and types before they write\n		s.w = nil\n",
		new:   "	default:\n		s.w = nil\n		s.bury(t)\n",
		tests: "TestFairRefusedKeysAreForgotten",
	},
	{
		name: "fair: a TryAcquire does not try again", file: "fair.go",
		old:   "		if !errors.Is(err, ErrNotHeld) {\n			return err\n		}\n		s.replaceTry",
		new:   "		if err != nil {\n			return err\n		}\n		s.replaceTry",
		tests: "TestFairIdleConnectionsThatDied",
	},
}
