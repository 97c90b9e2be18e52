package bench_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// BenchmarkCrowd has 100, 1,000 or 10,000 goroutines of one process wait for one key, over a pool of NewPool or a Mux before
// it. Whoever gets the lock releases it at once, and waits again. Beside them, a connection of its own asks PING once a
// millisecond: what a round trip takes meanwhile.
//
//	go test -run '^$' -bench Crowd -benchtime 20000x -count 10 ./bench
//
// acq/s is how many got the lock in a second; wait is from the call of Acquire, at the earliest from the first release; cmds/acq is what the server carried out
// for each acquisition, also inside scripts.
func BenchmarkCrowd(b *testing.B) {
	for _, fair := range []bool{false, true} {
		for _, pool := range []string{"pool", "mux"} {
			for _, n := range []int{100, 1000, 10000} {
				name := fmt.Sprintf("way=%s/pool=%s/waiters=%d/server=redis", map[bool]string{false: "plain", true: "fair"}[fair], pool, n)
				b.Run(name, func(b *testing.B) { newCrowdRun(b, fair, pool, n).run(b) })
			}
		}
	}
}

// A crowdRun is one measurement.
type crowdRun struct {
	server *redistest.Server
	locks  *redigolock.Locker
	n      int

	mu              sync.Mutex // protects what follows
	start           time.Time  // of the measurement: those who waited before count from there
	left            int        // acquisitions that are still wanted
	waits, releases *hdrhistogram.Histogram
	failed          int // releases
	over            chan struct{}
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Hour.Nanoseconds(), 3) }

func newCrowdRun(b *testing.B, fair bool, pool string, n int) *crowdRun {
	s := redistest.Start(b)
	p, err := redigolock.NewPool(s.URL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	r := &crowdRun{server: s, n: n, left: b.N, waits: newHistogram(), releases: newHistogram(), over: make(chan struct{})}
	r.locks = &redigolock.Locker{Pool: p, Fair: fair}
	if pool == "mux" {
		m := &redigolock.Mux{Pool: p}
		b.Cleanup(func() { m.Close() })
		r.locks.Pool = m
	}
	b.Cleanup(func() { r.locks.Close() })
	return r
}

const crowdTTL = 10 * time.Second

func (r *crowdRun) run(b *testing.B) {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	holder, err := r.locks.Acquire(ctx, "lock:crowd", time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	var crowd sync.WaitGroup
	for range r.n {
		crowd.Go(func() { r.wait(ctx) })
	}
	for r.locks.Stats().Waiting < r.n {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Second) // all have been told once that it is held
	pings := r.ping(b)
	before := r.commands(b)
	b.ResetTimer()
	start := r.begin()
	if err := holder.Release(ctx); err != nil {
		b.Errorf("the first holder's Release: %v", err)
	}
	select {
	case <-r.over:
	case <-ctx.Done():
		b.Errorf("%d acquisitions are still to come after %v", r.left, time.Since(start))
	}
	took := time.Since(start)
	b.StopTimer()
	commands := r.commands(b) - before
	trips := pings()
	stop()
	crowd.Wait()
	r.report(b, took, commands, trips)
}

// wait takes part until all that are wanted have been acquired.
func (r *crowdRun) wait(ctx context.Context) {
	for {
		begin := time.Now()
		k, err := r.locks.Acquire(ctx, "lock:crowd", crowdTTL)
		if err != nil {
			return
		}
		got := time.Now()
		err = k.Release(ctx)
		if !r.note(begin, got, time.Now(), err) {
			return
		}
	}
}

func (r *crowdRun) begin() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.start = time.Now()
	return r.start
}

func (r *crowdRun) note(begin, got, released time.Time, err error) (goOn bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left <= 0 {
		return false
	}
	if begin.Before(r.start) {
		begin = r.start
	}
	_, _ = r.waits.RecordValue(got.Sub(begin).Nanoseconds()), r.releases.RecordValue(released.Sub(got).Nanoseconds())
	if err != nil {
		r.failed++
	}
	if r.left--; r.left == 0 {
		close(r.over)
	}
	return r.left > 0
}

// commands is how many the server has carried out.
func (r *crowdRun) commands(b *testing.B) (n int64) {
	calls, err := r.server.Calls()
	if err != nil {
		b.Fatal(err)
	}
	for name, k := range calls {
		if name != "ping" && name != "info" {
			n += k
		}
	}
	return n
}

// ping measures round trips until its result is called.
func (r *crowdRun) ping(b *testing.B) func() *hdrhistogram.Histogram {
	c, err := redis.DialURL(r.server.URL())
	if err != nil {
		b.Fatal(err)
	}
	var stop atomic.Bool
	done := make(chan *hdrhistogram.Histogram)
	go func() {
		trips := newHistogram()
		for !stop.Load() {
			start := time.Now()
			if _, err := c.Do("PING"); err != nil {
				break
			}
			_ = trips.RecordValue(time.Since(start).Nanoseconds())
			time.Sleep(time.Millisecond)
		}
		c.Close()
		done <- trips
	}()
	return func() *hdrhistogram.Histogram {
		stop.Store(true)
		return <-done
	}
}

func (r *crowdRun) report(b *testing.B, took time.Duration, commands int64, trips *hdrhistogram.Histogram) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := float64(r.waits.TotalCount())
	if n == 0 {
		b.Fatal("nobody got the lock")
	}
	b.ReportMetric(n/took.Seconds(), "acq/s")
	b.ReportMetric(float64(commands)/n, "cmds/acq")
	b.ReportMetric(float64(r.failed), "failed-releases")
	for name, h := range map[string]*hdrhistogram.Histogram{"wait": r.waits, "release": r.releases, "trip": trips} {
		b.ReportMetric(float64(h.ValueAtPercentile(50)), name+"-p50-ns")
		b.ReportMetric(float64(h.ValueAtPercentile(99)), name+"-p99-ns")
		b.ReportMetric(float64(h.Max()), name+"-max-ns")
	}
}
