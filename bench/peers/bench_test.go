package peers_test

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/bench/peers"
)

var (
	locks  = flag.String("locks", "1000,10000", "how many `locks` are kept alive")
	ttl    = flag.Duration("ttl", 10*time.Second, "of the locks")
	length = flag.Duration("time", 20*time.Second, "how long each is measured")

	rivals     = flag.String("rivals", "", "`names`, beside our own; none: the raw clients, or, of what waits, those that wait")
	waiters    = flag.String("waiters", "64", "how many `waiters` contend")
	processes  = flag.Int("processes", 4, "of the waiters")
	hold       = flag.Duration("hold", 0, "how long each waiter holds")
	goroutines = flag.String("goroutines", "1,2,16,128,1024", "how many `goroutines` acquire and release")
	spread     = flag.String("keys", "hot,zipf10000", "`spreads` of keys, of Load")
	rates      = flag.String("rates", "2000", "arrivals a second, of Load")
	round      = flag.Duration("round", 30*time.Millisecond, "how long a round is")
	socket     = flag.Bool("socket", false, "go through the server's unix socket")
)

func numbers(b *testing.B, list string) []int {
	b.Helper()
	var all []int
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// interleaved runs all, -count rounds, of which report then reports one by one.
func interleaved[W bench.Workload](b *testing.B, list []W) [][]bench.Result {
	b.Helper()
	rounds, _ := strconv.Atoi(flag.Lookup("test.count").Value.String())
	results, workloads := make([][]bench.Result, len(list)), make([]bench.Workload, len(list))
	for i, w := range list {
		workloads[i] = w
	}
	err := bench.Rounds(b.Context(), max(rounds, 1), workloads, nil, func(i int, r bench.Result) error {
		results[i] = append(results[i], r)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return results
}

// reportEach calls report with the number of each round, under the workload's name without its beginning.
func reportEach(b *testing.B, name string, rounds int, report func(b *testing.B, round int)) {
	_, name, _ = strings.Cut(name, "/")
	next := 0
	b.Run(name, func(b *testing.B) {
		if b.N == 1 && next < rounds { // testing begins each count with one
			next++
		}
		report(b, next-1)
	})
}

func report(b *testing.B, r bench.Result) {
	b.ReportMetric(r.PerOp(), "ns/op")
	for _, m := range r.Metrics() {
		b.ReportMetric(m.Value, m.Unit)
	}
}

// measure runs all interleaved, -count rounds, and only then reports them one by one.
func measure[W bench.Workload](b *testing.B, list []W) {
	b.Helper()
	for i, results := range interleaved(b, list) {
		reportEach(b, list[i].Name(), len(results), func(b *testing.B, round int) { report(b, results[round]) })
	}
}

// BenchmarkKeepAlive are the figures of each that renews locks.
func BenchmarkKeepAlive(b *testing.B) {
	s, _ := server(b)
	for _, n := range numbers(b, *locks) {
		list := peers.KeepAlive(bench.KeepAlive{Server: s, Locks: n, TTL: *ttl, Time: *length})
		measure(b, list)
	}
}

// chosen are the rivals of the flag, or else those that are meant.
func chosen(meant func(bench.RivalKind) bool) []string {
	if *rivals != "" {
		return strings.Split(*rivals, ",")
	}
	var names []string
	for _, kind := range peers.Kinds() {
		if meant(kind) {
			names = append(names, kind.Name)
		}
	}
	return names
}

// uncontended is the workload by each rival; by redigo by hand; and by our Locker on a pool and through a Mux.
func uncontended(u bench.Uncontended) []bench.Uncontended {
	var list []bench.Uncontended
	add := func(approach string, lanes int) {
		u.Approach, u.Lanes = approach, lanes
		list = append(list, u)
	}
	for _, name := range chosen(func(kind bench.RivalKind) bool { return kind.OneTry }) {
		add(name, 0)
	}
	add("floor", 0)
	add("locker", 0)
	for _, lanes := range bench.Lanes() {
		add("locker", lanes)
	}
	return list
}

// waiting are the rivals that can wait, and our ways, of which the first is no lock.
func waiting() []string {
	return slices.Concat(bench.ContentionWays(), chosen(func(kind bench.RivalKind) bool { return !kind.OneTry }))
}

// BenchmarkContention are the figures of each rival that can wait, and of our ways.
func BenchmarkContention(b *testing.B) {
	s, _ := server(b)
	for _, n := range numbers(b, *waiters) {
		var list []bench.Contention
		for _, way := range waiting() {
			list = append(list, bench.Contention{Server: s, Way: way, Waiters: n, Processes: *processes, Hold: *hold,
				Time: *round})
		}
		measure(b, list)
	}
}

// BenchmarkLoad are the figures of each rival that can wait, and of our ways, in the open loop on shared keys.
func BenchmarkLoad(b *testing.B) {
	s, _ := server(b)
	for keys := range strings.SplitSeq(*spread, ",") {
		for _, rate := range numbers(b, *rates) {
			var list []bench.Load
			for _, way := range waiting()[1:] {
				of := bench.Uncontended{Server: s, Approach: way, Time: *round}
				list = append(list, bench.Load{Of: of, Keys: keys, Rate: float64(rate)})
			}
			measure(b, list)
		}
	}
}

// BenchmarkRecovery are the figures of each rival that can wait, and of our ways, when a holder is killed.
func BenchmarkRecovery(b *testing.B) {
	s, _ := server(b)
	var list []bench.Recovery
	for _, way := range waiting()[1:] {
		list = append(list, bench.Recovery{Server: s, Way: way, TTL: *ttl, Times: 1})
	}
	measure(b, list)
}

// BenchmarkAcquireRelease are the figures of each.
func BenchmarkAcquireRelease(b *testing.B) {
	s, _ := server(b)
	for _, n := range numbers(b, *goroutines) {
		list := uncontended(bench.Uncontended{Server: s, Goroutines: n, Time: *round})
		measure(b, list)
	}
}

// BenchmarkRatio are paired ratios to the first two rivals, raw rueidis by default. Above 128 goroutines a round is
// longer, as lockbench has it, or the end of each would be a good part of it.
func BenchmarkRatio(b *testing.B) {
	s, _ := server(b)
	for _, n := range numbers(b, *goroutines) {
		length := *round * time.Duration(max(n, 128)) / 128
		list := uncontended(bench.Uncontended{Server: s, Goroutines: n, Time: length})
		all := interleaved(b, list)
		for i, u := range list {
			for base := range min(i, 2) {
				name := fmt.Sprintf("Ratio/server=%s/of=%s/to=%s/goroutines=%d", s.Name, u.Called(), list[base].Called(), n)
				reportEach(b, name, len(all[i]), func(b *testing.B, round int) {
					b.ReportMetric(0, "ns/op") // not shown
					for _, m := range bench.RatioMetrics(all[i][round], all[base][round]) {
						b.ReportMetric(m.Value, m.Unit)
					}
				})
			}
		}
	}
}
