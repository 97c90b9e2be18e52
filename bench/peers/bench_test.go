package peers_test

import (
	"flag"
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

// rounds is what -count says.
func rounds() int {
	n, _ := strconv.Atoi(flag.Lookup("test.count").Value.String())
	return max(n, 1)
}

// BenchmarkKeepAlive are the figures of each that renews locks: all of them interleaved, -count rounds, and only then
// reported one by one.
func BenchmarkKeepAlive(b *testing.B) {
	s, _ := server(b)
	for _, n := range numbers(b, *locks) {
		list := peers.KeepAlive(bench.KeepAlive{Server: s, Locks: n, TTL: *ttl, Time: *length})
		results := make([][]bench.Result, len(list))
		err := bench.Rounds(b.Context(), rounds(), list, nil, func(i int, r bench.Result) error {
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
				r := results[i][next-1]
				b.ReportMetric(r.PerOp(), "ns/op")
				for _, m := range r.Metrics() {
					b.ReportMetric(m.Value, m.Unit)
				}
			})
		}
	}
}
