package bench_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
)

func TestBadConfigurationIsRefusedBeforeAnythingIsSent(t *testing.T) {
	s := miniServer(t)
	noNative := miniServer(t)
	noNative.Native = false
	for name, w := range map[string]bench.Workload{
		"no server":                  bench.Uncontended{Approach: "setnx"},
		"no approach":                bench.Uncontended{Server: s},
		"unknown approach":           bench.Uncontended{Server: s, Approach: "SetNX"},
		"unknown release":            bench.Uncontended{Server: s, Approach: "setnx", Release: "del"},
		"native where there is none": bench.Uncontended{Server: noNative, Approach: "setnx", Release: "native"},
		"too many goroutines":        bench.Uncontended{Server: s, Approach: "setnx", Goroutines: bench.MaxWorkers + 1},
		"short ttl":                  bench.Uncontended{Server: s, Approach: "setnx", TTL: 9 * time.Millisecond},
		"broken ttl":                 bench.Uncontended{Server: s, Approach: "setnx", TTL: 10500 * time.Microsecond},
		"negative time":              bench.Uncontended{Server: s, Approach: "setnx", Time: -1},
		"too large a pool":           bench.Uncontended{Server: s, Approach: "floor", PoolSize: bench.MaxWorkers + 1},
		"pool of a verb":             bench.Uncontended{Server: s, Approach: "setnx", PoolSize: 1},
		"negative goroutines":        bench.Uncontended{Server: s, Approach: "setnx", Goroutines: -1},
		"negative pool":              bench.Uncontended{Server: s, Approach: "floor", PoolSize: -1},
		"negative lanes":             bench.Contention{Server: s, Lanes: -1},
		"negative hold":              bench.Contention{Server: s, Hold: -1},
		"lanes over a bounded pool":  bench.Uncontended{Server: s, Approach: "locker", Lanes: 1, PoolSize: 1},
		"too many lanes":             bench.Uncontended{Server: s, Approach: "locker", Lanes: bench.MaxLanes + 1},
		"lanes of a verb":            bench.Uncontended{Server: s, Approach: "setnx", Lanes: 1},
		"load of nothing":            bench.Load{Of: bench.Uncontended{Server: s}, Rate: 1},
		"no rate":                    bench.Load{Of: bench.Uncontended{Server: s, Approach: "floor"}},
		"rate that is no number":     bench.Load{Of: bench.Uncontended{Server: s, Approach: "floor"}, Rate: math.NaN()},
		"unknown keys":               bench.Load{Of: bench.Uncontended{Server: s, Approach: "fair"}, Keys: "cold", Rate: 1},
		"hold of keys of their own":  bench.Load{Of: bench.Uncontended{Server: s, Approach: "floor"}, Hold: 1, Rate: 1},
		"shared by an approach":      hot(bench.Uncontended{Server: s, Approach: "locker"}, 0),
		"shared by the floor":        hot(bench.Uncontended{Server: s, Approach: "floor"}, 0),
		"key held for too long":      hot(bench.Uncontended{Server: s, Approach: "fair"}, 6*time.Second),
		"unknown verb":               bench.Verb{Server: s, Verb: "Del"},
		"native verb":                bench.Verb{Server: noNative, Verb: "ReleaseNative"},
		"extend by the last ttl":     bench.Verb{Server: s, Verb: "Extend", TTL: bench.MaxTTL},
		"one waiter":                 bench.Contention{Server: s, Waiters: 1},
		"too many waiters":           bench.Contention{Server: s, Waiters: bench.MaxWorkers + 1},
		"hold longer than ttl":       bench.Contention{Server: s, Hold: time.Second, TTL: time.Second},
		"unknown way to contend":     bench.Contention{Server: s, Way: "FAIR"},
		"lanes of the ring":          bench.Contention{Server: s, Way: "floor", Lanes: 1},
		"too many processes":         bench.Contention{Server: s, Waiters: 99, Processes: 65},
		"unknown way to recover":     bench.Recovery{Server: s, Way: "locker"},
		"recovery of the floor":      bench.Recovery{Server: s, Way: "floor"},
		"ttl too short to kill in":   bench.Recovery{Server: s, TTL: 99 * time.Millisecond},
		"unknown way":                bench.KeepAlive{Server: s, Way: "redsync"},
		"too many locks":             bench.KeepAlive{Server: s, Way: "loop", Locks: bench.MaxLocks + 1},
		"time below the ttl":         bench.KeepAlive{Server: s, Way: "loop", TTL: time.Second, Time: short},
		"too many arrivals": bench.Load{
			Of: bench.Uncontended{Server: s, Approach: "floor", Time: time.Hour}, Rate: 1e5},
		"too many with those before and after the time": bench.Load{
			Of: bench.Uncontended{Server: s, Approach: "fair", Time: time.Second}, Keys: "hot", Rate: 5e6},
	} {
		before := s.Pool.Stats().ActiveCount
		if _, err := w.Run(context.Background()); !errors.Is(err, bench.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if after := s.Pool.Stats().ActiveCount; after != before {
			t.Errorf("%s: a connection was made", name)
		}
	}
}

// hot is a Load whose arrivals share a key.
func hot(u bench.Uncontended, hold time.Duration) bench.Load {
	return bench.Load{Of: u, Keys: "hot", Hold: hold, Rate: 1}
}

func TestNamesAreKeysAndValues(t *testing.T) {
	s := &bench.Server{Name: "redis"}
	setnx := bench.Uncontended{Server: s, Approach: "setnx"}
	tx := bench.Uncontended{Server: s, Approach: "setnx", Release: "tx", Goroutines: 16}
	again := bench.Uncontended{Server: s, Approach: "floor", Label: "floor-copy"}
	pooled := bench.Uncontended{Server: s, Approach: "floor", PoolSize: 16, Goroutines: 2}
	lanes := bench.Uncontended{Server: s, Approach: "locker", Lanes: 2}
	muxFair := bench.Uncontended{Server: s, Approach: "fair", Lanes: 1}
	zipf := bench.Load{Of: muxFair, Keys: "zipf10000", Rate: 9}
	killed := bench.Recovery{Server: s, Way: "fair", TTL: 500 * time.Millisecond}
	poolPolling := bench.Uncontended{Server: s, Approach: "polling", PoolSize: 16}
	fewer := bench.KeepAlive{Server: s, Way: "loop", Locks: 7, TTL: 10 * time.Second}
	held := bench.Contention{Server: s, Waiters: 8, Hold: time.Millisecond}
	many := bench.Contention{Server: s, Way: "fair", Waiters: 64, Processes: 4}
	muxed := bench.Contention{Server: s, Way: "cohort", Lanes: 2}
	for want, w := range map[string]bench.Workload{
		"AcquireRelease/server=redis/approach=setnx/release=lua/goroutines=1":        setnx,
		"AcquireRelease/server=redis/approach=setnx/release=tx/goroutines=16":        tx,
		"AcquireRelease/server=redis/approach=floor-copy/release=lua/goroutines=1":   again,
		"AcquireRelease/server=redis/approach=floor-pool16/release=lua/goroutines=2": pooled,
		"AcquireRelease/server=redis/approach=locker-mux2/release=lua/goroutines=1":  lanes,
		"Load/server=redis/keys=own/approach=locker-mux2/rate=12000":                 bench.Load{Of: lanes, Rate: 12000},
		"Load/server=redis/keys=hot/approach=fair-mux1/rate=1/hold=1ms":              hot(muxFair, time.Millisecond),
		"Load/server=redis/keys=hot/approach=polling-pool16/rate=1":                  hot(poolPolling, 0),
		"Load/server=redis/keys=zipf10000/approach=fair-mux1/rate=9":                 zipf,
		"Verb/server=redis/verb=SetNX":                                               bench.Verb{Server: s, Verb: "SetNX"},
		"Contention/server=redis/way=polling/waiters=8/processes=1/hold=1ms":         held,
		"Contention/server=redis/way=fair/waiters=64/processes=4/hold=0s":            many,
		"Contention/server=redis/way=cohort-mux2/waiters=2/processes=1/hold=0s":      muxed,
		"Recovery/server=redis/way=polling/ttl=1s":                                   bench.Recovery{Server: s},
		"Recovery/server=redis/way=fair/ttl=500ms":                                   killed,
		"KeepAlive/server=redis/way=locker/locks=1000/ttl=30s":                       bench.KeepAlive{Server: s, Way: "locker"},
		"KeepAlive/server=redis/way=loop/locks=7/ttl=10s":                            fewer,
	} {
		if got := w.Name(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNamesAreReadAsTheyAreWritten(t *testing.T) {
	for name, ok := range map[string]bool{
		"floor": true, "floor-pool8": true, "locker-pool3": true, "locker-setnx-mux64": true, "setnx-verified": true, "fair-mux1": true,
		"floor-pool": false, "floor-pool0": false, "floor-pool4097": false, "floor-mux1": false, "setnx-pool4": false, "script-mux1": false,
		"locker-mux65": false, "locker-mux": false, "locker-pool2-mux2": false, "locker-mux2-pool2": false, "no-such-rival": false, "": false,
		"floor-pool8-and-more": false,
	} {
		if u, err := bench.ApproachCalled(name); u.Called() != name || (err == nil) != ok {
			t.Errorf("%q is the approach %+v, called %s, %v", name, u, u.Called(), err)
		}
	}
	for name, ok := range map[string]bool{"floor": true, "cohort-mux64": true, "fair-mux0": false, "fair-mux65": false, "floor-mux1": false, "locker": false} {
		if c, err := bench.WayCalled(name); c.Called() != name || (err == nil) != ok {
			t.Errorf("%q is the way %+v, called %s, %v", name, c, c.Called(), err)
		}
	}
}

func TestNativeIsOfferedWhereTheServerHasItOnly(t *testing.T) {
	for _, native := range []bool{false, true} {
		s := &bench.Server{Name: "redis", Native: native}
		n := 0
		for _, u := range bench.Approaches(s, 1) {
			if u.Release == "native" {
				n++
			}
		}
		for _, v := range bench.Verbs(s) {
			if v == "ReleaseNative" {
				n++
			}
		}
		if native && n != 4 || !native && n != 0 {
			t.Errorf("native %v: offered %d times", native, n)
		}
	}
}
