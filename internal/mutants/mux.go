package main

func init() { mutants = append(mutants, muxMutants...) }

// muxMutants break what a Mux promises.
var muxMutants = []mutant{
	{
		name: "a Mux trusts the others after a reply that is late", in: "groupcommit.Conn.giveUpOnCancel",
		old:   "why = errLate",
		new:   "why = errLeft",
		tests: "test/mux: TestMuxReplacesTheOthersWhenAReplyIsLate",
	},
	{
		name: "a reply skipped when its caller has left", in: "groupcommit.link.readBatch", sim: "mux",
		old: `		for j := range c.Replies {
			if err := lk.receive(patience,`,
		new: `		for j := range c.Replies {
			if c.stage.Load() == stageLeft {
				continue
			}
			if err := lk.receive(patience,`,
		tests: "test/mux: TestMuxFollowerLeavesAndTheOthersGetTheirReplies",
	},
	{
		name: "a write may hang", in: "groupcommit.link.checkWrite",
		old: `			hangs = true
			lk.doom(errLate)
`,
		new:   "",
		tests: "test/mux: TestMuxCallersReturnAtTheirBoundsWhileAWriteHangs",
	},
	{
		name: "a dial that failed is unknown", in: "groupcommit.Group.failed",
		old: `			c.err = fmt.Errorf("%w: %w", fault.NotSent, err)
`,
		new: `			_, c.err = fault.NotSent, fmt.Errorf("%w", err)
`,
		tests: "test/mux: TestMuxDialThatFailsOrPanicsIsDefiniteAndTheNextDialsAnew",
	},
	{
		name: "WATCH shared", in: "groupcommit.unsharable",
		old:   `"WATCH": true, `,
		new:   "",
		tests: "test/mux: TestMuxRefusesWhatNeedsAConnectionOfItsOwnAndSendsNothing|TestReleaseTxOverAMuxSaysThatItNeedsThePool",
	},
	{
		name: "newcomers overtake the queue", in: "groupcommit.Group.Do",
		old: `		g.queue = append(g.queue, c)
`,
		new: `		g.queue = append([]*Call{c}, g.queue...)
`,
		tests: "test/mux: TestMuxWaitingCallersTravelInFewWritesAndInTheirOrder",
	},
	{
		name: "a short timeout cuts those that come after", in: "groupcommit.link.mayJoin",
		old:   "c.timeout > 0 && c.timeout <= 2*lk.patience",
		new:   "true",
		tests: "test/mux: TestMuxShortTimeoutsDoTheOthersNoHarm|TestMuxMorePatientCallersDoNotBoardWhereAnImpatientReaderReads",
	},
}
