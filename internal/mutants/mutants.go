package main

// A mutant breaks one promise: in file, old becomes new; tests are the names of the tests that must fail, joined by |.
type mutant struct{ name, file, old, new, tests string }

var mutants = []mutant{
	{
		name: "plain DEL", file: "luascript.go",
		old:   "scriptRelease = newScript(1, \"release\", luaMine+`",
		new:   "scriptRelease = newScript(1, \"release\", luaLock+`",
		tests: "TestReleaseNeverTouchesAnothersLock",
	},
	{
		name: "validity from after the reply", file: "lock.go",
		old: `	err = b.outcome(ctx, verb, key, f(b))
`,
		new: `	err = b.outcome(ctx, verb, key, f(b))
	start = l.now()
`,
		tests: "TestDeadlineDoesNotMoveWithTheReply",
	},
	{
		name: "adoption with a full ttl", file: "acquire.go",
		old:   "case err == nil && k.lostTry == nil:",
		new:   "case err == nil:",
		tests: "TestAdoptedTokenIsValidNoLongerThanTheServersTTL|TestAdoptedTokenCountsFromAnExtendNeverFromTheLastTry",
	},
	{
		name: "no drift", file: "lock.go",
		old:   "return ttl/100 + 2*time.Millisecond",
		new:   "return 0",
		tests: "TestDeadlineIsTheTimeBeforeTheSendPlusTTLLessDrift",
	},
	{
		name: "renew without compare", file: "luascript.go",
		old:   "`+luaTTL+luaLeft+`\nlocal ttl",
		new:   "`+luaTTL+luaLock+`\nlocal left = redis.call('PTTL', KEYS[1])\nlocal ttl",
		tests: "TestTokensAreComparedWhole|TestRenewalUsesTheTTLOfTheAcquireAndComparesTheToken",
	},
	{
		name: "prefix compare", file: "luascript.go",
		old: `if v ~= ARGV[1] then
  if type(v)`,
		new: `if not v or type(v) == 'table' or string.sub(v, 1, #ARGV[1]) ~= ARGV[1] then
  if type(v)`,
		tests: "TestTokensAreComparedWhole",
	},
	{
		name: "extend that re-creates", file: "luascript.go",
		old:   "`+luaTTL+luaLeft+`\nlocal ttl",
		new:   "`+luaTTL+`\nredis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])`+luaLeft+`\nlocal ttl",
		tests: "TestExtendNeverRecreates|TestExtendNeverCreatesTheKey",
	},
	{
		name: "extend that lowers", file: "luascript.go",
		old:   "if left >= ttl then return left end",
		new:   "",
		tests: "TestExtendLengthensAndNeverLowers",
	},
	{
		name: "ttl rounded down to 0", file: "check.go",
		old: `	case ttl < least || ttl > maxTTL:
		return invalid(verb, "the ttl is %v, allowed is %v to %v", ttl, least, maxTTL)
	case ttl%time.Millisecond != 0:`,
		new: `	case ttl > maxTTL:
		return invalid(verb, "the ttl is %v, allowed is %v to %v", ttl, least, maxTTL)
	case ttl <= 0:`,
		tests: "TestVerbsRefuseBadInputBeforeAnyIO",
	},
	{
		name: "clean-up with the ended ctx", file: "strays.go",
		old:   "context.WithCancel(context.Background())",
		new:   "context.WithCancel(past)",
		tests: "TestAcquireThatGivesUpIsCleanedUpThoughItsContextHasEnded",
	},
	{
		name: "clean-up on the pool's connection", file: "strays.go",
		old: "\treturn l.source().dial(ctx)",
		new: `	c := l.Pool.Get()
	return c, c.Err()`,
		tests: "TestCleanUpGoesAroundAnExhaustedPool",
	},
	{
		name: "a new token per try", file: "acquire.go",
		old: `	l, now := k.locker, time.Now()
	start, err := l.exchangeBy(`,
		new: `	l, now := k.locker, time.Now()
	k.token = l.newToken()
	k.conn.token = k.token
	start, err := l.exchangeBy(`,
		tests: "TestOneTokenServesAWholeAcquire",
	},
	{
		name: "an unknown outcome taken as success", file: "acquire.go",
		old: `		k.stray(ctx)
	case`,
		new: `		err = k.won(ctx, start)
	case`,
		tests: "TestTryAcquireThatCannotTellIsErrUnknownNeverSuccess",
	},
	{
		name: "Fence to a non-holder", file: "luascript.go",
		old:   "scriptFence = newScript(2, \"fence\", luaLeft+`",
		new:   "scriptFence = newScript(2, \"fence\", luaLock+`",
		tests: "TestFenceToAStrangerMakesNoCounter",
	},
	{
		name: "Fence by plain INCR", file: "luascript.go",
		old:   "math.max(tonumber(last or 0) + 1, now[1] * 1000000 + now[2])",
		new:   "tonumber(last or 0) + 1",
		tests: "TestFenceRisesWhateverHappensToTheCounter",
	},
	{
		name: "Guard lax", file: "luascript.go",
		old:   "if v and tonumber(v) > tonumber(ARGV[1]) then return v end",
		new:   "",
		tests: "TestGuardLetsOnlyTheNewestPass",
	},
	{
		name: "ReleaseTx without WATCH", file: "release.go",
		old:   `{"WATCH", args}`,
		new:   `{"PING", nil}`,
		tests: "TestReleaseTxNeverDeletesALockThatWasTakenMeanwhile",
	},
	{
		name: "DEL sent before MULTI is known to stand", file: "release.go",
		old: `	err := firstError(verb, key, replies[:])
	if get`,
		new: `	err := firstError(verb, key, replies[:2])
	if get`,
		tests: "TestReleaseTxWithoutARightDeletesNothing",
	},
	{
		name: "script with a bad ttl writes", file: "luascript.go",
		old:   "if not string.find(ARGV[2], '^%d+$') or #ARGV[2] > 8 or tonumber(ARGV[2]) < 1 or tonumber(ARGV[2]) > 86400000 then",
		new:   "if false then",
		tests: "TestScriptsRefuseABadTTLBeforeTheyWrite",
	},
	{
		name: "refused PEXPIRE not undone", file: "luascript.go",
		old: `  redis.call('DEL', KEYS[1])
  return set`,
		new:   "  return set",
		tests: "TestSetNXScriptLeavesNoKeyWhenPexpireIsRefused",
	},
	{
		name: "Guard forgets", file: "luascript.go",
		old: `if v ~= ARGV[1] then
  local set = redis.pcall('SET', KEYS[1], ARGV[1])`,
		new: `if false then
  local set = redis.pcall('SET', KEYS[1], ARGV[1])`,
		tests: "TestGuardLetsOnlyTheNewestPass",
	},
	{
		name: "NOSCRIPT not answered with EVAL", file: "luascript.go",
		old:   `firstWord(re) == "NOSCRIPT"`,
		new:   `firstWord(re) == "NEVER"`,
		tests: "TestUnknownScriptIsSentOnceMoreAsText",
	},
	{
		name: "QUEUED taken as an answer", file: "send.go",
		old:   `ok && s == "QUEUED"`,
		new:   `ok && s == "NEVER"`,
		tests: "TestVerbsInsideMultiClaimNothing",
	},
	{
		name: "double check ignored", file: "setnx.go",
		old: `		if string(get) == token {
			return nil
		}
		return &HeldError{Key: key, Holder: holderOf(string(get))}`,
		new:   "\t\treturn nil",
		tests: "TestSetNXVerifiedTruthTable",
	},
	{
		name: "gone when read back taken as acquired", file: "setnx.go",
		old: `	if err == nil {
		return is(ErrExpired`,
		new: `	if err != nil {
		return is(ErrExpired`,
		tests: "TestSetNXVerifiedTruthTable|TestSetNXVerifiedWhenTheKeyIsGoneMeanwhile",
	},
	{
		name: "whole token shown", file: "errors.go",
		old:   `holder := ownerOf(token) + "#" + hex.EncodeToString(sum[:4])`,
		new:   "holder := token + hex.EncodeToString(sum[:0])",
		tests: "TestHeldErrorNeverShowsATokenAndSetNXNeverLogsOne|TestHolderIsOwnerAndShortHash",
	},
	{
		name: "password in the message", file: "pool.go",
		old:   `invalid("new pool", "the URL cannot be parsed; `,
		new:   `invalid("new pool", "the URL " + rawURL + " cannot be parsed; `,
		tests: "TestNewPoolRefusesABadURLAndShowsNoPartOfIt",
	},
	{
		name: "ended ctx not looked at", file: "send.go",
		old: `	if ctx.Err() != nil {
		return 0, failed(verb, key, contextError(ctx))
	}
`,
		new:   "",
		tests: "TestVerbsSendNothingAfterTheirContextEnded",
	},
	{
		name: "cancellation not honoured while waiting", file: "send.go",
		old: `		cut(cc)
	})`,
		new: `		_ = cc
	})`,
		tests: "TestContextThatEndsWhileAReplyIsAwaited",
	},
	{
		name: "cause of the context lost", file: "errors.go",
		old:   "\tif cause == nil || errors.Is(err, cause) {",
		new:   "\tif cause == nil || err != nil {",
		tests: "TestContextThatEndsWhileAReplyIsAwaited|TestVerbsSendNothingAfterTheirContextEnded",
	},
	{
		name: "connection with a reply due given back", file: "send.go",
		old:   "\tcutLive(c) // a foreign connection that is not dead by itself: its reply is still due",
		new:   "",
		tests: "TestConnectionThatFailsWithoutDyingIsCut",
	},
	{
		name: "cancelled ctx stops release", file: "lock.go",
		old: `	if ctx.Done() != nil {
		ctx = context.WithoutCancel(ctx)
	}
`,
		new:   "",
		tests: "TestReleaseWithEndedContextStillReleases",
	},
	{
		name: "Deadline not latched", file: "lock.go",
		old: `	k.gone = k.gone || passed(now, k.deadline)
	return k.gone`,
		new:   "\treturn k.gone || passed(now, k.deadline)",
		tests: "TestPassedDeadlineIsLatched",
	},
	{
		name: "wall clock ignored", file: "lock.go",
		old:   "return !now.Before(t) || !now.Round(0).Before(t.Round(0))",
		new:   "return !now.Before(t)",
		tests: "TestEitherClockEndsALock",
	},
	{
		name: "Deadline that moves back", file: "lock.go",
		old:   "d.After(old)",
		new:   "d != old",
		tests: "TestExtendIsNeverTheShorterOfTwo|TestExtendWithAShorterTTLChangesNothing",
	},
	{
		name: "late answer revives", file: "lock.go",
		old:   "\tif err == nil && k.over(k.locker.now()) {",
		new:   "\tif err == nil && k.gone {",
		tests: "TestAnswerThatComesAfterDeadlineDoesNotReviveTheLock",
	},
	{
		name: "lost lock released as success", file: "lock.go",
		old:   "\t} else if late {",
		new:   "\t} else if late && err != nil {",
		tests: "TestPassedDeadlineIsLatched",
	},
	{
		name: "second release counts as lost", file: "lock.go",
		old:   "errors.Is(again, ErrNotHeld) && errors.Is(err, ErrUnknown) && !k.over(k.locker.now())",
		new:   "errors.Is(again, ErrNotHeld) && errors.Is(err, ErrUnknown) && k.over(k.locker.now())",
		tests: "TestReleaseTriesTwice",
	},
	{
		name: "release not tried again", file: "lock.go",
		old: `	if err == nil || !transient(err) && !k.conn.notLent(err) {
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
		name: "clean-up confirmed once only", file: "strays.go",
		old:   "s.over, s.confirmed, s.failures = s.confirmed, true, 0",
		new:   "s.over, s.confirmed, s.failures = true, true, 0",
		tests: "TestSetThatIsCarriedOutAfterTheFirstConfirmationIsRemovedByTheSecond",
	},
	{
		name: "clean-up gives up at the first failure", file: "strays.go",
		old: `	case !transient(err):
		s.over = true`,
		new: `	case err != nil:
		s.over = true`,
		tests: "TestCleanUpIsTriedAgainUntilTheServerAnswers",
	},
	{
		name: "no clean-up after a release", file: "lock.go",
		old: `		if k.lostTry != nil {
			k.owe()
		}
`,
		new:   "",
		tests: "TestReleaseOfAnAdoptedLockRemovesALateSetToo",
	},
	{
		name: "Close does not wait for the clean-up", file: "strays.go",
		old: `	waitFor(most, done)
`,
		new:   "",
		tests: "TestCloseWaitsForTheCleanUp",
	},
	{
		name: "won too late kept", file: "acquire.go",
		old:   "\tif !k.over(now) {\n\t\tk.countHeld(now)",
		new:   "\tif true {\n\t\tk.countHeld(now)",
		tests: "TestAcquireWonTooLateIsUndoneAndErrExpired",
	},
	{
		name: "won too late not undone", file: "acquire.go",
		old:   "\terr := k.release(context.WithoutCancel(ctx))",
		new:   "\tvar err error",
		tests: "TestAcquireWonTooLateIsUndoneAndErrExpired",
	},
	{
		name: "the wait forgets that it was held", file: "acquire.go",
		old:   "e = followed(e, \"before: \", h.err)",
		new:   "",
		tests: "TestWaitThatEndsDuringATryIsErrHeldToo",
	},
	{
		name: "conflict waited for", file: "acquire.go",
		old: `	case errors.Is(err, ErrConflict):
		return err
	case err != nil`,
		new:   "\tcase err != nil",
		tests: "TestKeyThatIsNoLockEndsTheWaitWithErrConflict",
	},
	{
		name: "what is refused for good waited for", file: "errors.go",
		old:   "\treturn tooManyClients(err)",
		new:   "\treturn true",
		tests: "TestWhatIsTriedAgain|TestAcquireEndsAtOnceWhenRefusedForGood",
	},
	{
		name: "LOADING ends the wait", file: "errors.go",
		old:   `case "LOADING", "BUSY",`,
		new:   `case "BUSY",`,
		tests: "TestWhatIsTriedAgain",
	},
	{
		name: "MaxHold ignored", file: "keepalive.go",
		old:   "return most > 0 && !now.Before(k.acquired.Add(most))",
		new:   "return most < 0 && !now.Before(k.acquired.Add(most))",
		tests: "TestMaxHoldCountsFromTheAcquire",
	},
	{
		name: "crowd: all ask", file: "crowd.go",
		old: "maxAsking = 4", new: "maxAsking = 400", tests: "TestCrowdAsksFourAtATime|TestCrowdDoesNotDelayTheHolder",
	},
	{
		name: "crowd: a release calls nobody", file: "crowd.go",
		old: "if c.call() {", new: "if true {",
		tests: "TestCrowdIsServedByItsLockersReleasesInOrder",
	},
	{
		name: "crowd: a release does not find first tries", file: "crowd.go",
		old: "	t.again = true\n", new: "	t.again = t.crowd != nil\n", tests: "TestCrowdReleaseFindsAFirstTryInFlight",
	},
	{
		name: "crowd: a waiter that leaves takes the release along", file: "crowd.go",
		old: "if t.again && (errors.Is(err, ErrHeld) || t.asking == 0) {", new: "if t.again {\n\t\t\tt.again = false\n\t\t}\n\t\tif t.again {",
		tests: "TestCrowdReleaseIsNotLostWhenAnAskingWaiterLeaves",
	},
	{
		name: "crowd: the call is not passed on", file: "crowd.go",
		old: "if c.called == s || s.leads {", new: "if false {", tests: "TestCrowdPassesTheCallOnWhenTheCalledOneLeaves",
	},
	{
		name: "crowd: a stray waits for others", file: "crowd.go",
		old: "case isNewer && !eager && c.called != s:", new: "case isNewer && c.called != s:", tests: "TestCrowdLetsAWaiterFindItsOwnToken",
	},
	{
		name: "MinHold: the value stays", file: "luascript.go",
		old: "set = redis.pcall('SET', KEYS[1], ARGV[1] .. '`+leftSuffix+`', 'PX', ARGV[2])", new: "set = {}",
		tests: "TestMinHoldOutlivesTheCleanUpOfALostTry|TestMinHoldIsNotRaisedByALateRenewal|TestMinHoldIsNotTakenOverByAnAttach",
	},
	{
		name: "MinHold: an undo leaves the key", file: "lock.go",
		old:   "return k.releaseBy(ctx, k.locker.releaseFunc())",
		new:   "return k.releaseBy(ctx, k.leave)",
		tests: "TestMinHoldDoesNotKeepAnAcquireThatIsUndone",
	},
	{
		name: "MinHold: SET as the first write", file: "luascript.go",
		old: "local set = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])\nif type(set) == 'table' then return set end\nset = redis.pcall('SET'",
		new: "local set = redis.pcall('SET'", tests: "TestMinHoldWorksWithoutMemory",
	},
	{
		name: "MinHold: an Attach of what was left", file: "locker.go",
		old: "cutLeft(k.token); isLeft", new: "cutLeft(k.token); false && isLeft", tests: "TestMinHoldIsNotTakenOverByAnAttach",
	},
	{
		name: "MinHold: counted from the release", file: "lock.go",
		old: "k.acquired.Add(l.MinHold).Sub(l.now())", new: "l.now().Add(l.MinHold).Sub(l.now())", tests: "TestMinHoldExpiresByItselfAndOnTime",
	},
	{
		name: "panic skips the release", file: "locker.go",
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
		name: "wait for the pool not bounded", file: "limit.go",
		old:   "\tcase s.mux != nil:\n",
		new:   "\tcase s != nil:\n",
		tests: "TestOpTimeoutBoundsTheWaitForThePool",
	},
	{
		name: "read-only connection kept", file: "source.go",
		old:   "ok && err != nil && readOnly(err)",
		new:   "ok && err != nil && false && readOnly(err)",
		tests: "TestReadOnlyConnectionIsNotLentAgain",
	},
	{
		name: "sibling of another slot", file: "check.go",
		old:   `return "{" + key + "}:" + s, nil`,
		new:   `return key + ":" + s, nil`,
		tests: "TestSiblingIsInjectiveAndInTheSameSlot",
	},
	{
		name: "ErrLost after Deadline", file: "keepalive.go",
		old:   "{ return min(25*time.Millisecond, k.ttl/20) }",
		new:   "{ return -100 * time.Millisecond }",
		tests: "TestHungServerEndsKeepAliveNoLaterThanDeadline",
	},
	{
		name: "Close forgets the kept locks", file: "locker_close.go",
		old: `		kp.k.endKeeping(ErrClosed)
`,
		new: `		_ = kp
`,
		tests: "TestCloseEndsWaitersAndKeepAlives",
	},
	{
		name: "renewal outlives release: Release does not end it", file: "lock.go",
		old:   "\tk.endKeeping(nil)\n",
		new:   "",
		tests: "TestReleaseStopsTheRenewalFirstAndWaitsForIt|TestKeepAliveEndsBeforeTheReleaseIsSent",
	},
	{
		name: "renewal outlives release: put back after its batch", file: "renewer.go",
		old:   "\tkp.over = true\n",
		new:   "",
		tests: "TestReleaseIsBoundedThoughTheBatchHangs",
	},
	{
		name: "one error ends the renewals", file: "renewer.go",
		old:   "\t\tif !kp.over {\n\t\t\theap",
		new:   "\t\tif !kp.over && kp.failures == 0 {\n\t\t\theap",
		tests: "TestRenewalAfterOneFailureGoesOn|TestBatchThatBreaksRenewsTheAnsweredOnceAndTheOthersAgain",
	},
	{
		name: "a lock forgotten after a broken batch", file: "renewer.go",
		old:   "\tfor _, kp := range b.keepers {\n\t\tkp.batch = nil\n",
		new:   "\tif err != nil {\n\t\tb.keepers = b.keepers[:len(b.keepers)-1]\n\t}\n\tfor _, kp := range b.keepers {\n\t\tkp.batch = nil\n",
		tests: "TestBatchThatBreaksRenewsTheAnsweredOnceAndTheOthersAgain",
	},
	{
		name: "a reply judged for the wrong lock", file: "renewline.go",
		old:   "kp.judgeRenewal(start, n.replies[i])",
		new:   "kp.judgeRenewal(start, n.replies[max(i-1, 0)])",
		tests: "TestRepliesOfABatchAreJudgedOneByOne",
	},
	{
		name: "answered renewals of a broken batch thrown away", file: "renewline.go",
		old:   "\tcase i < len(n.replies) && isAnswer(n.replies[i]):",
		new:   "\tcase err == nil && i < len(n.replies) && isAnswer(n.replies[i]):",
		tests: "TestBatchThatBreaksRenewsTheAnsweredOnceAndTheOthersAgain",
	},
	{
		name: "basis taken after the replies", file: "renewer.go",
		old:   "\tline.outcomes(",
		new:   "\tstart = l.now()\n\tline.outcomes(",
		tests: "TestBasisOfABatchIsTheTimeBeforeItsSend",
	},
	{
		name: "Release does not wait for the batch in flight", file: "lock.go",
		old:   "\tk.awaitRenewal()\n",
		new:   "",
		tests: "TestReleaseWaitsForTheBatchInFlight",
	},
	{
		name: "Release waits for the newest keeper's batch only", file: "renewer.go",
		old:   "\tif kp.batch != nil { // else",
		new:   "\tif true { // else",
		tests: "TestReleaseWaitsForTheBatchInFlight",
	},
	{
		name: "sent although released while dialling", file: "renewer.go",
		old:   "sent = l.stillKept(b.keepers) // the dial",
		new:   "sent = b.keepers // the dial",
		tests: "TestNothingIsSentForALockReleasedWhileTheRenewerDials",
	},
	{
		name: "loss judged by the sender only", file: "renewer.go",
		old:   "\t\tgo l.judgeLosses(now)\n",
		new:   "\t\t_ = now\n",
		tests: "TestLossIsSignalledThoughTheRenewalHangsInADialWithoutContext",
	},
	{
		name: "the pool's connection used for renewals", file: "renewline.go",
		old:   "\tif n.conn, err = l.source().dial(ctx); err != nil {\n",
		new:   "\tn.conn = l.Pool.Get()\n\tif err = n.conn.Err(); err != nil || ctx.Err() != nil {\n",
		tests: "TestExhaustedPoolDoesNotCostTheLock",
	},
	{
		name: "a dial for each retry of each lock", file: "renewer.go",
		old:   "\t\tline.judge(l, err)\n",
		new:   "",
		tests: "TestDialsAreFewWhileTheServerCannotBeReached",
	},
	{
		name: "a lent connection given back after each batch", file: "renewer.go",
		old:   "\tline.outcomes(sent, start, err)\n",
		new:   "\tline.outcomes(sent, start, err)\n\tif !l.source().canDial() {\n\t\tline.close()\n\t}\n",
		tests: "TestKeepAliveKeepsTheConnectionThatItWasLent",
	},
	{
		name: "a late connection thrown away", file: "errands.go",
		old:   "\tcase len(e.seeking) > 0 && !e.keyed:",
		new:   "\tcase false:",
		tests: "TestLateDialGoesToTheNextRenewal",
	},
	{
		name: "dials that hang without a limit", file: "errands.go",
		old:   "e.left < e.room() && ",
		new:   "",
		tests: "TestDialsThatHangAreFourAtMost",
	},
	{
		name: "own dials without a limit", file: "source.go",
		old:   "dials: errands{dial: true, most: maxDials}",
		new:   "dials: errands{dial: true}",
		tests: "TestOwnDialsAreEightAtATime",
	},
	{
		name: "a slow dial ends with its caller", file: "errands.go",
		old:   "\t\tif e.dial {\n",
		new:   "\t\tif false {\n",
		tests: "TestSlowDialsCostNoKeptLock",
	},
	{
		name: "Close does not wait for a dial that was left", file: "locker_close.go",
		old:   "\t\twaitFor(most-time.Since(begin), src.close()...)\n",
		new:   "\t\tsrc.close()\n\t\t_ = begin\n",
		tests: "TestCloseWaitsForDialsThatWereLeft",
	},
	{
		name: "borrowed without a bound", file: "source.go",
		old:   "\t\tb.Conn, err = s.borrows.run(limit, s.get)\n\t}\n\treturn s.lent",
		new:   "\t\tb.Conn, err = s.get(limit)\n\t}\n\treturn s.lent",
		tests: "TestEveryVerbReturnsAtItsBound",
	},
	{
		name: "a changed pool of NewPool taken for one as it was made", file: "source.go",
		old:   "case !same(p.DialContext, d.dialContext), !same(p.TestOnBorrowContext, d.test):",
		new:   "case !same(p.DialContext, d.dialContext):",
		tests: "TestPoolOfNewPoolThatWasChangedIsBoundedToo",
	},
	{
		name: "a token found again counts from the last send", file: "acquire.go",
		old:   "\t\treturn k.won(ctx, first)\n",
		new:   "\t\treturn k.won(ctx, l.now())\n",
		tests: "TestAdoptedTokenCountsFromAnExtendNeverFromTheLastTry",
	},
	{
		name: "an impatient caller closes what is idle", file: "lock.go",
		old:   "(ctx.Err() == nil || time.Since(now) > l.opTimeout()/4)",
		new:   "true",
		tests: "TestCallersThatLeaveCostNoIdleConnections",
	},
	{
		name: "idle connections not doubted", file: "lock.go",
		old:   "\t\tsrc.doubt(now)\n",
		new:   "",
		tests: "TestHalfOpenConnectionsCostOneOpTimeoutInAll",
	},
	{
		name: "doubtful connections tested one after the other", file: "pool.go",
		old:   "\tcase dead != 0 && used <= dead && ctx.Err() == nil:\n\t\treturn errDead\n",
		new:   "\tcase dead < 0:\n\t\treturn errDead\n",
		tests: "TestHalfOpenConnectionsCostOneOpTimeoutInAll",
	},
	{
		name: "renewals of bound connections one after the other", file: "renewapart.go",
		old:   "all: make(chan struct{}, maxDials)",
		new:   "all: make(chan struct{}, 1)",
		tests: "TestNodeThatHangsCostsNoLockOnAnother|TestBoundConnectionsAreRenewedAtMostEightAtATime",
	},
	{
		name: "a bound connection used again", file: "strays.go",
		old:   "\tif !l.source().binds() {",
		new:   "\tif true {",
		tests: "TestLostTriesOverBoundConnectionsAreCleanedUp",
	},
	{
		name: "a batch for each lock that becomes due", file: "renewer.go",
		old:   " || kp.takeAt().After(now) {",
		new:   " || kp.due.After(now) {",
		tests: "TestRenewalsThatAreDueCloseTogetherTravelTogether",
	},
	{
		name: "losses by the monotonic clock only", file: "keepalive.go",
		old:   "\treturn now.Add(min(at.Sub(now), at.Round(0).Sub(now.Round(0))))",
		new:   "\treturn at",
		tests: "TestShortSuspensionEndsKeepAliveByTheWallClock",
	},
	{
		name: "no renewals sooner after a suspension", file: "loss.go",
		old:   "at := kp.nextDue(now); at.Before(kp.due)",
		new:   "at := kp.nextDue(now); false && at.Before(kp.due)",
		tests: "TestShortSuspensionEndsKeepAliveByTheWallClock",
	},
	{
		name: "a hung batch has all of OpTimeout", file: "renewline.go",
		old:   "loss := l.state.renewer.loss; len(loss) > 0 {",
		new:   "loss := l.state.renewer.loss; len(loss) > 1e9 {",
		tests: "TestConnectionThatHangsCostsNoOtherLock",
	},
	{
		name: "a write without bound", file: "renewline.go",
		old:   "context.WithTimeout(context.Background(), most) // ends",
		new:   "context.WithCancel(context.Background()) // ends",
		tests: "TestWriteThatHangsDoesNotStopTheRenewals",
	},
	{
		name: "no script text after NOSCRIPT in a batch", file: "renewline.go",
		old:   "\tif err != nil || i < 0 {",
		new:   "\tif err != nil || i < 1000 {",
		tests: "TestBatchOnAServerThatForgotTheScript",
	},
	{
		name: "a reply of a request for many judged for the wrong lock", file: "renewrequests.go",
		old:   "n.replies[i] = list[j]",
		new:   "n.replies[i] = list[max(j-1, 0)]",
		tests: "TestRepliesOfABatchAreJudgedOneByOne",
	},
	{
		name: "a reply list of another length taken", file: "renewrequests.go",
		old:   "\t\t\t\tn.replies[i] = nil\n",
		new:   "\t\t\t\tn.replies[i] = append(list, answer)[0]\n",
		tests: "TestRequestForManyThatGetsNoAnswerForEachIsSentForEachAlone",
	},
	{
		name: "a reply to many taken as the last word", file: "renewrequests.go",
		old:   "if size > 1 && !isExtended",
		new:   "if size > 1000 && !isExtended",
		tests: "TestRequestForManyThatGetsNoAnswerForEachIsSentForEachAlone",
	},
	{
		name: "a reply to many taken as the last word of a broken batch", file: "renewline.go",
		old:   "\tif n.pickRefused(); err == nil && len(n.picked) > 0 {",
		new:   "\tif err != nil {\n\t\treturn err\n\t}\n\tif n.pickRefused(); len(n.picked) > 0 {",
		tests: "TestWordOfABrokenBatchAboutOneOfManyEndsNoLock",
	},
	{
		name: "many in a request tried for ever", file: "renewrequests.go",
		old:   "\tif n.alone || l.Fair {",
		new:   "\tif n.alone && n.picked == nil {",
		tests: "TestServerInClusterModeIsAskedOneByOne",
	},
	{
		name: "a lock without rights drags others along for ever", file: "renewrequests.go",
		old:   " && keepers[left[0]].failures+keepers[left[of]].failures == 0 {",
		new:   " {",
		tests: "TestLockWithoutRightsCostsTheOthersOfItsRequestNothing",
	},
	{
		name: "for one lock without rights all are sent alone", file: "renewline.go",
		old:   "func(i int) bool { return !isExtended(n.replies[i]) })",
		new:   "func(i int) bool { return n.replies[i] == nil })",
		tests: "TestLockWithoutRightsCostsTheOthersOfItsRequestNothing",
	},
	{
		name: "a script for many stops at the first that is not held", file: "luascript.go",
		old:   "  replies[i] = extend(lock, args)\n",
		new:   "  replies[i] = extend(lock, args)\n  if replies[i] == 0 then return replies end\n",
		tests: "TestExtendScriptJudgesEachOfManyLocksForItself",
	},
	{
		name: "a nil reply taken as a renewal", file: "renewrequests.go",
		old:   "\treturn !none\n",
		new:   "\treturn !none && reply != nil\n",
		tests: "TestReplyThatSaysNothingIsAFailedRenewal",
	},
	{
		name: "a reply skipped when its caller has left", file: "internal/groupcommit/batch.go",
		old: `		for j := range c.Replies {
			if err := w.receive(patience,`,
		new: `		for j := range c.Replies {
			if c.stage.Load() == stageLeft {
				continue
			}
			if err := w.receive(patience,`,
		tests: "TestMuxFollowerLeavesAndTheOthersGetTheirReplies",
	},
	{
		name: "a connection cut by one of those who leave", file: "internal/groupcommit/call.go",
		old: `			if w.waiting.Add(-1) == 0 {
				doomed = w`,
		new: `			if w.waiting.Add(-1) >= 0 {
				doomed = w`,
		tests: "TestMuxLeaderWithFollowersLeavesWithoutHarmToThem",
	},
	{
		name: "a connection kept that nobody waits for", file: "internal/groupcommit/call.go",
		old: `			if w.waiting.Add(-1) == 0 {
				doomed = w`,
		new: `			if w.waiting.Add(-1) < 0 {
				doomed = w`,
		tests: "TestMuxConnectionThatAllHaveLeftIsCut",
	},
	{
		name: "a leader that may leave writes for others", file: "internal/groupcommit/batch.go",
		old:   "!b.wire.plain || fickle && !b.alone",
		new:   "!b.wire.plain || fickle && b == nil",
		tests: "TestMuxCallersReturnAtTheirBoundsWhileAWriteHangs",
	},
	{
		name: "a write may hang", file: "internal/groupcommit/wire.go",
		old:   "			hangs = true\n			w.doom(errLate)\n",
		new:   "",
		tests: "TestMuxCallersReturnAtTheirBoundsWhileAWriteHangs",
	},
	{
		name: "a caller reads for others", file: "internal/groupcommit/batch.go",
		old:   "own := c != nil && b.alone && len(g.queue) == 0",
		new:   "own := c != nil && reads",
		tests: "TestMuxCallersReturnAtTheirBoundsInEveryStage",
	},
	{
		name: "others board where a caller reads for itself", file: "internal/groupcommit/wire.go",
		old:   "w.writing != nil || w.exclusive ||",
		new:   "w.writing != nil ||",
		tests: "TestMuxCallersReturnAtTheirBoundsInEveryStage",
	},
	{
		name: "arguments are the caller's", file: "internal/groupcommit/call.go",
		old:   "		return bytes.Clone(a)\n",
		new:   "		return arg\n",
		tests: "TestMuxCallersLeaveWhileTheyAreWrittenAndTheirArgumentsStay",
	},
	{
		name: "a foreign connection gets the call's own arguments", file: "internal/groupcommit/batch.go",
		old:   "		if !plain {\n",
		new:   "		if false {\n",
		tests: "TestMuxConnectionMayKeepTheArgumentsItWasGiven",
	},
	{
		name: "a caller that left the queue is unknown", file: "internal/groupcommit/call.go",
		old: `			g.queue = slices.Delete(g.queue, i, i+1)
			defer c.end(stageLeft, g.env.Busy)`,
		new: `			g.queue = slices.Delete(g.queue, i, i+1)
			defer c.end(stageLeft, why)`,
		tests: "TestMuxQueuedCallerLeavesAndSendsNothing",
	},
	{
		name: "a wire used on after a reply was not read", file: "internal/groupcommit/wire.go",
		old:   "	err = w.broken\n	w.retire()\n",
		new:   "	err = w.broken\n	w.broken = nil\n",
		tests: "TestMuxForeignConnectionThatFailsOrPanicsWithoutDyingGivesNobodyAWrongReply",
	},
	{
		name: "a reader's panic is everybody's", file: "internal/groupcommit/wire.go",
		old:   "		if p := recover(); p != nil {\n			err =",
		new:   "		if p := any(nil); p != nil {\n			err =",
		tests: "TestMuxReplyAtWhichRedigoPanicsIsUnknownForAll",
	},
	{
		name: "a dial's panic is swallowed", file: "internal/groupcommit/call.go",
		old:   "	if c.panicked != nil {\n",
		new:   "	if false {\n",
		tests: "TestMuxPanicOfAUsersFuncIsItsCallersAndWedgesNothing",
	},
	{
		name: "a dial that failed is unknown", file: "internal/groupcommit/lane.go",
		old:   "			c.err = fmt.Errorf(\"%w: %w\", ErrNotSent, err)\n",
		new:   "			c.err = err\n",
		tests: "TestMuxDialThatFailsOrPanicsIsDefiniteAndTheNextDialsAnew",
	},
	{
		name: "the newest batch is read first", file: "internal/groupcommit/batch.go",
		old:   "	w.sent = append(w.sent, b)\n",
		new:   "	w.sent = slices.Insert(w.sent, min(1, len(w.sent)), b)\n",
		tests: "TestMuxWaitingCallersTravelInFewWritesAndInTheirOrder",
	},
	{
		name: "WATCH shared", file: "muxrefuse.go",
		old:   `"WATCH": true, `,
		new:   "",
		tests: "TestMuxRefusesWhatNeedsAConnectionOfItsOwnAndSendsNothing|TestReleaseTxOverAMuxSaysThatItNeedsThePool",
	},
	{
		name: "a group called streams hides BLOCK", file: "muxrefuse.go",
		old: `			i += 2
`,
		new: `			i += 0
`,
		tests: "TestMuxRefusesWhatNeedsAConnectionOfItsOwnAndSendsNothing",
	},
	{
		name: "everybody travels alone", file: "internal/groupcommit/group.go",
		old:   "	n := min(MaxGroup-len(b.calls), len(g.queue))\n",
		new:   "	n := min(MaxGroup-len(b.calls), len(g.queue), 0)\n",
		tests: "TestMuxWaitingCallersTravelInFewWritesAndInTheirOrder",
	},
	{
		name: "newcomers overtake the queue", file: "internal/groupcommit/group.go",
		old:   "		g.queue = append(g.queue, c)\n",
		new:   "		g.queue = append([]*Call{c}, g.queue...)\n",
		tests: "TestMuxWaitingCallersTravelInFewWritesAndInTheirOrder",
	},
	{
		name: "a short timeout cuts those that come after", file: "internal/groupcommit/wire.go",
		old:   "c.timeout > 0 && c.timeout <= 2*w.patience",
		new:   "true",
		tests: "TestMuxShortTimeoutsDoTheOthersNoHarm|TestMuxMorePatientCallersDoNotBoardWhereAnImpatientReaderReads",
	},
	{
		name: "a follower's timeout is its leader's", file: "internal/groupcommit/group.go",
		old: `	if a == 0 || b == 0 {
		return 0
	}
`,
		new:   "",
		tests: "TestMuxMorePatientCallersDoNotBoardWhereAnImpatientReaderReads",
	},
	{
		name: "each slow reply has the whole timeout", file: "internal/groupcommit/batch.go",
		old:   "left = max(c.timeout-time.Since(c.start), time.Microsecond)",
		new:   "left = c.timeout",
		tests: "TestMuxBatchOfSlowCommandsIsBoundedAsAWhole",
	},
	{
		name: "the wait in the queue is not counted", file: "internal/groupcommit/call.go",
		old:   "	return max(c.timeout-time.Since(c.start), 0)\n",
		new:   "	return c.timeout\n",
		tests: "TestMuxCallersReturnAtTheirBoundsInEveryStage",
	},
	{
		name: "everybody dials", file: "internal/groupcommit/group.go",
		old:   "	for g.connecting < min(MaxConnecting, len(g.queue))",
		new:   "	for g.connecting < len(g.queue)",
		tests: "TestMuxDialsFewAfterABreak",
	},
	{
		name: "READONLY does not matter to a Mux", file: "internal/groupcommit/batch.go",
		old:   "		if w.group.env.Demoted(re) {",
		new:   "		if false {",
		tests: "TestMuxDialsAnewAfterREADONLY",
	},
	{
		name: "an idle Mux is not tested", file: "internal/groupcommit/wire.go",
		old:   "now.Sub(w.used) >= g.env.TestAfter || ",
		new:   "",
		tests: "TestMuxTestsAConnectionThatWasIdleForLong|TestMuxFindsAfterAPauseThatTheServerHasClosedItsConnections",
	},
	{
		name: "a dead lane after the other", file: "internal/groupcommit/wire.go",
		old:   " || w.used.Before(g.brokeAt) || !w.plain",
		new:   " || !w.plain",
		tests: "TestMuxLanesThatDiedWhileIdleCostOneCallOnly",
	},
	{
		name: "a test has all the time", file: "internal/groupcommit/lane.go",
		old:   "context.WithTimeout(ctx, some)",
		new:   "context.WithTimeout(ctx, 10*some)",
		tests: "TestMuxLanesThatDiedWhileIdleCostOneCallOnly",
	},
	{
		name: "a closed Mux keeps its queue", file: "internal/groupcommit/group.go",
		old:   "		c.end(stageDone, g.env.Closed)",
		new:   "		_ = c",
		tests: "TestMuxCloseAtEachStage",
	},
	{
		name: "a slow lane taken", file: "internal/groupcommit/wire.go",
		old:   "now.Sub(w.progress) < slowLane",
		new:   "true",
		tests: "TestMuxSlowCommandHoldsUpItsConnectionOnly",
	},
}
