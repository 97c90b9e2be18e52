//go:build unix

package peers_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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

// A contestant is a number of goroutines that acquire and release, each a key of its own. It is a bench.Workload.
type contestant struct {
	name       string // key=value, joined by /
	against    int    // the place of the one that it is compared with; below 0: none
	goroutines int
	servers    []*redistest.Server
	cycle      func(key string) error
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
			if _, err := c.Run(b.Context()); err != nil { // makes the connections, and loads the scripts
				b.Fatal(err)
			}
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

// contestants are all, on pools that keep a connection for each goroutine.
func contestants(b *testing.B, goroutines int) (list []*contestant) {
	add := func(name string, against int, servers []*redistest.Server, cycle func(string) error) {
		list = append(list, &contestant{name, against, goroutines, servers, cycle})
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
		rs, at := redsync.New(theirs...), len(list)
		add(fmt.Sprintf("lib=redsync/servers=%d", n), -1, servers, func(key string) error {
			m := rs.NewMutex(key, redsync.WithExpiry(quorumTTL), redsync.WithTries(1), redsync.WithTimeoutFactor(0.17))
			if err := m.LockContext(context.Background()); err != nil {
				return err
			}
			_, err := m.UnlockContext(context.Background())
			return err
		})
		add(fmt.Sprintf("lib=redigolock/servers=%d", n), at, servers, ourCycle(ours.TryAcquire))
		add(fmt.Sprintf("lib=redigolock-mux/servers=%d", n), at, servers, ourCycle(muxed.TryAcquire))
	}
	replicated, at := redistest.StartReplicated(b, 1), len(list)
	for _, replicas := range []int{0, 1} {
		l := &redigolock.Locker{Pool: benchPool(b, replicated[0], goroutines), Replicas: replicas, OpTimeout: 5 * time.Second}
		b.Cleanup(func() { l.Close() })
		add(fmt.Sprintf("lib=redigolock/replicas=%d", replicas), []int{-1, at}[replicas], replicated, ourCycle(l.TryAcquire))
	}
	return list
}

func benchPool(b *testing.B, s *redistest.Server, goroutines int) *redis.Pool {
	p := &redis.Pool{MaxIdle: goroutines + 8, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", s.Addr(), redis.DialReadTimeout(5*time.Second), redis.DialWriteTimeout(5*time.Second))
	}}
	b.Cleanup(func() { p.Close() })
	return p
}

func ourCycle(try func(context.Context, string, time.Duration) (*redigolock.Lock, error)) func(string) error {
	return func(key string) error {
		k, err := try(context.Background(), key, quorumTTL)
		if err != nil {
			return err
		}
		return k.Release(context.Background())
	}
}

func (c *contestant) Name() string {
	return fmt.Sprintf("Quorum/%s/goroutines=%d", c.name, c.goroutines)
}

// Run has the goroutines acquire and release for a round.
func (c *contestant) Run(context.Context) (res bench.Result, err error) {
	calls, cpu, errCPU := c.used()
	client, begin := processTime(), time.Now()
	var mu sync.Mutex // protects res and err
	var all sync.WaitGroup
	for g := range c.goroutines {
		all.Go(func() {
			n, failed := int64(0), error(nil)
			for key := fmt.Sprint("quorum:", g); failed == nil && time.Since(begin) < *round; n++ {
				failed = c.cycle(key)
			}
			mu.Lock()
			defer mu.Unlock()
			res.Ops += n
			if failed != nil {
				err = fmt.Errorf("%s: %w", c.name, failed)
			}
		})
	}
	all.Wait()
	res.Elapsed, res.Allocs, res.CPU = time.Since(begin), -1, &bench.CPU{Client: processTime() - client}
	time.Sleep(5 * time.Millisecond) // for what is late
	callsAfter, cpuAfter, errAfter := c.used()
	res.CPU.Server, res.Cost = cpuAfter-cpu, &bench.Cost{Calls: callsAfter - calls, EvalSha: -1, Reads: -1, Bytes: -1}
	for _, failed := range []error{errCPU, errAfter} {
		if err == nil {
			err = failed
		}
	}
	return res, err
}

// used is how many commands of locks the servers have carried out, and their processor time.
func (c *contestant) used() (calls int64, cpu time.Duration, err error) {
	for _, s := range c.servers {
		all, err := s.Calls()
		if err != nil {
			return 0, 0, err
		}
		for _, name := range []string{"set", "get", "eval", "evalsha", "del", "wait"} {
			calls += all[name]
		}
		spent, err := s.CPU()
		if err != nil {
			return 0, 0, err
		}
		cpu += spent
	}
	return calls, cpu, nil
}

// processTime is the processor time of this process.
func processTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for a bad argument only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writeTable writes medians, and the median of the ratios within a round with its interval at 95 %.
func writeTable(w *strings.Builder, goroutines int, list []*contestant, results [][]bench.Result) {
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
