package main

func init() { mutants = append(mutants, observerMutants...) }

// observerMutants break what an Observer and Stats promise.
var observerMutants = []mutant{
	{
		name: "observer: the cause of the caller's context is lost", in: "spanned.Value",
		old:   "if key == causeKey {",
		new:   "if false {",
		tests: "TestObserversContext",
	},
	{
		name: "observer: Goexit ends the renewals", in: "renewal.line.signOff",
		old:   "if !empty || len(n.loss.shares) > 0 {",
		new:   "if empty && len(n.loss.shares) > 0 {",
		tests: "TestObserverThatEndsAGoroutineWedgesNothing",
	},
	{
		name: "observer: the margin is the new Deadline's", in: "Lock.extended",
		old:   "soonest(now, old).Sub(now)",
		new:   "soonest(now, k.Deadline()).Sub(now)",
		tests: "TestObserversDay|TestObserverIsToldTheRightValues",
	},
}
