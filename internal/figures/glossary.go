package figures

import (
	"slices"
	"strings"
)

// A Meaning is what some words mean that stand at the heads of tables, in charts and on pages.
type Meaning struct{ Words, Says string }

// Glossary explains all words. p50 is a median, p99 what one in a hundred is beyond, longest the longest of all.
var Glossary = []Meaning{
	{"uncontended", "each goroutine has a key that nobody else wants"},
	{"contention", "several waiters want one key; each takes it, holds it for as long as the table says, and releases it"},
	{"open loop", "acquires arrive at a given rate, whether or not those before have ended, as requests of users do"},
	{"locks/s", "acquires with their releases in a second, of all goroutines or waiters together"},
	{"latency", "the time of an acquire with its release, or of a verb; in the open loop from the arrival"},
	{"wait", "from the beginning of an acquire until it returns; ≥: too many had not ended"},
	{"hand-off", "from the release of one holder until another waiter has the lock"},
	{"fairness", "Jain's index, how evenly the waiters were served: 1 is even, 1/n is one of n that got everything"},
	{"taken again", "share of the acquires that the last holder got before any waiter: locks/s are high then, and waits long"},
	{"turn", "the time in which each waiter gets the lock once, on average"},
	{"commands", "what the server executed for one acquire and its release, with those that scripts call"},
	{"scripts", "how many of them were sent as EVALSHA"},
	{"reads", "how often the server read from a socket for that: a measure of round trips"},
	{"allocations", "of this process, for an acquire and its release"},
	{"server’s CPU, client’s CPU", "processor time of an acquire with its release, or of a renewal"},
	{"served/s, unserved", "of the arrivals of an open loop: in a second; how many were not served when the time was up"},
	{"late", "how long after its time a renewal came, which is when half of the ttl was left; or an arrival of the open loop"},
	{"renewals, lost locks, memory of a lock", "of kept locks: those sent; those that ran out; heap and stacks of this process"},
	{"gap, gaps over 20 ms, bound", "for how long nobody holds the lock after a fault; how many such; what the manual says"},
	{"beyond the lease", "what of a gap is not the rest of the ttl of the one that failed"},
	{"stale writes accepted, refused", "writes of a holder whose ttl had run out while it was stopped"},
	{"Release, failed releases, PING", "in a crowd: the time of a release; those that failed; a round trip at the same time"},
	{"time", "of an operation, as a multiple of another way's; ~: no difference found, the interval contains 1"},
	{"round", "one measurement of all cells, in a shuffled order"},
	{"round trip", "to the server and back; a delay is added to each"},
}

// MeaningOf is that of a word, as "latency p99" or "longest gap"; false where it is spelled out.
func MeaningOf(word string) (Meaning, bool) {
	for cut := range strings.SplitSeq(" p50| p99.9| p99| p90", "|") {
		word = strings.TrimSuffix(word, cut)
	}
	word = strings.TrimPrefix(strings.TrimPrefix(word, "longest "), "arrivals ")
	i := slices.IndexFunc(Glossary, func(m Meaning) bool { return slices.Contains(strings.Split(m.Words, ", "), word) })
	if i < 0 {
		return Meaning{}, false
	}
	return Glossary[i], true
}
