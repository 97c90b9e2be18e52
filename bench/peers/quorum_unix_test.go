//go:build unix

package peers_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	"github.com/redigolock/redigolock/internal/redistest"
)

var quorumOut = flag.String("quorum-out", "", "a `folder` for the figures of BenchmarkQuorum: raw.txt, and table.md")

const quorumTTL = 30 * time.Second

// A contestant acquires and releases a lock.
type contestant struct {
	name    string // key=value, joined by /
	against string // the name of the one that it is compared with; "": none
	servers []*redistest.Server
	cycle   func(key string) error
}

// A sample is what a cycle of acquire and release took in one round, by name.
type sample struct {
	wall, client, server float64 // µs
	commands             float64
}

// BenchmarkQuorum compares Quorum with redsync over 3 and 5 servers, and Locker.Replicas with none, in rounds that are interleaved and
// shuffled: what is compared was measured in the same round. One op is one acquire and release of a key of the goroutine's own.
//
//	cd bench/peers && go test -run '^$' -bench Quorum -benchtime 1x -count 40 -round 200ms -goroutines 1,16 -quorum-out ../../results/quorum
func BenchmarkQuorum(b *testing.B) {
	rounds, _ := strconv.Atoi(flag.Lookup("test.count").Value.String())
	if ranQuorum {
		return // -count runs it again, and the rounds are its own
	}
	ranQuorum = true
	var raw, table strings.Builder
	raw.WriteString("goos: linux\npkg: github.com/redigolock/redigolock/bench/peers\n")
	for _, n := range numbers(b, *goroutines) {
		list := contestants(b, n)
		samples := map[string][]sample{}
		for _, c := range list { // the connections, and the scripts
			c.round(b, n, *round)
		}
		for range rounds {
			for _, i := range rand.Perm(len(list)) {
				c := list[i]
				s := c.round(b, n, *round)
				samples[c.name] = append(samples[c.name], s)
				fmt.Fprintf(&raw, "BenchmarkQuorum/%s/goroutines=%d 1 %.0f ns/op %.2f client-µs/op %.2f server-µs/op %.3f commands/op\n",
					c.name, n, s.wall*1000, s.client, s.server, s.commands)
			}
		}
		writeTable(&table, n, list, samples)
	}
	b.Log("\n" + table.String())
	if *quorumOut != "" {
		for name, text := range map[string]string{"raw.txt": raw.String(), "table.md": table.String()} {
			if err := os.WriteFile(filepath.Join(*quorumOut, name), []byte(text), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
}

var ranQuorum bool

// contestants are all, on pools that keep a connection for each goroutine.
func contestants(b *testing.B, goroutines int) (list []*contestant) {
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
		rs := redsync.New(theirs...)
		rival := fmt.Sprintf("lib=redsync/servers=%d", n)
		list = append(list,
			&contestant{rival, "", servers, func(key string) error {
				m := rs.NewMutex(key, redsync.WithExpiry(quorumTTL), redsync.WithTries(1), redsync.WithTimeoutFactor(0.17))
				if err := m.LockContext(context.Background()); err != nil {
					return err
				}
				_, err := m.UnlockContext(context.Background())
				return err
			}},
			&contestant{fmt.Sprintf("lib=redigolock/servers=%d", n), rival, servers, ourCycle(ours.TryAcquire)},
			&contestant{fmt.Sprintf("lib=redigolock-mux/servers=%d", n), rival, servers, ourCycle(muxed.TryAcquire)})
	}
	replicated := redistest.StartReplicated(b, 1)
	for _, replicas := range []int{0, 1} {
		l := &redigolock.Locker{Pool: benchPool(b, replicated[0], goroutines), Replicas: replicas, OpTimeout: 5 * time.Second}
		b.Cleanup(func() { l.Close() })
		c := &contestant{fmt.Sprintf("lib=redigolock/replicas=%d", replicas), "", replicated, ourCycle(l.TryAcquire)}
		if replicas > 0 {
			c.against = "lib=redigolock/replicas=0"
		}
		list = append(list, c)
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

// round has goroutines acquire and release for so long.
func (c *contestant) round(b *testing.B, goroutines int, length time.Duration) sample {
	calls, spent, client, begin := c.calls(b), c.spent(b), processTime(b), time.Now()
	var ops int
	var mu sync.Mutex // protects ops
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			n, key := 0, fmt.Sprintf("quorum:%d", g)
			for time.Since(begin) < length {
				if err := c.cycle(key); err != nil {
					b.Errorf("%s: %v", c.name, err)
					return
				}
				n++
			}
			mu.Lock()
			defer mu.Unlock()
			ops += n
		})
	}
	wg.Wait()
	took, per := time.Since(begin), func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(ops) }
	s := sample{wall: per(took) * float64(goroutines), client: per(processTime(b) - client)}
	time.Sleep(5 * time.Millisecond) // for what is late
	s.server, s.commands = per(c.spent(b)-spent), float64(c.calls(b)-calls)/float64(ops)
	return s
}

// calls is how many commands of locks the servers have carried out.
func (c *contestant) calls(b *testing.B) (n int64) {
	for _, s := range c.servers {
		calls, err := s.Calls()
		if err != nil {
			b.Fatal(err)
		}
		for _, name := range []string{"set", "get", "eval", "evalsha", "del", "wait"} {
			n += calls[name]
		}
	}
	return n
}

// spent is the processor time of the servers.
func (c *contestant) spent(b *testing.B) (d time.Duration) {
	for _, s := range c.servers {
		info, err := redis.String(s.Do("INFO", "cpu"))
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.SplitSeq(info, "\r\n") {
			if name, value, _ := strings.Cut(line, ":"); name == "used_cpu_user" || name == "used_cpu_sys" {
				seconds, _ := strconv.ParseFloat(value, 64)
				d += time.Duration(seconds * float64(time.Second))
			}
		}
	}
	return d
}

// processTime is the processor time of this process.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// writeTable writes medians, and the median of the ratios within a round with the 5th and the 95th percentile.
func writeTable(w io.Writer, goroutines int, list []*contestant, samples map[string][]sample) {
	of := func(name string, value func(sample) float64) (all []float64) {
		for _, s := range samples[name] {
			all = append(all, value(s))
		}
		return all
	}
	wall, client := func(s sample) float64 { return s.wall }, func(s sample) float64 { return s.client }
	server, commands := func(s sample) float64 { return s.server }, func(s sample) float64 { return s.commands }
	fmt.Fprintf(w, "%d goroutine(s), %d rounds of %v\n\n| | µs | client CPU, µs | servers' CPU, µs | commands | beside | time | client CPU |\n| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |\n",
		goroutines, len(samples[list[0].name]), *round)
	for _, c := range list {
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %.0f | %.2f | ", c.name, at(of(c.name, wall), 0.5), at(of(c.name, client), 0.5),
			at(of(c.name, server), 0.5), at(of(c.name, commands), 0.5))
		if c.against == "" {
			fmt.Fprintln(w, "– | | |")
			continue
		}
		fmt.Fprintf(w, "%s | %s | %s |\n", c.against, ratios(of(c.name, wall), of(c.against, wall)), ratios(of(c.name, client), of(c.against, client)))
	}
	fmt.Fprintln(w)
}

func ratios(a, b []float64) string {
	var all []float64
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", at(all, 0.5), at(all, 0.05), at(all, 0.95))
}

// at is a quantile.
func at(all []float64, q float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[int(math.Round(q*float64(len(all)-1)))]
}
