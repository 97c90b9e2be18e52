package bench_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

// made is a Load of an op that was made up.
func made(t *testing.T, s *bench.Server, rate float64, op func(key string) error) bench.Load {
	name := "made-up-in-" + t.Name()
	addRival(t, bench.RivalKind{Name: name, Open: func(bench.RivalConfig) (bench.Rival, error) { return does(op), nil }})
	return bench.Load{Of: bench.Uncontended{Server: s, Approach: name}, Rate: rate}
}

// loads are one of each kind.
func loads(s *bench.Server, d time.Duration, rate float64) []bench.Load {
	list := []bench.Load{{Of: bench.Uncontended{Server: s, Approach: "floor", Time: d}, Rate: rate}}
	for _, keys := range []string{"hot", "zipf10000"} {
		for _, u := range []bench.Uncontended{
			{Approach: "polling"}, {Approach: "fair"}, {Approach: "cohort"}, {Approach: "fair", Lanes: 1},
			{Approach: "polling", PoolSize: 4}, {Approach: "other-locker"},
		} {
			u.Server, u.Time = s, d
			list = append(list, bench.Load{Of: u, Keys: keys, Rate: rate, Hold: 100 * time.Microsecond})
		}
	}
	return list
}

func TestLoadFiguresBelongTogetherAndItLeavesNoKey(t *testing.T) {
	s, r := realServer(t)
	sideways(t, loads(s, time.Second, 200), func(t *testing.T, l bench.Load) {
		l.Of.Goroutines = 64 // each with a connection
		res, err := l.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		arrived := res.Loaded.Arrived
		// Some that are served arrived before anything was measured.
		if res.Ops < 1 || res.Ops+res.Loaded.Unserved < arrived || res.Latency.TotalCount() != arrived {
			t.Errorf("%d arrived, %d were served, %d not, %d are in the histogram", arrived, res.Ops, res.Loaded.Unserved,
				res.Latency.TotalCount())
		}
		if arrived < 100 || arrived > 400 {
			t.Errorf("%d arrived in a second at 200 a second", arrived)
		}
		if res.Latency.Min() < l.Hold.Nanoseconds()/2 && res.Loaded.Unserved == 0 {
			t.Errorf("one took %v and held for %v", time.Duration(res.Latency.Min()), l.Hold)
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
	})
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
		if n.Add(1) > 600 && paused.CompareAndSwap(false, true) {
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

// Each takes 20 ms, one at a time: 50 a second, however many arrive. The waits end with the time, and count.
func TestLoadBeyondSaturationEndsAndTellsWhoWasNotServed(t *testing.T) {
	s, r := realServer(t)
	own := made(t, s, 1000, func(string) error { time.Sleep(20 * time.Millisecond); return nil })
	own.Of.Goroutines, own.Of.Time = 1, 400*time.Millisecond
	for _, l := range append(loads(s, 400*time.Millisecond, 1000)[1:7], own) {
		if l.Keys == "hot" {
			l.Hold = 20 * time.Millisecond
		}
		began := time.Now()
		res, err := l.Run(context.Background())
		if err != nil {
			t.Fatalf("%s: %v", l.Name(), err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %v: it has served those that waited", l.Name(), took)
		}
		if most := int64(res.Elapsed/(20*time.Millisecond)) + 1; res.Ops > most || res.Loaded.Unserved < 250 {
			t.Errorf("%s: %d served, %d not", l.Name(), res.Ops, res.Loaded.Unserved)
		}
		if p50 := time.Duration(res.Latency.ValueAtPercentile(50)); p50 < 100*time.Millisecond {
			t.Errorf("%s: the median is %v: those that were not served are left out", l.Name(), p50)
		}
		if res.Elapsed > 3*time.Second {
			t.Errorf("%s: the end of the waits counts as time: %v", l.Name(), res.Elapsed)
		}
		if keys := keysOf(t, r); len(keys) > 0 {
			t.Errorf("%s left %q", l.Name(), keys)
		}
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
	if math.Abs(n-120_000) > 3500 || last >= 12*time.Second { // 10 times the standard deviation
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

// The server is asked between the lead and the time, which are 250 ms together. It takes longer to answer.
func TestSharedLoadStillArrivesWhenItsTimeBeginsLate(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr())
	s, err := bench.Open(context.Background(), proxy.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	proxy.Rule(func(q redistest.Request) redistest.Action {
		if q.Name == "INFO" {
			return redistest.Delay(300 * time.Millisecond)
		}
		return redistest.Pass()
	})
	u := bench.Uncontended{Server: s, Approach: "polling", Goroutines: 8, Time: 150 * time.Millisecond}
	res, err := bench.Load{Of: u, Keys: "hot", Rate: 1000}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if n := res.Loaded.Arrived; n < 75 {
		t.Errorf("%d arrived in 150 ms at 1000 a second", n)
	}
}

func TestSharedLoadOfALockThatDoesNotExcludeHasNoFigures(t *testing.T) {
	s := miniServer(t)
	for _, keys := range []string{"hot", "zipf10000"} {
		l := bench.Load{Of: bench.Uncontended{Server: s, Approach: "no-lock", Time: time.Minute}, Keys: keys, Rate: 2000,
			Hold: time.Millisecond}
		res, err := l.Run(context.Background())
		if err == nil || !strings.Contains(err.Error(), "MUTUAL EXCLUSION VIOLATED") || res.Loaded != nil {
			t.Errorf("%s: %d ops, %v", keys, res.Ops, err)
		}
	}
}

// What is overloaded times out. That is a figure; anything else is an error.
func TestSharedLoadCountsThoseThatHadNoAnswerInTime(t *testing.T) {
	t.Parallel()
	s := miniServer(t)
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		err   error
		fails bool
	}{
		"context":            {context.DeadlineExceeded, false},
		"socket":             {fmt.Errorf("rival: %w", os.ErrDeadlineExceeded), false},
		"unknown":            {fmt.Errorf("%w: %w", redigolock.ErrUnknown, broken), false},
		"unknown and a loss": {fmt.Errorf("%w: %w", redigolock.ErrUnknown, redigolock.ErrNotHeld), true},
		"another":            {broken, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			slow := "slow by " + name
			addRival(t, bench.RivalKind{Name: slow, Open: func(bench.RivalConfig) (bench.Rival, error) {
				return releasing(func() error {
					if n.Add(1)%2 == 0 {
						return tt.err
					}
					return nil
				}), nil
			}})
			u := bench.Uncontended{Server: s, Approach: slow, Time: time.Second}
			res, err := bench.Load{Of: u, Keys: "hot", Rate: 200}.Run(context.Background())
			if tt.fails {
				if !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %v", err, tt.err)
				}
			} else if err != nil || res.Loaded.Failed < 1 || res.Loaded.Unserved < res.Loaded.Failed || res.Ops < 1 {
				t.Errorf("%d served, %+v, %v", res.Ops, res.Loaded, err)
			}
		})
	}
}

// releasing is a lock that excludes by a channel, and says of its release what it is told.
func releasing(say func() error) bench.Rival {
	mu := make(chan struct{}, 1)
	return madeUp{try: func(context.Context, string) (func() error, error) { return noRelease, nil },
		acquire: func(ctx context.Context, _ string) (func() error, error) {
			select {
			case mu <- struct{}{}:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return func() error { <-mu; return say() }, nil
		}}
}

func TestZipfKeysAreDrawnAsSaid(t *testing.T) {
	const n = 200_000
	counts := make([]int, 10_000)
	for _, k := range bench.Draw(len(counts), n) {
		counts[k]++ // panics for a key that is none
	}
	// The sum of k^-1.1 for k from 1 to 10,000 is 6.603.
	for k, want := range map[int]float64{0: 0.1514, 1: 0.0706, 9: 0.0120} {
		if got := float64(counts[k]) / n; got < 0.9*want || got > 1.1*want {
			t.Errorf("key %d has a share of %v, want %v", k, got, want)
		}
	}
	if hot := bench.Draw(1, 3); len(hot) != 3 || hot[0]+hot[1]+hot[2] != 0 {
		t.Errorf("one key is drawn as %v", hot)
	}
}

// A slow op is a figure too: an overloaded lock has one, not an error.
func TestSharedLoadWaitsForTheFirstToBeServed(t *testing.T) {
	s := miniServer(t)
	u := bench.Uncontended{Server: s, Approach: "polling", Goroutines: 4, Time: 50 * time.Millisecond}
	l := bench.Load{Of: u, Keys: "hot", Rate: 1000, Hold: 250 * time.Millisecond} // the first begins in the 100 ms of the lead
	res, err := l.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if res.Ops < 1 {
		t.Errorf("%d ops in %v, held for %v", res.Ops, res.Elapsed, l.Hold)
	}
}
