package main

func init() { mutants = append(mutants, sentinelMutants...) }

// sentinelMutants break what is promised of Sentinels.
var sentinelMutants = []mutant{
	{
		name: "the first Sentinel is believed", in: "sentinel.Group.askAll",
		old:   "told == 1 || a.epoch > best.epoch",
		new:   "told == 1",
		tests: "sentinel: TestSentinelsDisagree",
	},
	{
		name: "an old configuration is believed", in: "sentinel.Group.learn",
		old:   "if epoch < g.epoch && !majority {",
		new:   "if epoch < g.epoch && !majority && g.closed {",
		tests: "sentinel: TestFewSentinelsThatKnowLess",
	},
	{
		name: "no ROLE after the dial", in: "sentinel.Group.dialOnce",
		old:   "err = role(ctx, c)",
		new:   "err = nil",
		tests: "sentinel: TestAnswerBeforeThePromotion",
	},
	{
		name: "connections to an old master live on", in: "sentinel.Group.learn",
		old:   "c.cut()",
		new:   "_ = c",
		tests: "sentinel: TestSwitchMaster|TestMasterThatComesBackAsReplica",
	},
	{
		name: "idle connections to an old master are lent", in: "sentinel.Current",
		old:   "ok && x.Outdated()",
		new:   "ok && x == nil",
		tests: "sentinel: TestMasterThatComesBackAsReplica",
	},
	{
		name: "READONLY is not heard", in: "sentinel.Conn.see",
		old:   "c.demoted()",
		new:   "_ = c",
		tests: "sentinel: TestMasterThatComesBackAsReplica",
	},
	{
		name: "the subscription outlives the connections", in: "sentinel.Group.forget",
		old:   "g.unwatch()",
		new:   "_ = g",
		tests: "sentinel: TestSubscriptionLivesWhileConnectionsAreOut",
	},
	{
		name: "what was said before the subscription is missed", in: "sentinel.Group.listen",
		old:   "g.askSoon()\n	tended",
		new:   "tended",
		tests: "sentinel: TestSwitchWhileTheSubscriptionIsDown",
	},
	{
		name: "a hung dial outlives its master", in: "sentinel.Group.ask",
		old:   "			case <-changed:\n				cancel()\n				return\n",
		new:   "",
		tests: "sentinel: TestHungDialEndsWhenAnotherIsNamed",
	},
	{
		name: "locks are not looked for at another server", in: "renewal.line.lookForAnother",
		old:   "s.failures, s.when[toRenew].at = 0, now",
		new:   "_, _ = s, now",
		tests: "renewal: TestNodeThatBecomesAnotherServer",
	},
}
