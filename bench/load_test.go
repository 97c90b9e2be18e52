package bench_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
)

// made is a Load of an op that was made up.
func made(t *testing.T, s *bench.Server, rate float64, op func(key string) error) bench.Load {
	name := "made-up-in-" + t.Name()
	addRival(t, bench.RivalKind{Name: name, Open: func(bench.RivalConfig) (bench.Rival, error) { return madeUp{op}, nil }})
	return bench.Load{Of: bench.Uncontended{Server: s, Approach: name}, Rate: rate}
}

func TestLoadFiguresBelongTogether(t *testing.T) {
	t.Parallel()
	s, r := realServer(t)
	l := bench.Load{Of: bench.Uncontended{Server: s, Approach: "floor", Time: time.Second}, Rate: 300}
	res, err := l.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	arrived := res.Loaded.Arrived
	if res.Ops+res.Loaded.Unserved != arrived || res.Latency.TotalCount() != arrived {
		t.Errorf("%d arrived, %d were served, %d not, %d are in the histogram", arrived, res.Ops, res.Loaded.Unserved,
			res.Latency.TotalCount())
	}
	if arrived < 200 || arrived > 400 { // 300 ± 17
		t.Errorf("%d arrived in a second at 300 a second", arrived)
	}
	if n := res.Loaded.Late.TotalCount(); n > arrived || n < res.Ops {
		t.Errorf("the workload was late with %d of %d", n, arrived)
	}
	units := map[string]bool{}
	for _, m := range res.Metrics() {
		units[m.Unit] = true
	}
	for _, unit := range []string{"p50-ns", "p99-ns", "p99.9-ns", "goodput/s", "unserved", "generator-p99-ns",
		"server-cpu-ns/op", "allocs/op"} {
		if !units[unit] {
			t.Errorf("no %s in %v", unit, units)
		}
	}
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

// The server stops for a second: a closed loop would have one slow op. Those that arrive meanwhile all count.
func TestLoadCountsThoseThatComeWhileTheServerHangs(t *testing.T) {
	t.Parallel()
	s, r := realServer(t)
	var paused atomic.Bool
	var n atomic.Int64
	floor := make(chan struct{}, 1)
	l := made(t, s, 500, func(key string) error {
		if n.Add(1) > 100 && paused.CompareAndSwap(false, true) {
			r.Pause()
			time.AfterFunc(time.Second, func() { r.Resume(); floor <- struct{}{} })
		}
		c := s.Pool.Get()
		defer c.Close()
		_, err := redis.DoWithTimeout(c, 10*time.Second, "SET", key, "x", "PX", 10_000)
		return err
	})
	l.Of.Goroutines, l.Of.Time = 4, 3*time.Second
	res, err := l.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	<-floor
	var late int64 // by a quarter of a second and more: those of three quarters of the second
	for _, bar := range res.Latency.Distribution() {
		if bar.From >= (250 * time.Millisecond).Nanoseconds() {
			late += bar.Count
		}
	}
	if late < 200 || res.Latency.Max() < (900*time.Millisecond).Nanoseconds() {
		t.Errorf("%d of some 375 were late, at most %v", late, time.Duration(res.Latency.Max()))
	}
}

// One that takes 20 ms, two at a time: 100 a second, however many arrive.
func TestLoadBeyondSaturationTellsWhoWasNotServed(t *testing.T) {
	t.Parallel()
	s := miniServer(t)
	l := made(t, s, 1000, func(string) error { time.Sleep(20 * time.Millisecond); return nil })
	l.Of.Goroutines, l.Of.Time = 2, time.Second
	res, err := l.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if res.Elapsed > 5*time.Second {
		t.Errorf("it took %v: it has served those that waited", res.Elapsed)
	}
	if most := 2 * int64(res.Elapsed/(20*time.Millisecond)); res.Ops > most || res.Loaded.Unserved < 400 {
		t.Errorf("%d served in %v, %d not", res.Ops, res.Elapsed, res.Loaded.Unserved)
	}
	if p50 := time.Duration(res.Latency.ValueAtPercentile(50)); p50 < 300*time.Millisecond {
		t.Errorf("the median is %v: those that were not served are left out", p50)
	}
}

func TestLoadArrivesIndependently(t *testing.T) {
	s := &bench.Server{}
	at := bench.Load{Of: bench.Uncontended{Server: s, Time: 10 * time.Second}, Rate: 10_000}.Arrivals()
	var sum, squares float64
	var last time.Duration
	for _, a := range at {
		gap := (a - last).Seconds()
		sum, squares, last = sum+gap, squares+gap*gap, a
	}
	n := float64(len(at))
	mean := sum / n
	if math.Abs(n-100_000) > 3000 || last >= 10*time.Second { // 10 times the standard deviation
		t.Errorf("%v arrivals, the last after %v", n, last)
	}
	if spread := math.Sqrt(squares/n-mean*mean) / mean; math.Abs(spread-1) > 0.05 { // 1 for exponential gaps, 0 for equal
		t.Errorf("the gaps spread by %v of their mean", spread)
	}
}

func TestLoadEndsWithTheErrorOfAnOp(t *testing.T) {
	s := miniServer(t)
	broken := errors.New("broken")
	var n atomic.Int64
	l := made(t, s, 1000, func(string) error {
		if n.Add(1) > 50 {
			return broken
		}
		return nil
	})
	l.Of.Goroutines, l.Of.Time = 4, time.Hour/10
	if _, err := l.Run(context.Background()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	addRival(t, bench.RivalKind{Name: "broken", Open: func(bench.RivalConfig) (bench.Rival, error) { return nil, broken }})
	l.Of.Approach = "broken"
	if _, err := l.Run(context.Background()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := l.Of.Run(context.Background()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestPacerWaitsUntilTheTimeAndNoLongerThanStop(t *testing.T) {
	until, stop, err := bench.NewPacer()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{-time.Second, 0, 1, 100 * time.Microsecond, 20 * time.Millisecond} {
		at := time.Now().Add(d)
		if err := until(at); err != nil {
			t.Fatal(err)
		}
		if early := time.Until(at); early > 0 {
			t.Errorf("%v: returned %v early", d, early)
		}
	}
	ended := make(chan error)
	go func() { ended <- until(time.Now().Add(time.Hour)) }()
	time.AfterFunc(10*time.Millisecond, stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := until(time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
}
