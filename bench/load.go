package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	lock "github.com/redigolock/redigolock"
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
	// Unserved is how many of those were not served when the time was up: they still waited, in the queue or for a shared
	// key, or held it. They are in the histogram with what they had waited until then, which is a lower bound.
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

func (l Load) shared() bool { return l.Keys != "own" }

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
	if err := l.Of.checkSizes(); err != nil {
		return err
	}
	ways, rivals := ownApproaches, Rivals()
	if l.shared() {
		ways, rivals = waitingWays, WaitingRivals()
	}
	if err := l.Of.way().check(ways, rivals); err != nil {
		return err
	}
	switch {
	case l.Hold != 0 && !l.shared():
		return badConfig("a hold time of %v: it is for shared keys", l.Hold)
	case l.Hold < 0 || l.Hold > l.Of.TTL/2:
		return badConfig("a hold time of %v, allowed is 0 to half of the ttl, %v", l.Hold, l.Of.TTL/2)
	}
	if expected := l.Rate * l.span().Seconds(); !(l.Rate > 0) || expected > MaxArrivals {
		return badConfig("a rate of %v a second for %v: allowed is above zero, up to %d arrivals",
			l.Rate, l.Of.Time, MaxArrivals)
	}
	return nil
}

// lead is how long they come before anything is measured: until then connections are made.
func (l Load) lead() time.Duration { return min(max(l.Of.Time/4, 100*time.Millisecond), time.Second) }

// spareArrivals is for how much longer they come if the crew begins or stops late, as it asks the server in between, or the
// machine stalls: or the end of the time would be without any.
const spareArrivals = time.Second

// span is for how long they come.
func (l Load) span() time.Duration { return l.lead() + l.Of.Time + spareArrivals }

// arrivals are when they come, after the start.
func (l Load) arrivals() []time.Duration {
	var list []time.Duration
	end := l.span().Seconds()
	for at := rand.ExpFloat64() / l.Rate; at < end; at += rand.ExpFloat64() / l.Rate {
		list = append(list, time.Duration(at*float64(time.Second)))
	}
	return list
}

// draw draws for each of so many arrivals one of n keys.
func draw(n, arrivals int) []int32 {
	which := make([]int32, arrivals)
	if n == 1 {
		return which
	}
	zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), zipfExponent, 1, uint64(n-1))
	for i := range which {
		which[i] = int32(zipf.Uint64())
	}
	return which
}

// endPatience is how long the first to be served may come after the time.
const endPatience = 500 * time.Millisecond

// warmShared is how many goroutines do once what does not share before the clock starts. More connections, for those who
// poll, are made in the lead.
const warmShared = 64

// A loadRun is a Run of a Load.
type loadRun struct {
	crew crew
	way  *way
	hold time.Duration

	names  []string      // a key for each goroutine that warms up, or is served with a key of its own
	keys   []sharedKey   // none: each has its own
	which  []int32       // of the shared keys each arrival wants
	over   chan struct{} // closed when the time is up
	closed chan struct{} // closed when the waits have been told to end

	at    []time.Duration // when each arrives, after began
	took  []atomic.Int64  // until each had been served, from then; 0: not served; or tookTooLong
	queue chan int        // has room for all, and so never holds up those that arrive
	any   atomic.Bool     // was served
	first chan struct{}   // closed then
	began time.Time       // set before the first is in the queue
	pacer *pacer
	late  *hdrhistogram.Histogram
}

type sharedKey struct {
	name   string
	holder holding
}

// tookTooLong is of an arrival that got an error, for there was no answer in time.
const tookTooLong = -1

// Run measures for Time. Those that are not served by then are a figure too; their waits end, and Run waits for that.
func (l Load) Run(ctx context.Context) (res Result, err error) {
	l = l.withDefaults()
	if err := l.check(); err != nil {
		return Result{}, err
	}
	u := l.Of
	own, n := u.Goroutines, 0
	if l.shared() {
		own, n = min(u.Goroutines, warmShared), 1
	}
	if l.Keys == "zipf10000" {
		n = zipfKeys
	}
	k := newKeys(own + n)
	if isFair(u.Approach) {
		k.more = queueKeys(k.names)
	}
	defer k.remove(ctx, u.Server, &err)
	r, err := l.open(k.names[:own], k.names[own:])
	if err != nil {
		return Result{}, err
	}
	err = r.crew.run(ctx)
	<-r.closed
	r.way.end()
	if err != nil {
		return Result{}, err
	}
	return r.result(u.Server)
}

// open opens the lock, draws what each arrival wants, and makes a crew in which each worker serves but the last, who has
// them arrive.
func (l Load) open(own, shared []string) (*loadRun, error) {
	u, at := l.Of, l.arrivals()
	r := &loadRun{hold: l.Hold, names: own, keys: make([]sharedKey, len(shared)), over: make(chan struct{}),
		closed: make(chan struct{}), at: at, took: make([]atomic.Int64, len(at)), queue: make(chan int, len(at)),
		late: newHistogram(), first: make(chan struct{})}
	for i, name := range shared {
		r.keys[i].name = name
	}
	if l.shared() {
		r.which = draw(len(shared), len(at))
	}
	err := readyFor(u.Approach)
	if err != nil {
		return nil, err
	}
	if r.way, err = u.way().open(); err != nil {
		return nil, err
	}
	if r.pacer, err = newPacer(); err != nil {
		r.way.end()
		return nil, err
	}
	last := u.Goroutines
	r.crew = crew{server: u.Server, way: u.Approach, workers: last + 1, time: u.Time, lead: l.lead(), timely: true,
		first: r.first, stop: r.stop}
	r.crew.warm = func(w int) error {
		if w >= len(own) {
			return nil
		}
		return r.way.once(own[w])
	}
	r.crew.work = func(w int) error {
		if w == last {
			return r.arrive()
		}
		return r.serve(w)
	}
	return r, nil
}

// arrive puts each into the queue when its time has come.
func (r *loadRun) arrive() error {
	defer close(r.queue)
	r.began = time.Now()
	for i, at := range r.at {
		if err := r.pacer.until(r.began.Add(at)); err != nil {
			return err
		}
		if r.crew.stopped.Load() {
			return nil
		}
		record(r.late, time.Since(r.began)-at)
		r.queue <- i
	}
	return nil
}

// serve takes from the queue until the time is up.
func (r *loadRun) serve(w int) error {
	for i := range r.queue {
		if r.crew.stopped.Load() {
			return nil
		}
		served, err := r.do(w, i)
		if err != nil {
			return err
		}
		if !served {
			continue
		}
		r.took[i].Store(int64(max(time.Since(r.began)-r.at[i], 1)))
		if r.any.CompareAndSwap(false, true) {
			close(r.first)
		}
	}
	return nil
}

// do acquires and releases for arrival i. It does not look at who gets a shared key when the time is up: it is not served,
// and a rival whose waits were ended may have lost it.
func (r *loadRun) do(w, i int) (served bool, err error) {
	if len(r.keys) == 0 {
		return true, r.way.once(r.names[w])
	}
	key := &r.keys[r.which[i]]
	release, err := r.way.acquire(w, key.name)
	if err != nil {
		return false, r.failed(i, err)
	}
	if r.crew.stopped.Load() {
		return false, r.failed(i, release())
	}
	if err := key.holder.begin("arrival", i); err != nil {
		return false, err
	}
	holdFor(r.hold, r.over)
	if err := key.holder.end("arrival", i); err != nil {
		return false, err
	}
	if err := release(); err != nil {
		if err = r.failed(i, err); err != nil {
			err = fmt.Errorf("bench: the lock did not hold until its release, no figures: %w", err)
		}
		return false, err
	}
	return true, nil
}

// failed is nil for what may come to a lock that is overloaded, or whose waits were ended: a figure, not an error.
func (r *loadRun) failed(i int, err error) error {
	switch {
	case err == nil, r.crew.stopped.Load() && errors.Is(err, lock.ErrClosed):
		return nil
	case tooLate(err):
		r.took[i].Store(tookTooLong)
		return nil
	case r.crew.stopped.Load():
		return r.way.ended(err)
	}
	return err
}

// tooLate says that there was no answer in time, and nothing worse.
func tooLate(err error) bool {
	if errors.Is(err, lock.ErrNotHeld) {
		return false
	}
	var broken net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, lock.ErrUnknown) ||
		errors.As(err, &broken) && broken.Timeout()
}

// stop ends the waits. A fair Locker may take a moment for it, in which holders release.
func (r *loadRun) stop() {
	r.pacer.stop()
	close(r.over)
	go func() {
		defer close(r.closed)
		r.way.close()
	}()
}

// result counts those as served that were so in what the crew has measured, and those as late that arrived in it.
func (r *loadRun) result(s *Server) (Result, error) {
	lat := newHistogram()
	spent := r.crew.spent
	res := Result{Elapsed: spent.elapsed, Latency: lat, CPU: &spent.cpu, Cost: &spent.cost,
		Loaded: &Loaded{Late: r.late}}
	lead := max(r.crew.began.Sub(r.began), 0)
	for i, at := range r.at {
		took := time.Duration(r.took[i].Load())
		served := took > 0 && at+took <= lead+spent.elapsed
		if served && at+took >= lead {
			res.Ops++
		}
		if at < lead || at >= lead+r.crew.ran {
			continue
		}
		res.Loaded.Arrived++
		if took == tookTooLong {
			res.Loaded.Failed++
		}
		if !served {
			took = lead + r.crew.ran - at
			res.Loaded.Unserved++
		}
		record(lat, took)
	}
	if res.Ops == 0 { // a figure too, of whoever is overloaded
		res.Allocs, res.CPU, res.Cost = -1, &CPU{Client: -1, Server: -1}, nil
		return res, nil
	}
	return res.withAllocs(s, spent.allocs)
}
