package bench

import (
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A loadRun is a Run of a Load.
type loadRun struct {
	crew    crew
	do      func(w, i int) (served bool, err error) // for arrival i, by worker w
	at      []time.Duration                         // when each arrives, after began
	took    []atomic.Int64                          // until each had been served, from then; 0: not served; or tookTooLong
	queue   chan int                                // has room for all, and so never holds up those that arrive
	any     atomic.Bool                             // was served
	first   chan struct{}                           // closed then
	arrived chan struct{}                           // closed when no more arrive
	began   time.Time                               // set before the first is in the queue
	pacer   *pacer
	late    *hdrhistogram.Histogram
}

// tookTooLong is of an arrival that got an error, for there was no answer in time.
const tookTooLong = -1

func (l Load) newRun() (*loadRun, error) {
	at := l.arrivals()
	r := &loadRun{at: at, took: make([]atomic.Int64, len(at)), queue: make(chan int, len(at)), late: newHistogram(),
		first: make(chan struct{}), arrived: make(chan struct{})}
	var err error
	r.pacer, err = newPacer()
	return r, err
}

// man makes a crew in which each worker serves but the last, who has them arrive.
func (r *loadRun) man(u Uncontended, warm func(w int) error, do func(w, i int) (bool, error)) {
	last := u.Goroutines
	r.do = do
	r.crew = crew{server: u.Server, way: u.Approach, workers: last + 1, time: u.Time, stop: r.pacer.stop}
	r.crew.warm = func(w int) error {
		if w == last {
			return nil
		}
		return warm(w)
	}
	r.crew.work = func(w int) error {
		if w == last {
			return r.arrive()
		}
		return r.serve(w)
	}
}

// arrive puts each into the queue when its time has come.
func (r *loadRun) arrive() error {
	defer close(r.arrived)
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

// result counts those as served that were so in what the crew has measured, and those as late that arrived in it.
func (r *loadRun) result(s *Server) (Result, error) {
	<-r.arrived // which is not known of a crew of whom some were left to end by themselves
	lat := newHistogram()
	res := Result{Elapsed: r.crew.elapsed, Latency: lat, CPU: &r.crew.cpu, Cost: &r.crew.cost,
		Loaded: &Loaded{Late: r.late}}
	lead := max(r.crew.began.Sub(r.began), 0)
	for i, at := range r.at {
		took := time.Duration(r.took[i].Load())
		served := took > 0 && at+took <= lead+r.crew.elapsed
		if served && at+took >= lead {
			res.Ops++
		}
		if r.crew.lead > 0 && (at < lead || at >= lead+r.crew.ran) {
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
	return res.withAllocs(s, r.crew.allocs)
}
