package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load is the acquire and release of distinct keys in an open loop: they arrive at a given rate, whatever the server
// does, as the requests of a service do, and independently of each other (a Poisson process). The latency of each
// counts from the moment at which it was to arrive, so that those which a slow moment holds up are all counted as late
// as they were: there is no coordinated omission. An op is one that was served.
type Load struct {
	// Of is what is done for each arrival. Its Goroutines are how many are served at once, and have a key each; who
	// comes when all are busy waits in a queue. Its zero is 256 here.
	Of Uncontended
	// Rate is how many arrive in a second on average. Required.
	Rate float64
}

const (
	defaultServed = 256
	// MaxArrivals is how many may arrive in a Run.
	MaxArrivals = 10_000_000
)

// Loaded is what one Run of a Load has measured beside Result.
type Loaded struct {
	Arrived int64 // in the time
	// Unserved is how many of those still waited in the queue when the time was up. They are in the histogram with what
	// they had waited until then, which is a lower bound.
	Unserved int64
	// Late is how late the workload itself was with each arrival, in ns. That is part of the latency.
	Late *hdrhistogram.Histogram
}

func (l Load) withDefaults() Load {
	if l.Of.Goroutines == 0 {
		l.Of.Goroutines = defaultServed
	}
	l.Of = l.Of.withDefaults()
	return l
}

// Name is Load/server=…/approach=…/rate=….
func (l Load) Name() string {
	l = l.withDefaults()
	return fmt.Sprintf("Load/server=%s/approach=%s/rate=%.0f", l.Of.Server.serverOf(l.Of.Approach), l.Of.Label, l.Rate)
}

func (l Load) check() error {
	if err := l.Of.check(); err != nil {
		return err
	}
	if expected := l.Rate * l.Of.Time.Seconds(); !(l.Rate > 0) || expected > MaxArrivals {
		return badConfig("a rate of %v a second for %v: allowed is above zero, up to %d arrivals",
			l.Rate, l.Of.Time, MaxArrivals)
	}
	return nil
}

// arrivals are when they come, after the start.
func (l Load) arrivals() []time.Duration {
	var list []time.Duration
	end := l.Of.Time.Seconds()
	for at := rand.ExpFloat64() / l.Rate; at < end; at += rand.ExpFloat64() / l.Rate {
		list = append(list, time.Duration(at*float64(time.Second)))
	}
	return list
}

// A loadRun is a Run.
type loadRun struct {
	crew  crew
	op    opFunc
	keys  []string
	at    []time.Duration // when each arrives, after began
	took  []time.Duration // until each had been served, from then; belongs to whoever serves it; 0: not served
	queue chan int        // has room for all, and so never holds up those that arrive
	began time.Time       // set before the first is in the queue
	pacer *pacer
	late  *hdrhistogram.Histogram
}

// Run measures for Time, and then until the last op has ended that had begun by then.
func (l Load) Run(ctx context.Context) (res Result, err error) {
	l = l.withDefaults()
	if err := l.check(); err != nil {
		return Result{}, err
	}
	u := l.Of
	k := newKeys(u.Goroutines)
	defer k.remove(ctx, u.Server, &err)
	op, end, err := u.op()
	if err != nil {
		return Result{}, err
	}
	defer u.Server.endOrCut(ctx, end)
	r, err := l.start(op, k.names)
	if err != nil {
		return Result{}, err
	}
	if err := r.crew.run(ctx); err != nil {
		return Result{}, err
	}
	return r.result(u.Server)
}

// start makes a crew in which each worker serves but the last, who has them arrive.
func (l Load) start(op opFunc, keys []string) (*loadRun, error) {
	at := l.arrivals()
	r := &loadRun{op: op, keys: keys, at: at, took: make([]time.Duration, len(at)), queue: make(chan int, len(at)),
		late: newHistogram()}
	var err error
	if r.pacer, err = newPacer(); err != nil {
		return nil, err
	}
	last := len(keys)
	r.crew = crew{server: l.Of.Server, way: l.Of.Approach, workers: last + 1, time: l.Of.Time, stop: r.pacer.stop}
	r.crew.warm = func(w int) error {
		if w == last {
			return nil
		}
		return l.Of.warm(w, op, keys[w])
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
		if err := r.op(r.keys[w]); err != nil {
			return err
		}
		r.took[i] = max(time.Since(r.began)-r.at[i], 1)
	}
	return nil
}

func (r *loadRun) result(s *Server) (Result, error) {
	lat := newHistogram()
	res := Result{Elapsed: r.crew.elapsed, Latency: lat, CPU: &r.crew.cpu, Cost: &r.crew.cost, Loaded: &Loaded{Late: r.late}}
	for i, at := range r.at {
		took := r.took[i]
		if took > 0 {
			res.Ops++
		} else {
			took = r.crew.ran - at
			res.Loaded.Unserved++
		}
		record(lat, took)
	}
	res.Loaded.Arrived = int64(len(r.at))
	return res.withAllocs(s, r.crew.allocs)
}
