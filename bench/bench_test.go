package bench_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
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

// tail is what a workload's name has behind the server.
func tail(w bench.Workload) string {
	_, rest, _ := strings.Cut(w.Name(), "/server=")
	_, rest, _ = strings.Cut(rest, "/")
	return rest
}

func BenchmarkAcquireRelease(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, n := range []int{1, 16, 128} {
			for _, u := range bench.Approaches(s, n) {
				b.Run(tail(u), func(b *testing.B) { acquireRelease(b, u) })
			}
		}
	})
}

func acquireRelease(b *testing.B, u bench.Uncontended) {
	op, keys := u.Op(b)
	for _, key := range keys { // loads the scripts
		if err := op(key); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	if len(keys) == 1 {
		for b.Loop() {
			if err := op(keys[0]); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	procs := runtime.GOMAXPROCS(0)
	b.SetParallelism((len(keys) + procs - 1) / procs)
	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i := next.Add(1) - 1
		if i >= int64(len(keys)) {
			return // GOMAXPROCS is no divisor of the number of goroutines: one too many
		}
		for pb.Next() {
			if err := op(keys[i]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkVerb(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, name := range bench.Verbs(s) {
			v := bench.Verb{Server: s, Verb: name}
			b.Run(tail(v), func(b *testing.B) { verb(b, v) })
		}
	})
}

func verb(b *testing.B, v bench.Verb) {
	restore, op := v.Op(b)
	prepared := func() {
		if err := restore(); err != nil {
			b.Fatal(err)
		}
	}
	prepared()
	if err := op(0); err != nil { // loads the script
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%bench.Turn == 0 {
			b.StopTimer()
			prepared()
			b.StartTimer()
		}
		if err := op(i % bench.Turn); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkContention(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, n := range []int{2, 8, 64} {
			for _, way := range bench.ContentionWays() {
				c := bench.Contention{Server: s, Way: way, Waiters: n, Time: time.Minute}
				b.Run(tail(c), func(b *testing.B) { contention(b, c) })
			}
		}
	})
}

// contention runs until there are b.N acquisitions. The time of an op is that of the Run, without its preparation.
func contention(b *testing.B, c bench.Contention) {
	b.ReportAllocs()
	c.Ops = int64(b.N)
	r, err := c.Run(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(r.PerOp(), "ns/op")
	for _, m := range r.Metrics() {
		b.ReportMetric(m.Value, m.Unit)
	}
}

func BenchmarkLoad(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, approach := range []string{"floor", "locker"} {
			for _, lanes := range append([]int{0}, bench.Lanes()...) {
				for _, rate := range []float64{500, 2000, 8000} {
					l := bench.Load{Of: bench.Uncontended{Server: s, Approach: approach, Lanes: lanes}, Rate: rate}
					if approach == "locker" || lanes == 0 {
						b.Run(tail(l), func(b *testing.B) { load(b, l) })
					}
				}
			}
		}
	})
}

func BenchmarkSharedLoad(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, keys := range []string{"hot", "zipf10000"} {
			for _, u := range []bench.Uncontended{
				{Approach: "polling"}, {Approach: "fair"}, {Approach: "cohort"}, {Approach: "fair", Lanes: 1},
			} {
				for _, rate := range []float64{500, 2000} {
					u.Server = s
					l := bench.Load{Of: u, Keys: keys, Rate: rate}
					b.Run(tail(l), func(b *testing.B) { load(b, l) })
				}
			}
		}
	})
}

// load runs until b.N have arrived on average, but never so short that none does.
func load(b *testing.B, l bench.Load) {
	b.ReportAllocs()
	l.Of.Time = max(time.Duration(float64(b.N)/l.Rate*float64(time.Second)), 50*time.Millisecond)
	r, err := l.Run(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(r.PerOp(), "ns/op")
	for _, m := range r.Metrics() {
		b.ReportMetric(m.Value, m.Unit)
	}
}

func BenchmarkRecovery(b *testing.B) {
	onServers(b, func(b *testing.B, s *bench.Server) {
		for _, way := range []string{"polling", "fair"} {
			r := bench.Recovery{Server: s, Way: way, TTL: 500 * time.Millisecond}
			b.Run(tail(r), func(b *testing.B) { recovery(b, r) })
		}
	})
}

// recovery kills b.N holders.
func recovery(b *testing.B, r bench.Recovery) {
	r.Times = min(b.N, 1000)
	res, err := r.Run(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(res.PerOp(), "ns/op")
	for _, m := range res.Metrics() {
		b.ReportMetric(m.Value, m.Unit)
	}
}

func ExampleCompare() {
	ctx := context.Background()
	server, err := bench.OpenEmbedded(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	setnx := bench.Uncontended{Server: server, Approach: "setnx", Time: 5 * time.Millisecond}
	verified := bench.Uncontended{Server: server, Approach: "setnx-verified", Time: 5 * time.Millisecond}
	ratios, err := bench.Compare(ctx, 10, setnx, verified)
	if err != nil {
		fmt.Println(err)
		return
	}
	ratio := ratios[0]
	fmt.Println("the interval contains the median:", ratio.Lo <= ratio.Center && ratio.Center <= ratio.Hi)
	// Output: the interval contains the median: true
}
