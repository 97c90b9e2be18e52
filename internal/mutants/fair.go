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
}
