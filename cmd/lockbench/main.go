// Lockbench measures the locks of redigolock: how long an acquire and a release take by each approach, and how a lock
// goes from one holder to the next.
//
//	go run ./cmd/lockbench [flags]
//	go run ./cmd/lockbench report [-out report.html] FILE...
//
// The second makes an HTML page, which needs nothing else, from files that -out has written, or go test -bench.
//
// Without -url it starts the redis-server that is on PATH, on a Unix socket of its own, and stops it in the end. Where there
// is none, and with -url miniredis, it runs a miniredis in its own process; those figures compare the ways with each
// other, and are no Redis figures. With -url it measures the server of that URL, with -url env that of REDIS_URL in the
// environment; the password may be in the URL, or in REDISCLI_AUTH. Neither user nor password is ever shown.
//
// # Workloads
//
//   - overview: a dozen ways, apart and on one key, with two or three sentences of what they mean on this server.
//   - approaches: acquire + release of distinct keys, over how to acquire (setnx, setnx-verified, script: the verbs;
//     locker: a Locker with its defaults; locker-setnx: one with SetNX; locker-mux2: a Locker through a Mux of 2
//     connections; floor: redigo by hand), how to release (lua, tx, and native where the server has it) and the number
//     of goroutines. With allocations, and processor time of this process and of the server.
//   - verbs: each verb alone, by one goroutine on one connection.
//   - contention: waiters of one key, in one process or in several, which lockbench starts; by a polling Locker, a fair
//     one, and a fair one with a Cohort of 64 within 5 ms (fair-mux2: through a Mux of 2 connections). The floor is no
//     lock, but an EVALSHA that publishes to the next. The time from just before a release until another waiter has the
//     lock, acquisitions per second, Jain's index of fairness, how often the releaser gets it again, EVALSHAs and
//     commands for each acquisition, and waits. Mutual exclusion is checked from the histories of all processes, on the
//     machine's monotonic clock; if it is violated there is no figure.
//   - ratios: how much longer one takes than another, as the median of the ratios of many short rounds, with its
//     interval: the Locker against redigo by hand, SetNXGet and SetNXVerified against SetNX, and an identical copy as the control:
//     what its ratio strays from 1 is noise.
//   - keepalive: many locks that are kept alive, by one Locker and by a loop by hand, which has a goroutine and a
//     ticker for each lock: what a renewal costs this process and the server, memory and goroutines for each lock,
//     and how late renewals are. If a lock is lost there is no figure.
//   - mux: paired ratios, as above, of a Locker through a Mux to one on a pool, to redigo by hand on an unbounded pool,
//     and to the same on the best bounded pool, which is looked for first, in rounds of its own. -at-128 is the same
//     with 128 goroutines, to see whether more of them cost more.
//   - load: an open loop: acquire + release of keys that arrive at a rate, whatever the server does; latency from the
//     moment at which each was to arrive (there is no coordinated omission), and goodput. By default the keys are
//     distinct, and the rates are shares of what the fastest approach does in a closed loop, which is measured first.
//     With -keys all want one key, or one of 10,000 by Zipf's law, and wait for it; these take -rates.
//   - recovery: a process that holds a lock is killed (kill -9), while others wait: how long nobody holds, and how much
//     of that is beyond the lease of the dead one. -count says how often.
//   - rivals: acquire + release of distinct keys by redigo by hand, by our Lockers, and by all rivals: other libraries,
//     which only the same command in bench/peers has.
//
// The default is overview; all is the four after it; the others take minutes. Cells run round by round, in an
// order shuffled for each round. Where there are 6 rounds or more, medians come with their 95 % interval; "~" marks a
// ratio whose interval contains 1, which is no difference.
//
// # Rivals
//
//	cd bench/peers && go run ./cmd/lockbench -h
//
// is the same command with other libraries in it, and lists their names, which -approaches and -ways take beside ours:
// as in -workload contention -ways fair,redsync. "all" is ours and every rival that can do the workload. -approaches is
// of approaches, ratios, rivals, and load of distinct keys; the first in its list is what the others are compared with.
// -ways is of contention, load of shared keys, and recovery. With the one argument rivals it tells their versions and
// settings.
//
// # Campaigns
//
// How many runs there are, and about how long they take, is said before the first; on a terminal also what is left.
//
// -out writes each round as a line of the Go benchmark format, for go tool benchstat, with what the figures depend on
// as configuration lines: machine, kernel, server, versions, commit, load average at the start, and the flags. benchstat
// makes a table for each configuration: to compare two files give it -ignore with what may differ, such as
// commit,load-average,settings.
//
// -hist writes an HdrHistogram log: an interval for each cell of contention (the hand-off to another waiter) and of
// load, all rounds together, in ns, with the benchmark's name as its tag.
//
// With -resume a run that was interrupted goes on behind the last whole round of its -out file, and of its -hist file.
// The plan must be the same, and so must all configuration lines but the load average, which stays that of the begin:
// else it fails, and the files stay as they are. The tables are then of the new rounds; benchstat reads all.
//
// Keys begin with "lockbench:" and a random part (a fencing counter has that in braces, and more behind), have a TTL,
// and are removed in the end, also after Ctrl-C, which stops it within a second and prints what there is.
//
// # Flags
//
// They are listed by lockbench -h, with their defaults.
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
