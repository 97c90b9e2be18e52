package bench_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

const short = 10 * time.Millisecond

// allWorkloads are one of each, for rounds of length d.
func allWorkloads(s *bench.Server, d time.Duration) []bench.Workload {
	return slices.Concat(closedLoops(s, d), waitingOnes(s, d))
}

func closedLoops(s *bench.Server, d time.Duration) []bench.Workload {
	var list []bench.Workload
	for _, u := range bench.Approaches(s, 4) {
		u.Time = d
		list = append(list, u)
	}
	for _, name := range bench.Verbs(s) {
		list = append(list, bench.Verb{Server: s, Verb: name, Time: d})
	}
	return append(list, bench.Uncontended{Server: s, Approach: "floor", PoolSize: 2, Goroutines: 4, Time: d},
		bench.Contention{Server: s, Waiters: 8, Time: d})
}

// waitingOnes mostly wait, and can run side by side. Open loops have an op only if one is served in the time: their rounds
// are longer than a machine stalls.
func waitingOnes(s *bench.Server, d time.Duration) []bench.Workload {
	d = max(d, time.Second)
	bounded := bench.Uncontended{Server: s, Approach: "floor", PoolSize: 2, Goroutines: 4, Time: d}
	list := []bench.Workload{bench.Load{Of: bounded, Rate: 500}, bench.Recovery{Server: s, Way: "fair", TTL: recoveryTTL}}
	for _, keys := range []string{"hot", "zipf10000"} {
		for _, way := range []string{"polling", "cohort"} {
			u := bench.Uncontended{Server: s, Approach: way, Goroutines: 64, Time: d}
			list = append(list, bench.Load{Of: u, Keys: keys, Rate: 200})
		}
	}
	for _, way := range []string{"locker", "loop"} {
		k := kept(s, way)
		k.Time = max(k.Time, d)
		list = append(list, k)
	}
	return list
}

// latencies is how many there should be: of an open loop, where some are served that came before the time, or not in it,
// one for each arrival.
func latencies(r bench.Result) int64 {
	if r.Loaded == nil {
		return r.Ops
	}
	return r.Loaded.Arrived
}

// eventually polls until ok returns true, for a minute at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testbed.Within(t, time.Minute, what, ok)
}

// once is for what a machine that stalls can spoil: f must return nil once in five tries. It finds what is wrong each time,
// not what is wrong now and then: for that the figures are made without it.
func once(t *testing.T, f func() error) {
	t.Helper()
	for try := 1; ; try++ {
		err := f()
		if err == nil {
			return
		}
		if try == 5 {
			t.Fatalf("five times, and now: %v", err)
		}
		t.Logf("once more, after: %v", err)
	}
}

// sideways runs f for each workload, four side by side, and returns when all have ended.
func sideways[W bench.Workload](t *testing.T, list []W, f func(*testing.T, W)) {
	for some := range slices.Chunk(list, 4) {
		t.Run("some", func(t *testing.T) {
			for _, w := range some {
				t.Run(w.Name(), func(t *testing.T) {
					t.Parallel()
					f(t, w)
				})
			}
		})
	}
}

// runAll runs f for short closed loops, one after the other, since each takes all that the machine has; and then for those
// that mostly wait.
func runAll(t *testing.T, s *bench.Server, f func(*testing.T, bench.Workload)) {
	for _, w := range closedLoops(s, 4*short) {
		t.Run(w.Name(), func(t *testing.T) { f(t, w) })
	}
	sideways(t, waitingOnes(s, 4*short), f)
}

func keysOf(t *testing.T, r *redistest.Server) []string {
	t.Helper()
	keys, err := redis.Strings(r.Do("KEYS", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Each workload measures something, and leaves no key; goleak in TestMain sees to the goroutines. Of what an embedded server
// does in this process nobody knows the share.
func TestRunMeasuresAndLeavesNoKey(t *testing.T) {
	real, _ := realServer(t)
	for _, s := range []*bench.Server{real, miniServer(t)} {
		runAll(t, s, func(t *testing.T, w bench.Workload) {
			var res bench.Result
			once(t, func() (err error) { // a machine that stalls for half of the ttl loses locks that are kept alive
				res, err = w.Run(context.Background())
				return err
			})
			if res.Ops < 1 || res.Elapsed <= 0 || res.PerOp() <= 0 {
				t.Errorf("%d ops in %v", res.Ops, res.Elapsed)
			}
			if _, contest := w.(bench.Contention); !contest && res.Latency.TotalCount() != latencies(res) {
				t.Errorf("%d latencies, want %d; %d ops", res.Latency.TotalCount(), latencies(res), res.Ops)
			}
			if res.CPU != nil && !s.Embedded() && (res.CPU.Server < 0 || runtime.GOOS == "linux" && res.CPU.Client <= 0) {
				t.Errorf("%+v", *res.CPU)
			}
			for _, m := range res.Metrics() {
				if s.Embedded() && (strings.Contains(m.Unit, "cpu") || strings.Contains(m.Unit, "cores") || strings.Contains(m.Unit, "allocs")) {
					t.Errorf("it has %s, which is the embedded server's too", m.Unit)
				}
			}
		})
		c := s.Pool.Get()
		defer c.Close()
		if keys, err := redis.Strings(c.Do("KEYS", "*")); err != nil || len(keys) > 0 {
			t.Errorf("left %q, %v", keys, err)
		}
	}
}

func TestCancelledRunSaysWhyAndLeavesNoKey(t *testing.T) {
	cause := errors.New("enough")
	s, r := realServer(t)
	for _, w := range append(allWorkloads(s, time.Hour), bench.Recovery{Server: s, Way: "fair", TTL: time.Hour}) {
		if r, ok := w.(bench.Recovery); ok && r.TTL < time.Hour {
			continue // it is over soon
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		ended := make(chan error, 1)
		go func() {
			_, err := w.Run(ctx)
			ended <- err
		}()
		if !strings.HasSuffix(w.Name(), "verb=NewToken") {
			eventually(t, w.Name()+" has keys", func() bool { return len(keysOf(t, r)) > 0 || len(ended) > 0 })
		}
		cancel(cause)
		if err := <-ended; !errors.Is(err, cause) {
			t.Errorf("%s: %v", w.Name(), err)
		}
		if keys := keysOf(t, r); len(keys) > 0 {
			t.Errorf("%s left %q", w.Name(), keys)
		}
	}
}

func TestRunWithEndedContextMakesNoKey(t *testing.T) {
	s, r := realServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, w := range allWorkloads(s, time.Hour) {
		if _, err := w.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", w.Name(), err)
		}
		if keys := keysOf(t, r); len(keys) > 0 {
			t.Errorf("%s left %q", w.Name(), keys)
		}
	}
}

// A run that is stopped while its server hangs ends when its commands have timed out, and says that its keys are left.
func TestRunEndsAtAHungServer(t *testing.T) {
	t.Parallel()
	for name, stopped := range map[string]bool{"setnx": false, "locker": true, "fair": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := realServer(t)
			u := bench.Uncontended{Server: s, Approach: name, Goroutines: 4, Time: time.Hour}
			var w bench.Workload = u
			if name == "fair" {
				w = bench.Load{Of: u, Keys: "hot", Rate: 500}
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := w.Run(ctx)
				ended <- err
			}()
			eventually(t, "there are keys", func() bool { return len(keysOf(t, r)) > 0 })
			r.Pause()
			defer r.Resume()
			if stopped {
				cancel()
			}
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), "could not be removed") || errors.Is(err, context.Canceled) != stopped {
					t.Errorf("unexpected error: %v", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("it still runs after a minute")
			}
		})
	}
}
