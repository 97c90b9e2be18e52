package main

func init() { mutants = append(mutants, clusterMutants...) }

// clusterMutants break what a Cluster promises.
var clusterMutants = []mutant{
	{
		name: "cluster: MOVED is taken for the answer to a renewal", in: "batch.Node.redirect",
		old:   `case "MOVED":`,
		new:   `case "MOVED TO":`,
		tests: "batch: TestMovedForSome|TestMovedToItself",
	},
	{
		name: "cluster: a lock whose slot moves is not renewed for itself", in: "batch.Node.redirect",
		old:   `case "ASK", "TRYAGAIN":`,
		new:   `case "ASKED":`,
		tests: "batch: TestSlotThatMoves",
	},
	{
		name: "cluster: the locks of a node that is gone wait for it", in: "renewal.line.renew",
		old:   "	n.sendAway(f)\n",
		new:   "",
		tests: "renewal: TestLeasesOfANodeThatIsGone|TestLeaseThatIsElsewhereDoesNotWait",
	},
	{
		name: "cluster: MOVED does not change the map", in: "cluster.Cluster.heed",
		old:   "c.owners[r.slot].Store(to)",
		new:   "_ = to",
		tests: "cluster: TestMoved",
	},
	{
		name: "cluster: ASK is followed without ASKING", in: "cluster.Conn.ask",
		old:   `wire.Request{Cmd: "ASKING"}, r)`,
		new:   `wire.Request{Cmd: "PING"}, r)`,
		tests: "cluster: TestAsk",
	},
	{
		name: "cluster: EVAL after ASK goes without ASKING", in: "cluster.Conn.Exchange",
		old:   "reqs[i].Script = nil",
		new:   "_ = reqs[i].Script",
		tests: "cluster: TestAskNoScript",
	},
	{
		name: "cluster: what was carried out is repeated", in: "cluster.Conn.Exchange",
		old:   "reqs[i:], replies[i:])",
		new:   "reqs[first*i:], replies[first*i:])",
		tests: "cluster: TestMovesBetweenSetAndGet",
	},
	{
		name: "cluster: a pipeline of which a part was carried out goes on", in: "cluster.Conn.redirected",
		old:   "!unserved(replies[j]) && kind != harmless && kind != unwatch || ",
		new:   "",
		tests: "cluster: TestRedirectedBeforeOneThatIsNot",
	},
	{
		name: "cluster: a transaction is led elsewhere", in: "cluster.Conn.redirected",
		old:   "!ok || x.tx",
		new:   "!ok",
		tests: "cluster: TestWatchIsNotLedElsewhere",
	},
	{
		name: "cluster: a refused EXEC keeps the transaction", in: "cluster.Conn.judge",
		old:   `x.tx && fault.Word(re) == "ERR"`,
		new:   "x.tx",
		tests: "cluster: TestTransactionIsOver",
	},
	{
		name: "cluster: redirects without end", in: "cluster.Conn.Exchange",
		old:   "hop < hopsMost",
		new:   "hop < 10*hopsMost",
		tests: "cluster: TestMovedToTheSameAddress",
	},
	{
		name: "cluster: MOVED to the same address keeps the connection", in: "cluster.Conn.follow",
		old:   "x.dropStale()",
		new:   "_ = x",
		tests: "cluster: TestMovedToTheSameAddress",
	},
	{
		name: "cluster: an empty host is localhost", in: "cluster.join",
		old:   "host, _, _ = net.SplitHostPort(asked)",
		new:   `host = "localhost"`,
		tests: "cluster: TestMapHosts|TestMovedWithoutHost|TestNullHost",
	},
	{
		name: "cluster: an older map is believed", in: "cluster.Cluster.take",
		old:   "(v.epoch >= c.epoch || most)",
		new:   "(v.epoch >= 0 || most)",
		tests: "cluster: TestStaleMapFromMinority",
	},
	{
		name: "cluster: a node that was cut off is believed", in: "cluster.Cluster.take",
		old:   "!c.known || !v.down && ",
		new:   "!c.known || ",
		tests: "cluster: TestStaleMapFromMinority",
	},
	{
		name: "cluster: the first map is believed", in: "cluster.view.better",
		old:   "return w.down",
		new:   "return v.down",
		tests: "cluster: TestFirstMapIsOfSeveral",
	},
	{
		name: "cluster: refreshes without a pause", in: "cluster.Cluster.refreshAll",
		old:   "c.last.Add(refreshPause)",
		new:   "c.last.Add(refreshPause/1000)",
		tests: "cluster: TestRefreshesPause",
	},
	{
		name: "cluster: a refresh for each MOVED", in: "cluster.Cluster.heed",
		old:   "c.want()",
		new:   "go c.refresh()",
		tests: "cluster: TestThousandMovedAtOnce",
	},
	{
		name: "cluster: a dead node wants no new map", in: "cluster.Conn.lead",
		old:   "x.c.Refresh()",
		new:   "_ = x",
		tests: "cluster: TestDeadNode",
	},
	{
		name: "cluster: who waits for a node that is gone waits on", in: "cluster.Cluster.install",
		old:   "time.AfterFunc(cutAfter, n.cut)",
		new:   "_ = n",
		tests: "cluster: TestHungNode",
	},
	{
		name: "cluster: READONLY wants no new map", in: "cluster.stirs",
		old:   `, "READONLY"`,
		new:   "",
		tests: "cluster: TestWordsThatWantAnotherMap",
	},
	{
		name: "cluster: keys of two slots are sent", in: "cluster.Conn.slotOf",
		old:   "x.slot >= 0 && x.slot != slot",
		new:   "x.slot > Slots && x.slot != slot",
		tests: "cluster: TestBindKeepsToOneSlot",
	},
	{
		name: "cluster: a script's other keys are not looked at", in: "cluster.scriptKeys",
		old:   "n > 1",
		new:   "n > 1 && n < 1",
		tests: "cluster: TestBindKeepsToOneSlot",
	},
	{
		name: "cluster: a slot with two nodes is taken", in: "cluster.view.add",
		old:   "if seen[i] {",
		new:   "if seen[i] && first > last {",
		tests: "cluster: TestBadMaps",
	},
	{
		name: "cluster: lanes of a node that is gone stay", in: "cluster.Lanes.at",
		old:   "context.AfterFunc(n.life, func() { ls.leave(n) })",
		new:   "_ = ls.leave",
		tests: "cluster: TestLanes",
	},
	{
		name: "cluster: redirects leave the lanes", in: "cluster.Conn.borrow",
		old:   "x.lanes != nil",
		new:   "x.lanes != nil && x.conn == nil && n.addr[0] != 'd'",
		tests: "cluster: TestLanes",
	},
	{
		name: "a Release without an answer owes nothing", in: "plain.release",
		old:   "!freed && fault.Transient(err) || ",
		new:   "",
		tests: "TestReleaseWithoutAnAnswerIsCleanedUp",
	},
	{
		name: "a clean-up does not see that the place is another", in: "cleanup.line.hurry",
		old:   "place != s.place && ",
		new:   "place != s.place && s.over && ",
		tests: "cleanup: TestStrayIsTriedSoonAfterItsPlaceIsAnother",
	},
	{
		name: "a clean-up misses that the place is another meanwhile", in: "cleanup.line.remove",
		old:   "s.place = n.node.Place(s)\n\t\terr = n.node.Remove(ctx, s)",
		new:   "err = n.node.Remove(ctx, s)\n\t\ts.place = n.node.Place(s)",
		tests: "cleanup: TestStrayWhosePlaceIsAnotherMeanwhileIsTriedSoon",
	},
	{
		name: "cluster: a node that lanes cannot dial asks for no map", in: "cluster.node.dial",
		old:   "n.c.Refresh()\n\t\t}",
		new:   "}",
		tests: "test/cluster: TestClusterCleansUpWhereTheSlotIsServedAgain",
	},
	{
		name: "cluster: nobody is told that a slot has another node", in: "cluster.Cluster.take",
		old:   "if changed {",
		new:   "if changed && !believed {",
		tests: "cluster: TestPlace",
	},
	{
		name: "cluster: nobody is told that a node is back", in: "cluster.node.answered",
		old:   "n.back.Add(1)",
		new:   "_ = &n.back",
		tests: "cluster: TestPlace",
	},
}
