package main

func init() { mutants = append(mutants, renewalMutants...) }

// renewalMutants break what KeepAlive promises.
var renewalMutants = []mutant{
	{
		name: "a loss before the first KeepAlive is told to nobody", in: "Lock.KeepAlive",
		old:   "	if isLoss {",
		new:   "	if isLoss && false {",
		tests: "TestKeepAliveOfALockThatIsOverIsToldToTheObserverOnce",
	},
	{
		name: "MaxHold ignored", in: "Lock.heldTooLong",
		old:   "return most > 0 && !now.Before(k.acquired.Add(most))",
		new:   "return most < 0 && !now.Before(k.acquired.Add(most))",
		tests: "TestMaxHoldCountsFromTheAcquire",
	},
	{
		name: "a renewal over a bound connection counts from its reply", in: "node.extendAlone",
		old:   "		_, err := n.by.extendOn(ctx, c, k, k.ttl)\n",
		new:   "		_, err := n.by.extendOn(ctx, c, k, k.ttl)\n		v.Start = n.now()\n",
		tests: "TestRenewalOverABoundConnectionCountsFromBeforeItsSend",
	},
	{
		name: "a lease that is added waits for a renewal that nobody needs", in: "renewal.line.takeDue",
		old:   " && !n.apart.isBusy()",
		new:   "",
		tests: "renewal: TestLeaseThatIsAddedWhileTheLastOneHangsApart",
	},
	{
		name: "ErrLost after Deadline", in: "Lock.early", sim: "verified",
		old:   "{ return min(25*time.Millisecond, k.ttl/20) }",
		new:   "{ return -100 * time.Millisecond }",
		tests: "TestHungServerEndsKeepAliveNoLaterThanDeadline",
	},
	{
		name: "renewal outlives release: Release does not end it", in: "Lock.Release", sim: "verified",
		old: `	k.endKeeping()
`,
		new:   "",
		tests: "TestReleaseStopsTheRenewalFirstAndWaitsForIt|TestKeepAliveEndsBeforeTheReleaseIsSent",
	},
	{
		name: "renewal outlives release: put back after its flight", in: "renewal.share.leave",
		old: `	s.line = nil
`,
		new:   "",
		tests: "TestReleaseIsBoundedThoughTheBatchHangs",
	},
	{
		name: "one error ends the renewals", in: "renewal.line.land", sim: "renew",
		old:   "		if s.line == nil {",
		new:   "		if s.line == nil || s.failures > 0 {",
		tests: "TestRenewalAfterOneFailureGoesOn|TestBatchThatBreaksRenewsTheAnsweredOnceAndTheOthersAgain",
	},
	{
		name: "a reply judged for the wrong lock", in: "batch.Node.Extend", sim: "renew",
		old:   "voteOf(k, n.replies[i])",
		new:   "voteOf(k, n.replies[max(i-1, 0)])",
		tests: "TestRepliesOfABatchAreJudgedOneByOne",
	},
	{
		name: "basis taken after the replies", in: "renewal.line.renew", sim: "renew",
		old: `	for i, s := range n.sent {
		v :=`,
		new: `	start = n.r.env.Now()
	for i, s := range n.sent {
		v :=`,
		tests: "TestBasisOfABatchIsTheTimeBeforeItsSend",
	},
	{
		name: "Release does not wait for the batch in flight", in: "Lock.endKeeping",
		old: `		k.core.renewer().Await(&kp.Entry, k.core.opTimeout())
`,
		new:   "",
		tests: "TestReleaseWaitsForTheBatchInFlight",
	},
	{
		name: "sent although released while dialling", in: "renewal.line.makeAsks",
		old:   "n.sent = n.stillKept(n.sent)",
		new:   "",
		tests: "TestNothingIsSentForALockReleasedWhileTheRenewerDials",
	},
	{
		name: "loss judged by the sender only", in: "renewal.Renewer.Add",
		old: `		go r.judgeLosses(now)
`,
		new:   "",
		tests: "TestLossIsSignalledThoughTheRenewalHangsInADialWithoutContext",
	},
	{
		name: "a dial for each retry of each lock", in: "renewal.line.renew",
		old: `		n.rest(err)
`,
		new:   "",
		tests: "TestDialsAreFewWhileTheServerCannotBeReached",
	},
	{
		name: "losses by the monotonic clock only", in: "soonest",
		old:   `	return now.Add(min(at.Sub(now), at.Round(0).Sub(now.Round(0))))`,
		new:   `	return at`,
		tests: "TestShortSuspensionEndsKeepAliveByTheWallClock",
	},
	{
		name: "a reply of a request for many judged for the wrong lock", in: "batch.Node.unpack",
		old:   "n.replies[i] = list[j]",
		new:   "n.replies[i] = list[max(j-1, 0)]",
		tests: "TestRepliesOfABatchAreJudgedOneByOne",
	},
	{
		name: "a nil reply taken as a renewal", in: "batch.isAnswer",
		old: `	return !none
`,
		new: `	return !none && reply != nil
`,
		tests: "TestReplyThatSaysNothingIsAFailedRenewal",
	},
}
