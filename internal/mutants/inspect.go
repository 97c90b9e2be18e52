package main

func init() { mutants = append(mutants, inspectMutants...) }

// inspectMutants break what the command for operators promises.
var inspectMutants = []mutant{
	{
		name: "inspect: break removes whoever holds the lock", in: "inspect.Lock.Break",
		old:   "return redigolock.Release(ctx, c, l.Key, *l.token)",
		new:   "_, err := c.Do(\"DEL\", l.Key)\n	return err",
		tests: "inspect: TestBreakComparesTheToken",
	},
	{
		name: "inspect: break forgets the queue", in: "inspect.Lock.Break",
		old:   "if l.Waiting > 0 && l.Held {",
		new:   "if l.Waiting > 0 && !l.Held {",
		tests: "inspect: TestLookAndBreakWithAQueue",
	},
	{
		name: "inspect: what lives for years is a lock", in: "inspect.Scan.withTTL",
		old:   "ms > 0 && left <= longestTTL",
		new:   "ms > 0",
		tests: "inspect: TestScanFindsWhatLooksLikeALock",
	},
	{
		name: "doctor: only known policies evict", in: "doctor.Checks",
		old:   `policy != "" && policy != "noeviction"`,
		new:   `policy == "allkeys-lru"`,
		tests: "doctor: TestOneServer|TestOldServerAndSlowFork",
	},
	{
		name: "doctor: a check that was refused counts as good", in: "doctor.Report.add",
		old:   "r.Unchecked = append(r.Unchecked, Unchecked{c.Name, s.addr, reason})",
		new:   "_ = reason",
		tests: "doctor: TestRights",
	},
}
