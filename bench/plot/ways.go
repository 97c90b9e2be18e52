package main

import (
	"slices"
	"strings"
)

// A way is how an approach, a rival or a way of waiting looks in all charts: a colour for the family, a dash pattern and
// a mark as a second channel for its members. Ours alone are blue (the plain Locker and the verbs) or vermillion (Mux,
// Fair), and thick. No two have the same colour, dash pattern and mark; no two that wait for a key have the same colour
// and dash pattern, since the curves of the hand-off have no marks.
type way struct {
	name, label string
	hue         hue
	dash        dash
	mark        mark
	ours        bool
}

// ways is in the order of importance: a chart that cannot show all of its lines shows the first of them.
var ways = []way{
	{"fair", "Fair", vermillion, solid, circle, true},
	{"cohort", "Fair with Cohort", vermillion, dashed, square, true},
	{"polling", "polling Locker", blue, solid, circle, true},
	{"locker-mux1", "Locker, Mux of 1", vermillion, solid, triangle, true},
	{"locker", "Locker", blue, solid, square, true},
	{"notify", "bare notify, no lock", neutral, dotted, diamond, false},
	{"floor", "redigo by hand", neutral, solid, diamond, false},
	{"redsync", "redsync", green, solid, triangle, false},
	{"redislock", "redislock", purple, solid, triangle, false},
	{"rueidislock", "rueidislock", sky, solid, triangle, false},
	{"rueidis", "raw rueidis", sky, dotted, square, false},
	{"go-redis-auto", "go-redis, pipelining", orange, dashed, diamond, false},
	{"etcd", "etcd", yellow, solid, diamond, false},
	{"zookeeper", "ZooKeeper", yellow, dashed, square, false},
	{"loop", "a ticker each lock", neutral, solid, circle, false},
	{"goredis-setnx", "SET NX on go-redis", orange, solid, triangle, false},
	{"floor-pool16", "by hand, pool of 16", neutral, dashed, diamond, false},
	{"fair-mux1", "Fair over a Mux", vermillion, dotted, triangle, true},
	{"polling-mux1", "polling over a Mux", blue, dashdot, square, true},
	{"cohort-mux1", "Cohort over a Mux", vermillion, dashdot, diamond, true},
	{"locker-mux2", "Locker, Mux of 2", vermillion, dashed, diamond, true},
	{"locker-mux4", "Locker, Mux of 4", vermillion, dotted, square, true},
	{"locker-setnx-mux1", "Locker with SetNX, Mux of 1", vermillion, dashdot, circle, true},
	{"go-redis", "raw go-redis", orange, dotted, square, false},
	{"redsync-default", "redsync, default delay", green, dashdot, circle, false},
	{"redislock-linear100", "redislock, 100 ms", purple, dotted, diamond, false},
	{"redislock-exp", "redislock, exponential", purple, dashed, square, false},
	{"redsync-goredis", "redsync on go-redis", green, dashed, square, false},
	{"redsync-pool16", "redsync, pool of 16", green, dotted, diamond, false},
	{"valkeylock", "valkeylock", sky, dashed, diamond, false},
	{"rueidis-conn1", "raw rueidis, 1 conn.", sky, dashdot, circle, false},
	{"article-verified", "article: double check", grey, solid, circle, false},
	{"article-setnx", "article: SET NX", grey, dashed, square, false},
	{"article-script", "article: script", grey, dotted, triangle, false},
	{"article-redlock", "article: Redlock", grey, dashdot, diamond, false},
	{"locker-setnx", "Locker with SetNX", blue, dashed, square, true},
	{"setnx", "verb SetNX", blue, dotted, triangle, true},
	{"setnx-verified", "verb SetNXVerified", blue, dashdot, diamond, true},
	{"setnx-get", "verb SetNXGet", blue, solid, triangle, true},
	{"locker-script", "Locker, release by script", blue, dotted, diamond, true},
	{"script", "verb SetNXScript", blue, dashed, diamond, true},
}

// rank is the place in the order of importance; names that the table does not have come last.
func rank(name string) int {
	if i := slices.IndexFunc(ways, func(w way) bool { return w.name == name }); i >= 0 {
		return i
	}
	return len(ways)
}

// wayOf is how a name looks. One that the table does not have is called by its name, grey and dotted; but a floor on a
// pool of another size looks like a floor.
func wayOf(name string) way {
	if i := rank(name); i < len(ways) {
		return ways[i]
	}
	if n, ok := strings.CutPrefix(name, "floor-pool"); ok {
		return way{name, "by hand, pool of " + n, neutral, dotted, square, false}
	}
	return way{name, name, grey, dotted, circle, false}
}

func byRank(a, b string) int {
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// labels are those of names, for a sentence.
func labels(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = wayOf(name).label
	}
	return strings.Join(list, "; ") // some have a comma
}
