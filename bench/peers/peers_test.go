package peers_test

import (
	"context"
	"flag"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func server(tb testing.TB) (*bench.Server, *redistest.Server) {
	tb.Helper()
	r := redistest.Start(tb)
	s, err := bench.Open(context.Background(), r.URL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s, r
}

// Each rival renews each lock at half of its ttl, as we do, and leaves nothing.
func TestEachWayRenewsAndLeavesNoKey(t *testing.T) {
	s, r := server(t)
	for _, w := range peers.KeepAlive(bench.KeepAlive{Server: s, Locks: 50, TTL: time.Second, Time: 2 * time.Second}) {
		res, err := w.Run(context.Background())
		if err != nil {
			t.Fatalf("%s: %v", w.Name(), err)
		}
		if res.Ops < 3*50 || res.Ops > 5*50 {
			t.Errorf("%s: %d renewals of 50 locks in 4 halves of a ttl", w.Name(), res.Ops)
		}
		if n, err := redis.Int(r.Do("DBSIZE")); n != 0 || err != nil {
			t.Errorf("%s: left %d keys, %v", w.Name(), n, err)
		}
	}
}

// BenchmarkKeepAlive runs all ways interleaved, -count rounds, and only then reports them one by one.
func BenchmarkKeepAlive(b *testing.B) {
	s, _ := server(b)
	rounds, _ := strconv.Atoi(flag.Lookup("test.count").Value.String())
	for field := range strings.SplitSeq(*locks, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		list := peers.KeepAlive(bench.KeepAlive{Server: s, Locks: n, TTL: *ttl, Time: *length})
		results := make([][]bench.Result, len(list))
		err = bench.Rounds(b.Context(), max(rounds, 1), list, nil, func(i int, r bench.Result) error {
			results[i] = append(results[i], r)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		for i, w := range list {
			_, name, _ := strings.Cut(w.Name(), "/")
			next := 0
			b.Run(name, func(b *testing.B) {
				if b.N == 1 && next < len(results[i]) { // testing begins each count with one
					next++
				}
				report(b, results[i][next-1])
			})
		}
	}
}

func report(b *testing.B, r bench.Result) {
	b.ReportMetric(r.PerOp(), "ns/op")
	for _, m := range r.Metrics() {
		b.ReportMetric(m.Value, m.Unit)
	}
}
