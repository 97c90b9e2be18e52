package bench_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

// miniServer is an embedded miniredis for one test or benchmark.
func miniServer(tb testing.TB) *bench.Server {
	tb.Helper()
	s, err := bench.OpenEmbedded(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// realServer is a redis-server for one test or benchmark, which is skipped where there is none.
func realServer(tb testing.TB, args ...string) (*bench.Server, *redistest.Server) {
	tb.Helper()
	r := redistest.Start(tb, args...)
	s, err := bench.Open(context.Background(), r.URL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s, r
}

// onServers runs the benchmarks of each server, named server=….
func onServers(b *testing.B, f func(b *testing.B, s *bench.Server)) {
	b.Run("server=miniredis", func(b *testing.B) { f(b, miniServer(b)) })
	b.Run("server=redis", func(b *testing.B) {
		s, _ := realServer(b)
		f(b, s)
	})
}

// BenchmarkAcquireRelease, and those that follow, run workloads as lockbench does: ns/op is of all of their rounds together, the
// other figures are of the last.
func BenchmarkAcquireRelease(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, n := range []int{1, 16, 128} {
			for _, u := range bench.Approaches(s, n) {
				measure(b, u)
			}
		}
	})
}

func BenchmarkVerb(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, name := range bench.Verbs(s) {
			measure(b, bench.Verb{Server: s, Verb: name})
		}
	})
}

func BenchmarkContention(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, n := range []int{2, 8, 64} {
			for _, way := range bench.ContentionWays() {
				measure(b, bench.Contention{Server: s, Way: way, Waiters: n})
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, rate := range []float64{500, 2000} {
			for _, u := range []bench.Uncontended{{Approach: "floor"}, {Approach: "locker"}, {Approach: "locker", Lanes: 1}} {
				u.Server = s
				measure(b, bench.Load{Of: u, Rate: rate})
			}
			for _, u := range []bench.Uncontended{{Approach: "polling"}, {Approach: "fair"}, {Approach: "cohort"}} {
				u.Server = s
				measure(b, bench.Load{Of: u, Keys: "hot", Rate: rate})
			}
		}
	})
}

func BenchmarkRecovery(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, way := range []string{"polling", "fair"} {
			measure(b, bench.Recovery{Server: s, Way: way, TTL: 500 * time.Millisecond})
		}
	})
}

// measure runs rounds of a workload.
func measure(b *testing.B, w bench.Workload) {
	_, name, _ := strings.Cut(w.Name(), "/server=")
	_, name, _ = strings.Cut(name, "/")
	b.Run(name, func(b *testing.B) {
		var all, last bench.Result
		for b.Loop() {
			var err error
			if last, err = w.Run(b.Context()); err != nil {
				b.Fatal(err)
			}
			all.Ops, all.Elapsed = all.Ops+last.Ops, all.Elapsed+last.Elapsed
		}
		b.ReportMetric(all.PerOp(), "ns/op")
		for _, m := range last.Metrics() {
			b.ReportMetric(m.Value, m.Unit)
		}
	})
}
