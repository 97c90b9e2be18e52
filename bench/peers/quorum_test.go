package peers_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncpool "github.com/go-redsync/redsync/v4/redis"
	rsredigo "github.com/go-redsync/redsync/v4/redis/redigo"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
	"github.com/redigolock/redigolock/internal/redistest"
)

var (
	goroutines = flag.String("goroutines", "1,16", "how many `goroutines` acquire and release, of Quorum")
	round      = flag.Duration("round", 30*time.Millisecond, "how long a round is, of Quorum")
	quorumOut  = flag.String("quorum-out", "", "a `folder` for the figures of BenchmarkQuorum: raw.txt, and table.md")
)

const quorumTTL = 30 * time.Second

// A contestant is an Uncontended with a name of its own.
type contestant struct {
	bench.Uncontended
	name    string // key=value, joined by /
	against int    // the place of the one that it is compared with; below 0: none
}

func (c contestant) Name() string {
	return fmt.Sprintf("Quorum/%s/goroutines=%d", c.name, c.Goroutines)
}

// BenchmarkQuorum compares Quorum with redsync over 3 and 5 servers, and Locker.Replicas with none, in rounds that are interleaved and
// shuffled: what is compared was measured in the same round. One op is one acquire and release of a key of the goroutine's own.
//
//	cd bench/peers && go test -run '^$' -bench Quorum -benchtime 1x -count 40 -round 200ms -goroutines 1,16 -quorum-out ../../results/quorum
func BenchmarkQuorum(b *testing.B) {
	if ranQuorum {
		return // -count runs it again, and the rounds are its own
	}
	ranQuorum = true
	var raw, table strings.Builder
	raw.WriteString("goos: linux\npkg: github.com/redigolock/redigolock/bench/peers\n")
	for _, n := range numbers(b, *goroutines) {
		list := contestants(b, n)
		workloads, results := make([]bench.Workload, len(list)), make([][]bench.Result, len(list))
		for i, c := range list {
			workloads[i] = c
		}
		err := bench.Rounds(b.Context(), rounds(), workloads, nil, func(i int, r bench.Result) error {
			results[i] = append(results[i], r)
			fmt.Fprintf(&raw, "Benchmark%s %d %.0f ns/op", list[i].Name(), r.Ops, r.PerOp())
			for _, m := range r.Metrics() {
				fmt.Fprintf(&raw, " %.6g %s", m.Value, m.Unit)
			}
			raw.WriteByte('\n')
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		writeTable(&table, n, list, results)
	}
	b.Log("\n" + table.String())
	if *quorumOut == "" {
		return
	}
	for name, text := range map[string]string{"raw.txt": raw.String(), "table.md": table.String()} {
		if err := os.WriteFile(filepath.Join(*quorumOut, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

var ranQuorum bool

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

// A trier is a Rival that tries once.
type trier func(key string) (release func() error, err error)

func (f trier) TryAcquire(key string) (func() error, error) { return f(key) }

func (f trier) Acquire(context.Context, string) (func() error, error) {
	return nil, errors.New("it tries once")
}

func (f trier) Close() {}

// contestants are all, on pools that keep a connection for each goroutine.
func contestants(b *testing.B, goroutines int) (list []contestant) {
	add := func(name string, against int, at *bench.Server, try trier) {
		kind := bench.RivalKind{Name: fmt.Sprintf("%s/%d", name, goroutines), OneTry: true,
			Open: func(bench.RivalConfig) (bench.Rival, error) { return try, nil }}
		bench.AddRivals(kind)
		list = append(list, contestant{bench.Uncontended{Server: at, Approach: kind.Name, Goroutines: goroutines, TTL: quorumTTL, Time: *round},
			name, against})
	}
	all := redistest.StartMany(b, 5)
	for _, n := range []int{3, 5} {
		servers := all[:n]
		ours, muxed := &redigolock.Quorum{OpTimeout: 5 * time.Second}, &redigolock.Quorum{OpTimeout: 5 * time.Second}
		var theirs []redsyncpool.Pool
		for _, s := range servers {
			ours.Pools = append(ours.Pools, benchPool(b, s, goroutines))
			m := &redigolock.Mux{Pool: benchPool(b, s, goroutines)}
			b.Cleanup(func() { m.Close() })
			muxed.Pools = append(muxed.Pools, m)
			theirs = append(theirs, rsredigo.NewPool(benchPool(b, s, goroutines)))
		}
		b.Cleanup(func() { ours.Close(); muxed.Close() })
		rs, at, first := redsync.New(theirs...), atAll(b, servers), len(list)
		add(fmt.Sprintf("lib=redsync/servers=%d", n), -1, at, func(key string) (func() error, error) {
			m := rs.NewMutex(key, redsync.WithExpiry(quorumTTL), redsync.WithTries(1), redsync.WithTimeoutFactor(0.17))
			err := m.LockContext(context.Background())
			return func() error { _, err := m.UnlockContext(context.Background()); return err }, err
		})
		add(fmt.Sprintf("lib=redigolock/servers=%d", n), first, at, tryOurs(ours.TryAcquire))
		add(fmt.Sprintf("lib=redigolock-mux/servers=%d", n), first, at, tryOurs(muxed.TryAcquire))
	}
	replicated, first := redistest.StartReplicated(b, 1), len(list)
	at := atAll(b, replicated)
	for _, replicas := range []int{0, 1} {
		l := &redigolock.Locker{Pool: benchPool(b, replicated[0], goroutines), Replicas: replicas, OpTimeout: 5 * time.Second}
		b.Cleanup(func() { l.Close() })
		add(fmt.Sprintf("lib=redigolock/replicas=%d", replicas), []int{-1, first}[replicas], at, tryOurs(l.TryAcquire))
	}
	return list
}

// atAll is the servers, as those of one run.
func atAll(b *testing.B, list []*redistest.Server) *bench.Server {
	var all []*bench.Server
	for _, r := range list {
		s, err := bench.Open(b.Context(), r.URL())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(s.Close)
		all = append(all, s)
	}
	all[0].AtAll(all[1:]...)
	return all[0]
}

func benchPool(b *testing.B, s *redistest.Server, goroutines int) *redis.Pool {
	p := &redis.Pool{MaxIdle: goroutines + 8, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", s.Addr(), redis.DialReadTimeout(5*time.Second), redis.DialWriteTimeout(5*time.Second))
	}}
	b.Cleanup(func() { p.Close() })
	return p
}

func tryOurs(try func(context.Context, string, time.Duration) (*redigolock.Lock, error)) trier {
	return func(key string) (func() error, error) {
		k, err := try(context.Background(), key, quorumTTL)
		return func() error { return k.Release(context.Background()) }, err
	}
}

// writeTable writes medians, and the median of the ratios within a round with its interval at 95 %.
func writeTable(w *strings.Builder, goroutines int, list []contestant, results [][]bench.Result) {
	fmt.Fprintf(w, "%d goroutine(s), %d rounds of %v\n\n| | µs | client CPU, µs | servers' CPU, µs | commands | beside | time | client CPU |\n"+
		"| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |\n", goroutines, len(results[0]), *round)
	of := func(i int, value func(bench.Result) float64) (all []float64) {
		for _, r := range results[i] {
			all = append(all, value(r))
		}
		return all
	}
	perOp := func(f func(bench.Result) float64) func(bench.Result) float64 {
		return func(r bench.Result) float64 { return f(r) / float64(r.Ops) }
	}
	wall := perOp(func(r bench.Result) float64 { return r.Elapsed.Seconds() * 1e6 * float64(goroutines) })
	client := perOp(func(r bench.Result) float64 { return r.CPU.Client.Seconds() * 1e6 })
	server := perOp(func(r bench.Result) float64 { return r.CPU.Server.Seconds() * 1e6 })
	commands := perOp(func(r bench.Result) float64 { return float64(r.Cost.Calls) })
	for i, c := range list {
		median := func(value func(bench.Result) float64) float64 { return figures.Summarize(of(i, value)).Center }
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %.0f | %.2f | ", c.name, median(wall), median(client), median(server), median(commands))
		if c.against < 0 {
			fmt.Fprintln(w, "– | | |")
			continue
		}
		ratio := func(value func(bench.Result) float64) string {
			ratios := of(i, value)
			for round, base := range of(c.against, value) {
				ratios[round] /= base
			}
			r := figures.Summarize(ratios)
			return fmt.Sprintf("%.2f (%.2f to %.2f)", r.Center, r.Low, r.High)
		}
		fmt.Fprintf(w, "%s | %s | %s |\n", list[c.against].name, ratio(wall), ratio(client))
	}
	fmt.Fprintln(w)
}
