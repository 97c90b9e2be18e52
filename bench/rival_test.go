package bench_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
)

// addRival makes a rival known until the end of the test.
func addRival(t *testing.T, kind bench.RivalKind) {
	t.Helper()
	bench.AddRivals(kind)
	t.Cleanup(func() { bench.RemoveRival(kind.Name) })
}

// A lockFunc acquires.
type lockFunc func(ctx context.Context, key string) (release func() error, err error)

// A madeUp is a rival made of funcs.
type madeUp struct {
	acquire lockFunc
	try     lockFunc // nil: acquire
	close   func()   // nil: nothing
}

func (m madeUp) Acquire(ctx context.Context, key string) (func() error, error) {
	return m.acquire(ctx, key)
}

func (m madeUp) TryAcquire(key string) (func() error, error) {
	if m.try != nil {
		return m.try(context.Background(), key)
	}
	return m.acquire(context.Background(), key)
}

func (m madeUp) Close() {
	if m.close != nil {
		m.close()
	}
}

func noRelease() error { return nil }

// does is a rival that does op for an acquire, and nothing for a release.
func does(op func(key string) error) bench.Rival {
	return madeUp{acquire: func(_ context.Context, key string) (func() error, error) { return noRelease, op(key) }}
}

// openNothing opens what lets everybody in.
func openNothing(bench.RivalConfig) (bench.Rival, error) {
	return does(func(string) error { return nil }), nil
}

// openLocker opens a Locker of ours as another library, so that the tests have one that waits.
func openLocker(c bench.RivalConfig) (bench.Rival, error) { return lockerRival(c, false), nil }

// openRenewing renews what it has waited for.
func openRenewing(c bench.RivalConfig) (bench.Rival, error) { return lockerRival(c, true), nil }

func lockerRival(c bench.RivalConfig, renews bool) bench.Rival {
	l := &redigolock.Locker{Pool: c.Server.Pool}
	return madeUp{close: func() { _ = l.Close() }, acquire: func(ctx context.Context, key string) (func() error, error) {
		k, err := l.Acquire(ctx, key, c.TTL)
		if err == nil && renews {
			k.KeepAlive(context.Background())
		}
		return func() error { return k.Release(context.Background()) }, err
	}}
}

func TestRivalIsCalledByTheServerThatItUses(t *testing.T) {
	s, _ := realServer(t)
	used := time.Duration(0)
	addRival(t, bench.RivalKind{Name: "elsewhere", Open: openNothing, Server: "other", ServerCPU: func() (time.Duration, bool) {
		used += time.Hour
		return used, true
	}})
	u := bench.Uncontended{Server: s, Approach: "elsewhere", Time: 10 * time.Millisecond}
	c := bench.Contention{Server: s, Way: "elsewhere"}
	l := bench.Load{Of: u, Rate: 100}
	for _, w := range []bench.Workload{u, c, l} {
		if !strings.Contains(w.Name(), "/server=other/") {
			t.Errorf("is called %s", w.Name())
		}
	}
	res, err := u.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if res.CPU.Server != time.Hour {
		t.Errorf("the other server has used %v", res.CPU.Server)
	}
}

func TestRivalIsRefusedWhatItCannotDo(t *testing.T) {
	s := miniServer(t)
	addRival(t, bench.RivalKind{Name: "once", Open: openNothing, OneTry: true})
	if !slices.Contains(bench.Rivals(), "once") {
		t.Fatalf("rivals are %q", bench.Rivals())
	}
	if names := bench.WaitingRivals(); slices.Contains(names, "once") || !slices.Contains(names, "no-lock") {
		t.Errorf("%q can wait", names)
	}
	for _, w := range []bench.Workload{
		bench.Contention{Server: s, Way: "once"},
		bench.Recovery{Server: s, Way: "once"},
		bench.Load{Of: bench.Uncontended{Server: s, Approach: "once"}, Keys: "hot", Rate: 1},
		bench.Uncontended{Server: s, Approach: "once", PoolSize: 1},
		bench.Uncontended{Server: s, Approach: "once", Lanes: 1},
		bench.Uncontended{Server: s, Approach: "once", Release: "tx"},
	} {
		if _, err := w.Run(context.Background()); !errors.Is(err, bench.ErrConfig) {
			t.Errorf("%s: %v", w.Name(), err)
		}
	}
}

// A library that lets two hold must not have a figure.
func TestRivalThatDoesNotExcludeHasNoFigures(t *testing.T) {
	s := miniServer(t)
	c := bench.Contention{Server: s, Way: "no-lock", Waiters: 4, Processes: 2, Hold: time.Millisecond, Time: time.Minute}
	_, err := c.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "MUTUAL EXCLUSION VIOLATED") {
		t.Errorf("%v", err)
	}
}

func TestRivalsAreAddedOnce(t *testing.T) {
	for _, name := range []string{"", "fair", "locker", "no-lock"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", name)
				}
			}()
			bench.AddRivals(bench.RivalKind{Name: name})
		}()
	}
}

// What it starts must be there before the processes of a Contention are.
func TestRivalIsMadeReadyBeforeItIsUsed(t *testing.T) {
	s := miniServer(t)
	missing := errors.New("the server is missing")
	opened := false
	addRival(t, bench.RivalKind{Name: "unready", Ready: func() error { return missing },
		Open: func(bench.RivalConfig) (bench.Rival, error) {
			opened = true
			return does(func(string) error { return nil }), nil
		}})
	u := bench.Uncontended{Server: s, Approach: "unready", Time: time.Millisecond}
	for _, w := range []bench.Workload{u, bench.Contention{Server: s, Way: "unready"}, bench.Load{Of: u, Rate: 100},
		bench.Load{Of: u, Rate: 100, Keys: "hot"}, bench.Recovery{Server: s, Way: "unready"}} {
		if _, err := w.Run(context.Background()); !errors.Is(err, missing) {
			t.Errorf("%s: %v", w.Name(), err)
		}
	}
	if opened {
		t.Error("it was opened")
	}
}
