package main

func init() { mutants = append(mutants, fairMutants...) }

// fairMutants break what the Locker does with the fair queue, beyond its model.
var fairMutants = []mutant{
	{
		name: "fair: a full ttl from the send", in: "slot.told",
		old:   "s.granted(t, deadline(start, r.left), cmd)",
		new:   "s.granted(t, deadline(start, t.ttl), cmd)",
		tests: "TestFairPokeTellsWhatIsLeft",
	},
	{
		name: "fair: validity from the message", in: "slot.message",
		old:   "s.granted(t, deadline(t.basis, t.ttl), command{})",
		new:   "s.granted(t, deadline(s.l.now(), t.ttl), command{})",
		tests: "TestFairMessageValidityCountsFromAnAnsweredSend",
	},
	{
		name: "fair: TryAcquire does not look again", in: "Lock.tryFair",
		old: `	if errors.Is(err, ErrUnknown) && ctx.Err() == nil {
		start, r.left`,
		new: `	if false {
		start, r.left`,
		tests: "TestFairTryAcquireLooksAgainAfterALostReply",
	},
	{
		name: "fair: Acquire returns what is over", in: "slot.granted",
		old:   "case x == nil, cmd.kind != nothing && passed(now, d):",
		new:   "case x == nil:",
		tests: "TestFairGrantThatIsToldTooLateIsUndone",
	},
	{
		name: "fair: an unknown outcome is asked for through the pool", in: "slot.answered",
		old: `		s.fresh = true
		fallthrough
`,
		new: `		fallthrough
`,
		tests: "TestFairUnknownOutcomeIsAskedForOnANewConnection",
	},
	{
		name: "fair: Close waits for ever", in: "Locker.closeFair",
		old: `	waitFor(most, idle)
`,
		new: `	<-idle
`,
		tests: "TestFairOutcomeThatIsUnknownAfterCloseIsTriedOnce",
	},
	{
		name: "fair: no poke", in: "slot.nextOfWaiting",
		old: `	case t.due.After(now):
		return cmd, t.due
	default:`,
		new: `	case true:
		return cmd, at
	default:`,
		tests: "TestFairHolderThatDied|TestFairLostMessageIsFoundByAPoke",
	},
	{
		name: "fair: the local FIFO is a stack", in: "slot.granted",
		old:   "now, x := s.l.now(), s.head",
		new:   "now, x := s.l.now(), s.tail",
		tests: "TestFairServesInTheOrderOfArrival",
	},
	{
		name: "fair: pass past the Deadline", in: "slot.mayPass",
		old:   "!s.l.state.closed.Load() && !k.isOver() &&",
		new:   "!s.l.state.closed.Load() &&",
		tests: "TestCohortDoesNotPassPastTheDeadline",
	},
	{
		name: "fair: release without compare", in: "scriptRel",
		old: `if holder == ARGV[2] then
  local deleted`,
		new: `if holder then
  local deleted`,
		tests: "TestFairScriptsInEachState",
	},
	{
		name: "fair: TRY barges", in: "scriptTry",
		old:   "no = pump() or not holder and grant(ARGV[2]",
		new:   "no = not holder and grant(ARGV[2]",
		tests: "TestFairScriptsInEachState",
	},
	{
		name: "fair: SET after PUBLISH", in: "luaPump",
		old: `      local no = grant(token, ttl)
`,
		new: `      if e ~= mine then redis.pcall(publish, channel, token) end
      local no = grant(token, ttl)
`,
		tests: "TestFairSetComesBeforePublish",
	},
	{
		name: "fair: a panic leaves its command in flight", in: "Locker.sendAndGoBy",
		old: `		s.answered(ctx, cmd, start, r, err)
`,
		new: `		if returned {
			s.answered(ctx, cmd, start, r, err)
		}
`,
		tests: "TestFairPanicsThatAreRecovered",
	},
	{
		name: "fair: no question about a local holder", in: "slot.nextBehind",
		old: `	case s.checked:
`,
		new: `	case true:
`,
		tests: "TestFairWaitersOfAHolderWhoseLockIsTaken",
	},
	{
		name: "fair: queued counts from its reply", in: "slot.told",
		old:   "t.placed, t.basis, t.failures = true, start, 0",
		new:   "t.placed, t.basis, t.failures = true, s.l.now(), 0",
		tests: "TestFairMessageCountsFromTheSendNotFromItsReply",
	},
	{
		name: "fair: nosub to a POKE renews the basis", in: "slot.told",
		old: `		t.placed, t.due = true, now.Add(pokeCap)
`,
		new: `		t.placed, t.due, t.basis = true, now.Add(pokeCap), start
`,
		tests: "TestFairMessageDoesNotCountFromANoSub",
	},
	{
		name: "fair: a hand-off's extension counts from its reply", in: "slot.extendForNext",
		old: `	return deadline(start, left), err == nil
`,
		new: `	return deadline(s.l.now().Add(0*time.Since(start)), left), err == nil
`,
		tests: "TestCohortExtensionCountsFromItsSend",
	},
	{
		name: "fair: a hand-off under way is ignored", in: "slot.nextEntry",
		old:   "if x == nil || s.passing || s.l",
		new:   "if x == nil || s.l",
		tests: "TestCohortNothingIsSentDuringAHandOff",
	},
	{
		name: "fair: an ENTER goes past the pool", in: "slot.nextEntry",
		old:   "return command{kind: enter, t: s.w, fresh: s.fresh,",
		new:   "return command{kind: enter, t: s.w, fresh: s.dials(),",
		tests: "TestFairAcquireWaitsForThePool",
	},
	{
		name: "fair: a QUIT waits for the pool", in: "slot.nextWithout",
		old:   "kind: quit, t: t, fresh: s.dials(),",
		new:   "kind: quit, t: t, fresh: s.fresh,",
		tests: "TestFairWhatOthersWaitForGoesPastThePool",
	},
	{
		name: "fair: after a lost TRY the pool is asked", in: "slot.answered",
		old:   "		s.fresh = s.fresh && r.said == saysGone //",
		new:   "		s.fresh = false //",
		tests: "TestFairAcquireStaysOnFreshConnectionsAfterALostTry",
	},
	{
		name: "fair: after a restart each key has a connection", in: "Locker.sendOwn",
		old: `	if cmd.o == nil || !cmd.o.kept {
`,
		new: `	if false {
`,
		tests: "TestFairRestartMakesNoStormOfConnections",
	},
}
