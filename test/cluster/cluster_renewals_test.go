package cluster

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// TestClusterRenewalCost says what it costs to keep 1,000 locks alive: at one server, in a cluster of three masters over a Cluster, and
// over a Mux on it. The servers count what they carry out, and how often they read, which is what a round trip costs them. The ttls
// are a load that is easy, and one that asks for more renewals than a node can be sent one by one. The ways take turns.
// REDIGOLOCK_RENEWALS names a file for the figures; without it, a short run shows that all ways work.
func TestClusterRenewalCost(t *testing.T) {
	one := redistest.Start(t)
	three := redistest.StartCluster(t, redistest.ClusterConfig{})
	pool, err := redigolock.NewPool(one.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	cluster := &redigolock.Cluster{Addrs: three.Addrs()}
	defer cluster.Close()
	mux := &redigolock.Mux{Pool: cluster}
	defer mux.Close()
	locks, rounds, each, ttls := 100, 1, time.Second, []time.Duration{time.Second}
	file := os.Getenv("REDIGOLOCK_RENEWALS")
	if file != "" {
		locks, rounds, each, ttls = 1000, 3, 3*time.Second, []time.Duration{5 * time.Second, time.Second, 200 * time.Millisecond}
	}
	var ways []*renewed
	for _, ttl := range ttls {
		ways = append(ways,
			&renewed{name: "one server, pool", pool: pool, servers: []*redistest.Server{one}, ttl: ttl},
			&renewed{name: "cluster of 3, Cluster", pool: cluster, servers: three.Servers, ttl: ttl},
			&renewed{name: "cluster of 3, Mux over it", pool: mux, servers: three.Servers, ttl: ttl})
	}
	for range rounds {
		for _, w := range ways {
			w.round(t, locks, each)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d locks kept alive; medians of %d rounds of %v\n", locks, rounds, each)
	for _, w := range ways {
		fmt.Fprintf(&out, "ttl %5v  %-26s %s\n", w.ttl, w.name, w.figures())
	}
	t.Log("\n" + out.String())
	if file != "" {
		if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A renewed is a way to keep locks alive whose cost is measured.
type renewed struct {
	name    string
	pool    redigolock.Pool
	servers []*redistest.Server
	ttl     time.Duration

	rates, commands, reads, busy, losses, margins []float64 // of each round
}

// round keeps so many locks alive, and counts for a while what that costs. A machine that stands still loses some.
func (w *renewed) round(t *testing.T, n int, d time.Duration) {
	var renewals, lost atomic.Int64
	var least atomic.Int64
	least.Store(int64(w.ttl))
	l := &redigolock.Locker{Pool: w.pool, Observer: &redigolock.Observer{
		Extended: func(_ context.Context, _ *redigolock.Lock, margin time.Duration) {
			renewals.Add(1)
			for old := least.Load(); int64(margin) < old && !least.CompareAndSwap(old, int64(margin)); old = least.Load() {
			}
		},
		Lost: func(context.Context, *redigolock.Lock, error) { lost.Add(1) },
	}}
	defer l.Close()
	locks := make([]*redigolock.Lock, n)
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			for j := i; j < n; j += 8 {
				k, err := l.Acquire(bg, fmt.Sprint("kept", j), w.ttl)
				if err != nil {
					t.Error(err)
					return
				}
				k.KeepAlive(bg)
				locks[j] = k
			}
		})
	}
	workers.Wait()
	time.Sleep(min(w.ttl/2, 100*time.Millisecond))
	reads, scripts, busy, before := w.sum(t, (*redistest.Server).Reads), w.sum(t, evals), w.used(t), renewals.Load()
	time.Sleep(d)
	got := float64(renewals.Load() - before)
	reads, scripts, busy = w.sum(t, (*redistest.Server).Reads)-reads, w.sum(t, evals)-scripts, w.used(t)-busy
	if got == 0 && lost.Load() == 0 {
		t.Fatalf("%s, ttl %v: no renewal", w.name, w.ttl)
	}
	w.rates, w.commands, w.reads = append(w.rates, got/d.Seconds()), append(w.commands, float64(scripts)/got), append(w.reads, float64(reads)/got)
	w.busy, w.losses = append(w.busy, busy/got*1e6), append(w.losses, float64(lost.Load()))
	w.margins = append(w.margins, float64(least.Load())/float64(w.ttl)*100)
	for _, k := range locks {
		workers.Go(func() { _ = k.Release(bg) })
	}
	workers.Wait()
}

// evals is how many scripts a server has run.
func evals(s *redistest.Server) (int64, error) {
	calls, err := s.Calls()
	return calls["evalsha"] + calls["eval"], err
}

func (w *renewed) sum(t *testing.T, of func(*redistest.Server) (int64, error)) (sum int64) {
	t.Helper()
	for _, s := range w.servers {
		n, err := of(s)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// used is how much processor time the servers have used, in seconds.
func (w *renewed) used(t *testing.T) (sum float64) {
	t.Helper()
	for _, b := range (&costed{servers: w.servers}).busy(t) {
		sum += b
	}
	return sum
}

func (w *renewed) figures() string {
	return fmt.Sprintf("%6.0f renewals/s; a renewal: %.2f scripts, %.3f reads, %5.1f µs of the servers; least margin %4.1f %% of the ttl; lost in all rounds: %.0f",
		median(w.rates), median(w.commands), median(w.reads), median(w.busy), slices.Min(w.margins), total(w.losses))
}

func total(x []float64) (sum float64) {
	for _, v := range x {
		sum += v
	}
	return sum
}
