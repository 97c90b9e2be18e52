package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load is acquire and release in an open loop: the arrivals come at a given rate, whatever the server does, as the
// requests of a service do, and independently of each other (a Poisson process). The latency of each counts from the
// moment at which it was to arrive until its release was answered, so that those which a slow moment holds up are all
// counted as late as they were: there is no coordinated omission. An op is one that was served.
type Load struct {
	// Of is what is done for each arrival. Its Goroutines are how many are served at once; who comes when all are busy
	// waits in a queue. Their zero is 256 here, and 4096 with shared keys, where most of them wait.
	//
	// With shared keys its Approach is a way to wait, as of a Contention, but for the floor, which has no lock: polling,
	// fair or cohort, through a pool that PoolSize may bound, or a Mux with Lanes; or a RivalKind that can wait.
	Of Uncontended
	// Keys are "own": each of the Goroutines has a key of its own, and tries once; "hot": all arrivals want the same
	// key; or "zipf10000": each wants one of 10,000 keys, the k-th with a chance in proportion to k to the power of
	// -1.1, which is 15 % for the first. Shared keys are waited for, and mutual exclusion is checked: if two ever hold
	// the same key, Run fails, and gives no figure. Empty: "own".
	Keys string
	// Hold is how long each holds a shared key, which is part of its latency; at most half of the TTL. Zero: not at all.
	Hold time.Duration
	// Rate is how many arrive in a second on average. Required.
	Rate float64
}

const (
	defaultServed = 256
	// MaxArrivals is how many may arrive in a Run.
	MaxArrivals = 10_000_000

	zipfKeys     = 10_000
	zipfExponent = 1.1
)

// LoadKeys are the Keys of a Load.
func LoadKeys() []string { return []string{"own", "hot", "zipf10000"} }

// Loaded is what one Run of a Load has measured beside Result.
type Loaded struct {
	Arrived int64 // in the time
	// Unserved is how many of those still waited when the time was up, in the queue or for a shared key, or held it. They
	// are in the histogram with what they had waited until then, which is a lower bound.
	Unserved int64
	// Failed is how many of the Unserved have got an error, because a command was not answered in time.
	Failed int64
	// Late is how late the workload itself was with each arrival, in ns. That is part of the latency.
	Late *hdrhistogram.Histogram
}

func (l Load) withDefaults() Load {
	if l.Keys == "" {
		l.Keys = "own"
	}
	if l.Of.Goroutines == 0 {
		l.Of.Goroutines = defaultServed
		if l.shared() {
			l.Of.Goroutines = MaxWorkers
		}
	}
	l.Of = l.Of.withDefaults()
	return l
}

func (l Load) shared() bool { return l.Keys != "" && l.Keys != "own" }

// Name is Load/server=…/keys=…/approach=…/rate=…, and /hold=… if they hold.
func (l Load) Name() string {
	l = l.withDefaults()
	name := fmt.Sprintf("Load/server=%s/keys=%s/approach=%s/rate=%.0f",
		l.Of.Server.serverOf(l.Of.Approach), l.Keys, l.Of.Label, l.Rate)
	if l.Hold > 0 {
		name += fmt.Sprintf("/hold=%v", l.Hold)
	}
	return name + l.Of.Server.suffix()
}

func (l Load) check() error {
	if !slices.Contains(LoadKeys(), l.Keys) {
		return badConfig("keys %q, there are %q", l.Keys, LoadKeys())
	}
	checkOf := l.Of.check
	if l.shared() {
		checkOf = l.checkShared
	}
	if err := checkOf(); err != nil {
		return err
	}
	if l.Hold != 0 && !l.shared() {
		return badConfig("a hold time of %v: it is for shared keys", l.Hold)
	}
	if expected := l.Rate * l.span().Seconds(); !(l.Rate > 0) || expected > MaxArrivals {
		return badConfig("a rate of %v a second for %v: allowed is above zero, up to %d arrivals",
			l.Rate, l.Of.Time, MaxArrivals)
	}
	return nil
}

func (l Load) checkShared() error {
	u := l.Of
	if err := checkCommon(u.Server, u.TTL, u.Time); err != nil {
		return err
	}
	if err := checkWay(u.Server, u.Approach, waitingWays, u.Lanes); err != nil {
		return err
	}
	switch {
	case u.Goroutines < 1 || u.Goroutines > MaxWorkers:
		return badConfig("%d goroutines, allowed are 1 to %d", u.Goroutines, MaxWorkers)
	case u.Release != "lua":
		return badConfig("approach %s has release lua only", u.Approach)
	case u.PoolSize < 0 || u.PoolSize > MaxWorkers:
		return badConfig("a pool of %d connections, allowed are 1 to %d", u.PoolSize, MaxWorkers)
	case u.PoolSize > 0 && (u.Lanes > 0 || !slices.Contains(waitingWays, u.Approach)):
		return badConfig("a bounded pool is for a Locker without Mux")
	case l.Hold < 0 || l.Hold > u.TTL/2:
		return badConfig("a hold time of %v, allowed is 0 to half of the ttl, %v", l.Hold, u.TTL/2)
	}
	return nil
}

// lead is how long those for shared keys come before anything is measured: until then connections are made.
func (l Load) lead() time.Duration {
	if !l.shared() {
		return 0
	}
	return max(l.Of.Time/4, 100*time.Millisecond)
}

// spareArrivals is for how much longer they come if the crew begins or stops late, as it asks the server in between, or the
// machine stalls: or the end of the time would be without any.
const spareArrivals = time.Second

// span is for how long they come.
func (l Load) span() time.Duration {
	if l.shared() {
		return l.lead() + l.Of.Time + spareArrivals
	}
	return l.Of.Time
}

// arrivals are when they come, after the start.
func (l Load) arrivals() []time.Duration {
	var list []time.Duration
	end := l.span().Seconds()
	for at := rand.ExpFloat64() / l.Rate; at < end; at += rand.ExpFloat64() / l.Rate {
		list = append(list, time.Duration(at*float64(time.Second)))
	}
	return list
}

// Run measures for Time. With keys of their own, those that are being served by then are served to their end, and
// count; the waits for a shared key end, and Run waits for that, for 10 s at most.
func (l Load) Run(ctx context.Context) (Result, error) {
	l = l.withDefaults()
	if err := l.check(); err != nil {
		return Result{}, err
	}
	if l.shared() {
		return l.runShared(ctx)
	}
	return l.runOwn(ctx)
}

func (l Load) runOwn(ctx context.Context) (res Result, err error) {
	u := l.Of
	k := newKeys(u.Goroutines)
	defer k.remove(ctx, u.Server, &err)
	op, end, err := u.op()
	if err != nil {
		return Result{}, err
	}
	defer u.Server.endOrCut(ctx, end)
	r, err := l.newRun()
	if err != nil {
		return Result{}, err
	}
	warm := func(w int) error { return u.warm(w, op, k.names[w]) }
	r.man(u, warm, func(w, _ int) (bool, error) { return true, op(k.names[w]) })
	if err := r.crew.run(ctx); err != nil {
		return Result{}, err
	}
	return r.result(u.Server)
}
