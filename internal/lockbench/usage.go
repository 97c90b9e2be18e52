package lockbench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/bench"
)

const usageText = `Lockbench measures the locks of redigolock on a Redis or Valkey server.

usage: go run ./cmd/lockbench [flags]
       go run ./cmd/lockbench report [-out report.html] FILE...     (a page from what -out has written)
       cd bench/peers && go run ./cmd/lockbench rivals              (the rivals' versions and settings)

  -url URL          the server: redis://[user:password@]host[:port][/db], rediss://… (TLS), unix:///path or
                    redis-sentinel://[user:password@]host[:port],…[/db]?master=NAME (redis-sentinels://: TLS).
                    env: what REDIS_URL of the environment says. miniredis: one in this process, whose figures
                    compare the ways only. Default: the redis-server on PATH, started on a Unix socket of its own;
                    without one, miniredis. The password may be in REDISCLI_AUTH instead.
  -workload LIST    overview, approaches, verbs, contention, ratios, or all, which is these but the overview;
                    keepalive, mux, load, recovery, rivals (default overview)
  -goroutines LIST  for approaches, ratios, rivals and mux (default 1,16,128; mux 1,2,16,128,1024)
  -approaches LIST  for approaches, ratios, rivals and load: floor, setnx, setnx-verified, setnx-get, script,
                    locker, locker-setnx, locker-script (releases by the script on any server), all;
                    floor-pool16: over a pool of 16; locker-mux2: through a Mux of 2 connections; ratios
                    are to the first (default: those of the workload)
  -pools LIST       sizes of bounded pools, for mux and load (default 1,2,4,8,16,32,64)
  -loads LIST       for load: arrivals as percent of what the fastest can do in a closed loop
                    (default 10,25,50,70,80,90,95)
  -rates LIST       for load, instead of -loads: arrivals a second
  -served N         for load: how many are served at once (default 256; of shared keys 4096)
  -keys LIST        for load: own: one for each that is served, by -approaches; hot: one for all; zipf10000:
                    10,000 by Zipf's law; these two are waited for, by -ways, and take -rates (default own)
  -waiters LIST     for contention: of all processes together (default 8,64)
  -processes LIST   for contention: in how many processes they are, at most one for each waiter (default 1,4)
  -ways LIST        for contention, load of shared keys, and recovery: floor (contention only), polling, fair,
                    cohort, all; fair-mux2: through a Mux of 2 connections, but not for recovery
                    (default floor,polling,fair,cohort)
  -hold LIST        for contention, and load of shared keys: how long each holder holds (default 0s)
  -delay LIST       added to each round trip, by a link, as a network does: 0.5ms,5ms (default 0s)
  -locks LIST       for keepalive (default 1,1000,10000; on miniredis 1,1000)
  -ttl DURATION     of the locks (default 10s, keepalive 30s, recovery 1s)
  -time DURATION    how long each round of a cell takes; for keepalive the ttl at least
                    (default overview 120ms, approaches, verbs and rivals 80ms, contention 150ms, ratios and mux
                    30ms, load 1s, keepalive its ttl); contention with a hold: three turns of each waiter at least
  -count N          how many rounds each cell has
                    (default overview, approaches and verbs 6, contention and load 3, recovery 5, rivals 10,
                    ratios and mux 200, keepalive 1)
  -out FILE         write each round in the Go benchmark format, for go tool benchstat; which compares two files
                    if it is given -ignore commit,load-average,settings
  -hist FILE        for contention and load: write the latencies of each cell's rounds together, the hand-off's
                    of contention, as an HdrHistogram log, in ns
  -resume           go on behind the whole rounds that -out FILE has of this same plan: same flags, commit,
                    machine and server; the tables are of the rounds since then
  -h                show this

workloads:
  overview     a dozen ways, apart and on one key, and what the figures mean
  approaches   acquire + release of distinct keys: approach x release x goroutines
  verbs        each verb alone, one goroutine on one connection
  contention   waiters of one key, in several processes: release to next holder, acquisitions/s, fairness, waits
  ratios       paired ratios with interval: Locker against redigo by hand, double check against SetNX
  keepalive    many locks kept alive: CPU for a renewal, memory, goroutines, lateness; takes minutes
  mux          paired ratios: Locker through a Mux against a pool, and redigo by hand over an unbounded and
               over the best bounded pool, which it looks for first; takes minutes
  load         open loop: latency (p50, p99, p99.9) at a rate of arrivals, goodput; takes minutes
  recovery     a holder is killed, as often as -count says: how long nobody holds, and how much of that is more
               than the rest of its lease; takes a ttl each
  rivals       acquire + release of distinct keys, ours and all rivals: by the command of bench/peers

columns:
  locks/s, ops/s, acq/s   acquires with their releases a second, of all goroutines together
  median, p50, p99        the time of one acquire and its release (apart), or from a release until another waiter
                          has the lock (one key)
  time, × by hand         the time of an op as a multiple of that of the first row; ~: no difference found
  ±, 95 %                 the 95 % interval of the median over the rounds
  Jain, fairness          1: all got the lock as often; 1/n: one of n got it always
  again                   the share of acquires by who had just released
  wait p99, longest       from the begin of an acquire until it has the lock; >: some had not ended
  commands, evalsha       that the server executed for an acquire and its release, with those inside of scripts
  CPU, server CPU         processor time for an acquire and its release, of this process and of the server

figures of -out FILE, by go tool benchstat:
  -row /approach,/release -col /goroutines -filter .name:AcquireRelease FILE     apart
  -row /way -col /waiters,/processes -filter ".name:Contention .unit:(acq/s OR jain OR wait-p99-sec)" FILE
  -row /of -col /to,/goroutines -filter .name:Ratio FILE                         ratios, mux

exit codes: 0 done, 1 failed, 2 bad flag, 3 server unreachable, 4 server denies a command, 130 stopped by Ctrl-C

examples:
  go run ./cmd/lockbench
  go run ./cmd/lockbench -url redis://localhost:6379 -time 1s -count 10 -out new.txt && go tool benchstat new.txt
  go run ./cmd/lockbench -url redis://localhost:6379 -workload ratios
  go run ./cmd/lockbench -url redis://localhost:6379 -workload contention -waiters 2,512 -ways floor,fair
  go run ./cmd/lockbench -url redis://localhost:6379 -workload keepalive -locks 100000 -time 90s
  go run ./cmd/lockbench -url unix:///run/redis.sock -workload mux -goroutines 128 -out mux.txt
  go run ./cmd/lockbench -url redis://localhost:6379 -workload load -rates 1000,10000 -time 10s
  go run ./cmd/lockbench -url redis://localhost:6379 -workload load -keys hot -rates 2000 -hist hot.hlog
  go run ./cmd/lockbench -url redis://localhost:6379 -workload contention -count 50 -out all.txt -resume
  cd bench/peers && go run ./cmd/lockbench -url redis://localhost:6379 -workload contention -ways all
`

// writeUsage tells of the rivals only where there are some.
func writeUsage(w io.Writer) {
	fmt.Fprint(w, usageText)
	if len(bench.Rivals()) == 0 {
		return
	}
	waiting := bench.WaitingRivals()
	once := slices.DeleteFunc(bench.Rivals(), func(name string) bool { return slices.Contains(waiting, name) })
	fmt.Fprintf(w, "\nrivals for -approaches and -ways:\n%s", wrapped(waiting))
	if len(once) > 0 {
		fmt.Fprintf(w, "\nrivals for -approaches only, which cannot wait for a lock:\n%s", wrapped(once))
	}
}

const usageWidth = 105

// wrapped is a list of names in lines.
func wrapped(names []string) string {
	var b strings.Builder
	line := " "
	for i, name := range names {
		if i < len(names)-1 {
			name += ","
		}
		if len(line)+1+len(name) > usageWidth {
			b.WriteString(line + "\n")
			line = " "
		}
		line += " " + name
	}
	b.WriteString(line + "\n")
	return b.String()
}
