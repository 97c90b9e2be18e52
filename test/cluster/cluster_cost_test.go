package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// TestClusterCost says what a cycle costs each server: distinct keys at one master and at three, over a pool, a Cluster and a Mux over
// it; and what a contended cycle of the fair queue costs on one server and in a cluster. The ways take turns. REDIGOLOCK_TABLES names
// a folder for the figures; without it, a short run shows that all ways work.
func TestClusterCost(t *testing.T) {
	one := redistest.Start(t)
	small := redistest.StartCluster(t, redistest.ClusterConfig{Masters: 1})
	large := redistest.StartCluster(t, redistest.ClusterConfig{})
	pool, err := redigolock.NewPool(one.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	of := func(c *redistest.Cluster) *redigolock.Cluster {
		p := &redigolock.Cluster{Addrs: c.Addrs()}
		t.Cleanup(func() { p.Close() })
		return p
	}
	onOne, onThree := of(small), of(large)
	mux := &redigolock.Mux{Pool: onThree}
	defer mux.Close()
	ways := []*costed{
		{name: "one server, pool", pool: pool, servers: []*redistest.Server{one}},
		{name: "cluster of 1, distinct keys", pool: onOne, servers: small.Servers},
		{name: "cluster of 3, distinct keys", pool: onThree, servers: large.Servers},
		{name: "cluster of 3, Mux, distinct keys", pool: mux, servers: large.Servers},
		{name: "one server, Fair, one key", pool: pool, fair: true, servers: []*redistest.Server{one}},
		{name: "cluster of 3, Fair, one key", pool: onThree, fair: true, servers: large.Servers},
	}
	rounds, each := 2, 100*time.Millisecond
	dir := os.Getenv("REDIGOLOCK_TABLES")
	if dir != "" {
		rounds, each = 10, 400*time.Millisecond
	}
	for range rounds {
		for _, w := range ways {
			w.round(t, each)
		}
	}
	var out strings.Builder
	out.WriteString("| | cycles a second | µs of all servers a cycle | by server |\n| --- | --- | --- | --- |\n")
	for _, w := range ways {
		fmt.Fprintf(&out, "| %s | %s |\n", w.name, w.figures())
	}
	t.Log("\n" + out.String())
	if dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "cost.md"), []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A costed is a way to lock whose cost is measured.
type costed struct {
	name    string
	pool    redigolock.Pool
	fair    bool
	servers []*redistest.Server

	rates, costs []float64 // cycles a second, and µs of all servers for a cycle, of each round
	shares       [][]float64
}

// round runs eight workers, of four Lockers.
func (w *costed) round(t *testing.T, d time.Duration) {
	before := w.busy(t)
	var workers sync.WaitGroup
	var cycles [8]int
	stop := time.Now().Add(d)
	var lockers []*redigolock.Locker
	for range 4 {
		l := &redigolock.Locker{Pool: w.pool, Fair: w.fair, OpTimeout: testbed.Unhurried}
		defer l.Close()
		lockers = append(lockers, l)
	}
	for i := range cycles {
		workers.Go(func() {
			for j := 0; time.Now().Before(stop); j++ {
				key := "hot"
				if !w.fair {
					key = fmt.Sprint("key", i, "-", j%64)
				}
				k, err := lockers[i%4].Acquire(bg, key, 10*time.Second)
				if err == nil {
					err = k.Release(bg)
				}
				if err != nil {
					t.Error(err)
					return
				}
				cycles[i]++
			}
		})
	}
	workers.Wait()
	n, used := 0, 0.0
	for _, c := range cycles {
		n += c
	}
	var share []float64
	for i, b := range w.busy(t) {
		share = append(share, (b-before[i])/float64(n)*1e6)
		used += share[i]
	}
	w.rates, w.costs, w.shares = append(w.rates, float64(n)/d.Seconds()), append(w.costs, used), append(w.shares, share)
}

// busy is how much processor time each server has used, in seconds.
func (w *costed) busy(t *testing.T) (all []float64) {
	t.Helper()
	for _, s := range w.servers {
		used, err := s.CPU()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, used.Seconds())
	}
	return all
}

func (w *costed) figures() string {
	var each []string
	for i := range w.servers {
		var of []float64
		for _, s := range w.shares {
			of = append(of, s[i])
		}
		each = append(each, fmt.Sprintf("%.1f", median(of)))
	}
	return fmt.Sprintf("%.0f | %.1f (%.1f to %.1f) | %s",
		median(w.rates), median(w.costs), slices.Min(w.costs), slices.Max(w.costs), strings.Join(each, " + "))
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}
