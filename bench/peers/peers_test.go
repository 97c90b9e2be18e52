package peers_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/bench/peers"
	"github.com/redigolock/redigolock/internal/redistest"
)

var (
	locks  = flag.String("locks", "1000,10000", "how many `locks` are kept alive")
	ttl    = flag.Duration("ttl", 10*time.Second, "of the locks")
	length = flag.Duration("time", 20*time.Second, "how long each is measured")

	rivals     = flag.String("rivals", "", "`names`, beside our own; none: the raw clients, of Contention those that wait")
	waiters    = flag.String("waiters", "64", "how many `waiters` contend")
	processes  = flag.Int("processes", 4, "of the waiters")
	hold       = flag.Duration("hold", 0, "how long each waiter holds")
	goroutines = flag.String("goroutines", "1,2,16,128,1024", "how many `goroutines` acquire and release")
	round      = flag.Duration("round", 30*time.Millisecond, "how long a round is")
	socket     = flag.Bool("socket", false, "go through the server's unix socket")
)

func TestMain(m *testing.M) {
	peers.Add()
	bench.Join()
	goleak.VerifyTestMain(stopping{m})
}

// stopping ends the rivals' servers, before goroutines are counted.
type stopping struct{ *testing.M }

func (s stopping) Run() int {
	defer peers.Stop()
	return s.M.Run()
}

func server(tb testing.TB) (*bench.Server, *redistest.Server) {
	tb.Helper()
	r := redistest.Start(tb)
	url := r.URL()
	if *socket {
		url = "unix://" + r.Socket()
	}
	s, err := bench.Open(context.Background(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s, r
}

// Each rival renews each lock at half of its ttl, as we do, and leaves nothing. Half of the ttl is more than a machine
// stalls.
func TestEachWayRenewsAndLeavesNoKey(t *testing.T) {
	s, r := server(t)
	t.Run("ways", func(t *testing.T) {
		for _, w := range peers.KeepAlive(bench.KeepAlive{Server: s, Locks: 50, TTL: 5 * time.Second, Time: 10 * time.Second}) {
			t.Run(w.(bench.KeepAlive).Way, func(t *testing.T) {
				t.Parallel()
				res, err := w.Run(context.Background())
				if err != nil {
					t.Fatalf("%s: %v", w.Name(), err)
				}
				if res.Ops < 3*50 || res.Ops > 5*50 {
					t.Errorf("%s: %d renewals of 50 locks in 4 halves of a ttl", w.Name(), res.Ops)
				}
			})
		}
	})
	if n, err := redis.Int(r.Do("DBSIZE")); n != 0 || err != nil {
		t.Errorf("left %d keys, %v", n, err)
	}
}

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

// BenchmarkKeepAlive runs all ways interleaved, -count rounds, and only then reports them one by one.
func BenchmarkKeepAlive(b *testing.B) {
	s, _ := server(b)
	for _, n := range numbers(b, *locks) {
		list := peers.KeepAlive(bench.KeepAlive{Server: s, Locks: n, TTL: *ttl, Time: *length})
		for i, results := range interleaved(b, list) {
			reportEach(b, list[i].Name(), len(results), func(b *testing.B, round int) { report(b, results[round]) })
		}
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

// BenchmarkContention are the figures of each rival that can wait, and of our ways.
func BenchmarkContention(b *testing.B) {
	s, _ := server(b)
	for _, n := range numbers(b, *waiters) {
		var list []bench.Contention
		names := chosen(func(kind bench.RivalKind) bool { return !kind.OneTry })
		for _, way := range slices.Concat(names, bench.ContentionWays()) {
			list = append(list, bench.Contention{Server: s, Way: way, Waiters: n, Processes: *processes, Hold: *hold,
				Time: *round})
		}
		for i, results := range interleaved(b, list) {
			reportEach(b, list[i].Name(), len(results), func(b *testing.B, round int) { report(b, results[round]) })
		}
	}
}

// BenchmarkAcquireRelease are the figures of each.
func BenchmarkAcquireRelease(b *testing.B) {
	s, _ := server(b)
	for _, n := range numbers(b, *goroutines) {
		list := uncontended(bench.Uncontended{Server: s, Goroutines: n, Time: *round})
		for i, results := range interleaved(b, list) {
			reportEach(b, list[i].Name(), len(results), func(b *testing.B, round int) { report(b, results[round]) })
		}
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
