package figures

import (
	"cmp"
	"slices"
)

// A Kind is a kind of benchmark: what it measures, and the words for its units, in the order of their columns.
type Kind struct {
	Name, Title, About string
	Words              []Word
}

// A Word is what a unit is called, in every table, chart, page and command; docs/benchmarks.md explains the words.
type Word struct {
	Unit, Name string
	Better     Direction
	Main       bool // it is shown at once, others behind a click or on another page
}

// A Direction says which figures of a unit are good.
type Direction string

const (
	Less    Direction = "less is better"
	More    Direction = "more is better"
	Neither Direction = ""
)

// Kinds are those that are known, in the order of a page.
var Kinds = []Kind{
	{"AcquireRelease", "Uncontended", "Each goroutine acquires and releases a key of its own, so that nobody waits for anybody. " +
		"Locks a second are those of all goroutines together; the latency is that of an acquire with its release.", []Word{
		{"acq/s", "locks/s", More, true},
		{"p50-sec", "latency p50", Less, true},
		{"p99-sec", "latency p99", Less, true},
		{"allocs/op", "allocations", Less, true},
		{"cpu-sec/op", "client’s CPU", Less, true},
		{"server-cpu-sec/op", "server’s CPU", Less, true},
		{"sec/op", "time over operations", Less, false},
	}},
	{"Contention", "Contention", "Waiters of one key acquire, hold and release it in a loop. A wait is from the beginning of an acquire until it " +
		"returns; a hand-off is from just before a release until another waiter has the lock. The way floor locks nothing: it is what " +
		"telling the next waiter costs, and never the best.", []Word{
		{"acq/s", "locks/s", More, true},
		{"wait-p50-sec", "wait p50", Less, true},
		{"wait-p99-sec", "wait p99", Less, true},
		{"jain", "fairness", More, true},
		{"again", "taken again", Neither, true},
		{"p50-sec", "hand-off p50", Less, true},
		{"p99-sec", "hand-off p99", Less, false},
		{"cmds/acq", "commands", Less, true},
		{"reads/acq", "reads", Less, true},
		{"cpu-sec/op", "client’s CPU", Less, true},
		{"server-cpu-sec/op", "server’s CPU", Less, true},
		{"max-sec", "longest hand-off", Less, false},
		{"inside-p50-sec", "hand-off p50 inside a process", Less, false},
		{"across-p50-sec", "hand-off p50 across processes", Less, false},
		{"longest-sec", "longest wait", Less, false},
		{"wait-p99-rounds", "wait p99 in turns", Less, false},
		{"longest-rounds", "longest wait in turns", Less, false},
		{"wait-beyond", "share of waits beyond their p99", Neither, false},
		{"waiting", "still waiting", Neither, false},
	}},
	{"Load", "Open loop", "Acquires arrive at a given rate, whatever the server does. The latency is from the moment at which one was to arrive until its " +
		"release was answered, so that a stall is not left out. Keys: own, one for each goroutine; hot, one for all; zipf, unevenly " +
		"spread over many.", []Word{
		{"goodput/s", "served/s", More, true},
		{"p50-sec", "latency p50", Less, true},
		{"p99-sec", "latency p99", Less, true},
		{"p99.9-sec", "latency p99.9", Less, false},
		{"unserved", "unserved", Less, true},
		{"generator-p50-sec", "arrivals late p50", Neither, false},
		{"generator-p99-sec", "arrivals late p99", Neither, true},
		{"sec/op", "time over operations", Neither, false},
	}},
	{"KeepAlive", "Keeping locks alive", "Many locks that are renewed: what a renewal costs, what each lock takes of memory, and how late " +
		"renewals are.", []Word{
		{"cpu-sec/renewal", "client’s CPU", Less, true},
		{"server-cpu-sec/renewal", "server’s CPU", Less, true},
		{"p50-sec", "late p50", Less, true},
		{"p99-sec", "late p99", Less, true},
		{"B/lock", "memory of a lock", Less, true},
		{"goroutines", "goroutines", Less, true},
		{"lost", "lost locks", Less, true},
		{"renewals/s", "renewals/s", Neither, false},
		{"sec/op", "time over renewals", Neither, false},
	}},
	{"Recovery", "A holder killed", "The process of a holder is killed, and others wait. The gap is the time until the next one holds; beyond " +
		"the lease is what of it is not the rest of the dead one’s ttl.", []Word{
		{"gap-p50-sec", "gap p50", Less, true},
		{"gap-max-sec", "longest gap", Less, true},
		{"beyond-p50-sec", "beyond the lease p50", Less, true},
		{"beyond-max-sec", "longest beyond the lease", Less, true},
		{"sec/op", "time over operations", Neither, false},
	}},
	{"Fault", "Faults", "A fault befalls a Locker with Fair, many times: for how long nobody holds the lock. The bound is what the manual says.", []Word{
		{"p50-sec", "gap p50", Less, true},
		{"worst-sec", "longest gap", Less, true},
		{"worst-beyond-lease-sec", "longest beyond the lease", Less, true},
		{"asked-sec", "bound", Neither, true},
		{"over-20ms", "gaps over 20 ms", Less, true},
		{"p90-sec", "gap p90", Less, false},
	}},
	{"Stale", "Stale writes", "A holder is stopped beyond its ttl and writes when it goes on: plain after a look at its context, verified after it has asked " +
		"the server, guarded by GuardDo with its fencing number.", []Word{
		{"stale-writes", "stale writes accepted", Less, true},
		{"refused", "refused", Neither, true},
	}},
	{"Verb", "Verbs", "Each verb alone, by one goroutine on one connection. They do different things, so that none is the best.", []Word{
		{"p50-sec", "latency p50", Less, true},
		{"p99-sec", "latency p99", Less, true},
		{"sec/op", "time over operations", Less, false},
	}},
	{"Ratio", "Ratios", "How much longer one takes than another: medians of the ratios of many short rounds, in which both ran " +
		"one after the other. Below 1 the row is the faster one. What a copy’s ratio strays from 1 is noise.", []Word{
		{"ratio", "time", Neither, true},
		{"cpu-ratio", "client’s CPU", Neither, true},
		{"server-cpu-ratio", "server’s CPU", Neither, true},
	}},
	{"Crowd", "A crowd in one process", "Many goroutines of one process wait for one key.", []Word{
		{"acq/s", "locks/s", More, true},
		{"wait-p50-sec", "wait p50", Less, true},
		{"wait-p99-sec", "wait p99", Less, true},
		{"cmds/acq", "commands", Less, true},
		{"release-p50-sec", "Release p50", Less, true},
		{"release-p99-sec", "Release p99", Less, true},
		{"trip-p50-sec", "PING p50", Neither, true},
		{"trip-p99-sec", "PING p99", Neither, true},
		{"failed-releases", "failed releases", Less, true},
	}},
}

// common are the words of units that several kinds have.
var common = []Word{
	{"sec/op", "time over operations", Less, false},
	{"p50-sec", "p50", Less, false},
	{"p99-sec", "p99", Less, false},
	{"p99.9-sec", "p99.9", Less, false},
	{"cpu-sec/op", "client’s CPU", Less, false},
	{"server-cpu-sec/op", "server’s CPU", Less, false},
	{"cmds/op", "commands", Less, false},
	{"cmds/acq", "commands", Less, false},
	{"reads/op", "reads", Less, false},
	{"reads/acq", "reads", Less, false},
	{"net-B/op", "network bytes", Less, false},
	{"net-B/acq", "network bytes", Less, false},
	{"allocs/op", "allocations", Less, false},
	{"evalsha/acq", "scripts", Less, false},
	{"unserved", "unserved", Less, false},
	{"goodput/s", "served/s", More, false},
	{"cores", "client’s CPUs busy", Less, false},
	{"server-cores", "server’s CPUs busy", Less, false},
}

// KindOf is that of a name. Of a kind that is not known nobody can say what is good.
func KindOf(name string) Kind {
	if i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name }); i >= 0 {
		return Kinds[i]
	}
	return Kind{Name: name, Title: name}
}

// Word is that of a unit; the unit itself where there is none.
func (k Kind) Word(unit string) Word {
	for _, w := range append(slices.Clone(k.Words), common...) {
		if w.Unit == unit {
			return w
		}
	}
	return Word{Unit: unit, Name: unit}
}

// WordsOf are those of all units that the cells have: first in the order of the kind, then the common ones, then others by
// their units. Of a kind that is not known all are main.
func (k Kind) WordsOf(cells []*Cell) (list []Word) {
	has := map[string]bool{}
	for _, c := range cells {
		for _, unit := range c.Units() {
			has[unit] = true
		}
	}
	for _, w := range append(slices.Clone(k.Words), common...) {
		if has[w.Unit] {
			list = append(list, w)
			delete(has, w.Unit)
		}
	}
	known := len(list)
	for unit := range has {
		list = append(list, Word{Unit: unit, Name: unit})
	}
	slices.SortFunc(list[known:], func(a, b Word) int { return cmp.Compare(a.Unit, b.Unit) })
	if !slices.ContainsFunc(list, func(w Word) bool { return w.Main }) {
		for i := range list {
			list[i].Main = true
		}
	}
	return list
}

// Way is what a way to lock is called in words; its name where there are none.
func Way(kind, name string) string { return cmp.Or(WayOf(kind, name).Words, name) }
