package main

// A mutant breaks one promise: in the declaration of this name old becomes new; tests are the names of the tests that must
// fail, joined by |. Names of declarations are as [declarations] has them, so that a mutant survives a file's other name. There
// is one mutant for a promise.
//
// The tests are those of the root package, or of a package that is named before them, as in "sentinel: TestX" under
// internal, "test/mux: TestX" and "cmd/redigolock: TestX".
// Where explore is set, each exploration of internal/fairmodel with one of its names, joined by |, must fail, too.
// Where sim is set, worlds of internal/sim of that mode watch the promise, too.
type mutant struct{ name, in, old, new, tests, explore, sim string }

// mutants are all. Those here break what the verbs and a Locker on one server promise; each other file adds its own.
var mutants = []mutant{
	{
		name: "plain DEL", in: "lua/release", sim: "verified",
		old:   "-- include mine",
		new:   "-- include lock",
		tests: "TestReleaseNeverTouchesAnothersLock",
	},
	{
		name: "validity from after the reply", in: "node.onLentBy", sim: "verified",
		old: `	err = b.Outcome(ctx, verb, key, f(b))
`,
		new: `	err = b.Outcome(ctx, verb, key, f(b))
	start = n.now()
`,
		tests: "TestDeadlineDoesNotMoveWithTheReply",
	},
	{
		name: "adoption with a full ttl", in: "node.try", sim: "verified",
		old:   "case x.lostTry != nil && (err == nil ||",
		new:   "case x.lostTry != nil && (false ||",
		tests: "TestAdoptedTokenIsValidNoLongerThanTheServersTTL|TestAdoptedTokenCountsFromAnExtendNeverFromTheLastTry",
	},
	{
		name: "no drift", in: "drift", sim: "verified",
		old:   "return ttl/100 + 2*time.Millisecond",
		new:   "return 0",
		tests: "TestDeadlineIsTheTimeBeforeTheSendPlusTTLLessDrift",
	},
	{
		name: "renew without compare", in: "lua/extend", sim: "verified",
		old:   "-- include left\nlocal ttl",
		new:   "-- include lock\nlocal left = redis.call('PTTL', KEYS[1])\nlocal ttl",
		tests: "test/verbs: TestTokensAreComparedWhole",
	},
	{
		name: "prefix compare", in: "lua/parts/mine",
		old: `if v ~= ARGV[1] then
  if type(v)`,
		new: `if not v or type(v) == 'table' or string.sub(v, 1, #ARGV[1]) ~= ARGV[1] then
  if type(v)`,
		tests: "test/verbs: TestTokensAreComparedWhole",
	},
	{
		name: "extend that re-creates", in: "lua/extend", sim: "verified",
		old:   "-- include left\nlocal ttl",
		new:   "redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])\n-- include left\nlocal ttl",
		tests: "test/verbs: TestExtendNeverRecreates",
	},
	{
		name: "extend that lowers", in: "lua/extend", sim: "verified",
		old:   "if left >= ttl then return left end",
		new:   "",
		tests: "test/verbs: TestExtendLengthensAndNeverLowers",
	},
	{
		name: "ttl rounded down to 0", in: "checkTTL",
		old: `	case ttl < least || ttl > maxTTL:
		return fault.Invalidf(verb, "the ttl is %v, allowed is %v to %v", ttl, least, maxTTL)
	case ttl%time.Millisecond != 0:`,
		new: `	case ttl > maxTTL:
		return fault.Invalidf(verb, "the ttl is %v, allowed is %v to %v", ttl, least, maxTTL)
	case ttl <= 0:`,
		tests: "test/verbs: TestVerbsRefuseBadInputBeforeAnyIO",
	},
	{
		name: "clean-up with the ended ctx", in: "remover.Remove", sim: "verified",
		old:   "	const verb = \"clean up\"\n",
		new:   "	const verb = \"clean up\"\n	ctx, cancel := context.WithDeadline(ctx, time.Unix(1, 0))\n	defer cancel()\n",
		tests: "TestAcquireThatGivesUpIsCleanedUpThoughItsContextHasEnded",
	},
	{
		name: "clean-up on the pool's connection", in: "cleanNode.Remover",
		old:   "Dial: n.source.Dial",
		new:   "Dial: n.source.Get",
		tests: "TestCleanUpGoesAroundAnExhaustedPool",
	},
	{
		name: "a new token per try", in: "node.try",
		old: `	now := n.host()
	start, err = n.onLentBy(`,
		new: `	now := n.host()
	x.token = n.newToken()
	x.conn.Token = x.token
	start, err = n.onLentBy(`,
		tests: "TestOneTokenServesAWholeAcquire",
	},
	{
		name: "an unknown outcome taken as success", in: "node.try", sim: "verified",
		old: `		x.stray(ctx)
	case`,
		new: `		err = nil
	case`,
		tests: "TestTryAcquireThatCannotTellIsErrUnknownNeverSuccess",
	},
	{
		name: "Fence to a non-holder", in: "lua/fence",
		old:   "-- include left",
		new:   "-- include lock",
		tests: "test/verbs: TestFenceToAStrangerMakesNoCounter",
	},
	{
		name: "Fence by plain INCR", in: "lua/fence", sim: "script",
		old:   "math.max(tonumber(last or 0) + 1, now[1] * 1000000 + now[2])",
		new:   "tonumber(last or 0) + 1",
		tests: "test/verbs: TestFenceRisesWhateverHappensToTheCounter",
	},
	{
		name: "Guard lax", in: "lua/parts/guard", sim: "verified",
		old:   "if v and tonumber(v) > tonumber(ARGV[1]) then return v end",
		new:   "",
		tests: "test/verbs: TestGuardLetsOnlyTheNewestPass",
	},
	{
		name: "ReleaseTx without WATCH", in: "watchMine", sim: "plain",
		old:   `{Cmd: "WATCH", Args: args}`,
		new:   `{Cmd: "PING"}`,
		tests: "test/verbs: TestReleaseTxNeverDeletesALockThatWasTakenMeanwhile",
	},
	{
		name: "double check ignored", in: "verified", sim: "verified",
		old: `		if string(get) == token {
			return nil
		}
		return &HeldError{Key: key, Holder: names.Holder(string(get))}`,
		new: `		_ = names.Holder
		return nil`,
		tests: "test/verbs: TestSetNXVerifiedTruthTable",
	},
	{
		name: "any holder of SET with GET is oneself", in: "setGetReply",
		old: `		if string(reply) == token {
			return false, nil
		}
		return false, &HeldError{Key: key, Holder: names.Holder(string(reply))}`,
		new: `		_ = reply
		return false, nil`,
		tests: "test/verbs: TestSetNXGetTruthTable",
	},
	{
		name: "a server that misreads SET with GET is trusted", in: "setNXTold",
		old: `		known.LearnSetGet(c, wire.SetGetUnknown)
	case fault.SyntaxError`,
		new: `		known.LearnSetGet(c, wire.SetGetKnown)
		return false, nil
	case fault.SyntaxError`,
		tests: "test/verbs: TestLockerTrustsNoServerThatMisreadsSetNXGet",
	},
	{
		name: "a lock that ends between the first two SETs makes a server a liar", in: "setNXTold",
		old:   "case value, was && replies[1] == nil:",
		new:   "case value, was && false:",
		tests: "test/verbs: TestLockThatEndsWhileTheServerIsAskedForTheFirstTime",
	},
	{
		name: "what a misread SET has set is left", in: "setNXTold",
		old:   "first, ifSet(replies[0], err)",
		new:   "first, err",
		tests: "test/verbs: TestTokenThatALyingServerHasSetIsCleanedUp",
	},
	{
		name: "a release without the right to the command fails", in: "releaseKnown",
		old:   `errors.Is(err, errNoCommand) || isReply && fault.Word(re) == "NOPERM"`,
		new:   `errors.Is(err, errNoCommand) || isReply && fault.Word(re) == "NONE"`,
		tests: "test/verbs: TestLockerReleasesByWhatItMayUse",
	},
	{
		name: "why nothing was deleted is not asked", in: "deleted",
		old:   `why == nil || errors.Is(why, ErrConflict)`,
		new:   `why == nil && errors.Is(why, ErrConflict)`,
		tests: "test/verbs: TestReleaseNativeAsksWhyNothingWasDeleted",
	},
	{
		name: "what deleted before the script was known is not counted", in: "releaseTold",
		old:   `		if reply == int64(1) {`,
		new:   `		if reply == int64(2) {`,
		tests: "TestFirstReleaseOfALocker",
	},
	{
		name: "the old master's commands are not forgotten", in: "newNode",
		old:   `		n.says.Init(s.Another)`,
		new:   `		_ = s`,
		tests: "test/servers: TestFailoverForgetsWhatTheOldMasterKnew",
	},
	{
		name: "whole token shown", in: "names.Holder",
		old:   `holder := Owner(token) + "#" + hex.EncodeToString(sum[:4])`,
		new:   "holder := token + hex.EncodeToString(sum[:0])",
		tests: "test/verbs: TestHeldErrorNeverShowsATokenAndSetNXNeverLogsOne|TestHolderIsOwnerAndShortHash",
	},
	{
		name: "password in the message", in: "pools.parseURL",
		old:   `badURL("the URL cannot be parsed; `,
		new:   `badURL("the URL " + rawURL + " cannot be parsed; `,
		tests: "TestNewPoolRefusesABadURLAndShowsNoPartOfIt",
	},
	{
		name: "ended ctx not looked at", in: "wire.once",
		old: `	if ctx.Err() != nil {
		return Result{Err: fault.OfContext(ctx)}
	}
`,
		new:   "",
		tests: "test/verbs: TestVerbsSendNothingAfterTheirContextEnded",
	},
	{
		name: "cancellation not honoured while waiting", in: "wire.cutOnCancel",
		old:   "func() { cut(cc) }",
		new:   "func() { _ = cc }",
		tests: "test/verbs: TestContextThatEndsWhileAReplyIsAwaited",
	},
	{
		name: "connection with a reply due given back", in: "wire.exchange",
		old:   `	CutLive(c) // a foreign connection that is not dead by itself: its reply is still due`,
		new:   "",
		tests: "test/verbs: TestConnectionThatFailsWithoutDyingIsCut",
	},
	{
		name: "cancelled ctx stops release", in: "Lock.Release",
		old: `	if ctx.Done() != nil {
		ctx = context.WithoutCancel(ctx)
	}
`,
		new:   "",
		tests: "TestReleaseWithEndedContextStillReleases",
	},
	{
		name: "Deadline not latched", in: "Lock.latched",
		old: `	k.gone = k.gone || passed(now, k.deadline)
	return k.gone`,
		new:   `	return k.gone || passed(now, k.deadline)`,
		tests: "TestPassedDeadlineIsLatched",
	},
	{
		name: "wall clock ignored", in: "passed", sim: "verified",
		old:   "return !now.Before(t) || !now.Round(0).Before(t.Round(0))",
		new:   "return !now.Before(t)",
		tests: "TestEitherClockEndsALock",
	},
	{
		name: "lost lock released as success", in: "Lock.Release",
		old:   `	} else if late {`,
		new:   `	} else if late && err != nil {`,
		tests: "TestPassedDeadlineIsLatched",
	},
	{
		name: "release not tried again", in: "node.free",
		old: `	if err == nil || !fault.Transient(err) && !x.conn.NotLent(err) {
		return err
	}
	again`,
		new: `	if err == nil || err != nil {
		return err
	}
	again`,
		tests: "TestReleaseTriesTwice",
	},
	{
		name: "clean-up confirmed once only", in: "cleanup.Stray.answered", sim: "verified",
		old:   "s.over, s.confirmed, s.failures = s.confirmed, true, 0",
		new:   "s.over, s.confirmed, s.failures = true, true, 0",
		tests: "TestSetThatIsCarriedOutAfterTheFirstConfirmationIsRemovedByTheSecond",
	},
	{
		name: "clean-up gives up at the first failure", in: "readRemoval", sim: "verified",
		old:   "case !fault.Transient(err):",
		new:   "case err != nil:",
		tests: "TestCleanUpIsTriedAgainUntilTheServerAnswers",
	},
	{
		name: "MinHold: a clean-up ends it", in: "plain.release",
		old: "p.minHold > 0 && !freed {", new: "p.minHold > 0 && !freed && false {", tests: "TestMinHoldOutlivesTheCleanUpOfAReleaseThatFailed",
	},
	{
		name: "no clean-up after a release", in: "plain.release", sim: "servers",
		old:   "k.lostTry == nil",
		new:   "true",
		tests: "TestReleaseOfAnAdoptedLockRemovesALateSetToo",
	},
	{
		name: "a clean-up forgets what an unanswered Extend may have done", in: "plain.release",
		old:   "now.Add(k.longest())",
		new:   "now.Add(k.ttl)",
		tests: "TestReleaseAfterAnExtendWithoutAnAnswerIsCleanedUp",
	},
	{
		name: "a connection given back with the reply of a panic due", in: "wire.Bound.TakeBack",
		old:   "	if !returned && b.sent {",
		new:   "	if false {",
		tests: "TestConnectionThatAPanicLeftWithAReplyDueIsCut",
	},
	{
		name: "won too late kept", in: "plain.won", sim: "servers",
		old: `	if !k.latched(now) {
		k.countHeld(now)`,
		new: `	if true {
		k.countHeld(now)`,
		tests: "TestAcquireWonTooLateIsUndoneAndErrExpired",
	},
	{
		name: "what is refused for good waited for", in: "fault.TransientReply",
		old:   `	return tooManyClients(err)`,
		new:   `	return true`,
		tests: "test/verbs: TestWhatIsTriedAgain",
	},
	{
		name: "a second Extend counts from its reply", in: "node.askAgain",
		old:   "		start = n.now()\n		return f(c)\n",
		new:   "		err := f(c)\n		start = n.now()\n		return err\n",
		tests: "TestExtendThatAsksAgainCountsFromBeforeItsSend",
	},
	{
		name: "a second look forgets that an earlier try was lost", in: "node.tryAgain",
		old:   "(earlier || passed",
		new:   "(earlier && false || passed",
		tests: "TestTokenFoundByTheSecondTryThatWasLostCountsFromAnExtend",
	},
	{
		name: "a Quorum's release takes two OpTimeouts after the wait", in: "voting.release",
		old:   "v.eachTry(by)",
		new:   "v.opTimeout()",
		tests: "TestQuorumReleaseBehindARenewalThatHangs",
	},
	{
		name: "what is not asked since the ballot is over counts as an empty node", in: "ballot.Ballot.Lacks",
		old:   "b.over || ",
		new:   "",
		tests: "ballot: TestEnd",
	},
	{
		name: "an acquire waits for its reply longer than its ttl", in: "node.try",
		old:   "now.Add(most), x.ttl, func",
		new:   "now.Add(most), most, func",
		tests: "TestAcquireWaitsForAReplyNoLongerThanItsTTL",
	},
	{
		name: "a clean-up ends by the ttl of the first lost try", in: "claim.stray",
		old:   "	x.lostTry =",
		new:   "	if x.lostTry != nil {\n		return\n	}\n	x.lostTry =",
		tests: "TestCleanUpGoesOnUntilAnAdoptionThatWasLostMustBeOver",
	},
	{
		name: "MinHold: the value stays", in: "lua/leave", sim: "minhold",
		old:   "set = redis.pcall('SET', KEYS[1], ARGV[1] .. '|left', 'PX', ARGV[2])",
		new:   "set = {}",
		tests: "TestMinHoldOutlivesTheCleanUpOfALostTry|TestMinHoldIsNotRaisedByALateRenewal|TestMinHoldIsNotTakenOverByAnAttach",
	},
	{
		name: "a Send that kills the connection was not sent", in: "wire.sendAndReceive",
		old:   "if err != nil && i == 0 && c.Err() == nil {",
		new:   "if err != nil && i == 0 {",
		tests: "test/verbs: TestSendThatKillsTheConnectionIsUnknown",
	},
	{
		name: "clean-up by ReleaseWith", in: "remover.Remove",
		old:   "	return undo(ctx, b, s.Key, s.Token)\n",
		new:   "	return r.by.(*plain).releaseWith(ctx, b, s.Key, s.Token)\n",
		tests: "TestUndoingAnAcquireNeverCallsReleaseWith",
	},
	{
		name: "an acquire that is too late is undone by ReleaseWith", in: "plain.won",
		old:   "err := p.free(context.WithoutCancel(ctx), k, p.opTimeout(), undo)",
		new:   "err := p.free(context.WithoutCancel(ctx), k, p.opTimeout(), p.releaseWith)",
		tests: "TestUndoingAnAcquireNeverCallsReleaseWith",
	},
	{
		name: "a reply to SET that no server gives is no trace", in: "setReply",
		old:   "return fault.MaybeSet(fault.Unexpected(verb, key, reply))",
		new:   "return fault.Unexpected(verb, key, reply)",
		tests: "test/verbs: TestForeignReplyToAnAcquireIsCleanedUp",
	},
	{
		name: "a reply to TRY that no server gives is no trace", in: "fairdriver.slot.runOnce",
		old:   "return r, fault.MaybeSet(fault.Unexpected(verb, s.key, reply))",
		new:   "return r, fault.Unexpected(verb, s.key, reply)",
		tests: "test/verbs: TestForeignReplyToAnAcquireIsCleanedUp",
	},
	{
		name: "MinHold: an undo leaves the key", in: "plain.won",
		old:   "err := p.free(context.WithoutCancel(ctx), k, p.opTimeout(), undo)",
		new:   "err := p.free(context.WithoutCancel(ctx), k, p.opTimeout(), func(ctx context.Context, c redis.Conn, _, _ string) error { return p.releaseOrLeave(ctx, c, k) })",
		tests: "TestMinHoldDoesNotKeepAnAcquireThatIsUndone",
	},
	{
		name: "MinHold: counted from the release", in: "plain.keptOut",
		old:   "k.acquired.Add(p.minHold).Sub(p.now())",
		new:   "p.now().Add(p.minHold).Sub(p.now())",
		tests: "TestMinHoldExpiresByItselfAndOnTime",
	},
	{
		name: "panic skips the release", in: "Lock.runUnder",
		old: `	defer func() {
		k.loseIfOver()`,
		new: `	defer func() {
		if r := recover(); r != nil {
			panic(r)
		}
		k.loseIfOver()`,
		tests: "TestDoReleasesWhenFnPanics",
	},
	{
		name: "read-only connection kept", in: "wire.Bound.GiveBack",
		old:   "err != nil && fault.ReadOnly(err)",
		new:   "err != nil && false && fault.ReadOnly(err)",
		tests: "TestReadOnlyConnectionIsNotLentAgain",
	},
	{
		name: "sibling of another slot", in: "names.Sibling",
		old:   `return "{" + key + "}:" + siblingPrefix + name, true`,
		new:   `return key + ":" + siblingPrefix + name, true`,
		tests: "names: TestSiblingIsInjectiveAndInTheSameSlot",
	},
	{
		name: "dials that hang without a limit", in: "errands.Group.begin",
		old:   "e.left < e.room() && ",
		new:   "",
		tests: "TestDialsThatHangAreFourAtMost",
	},
	{
		name: "what is idle waits for dials that hang", in: "errands.Group.FetchIdle",
		old:   "if e.looking {",
		new:   "if true {",
		tests: "TestDialsThatHangKeepNobodyFromWhatIsIdle",
	},
	{
		name: "more than one for what is idle", in: "errands.Group.full",
		old:   " && e.extra == nil",
		new:   "",
		tests: "TestDialsThatHangKeepNobodyFromWhatIsIdle|TestIdleConnectionsThatHangAreTestedOneMoreAtATime",
	},
	{
		name: "a dial that never returns counts for ever", in: "errands.Group.isLeft",
		old:   "func() { e.giveUpOn(x) }",
		new:   "func() {}",
		tests: "TestDialsThatNeverReturnDoNotEndALocker",
	},
	{
		name: "borrowed without a bound", in: "pools.Source.Lend",
		old: `		b.Conn, err = s.borrows.Fetch(limit, s.Get)
	}
	return s.bindLent`,
		new: `		b.Conn, err = s.Get(limit)
	}
	return s.bindLent`,
		tests: "TestEveryVerbReturnsAtItsBound",
	},
}
