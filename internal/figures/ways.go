package figures

import "slices"

// A WayWords is what a way to lock is called, and what it does: sends to acquire, and ";" to release; or how its waiters wait. What
// rivals do is in their settings (lockbench rivals).
type WayWords struct {
	Kind, Name string // of benchmarks; Kind "": in all that are not named
	Words      string // "": the name
	Does       string
}

// Ways are the ways to lock.
var Ways = []WayWords{
	{"", "floor", "redigo by hand", "SET NX; EVALSHA to compare and delete"},
	{"Contention", "floor", "no lock, the next waiter is told", "an EVALSHA publishes to it"},
	{"", "setnx", "`SetNX`", "SET NX"},
	{"", "setnx-verified", "`SetNXVerified`", "SET NX and GET in one pipeline"},
	{"", "setnx-get", "`SetNXGet`", "SET NX GET"},
	{"", "script", "`SetNXScript`", "EVALSHA of SETNX and PEXPIRE"},
	{"", "locker", "Locker on a pool", "SET NX GET, the double check; EVALSHA, or DELIFEQ or DELEX where the server has it"},
	{"KeepAlive", "locker", "Locker", "renews all locks together"},
	{"", "locker-setnx", "Locker with SetNX alone", "SET NX; as a Locker"},
	{"", "locker-script", "Locker that releases by the script", "as a Locker; EVALSHA"},
	{"", "locker-mux1", "Locker over a Mux", "as a Locker; commands of many goroutines go together"},
	{"", "locker-mux2", "Locker over a Mux of two connections", ""},
	{"", "locker-mux4", "Locker over a Mux of four connections", ""},
	{"", "polling", "Locker that polls", "waiters are in the client, and try again after pauses"},
	{"", "fair", "`Fair`", "an EVALSHA; waiters are in a queue on the server, and served in their order"},
	{"", "fair-mux1", "`Fair` over a Mux", ""},
	{"", "cohort", "`Fair` with `Cohort`", "as Fair; hand-offs inside a process send nothing"},
	{"", "loop", "a ticker for each lock", "a goroutine for each lock that is kept alive"},
	{"Contention", "redsync", "redsync, short pauses", ""},
	{"Load", "redsync", "redsync, short pauses", ""},
	{"", "redsync-default", "redsync, its own pauses", ""},
	{"Contention", "redislock", "redislock, short pauses", ""},
	{"Load", "redislock", "redislock, short pauses", ""},
	{"", "goredis-setnx", "SET NX on go-redis", ""},
	{"", "rueidis", "raw rueidis", ""},
	{"", "zookeeper", "ZooKeeper", ""},
}

// WayOf is that of a name in benchmarks of a kind; without words if it has none.
func WayOf(kind, name string) WayWords {
	for _, k := range []string{kind, ""} {
		if i := slices.IndexFunc(Ways, func(w WayWords) bool { return w.Kind == k && w.Name == name }); i >= 0 {
			return Ways[i]
		}
	}
	return WayWords{Name: name}
}
