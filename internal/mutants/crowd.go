package main

func init() { mutants = append(mutants, crowdMutants...) }

// crowdMutants break what is promised of those that wait for one key in a Locker.
var crowdMutants = []mutant{
	{
		name: "crowd: all ask", in: "crowd.MaxAsking",
		old:   "MaxAsking = 4",
		new:   "MaxAsking = 400",
		tests: "TestCrowdAsksFourAtATime|TestCrowdDoesNotDelayTheHolder",
	},
	{
		name: "crowd: a release calls nobody", in: "crowd.Crowds.Freed",
		old:   "\tc.call()\n",
		new:   "",
		tests: "TestCrowdIsServedByItsLockersReleasesInOrder",
	},
	{
		name: "crowd: a release does not find first tries", in: "crowd.Crowds.endAlone",
		old:   "Load() != freed",
		new:   "Load() != freed && false",
		tests: "TestCrowdReleaseFindsAFirstTryInFlight",
	},
	{
		name: "crowd: a waiter that leaves takes the release along", in: "crowd.Crowds.leave",
		old:   "w.leads || w.again",
		new:   "w.leads",
		tests: "TestCrowdReleaseIsNotLostWhenAnAskingWaiterLeaves",
	},
	{
		name: "crowd: the call is not passed on", in: "crowd.Crowds.leave",
		old:   "if c.called == w || w.leads || w.again {",
		new:   "if false {",
		tests: "TestCrowdPassesTheCallOnWhenTheCalledOneLeaves",
	},
	{
		name: "crowd: a stray waits for others", in: "crowd.crowd.canTake",
		old:   "c.newest.n > w.took && !w.seeks()",
		new:   "c.newest.n > w.took",
		tests: "TestCrowdLetsAWaiterFindItsOwnToken",
	},
	{
		name: "crowd: a try outside of it is not counted", in: "crowd.crowd.hasRoom",
		old:   "key != nil && *key == c.key {",
		new:   "false && *key == c.key {",
		tests: "TestCrowdAsksFourAtATime",
	},
	{
		name: "crowd: a try outside of it makes no room", in: "crowd.Crowds.endAlone",
		old:   "if !goesOn && cs.crowded[placeOf(key)].Load() == 0 {",
		new:   "if !goesOn {",
		tests: "TestCrowdIsToldOfATryOutsideOfIt",
	},
	{
		name: "crowd: the timer calls a Retry of the user's", in: "crowd.crowd.fail",
		old:   "if !c.of.env.Own || isLast {",
		new:   "if isLast {",
		tests: "TestCrowdCallsAUsersRetryOnItsOwnGoroutine",
	},
	{
		name: "crowd: a lost lock found too late ends the wait", in: "waitingCall.Final",
		old:   "x.acquired.IsZero()",
		new:   "x.acquired.IsZero() && false",
		tests: "TestAcquireGoesOnAfterItsLostLockHasExpired",
	},
}
