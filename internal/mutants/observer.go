package main

func init() { mutants = append(mutants, observerMutants...) }

// observerMutants break what an Observer and Stats promise.
var observerMutants = []mutant{
	{
		name: "observer: a lost lock counts as held", file: "lock.go",
		old:   "\t\tk.gone = true\n\t\tk.uncountHeld()\n",
		new:   "\t\tk.gone = true\n",
		tests: "TestStatsCountsALossAtOnce",
	},
	{
		name: "observer: a lock counts as held after ErrLost", file: "keepalive.go",
		old:   "\t\tk.uncountHeld()\n",
		new:   "",
		tests: "TestStatsCountsNoLockThatKeepAliveHasLost",
	},
	{
		name: "observer: an extended lock counts until its first Deadline", file: "lock.go",
		old:   "\t\tk.locker.state.held.move(k.place, old, d)\n",
		new:   "",
		tests: "TestStatsCountsWhatIsHeld",
	},
	{
		name: "observer: places of locks left to expire pile up", file: "stats.go",
		old:   "for range min(2, len(h.ends)) {",
		new:   "for range 0 {",
		tests: "TestStatsKeepsNothingOfLocksLeftToExpire",
	},
	{
		name: "observer: held by the monotonic clock only", file: "stats.go",
		old:   "return now.mono >= e.mono || now.wall >= e.wall",
		new:   "return now.mono >= e.mono",
		tests: "TestStatsGoesByBothClocks",
	},
	{
		name: "observer: the cause of the caller's context is lost", file: "observer.go",
		old:   "if key == causeKey {",
		new:   "if false {",
		tests: "TestObserversContext",
	},
	{
		name: "observer: a lock whose Acquired panics stays", file: "locker.go",
		old:   "got.abandon(ctx)",
		new:   "_ = got",
		tests: "TestObserverThatPanicsWedgesNothing",
	},
	{
		name: "observer: an acquire that panics leaves its token", file: "locker.go",
		old:   "\t\t\tk.abandon(ctx)\n",
		new:   "",
		tests: "TestObserverThatPanicsWedgesNothing",
	},
	{
		name: "observer: Goexit ends the renewals", file: "renewer.go",
		old:   "go l.renewDue(done)\n\t\t}\n\t}()",
		new:   "close(done)\n\t\t}\n\t}()",
		tests: "TestObserverThatEndsAGoroutineWedgesNothing",
	},
	{
		name: "observer: Goexit ends the judge of losses", file: "loss.go",
		old:   "\t\t\tgo l.judgeLosses(last)\n",
		new:   "",
		tests: "TestObserverThatEndsAGoroutineWedgesNothing",
	},
	{
		name: "observer: Goexit ends the clean-up", file: "strays.go",
		old:   "\t\t\tgo l.cleanUp(ctx, added, done)\n",
		new:   "\t\t\tclose(done)\n",
		tests: "TestObserverThatEndsAGoroutineWedgesNothing",
	},
	{
		name: "observer: a clean-up has nobody's ctx", file: "strays.go",
		old:   "l.Observer.outcome(s.ctx, ",
		new:   "l.Observer.outcome(context.Background(), ",
		tests: "TestObserverIsToldOneEndForEachBeginning|TestObserversDay",
	},
	{
		name: "observer: what a fair Locker sends in the background has nobody's ctx", file: "fairsend.go",
		old:   "if cmd.ctx != nil && l.Observer != nil {",
		new:   "if false {",
		tests: "TestObserverIsToldOneEndForEachBeginning|TestObserversDay",
	},
	{
		name: "observer: a subscription that is refused is told to nobody", file: "fairline.go",
		old:   "\tdefer n.tell()\n",
		new:   "",
		tests: "TestObserversDay",
	},
	{
		name: "observer: a release that was carried out has failed", file: "lock.go",
		old:   "\tif !errors.Is(err, ErrNotHeld) {\n\t\tk.locker.Observer.outcome(ctx, k.key, \"release\", err)",
		new:   "\tif true {\n\t\tk.locker.Observer.outcome(ctx, k.key, \"release\", err)",
		tests: "TestObserverIsToldOneEndForEachBeginning",
	},
	{
		name: "observer: the first of two lost replies is told to nobody", file: "lock.go",
		old:   "\tl.Observer.outcome(ctx, k.key, verb, err)\n\tstart, again",
		new:   "\tstart, again",
		tests: "TestObserverIsToldOneEndForEachBeginning|TestObserversDay",
	},
	{
		name: "observer: an attach that fails is told to nobody", file: "locker.go",
		old:   "\t\tl.Observer.outcome(ctx, key, verb, err)\n",
		new:   "",
		tests: "TestObserversDay",
	},
	{
		name: "observer: the margin is the new Deadline's", file: "lock.go",
		old:   "soonest(now, old).Sub(now)",
		new:   "soonest(now, k.Deadline()).Sub(now)",
		tests: "TestObserversDay|TestObserverIsToldTheRightValues",
	},
}
