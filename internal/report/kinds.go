package report

var ways = []string{"approach", "way", "release"}

// layouts are the kinds that are known, in the order of the page.
var layouts = []layout{
	{
		kind: "AcquireRelease", title: "Acquire and release", rows: ways, column: "goroutines",
		about: "Distinct keys, so that nobody waits for anybody. The time of an op, which is one acquire and one " +
			"release, is the time that passes divided by the ops of all goroutines; p50 and p99 are how long a " +
			"goroutine waits for one.",
		metrics: []metric{{"sec/op", "Time of an op", less, true}},
	},
	{
		kind: "Contention", title: "Contention", rows: ways, noLock: true,
		about: "Waiters of one key, acquiring and releasing in a loop. The hand-off is the time from just before a " +
			"release until another waiter has the lock. A round is the time in which all waiters have one turn on " +
			"average. floor is no lock, but what telling the next one costs: it is never the best.",
		metrics: []metric{
			{"acq/s", "Acquisitions", more, true},
			{"p50-sec", "Hand-off p50", less, true},
			{"p99-sec", "Hand-off p99", less, true},
			{"wait-p99-sec", "Wait p99", less, true},
			{"wait-p99-rounds", "Wait p99 in rounds", less, true},
			{"jain", "Fairness (Jain)", more, true},
			{"cmds/acq", "Commands each", less, true},
			{"max-sec", "Hand-off max", less, false},
			{"inside-p50-sec", "Hand-off p50 inside a process", less, false},
			{"across-p50-sec", "Hand-off p50 across processes", less, false},
			{"longest-sec", "Longest wait", less, false},
			{"longest-rounds", "Longest wait in rounds", less, false},
			{"wait-beyond", "Share of waits beyond their p99", neither, false},
			{"waiting", "Still waiting", neither, false},
			{"again", "Taken again by the releaser", neither, false},
			{"sec/op", "Time of an acquisition", less, false},
		},
	},
	{
		kind: "Load", title: "Load", rows: ways, column: "rate",
		about: "An open loop: ops arrive at a rate, whatever the server does. Latency is counted from the moment at " +
			"which an op was to arrive, so that a stall is not left out. Keys: own, one for each worker; hot, one for " +
			"all; zipf, unevenly spread over many.",
		metrics: []metric{
			{"p99-sec", "Latency p99", less, true},
			{"goodput/s", "Goodput", more, true},
			{"p50-sec", "Latency p50", less, false},
			{"p99.9-sec", "Latency p99.9", less, false},
			{"generator-p50-sec", "Lateness of the load itself p50", neither, false},
			{"generator-p99-sec", "Lateness of the load itself p99", neither, false},
			{"sec/op", "Time of an op", neither, false},
		},
	},
	{
		kind: "KeepAlive", title: "Keeping locks alive", rows: ways,
		about: "Many locks that are renewed: what a renewal costs, what each lock takes of memory, and how late " +
			"renewals are.",
		metrics: []metric{
			{"cpu-sec/renewal", "CPU of a renewal", less, true},
			{"server-cpu-sec/renewal", "Server’s CPU of it", less, true},
			{"p50-sec", "Late p50", less, true},
			{"p99-sec", "Late p99", less, true},
			{"B/lock", "Memory of a lock", less, true},
			{"goroutines", "Goroutines", less, true},
			{"lost", "Lost locks", less, true},
			{"renewals/s", "Renewals", neither, false},
			{"sec/op", "Time of a renewal", neither, false},
		},
	},
	{
		kind: "Recovery", title: "Recovery", rows: ways,
		about: "The process of a holder is killed, and others wait. The gap is the time until the next one holds; beyond " +
			"the lease is what of it is not the rest of the dead one’s ttl.",
		metrics: []metric{
			{"beyond-p50-sec", "Beyond the lease p50", less, true},
			{"beyond-max-sec", "Beyond the lease max", less, true},
			{"gap-p50-sec", "Gap p50", less, true},
			{"gap-max-sec", "Gap max", less, true},
			{"sec/op", "Time of an op", neither, false},
		},
	},
	{
		kind: "Verb", title: "Verbs", rows: []string{"verb"}, apart: true,
		about: "Each verb alone, by one goroutine on one connection. They do different things, so that none is the best.",
		metrics: []metric{
			{"sec/op", "Time of an op", less, true},
			{"p50-sec", "p50", less, true},
			{"p99-sec", "p99", less, true},
		},
	},
	{
		kind: "Ratio", title: "Ratios", rows: []string{"of"}, column: "goroutines", around1: true,
		about: "How much longer one takes than another: medians of the ratios of many short rounds, in which both ran " +
			"one after the other. Below 1 the row is the faster one. What a copy’s ratio strays from 1 is noise.",
		metrics: []metric{
			{"ratio", "Ratio of the times", neither, true},
			{"cpu-ratio", "Ratio of the CPU times", neither, false},
			{"server-cpu-ratio", "Ratio of the server’s CPU times", neither, false},
		},
	},
}

// commonMetrics are those of more than one kind.
var commonMetrics = []metric{
	{"sec/op", "Time of an op", less, false},
	{"p50-sec", "p50", less, false},
	{"p99-sec", "p99", less, false},
	{"p99.9-sec", "p99.9", less, false},
	{"cpu-sec/op", "CPU of an op", less, false},
	{"server-cpu-sec/op", "Server’s CPU of an op", less, false},
	{"allocs/op", "Allocations of an op", less, false},
	{"cmds/op", "Commands of an op", less, false},
	{"reads/op", "Reads of the server of an op", less, false},
	{"net-B/op", "Network bytes of an op", less, false},
	{"cmds/acq", "Commands each", less, false},
	{"evalsha/acq", "EVALSHA each", less, false},
	{"sent/acq", "Commands sent each", less, false},
	{"reads/acq", "Reads of the server each", less, false},
	{"net-B/acq", "Network bytes each", less, false},
	{"unserved", "Unserved", less, false},
	{"goodput/s", "Goodput", more, false},
	{"cores", "CPUs busy", less, false},
	{"server-cores", "Server’s CPUs busy", less, false},
}
