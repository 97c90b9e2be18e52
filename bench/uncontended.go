package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Uncontended is the acquire and release of distinct keys, one for each goroutine. An op takes a new token and borrows
// a connection for the acquire and one for the release, as code does that holds a lock while it works.
type Uncontended struct {
	Server *Server // Required.
	// Approach is setnx, setnx-verified, setnx-get or script: the verbs; locker: TryAcquire and Release of a Locker with
	// its defaults; locker-setnx: of a Locker with SetNX; locker-script: of one that releases by the script also where the
	// server has a command for it; fair: of one with Fair; floor: redigo by hand; or the name of a RivalKind. Required.
	Approach string
	// PoolSize bounds the pool of a floor or a Locker, who then wait for a connection. Zero: it is unbounded.
	PoolSize int
	// Lanes is how many connections the Mux has through which a Locker works. Zero: there is none, but a pool.
	Lanes int
	// Release is lua, tx or native. Lockers and the floor have lua only, which stands for a Locker's own choice. Empty: lua.
	Release string
	// Goroutines work side by side, 1 to 4096. Zero: 1.
	Goroutines int
	// TTL of the locks, 10 ms to 24 h in whole milliseconds. Zero: DefaultTTL.
	TTL time.Duration
	// Time is how long a Run measures. Zero: DefaultTime.
	Time time.Duration
	// Label is what names call the approach. Empty: Approach, with -pool16 behind it for a PoolSize, and -mux2 for
	// Lanes. A copy needs another name than its original.
	Label string
}

// OwnApproaches are those besides the rivals, the floor first.
func OwnApproaches() []string { return slices.Clone(ownApproaches) }

// Releases are those that an approach has on the server; the first is its default.
func Releases(s *Server, approach string) []string {
	list := []string{"lua"}
	if _, verb := acquireVerbs[approach]; verb {
		list = append(list, "tx")
		if s.Native {
			list = append(list, "native")
		}
	}
	return list
}

var errNoOps = errors.New("bench: not one op was done in the time: choose a longer one")

// Approaches are all pairs of approach and release that the server has, at one number of goroutines; the first is what
// the others are compared with.
func Approaches(s *Server, goroutines int) []Uncontended {
	var list []Uncontended
	for _, approach := range []string{"setnx", "setnx-verified", "script", "locker", "locker-setnx", "floor"} {
		for _, release := range Releases(s, approach) {
			list = append(list, Uncontended{Server: s, Approach: approach, Release: release, Goroutines: goroutines})
		}
	}
	for _, lanes := range []int{1, 2, 4} {
		u := Uncontended{Server: s, Approach: "locker", Release: "lua", Goroutines: goroutines, Lanes: lanes}
		list = append(list, u)
	}
	return list
}

func (u Uncontended) withDefaults() Uncontended {
	if u.Release == "" {
		u.Release = "lua"
	}
	if u.Goroutines == 0 {
		u.Goroutines = 1
	}
	u.Label = u.Called()
	u.TTL, u.Time = orDefault(u.TTL, DefaultTTL), orDefault(u.Time, DefaultTime)
	return u
}

// Called is what names call the approach.
func (u Uncontended) Called() string {
	switch {
	case u.Label != "":
		return u.Label
	case u.PoolSize != 0:
		return fmt.Sprintf("%s-pool%d", u.Approach, u.PoolSize)
	case u.Lanes != 0:
		return fmt.Sprintf("%s-mux%d", u.Approach, u.Lanes)
	}
	return u.Approach
}

// ApproachCalled is the Uncontended that is called so, as Called has it: floor-pool16, locker-mux2.
func ApproachCalled(name string) (Uncontended, error) {
	approach, lanes := numbered(name, "-mux")
	approach, size := numbered(approach, "-pool")
	u := Uncontended{Approach: approach, Release: "lua", PoolSize: size, Lanes: lanes}
	if u.Called() != name {
		u = Uncontended{Approach: name, Release: "lua"}
	}
	w := u.way()
	w.server = &Server{}
	return u, w.check(ownApproaches, Rivals())
}

// numbered is fair and 2 of fair-mux2; the number is 0 if there is none.
func numbered(name, mark string) (base string, n int) {
	base, digits, _ := strings.Cut(name, mark)
	if n, err := strconv.Atoi(digits); err == nil {
		return base, n
	}
	return name, 0
}

// Name is AcquireRelease/server=…/approach=…/release=…/goroutines=….
func (u Uncontended) Name() string {
	u = u.withDefaults()
	return fmt.Sprintf("AcquireRelease/server=%s/approach=%s/release=%s/goroutines=%d%s",
		u.Server.serverOf(u.Approach), u.Label, u.Release, u.Goroutines, u.Server.suffix())
}

func (u Uncontended) way() wayConfig {
	return wayConfig{u.Server, u.Approach, u.Release, u.PoolSize, u.Lanes, u.TTL}
}

func (u Uncontended) check() error {
	if err := u.checkSizes(); err != nil {
		return err
	}
	return u.way().check(ownApproaches, Rivals())
}

// checkSizes checks all but the way.
func (u Uncontended) checkSizes() error {
	if err := checkCommon(u.Server, u.TTL, u.Time); err != nil {
		return err
	}
	_, known := releaseVerbs[u.Release]
	_, verb := acquireVerbs[u.Approach]
	switch {
	case u.Goroutines < 1 || u.Goroutines > MaxWorkers:
		return badConfig("%d goroutines, allowed are 1 to %d", u.Goroutines, MaxWorkers)
	case !known:
		return badConfig("unknown release %q, there are lua, tx and native", u.Release)
	case u.Release == "native" && !u.Server.Native:
		return badConfig("release native: the server has no command for it, or denies it")
	case !verb && u.Release != "lua":
		return badConfig("approach %s has release lua only", u.Approach)
	}
	return nil
}

// Run measures for Time.
func (u Uncontended) Run(ctx context.Context) (res Result, err error) {
	u = u.withDefaults()
	if err := u.check(); err != nil {
		return Result{}, err
	}
	k := newKeys(u.Goroutines)
	defer k.remove(ctx, u.Server, &err)
	if err := readyFor(u.Approach); err != nil {
		return Result{}, err
	}
	way, err := u.way().open()
	if err != nil {
		return Result{}, err
	}
	defer way.end()
	lat := latencies{hist: newHistogram()}
	parts := make([]*latencyPart, u.Goroutines)
	for w := range parts {
		parts[w] = lat.part()
	}
	c := crew{server: u.Server, way: u.Approach, workers: u.Goroutines, time: u.Time}
	c.warm = func(w int) error { return way.once(k.names[w]) }
	c.work = func(w int) error { return repeat(&c, way.once, k.names[w], parts[w]) }
	if err := c.run(ctx); err != nil {
		return Result{}, err
	}
	res = Result{Elapsed: c.spent.elapsed, Latency: lat.hist, CPU: &c.spent.cpu, Cost: &c.spent.cost}
	for _, p := range parts {
		p.flush()
		res.Ops += p.n
	}
	return res.withAllocs(u.Server, c.spent.allocs)
}

// repeat reads the clock once an op: the end of one is the begin of the next.
func repeat(c *crew, op opFunc, key string, p *latencyPart) error {
	for at := time.Now(); ; {
		if err := op(key); err != nil {
			return err
		}
		now := time.Now()
		p.record(now.Sub(at))
		if c.stopped.Load() {
			return nil
		}
		at = now
	}
}

// withAllocs is nothing where the server, or the link to it, allocates in the same process.
func (r Result) withAllocs(s *Server, allocs uint64) (Result, error) {
	if r.Ops == 0 {
		return Result{}, errNoOps
	}
	r.Allocs = -1
	if !s.busyHere() {
		r.Allocs = float64(allocs) / float64(r.Ops)
	}
	return r, nil
}
