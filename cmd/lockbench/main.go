// Lockbench measures the locks of redigolock: how long an acquire and a release take by each approach, and how a lock
// goes from one holder to the next.
//
//	go run ./cmd/lockbench [flags]
//	go run ./cmd/lockbench report [-out report.html] FILE...
//
// Without flags it compares a dozen ways, apart and on one key, and says in two or three sentences what the figures mean.
// The second makes an HTML page, which needs nothing else, from files that -out has written, or go test -bench.
// lockbench -h lists the flags, the workloads, what the columns mean, and how go tool benchstat reads its files.
//
// Without -url it starts the redis-server that is on PATH, on a Unix socket of its own, and stops it in the end. Where there
// is none, and with -url miniredis, it runs a miniredis in its own process; those figures compare the ways with each
// other, and are no Redis figures. With -url it measures the server of that URL, with -url env that of REDIS_URL in the
// environment; the password may be in the URL, or in REDISCLI_AUTH. Neither user nor password is ever shown.
//
// -url redis-cluster://host:port,… measures a Redis Cluster, and -url cluster one of three masters on ports of 127.0.0.1, which it
// starts, and stops in the end. The ways are those of one server, and so are the columns; CPU, reads and bytes are those of all
// masters together. "By hand" is a SET and an EVALSHA on connections of the library's Cluster, for redigo alone follows no redirect.
// Verbs, KeepAlive and rivals are measured at one server only.
//
// The benchmarks of a workload run round by round, in an order shuffled for each round, and the tables have the medians of
// the rounds. Where there are 6 rounds or more, they come with their 95 % interval; "~" marks a ratio whose interval
// contains 1, which is no difference. Mutual exclusion is checked from the histories of all processes, on the machine's
// monotonic clock; if it is violated, or a lock that is kept alive is lost, there is no figure.
//
// -out writes each round as a line of the Go benchmark format, with what the figures depend on as configuration lines:
// machine, kernel, server, versions, commit, load average at the start, and the flags.
//
// -delay has a link in this process add to each round trip, as a network between a service and its Redis does. It needs a
// redis:// or unix:// URL. The processor time and the allocations of this process are not told then, for they would be the
// link's, too. Rivals that are not on Redis have servers of their own, and are refused with it.
//
// # Rivals
//
//	cd bench/peers && go run ./cmd/lockbench -h
//
// is the same command with other libraries in it, and lists their names, which -approaches and -ways take beside those of this
// library, as in -workload contention -ways fair,redsync. "all" is this library and every rival that can do the workload. With the one
// argument rivals it tells their versions and settings.
//
// # Keys
//
// Keys begin with "lockbench:" and a random part (the key of a fencing counter has the lock's key in braces, and a suffix).
// They have a TTL, and are removed in the end. Ctrl-C stops the command within a second, or at a server that hangs, when
// its commands have timed out; it removes the keys, and prints what it has measured. A second Ctrl-C ends it at once.
//
// # Exit codes
//
//	0    done
//	1    failed: mutual exclusion was violated, a file cannot be written, or whatever is not below
//	2    a flag is unknown or has a bad value
//	3    the server cannot be reached, or stopped answering
//	4    the server denies a command
//	130  stopped by Ctrl-C (SIGINT) or SIGTERM
package main

import (
	"os"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/lockbench"
)

func main() {
	bench.Join()
	os.Exit(lockbench.Main())
}
