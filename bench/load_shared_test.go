package bench_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

// shared is a Load of each way to wait, on both kinds of shared keys.
func shared(s *bench.Server, d time.Duration, rate float64) []bench.Load {
	var list []bench.Load
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

func TestSharedLoadFiguresBelongTogetherAndItLeavesNoKey(t *testing.T) {
	s, r := realServer(t)
	sideways(t, shared(s, time.Second, 200), func(t *testing.T, l bench.Load) {
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
		if arrived < 100 {
			t.Errorf("%d arrived in a second at 200 a second", arrived)
		}
		if res.Latency.Min() < l.Hold.Nanoseconds()/2 && res.Loaded.Unserved == 0 {
			t.Errorf("one took %v and held for %v", time.Duration(res.Latency.Min()), l.Hold)
		}
	})
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
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

// Each holds for 20 ms: 50 a second, however many arrive. The waits end with the time, and count.
func TestSharedLoadBeyondSaturationEndsAndTellsWhoWasNotServed(t *testing.T) {
	s, r := realServer(t)
	for _, l := range shared(s, 400*time.Millisecond, 1000)[:6] {
		l.Hold = 20 * time.Millisecond
		began := time.Now()
		res, err := l.Run(context.Background())
		if err != nil {
			t.Fatalf("%s: %v", l.Name(), err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %v: it has served those that waited", l.Name(), took)
		}
		if most := int64(res.Elapsed/l.Hold) + 1; res.Ops > most || res.Loaded.Unserved < 250 {
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

// A narrow lock is one mutex for all keys, which is held for 5 ms at least; it counts who is there at once.
type narrow struct {
	mu        sync.Mutex
	now, most atomic.Int64
}

func (n *narrow) TryAcquire(string) (func() error, error) { return func() error { return nil }, nil }

func (n *narrow) Acquire(context.Context, string) (func() error, error) {
	now := n.now.Add(1)
	for most := n.most.Load(); now > most && !n.most.CompareAndSwap(most, now); most = n.most.Load() {
	}
	n.mu.Lock()
	return func() error {
		time.Sleep(5 * time.Millisecond)
		n.mu.Unlock()
		n.now.Add(-1)
		return nil
	}, nil
}

func (n *narrow) Close() {}

// Who comes above the bound waits in the queue, and counts from when it arrived.
func TestSharedLoadIsBoundedInWhomItServesAtOnce(t *testing.T) {
	t.Parallel()
	s := miniServer(t)
	lock := new(narrow)
	addRival(t, bench.RivalKind{Name: "narrow", Open: func(bench.RivalConfig) (bench.Rival, error) { return lock, nil }})
	l := bench.Load{Of: bench.Uncontended{Server: s, Approach: "narrow", Goroutines: 8, Time: time.Second}, Rate: 1000,
		Keys: "zipf10000"}
	res, err := l.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if p50 := time.Duration(res.Latency.ValueAtPercentile(50)); p50 < 100*time.Millisecond {
		t.Errorf("the median is %v at 5 times what can be served", p50)
	}
	if n := lock.most.Load(); n > 8 {
		t.Errorf("%d were served at once", n)
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

// The server has forgotten who held.
func TestSharedLoadOfALockThatIsLostHasNoFigures(t *testing.T) {
	s, r := realServer(t)
	l := bench.Load{Of: bench.Uncontended{Server: s, Approach: "polling", Time: time.Minute}, Keys: "hot", Rate: 100,
		Hold: time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	saboteur := make(chan struct{})
	go func() {
		defer close(saboteur)
		for ctx.Err() == nil {
			_, _ = r.Do("FLUSHALL")
		}
	}()
	_, err := l.Run(ctx)
	cancel()
	<-saboteur
	if err == nil || !strings.Contains(err.Error(), "no figures") && !strings.Contains(err.Error(), "not held") {
		t.Errorf("%v", err)
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
			mu := make(chan struct{}, 1)
			slow := "slow by " + name
			addRival(t, bench.RivalKind{Name: slow, Open: func(bench.RivalConfig) (bench.Rival, error) {
				return releasing{mu, func() error {
					if n.Add(1)%2 == 0 {
						return tt.err
					}
					return nil
				}}, nil
			}})
			u := bench.Uncontended{Server: s, Approach: slow, Time: time.Second}
			res, err := bench.Load{Of: u, Keys: "hot", Rate: 200}.Run(context.Background())
			if tt.fails {
				wantsError(t, err, tt.err)
			} else if err != nil || res.Loaded.Failed < 1 || res.Loaded.Unserved < res.Loaded.Failed || res.Ops < 1 {
				t.Errorf("%d served, %+v, %v", res.Ops, res.Loaded, err)
			}
		})
	}
}

func wantsError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// A releasing lock excludes by a channel, and says of its release what it is told.
type releasing struct {
	mu  chan struct{}
	say func() error
}

func (r releasing) TryAcquire(string) (func() error, error) { return func() error { return nil }, nil }

func (r releasing) Acquire(ctx context.Context, _ string) (func() error, error) {
	select {
	case r.mu <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return func() error { <-r.mu; return r.say() }, nil
}

func (r releasing) Close() {}

// A deaf lock is held for ever, and its waits do not hear that they are over.
type deaf struct {
	madeUp
	wait <-chan struct{}
}

func (d deaf) Acquire(context.Context, string) (func() error, error) {
	<-d.wait
	return nil, errors.New("it has lasted too long")
}

func TestDeafRivalDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	s := miniServer(t)
	wait, closed := make(chan struct{}), make(chan struct{})
	addRival(t, bench.RivalKind{Name: "deaf", Open: func(bench.RivalConfig) (bench.Rival, error) {
		return deafRival{deaf{madeUp{func(string) error { return nil }}, wait}, closed}, nil
	}})
	u := bench.Uncontended{Server: s, Approach: "deaf", Time: 200 * time.Millisecond}
	l := bench.Load{Of: u, Keys: "hot", Rate: 1000}
	ended := make(chan error)
	var res bench.Result
	go func() {
		var err error
		res, err = l.Run(context.Background())
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		} else if res.Ops != 0 || res.Loaded.Unserved == 0 || res.Loaded.Unserved != res.Loaded.Arrived {
			t.Errorf("%d of %d were served, %d not", res.Ops, res.Loaded.Arrived, res.Loaded.Unserved)
		}
		for _, m := range res.Metrics() { // none is served: a figure, but nothing is for each op
			if strings.HasSuffix(m.Unit, "/op") || math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
				t.Errorf("%v %s", m.Value, m.Unit)
			}
		}
	case <-time.After(time.Minute):
		t.Error("it still runs after a minute")
	}
	select {
	case <-closed:
		t.Error("it was closed while goroutines waited")
	default:
	}
	close(wait)
	<-closed
}

// A deafRival says that it was closed.
type deafRival struct {
	deaf
	closed chan struct{}
}

func (d deafRival) Close() { close(d.closed) }

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
