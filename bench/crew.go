package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A crew is a number of goroutines that do the same for a while, after each has done it once. It leaves none behind.
type crew struct {
	server  *Server // nil: what it does is not measured
	way     string  // that the workers go, whose server's time is measured
	workers int
	time    time.Duration
	warm    func(worker int) error // once each, before the clock starts
	start   func()                 // nil: nothing; when all are warm
	lead    time.Duration          // how long they work before anything is measured
	work    func(worker int) error // until stopped says true, but once at least: a slow op is a figure too
	stop    func()                 // nil: nothing; when the time is up, as a help to end
	full    <-chan struct{}        // nil: the time alone decides; ends the time early
	first   <-chan struct{}        // nil: nothing; awaited when the time is up, for endPatience at most
	timely  bool                   // spent is until the stop, not until the end of the last

	stopped atomic.Bool
	began   time.Time     // when the lead was over
	ran     time.Duration // from then to the stop
	spent   spent         // meanwhile

	once    sync.Once // protects failure, and the closing of failed
	failure error     // the first of a worker
	failed  chan struct{}
}

func (c *crew) fail(err error) {
	c.once.Do(func() {
		c.failure = err
		c.stopped.Store(true)
		close(c.failed)
	})
}

// run returns ctx's cause if ctx ended it, and else what the first worker that failed has returned.
func (c *crew) run(ctx context.Context) error {
	c.failed = make(chan struct{})
	var warm, all sync.WaitGroup
	begin := make(chan struct{})
	warm.Add(c.workers)
	for w := range c.workers {
		all.Go(func() {
			err := c.warm(w)
			warm.Done()
			if err == nil {
				<-begin
				err = c.work(w)
			}
			if err != nil {
				c.fail(err)
			}
		})
	}
	warm.Wait()
	if c.start != nil && !c.stopped.Load() {
		c.start()
	}
	c.clock(ctx, begin, &all)
	if ctx.Err() != nil {
		return stoppedRun(ctx)
	}
	return c.failure
}

func stoppedRun(ctx context.Context) error {
	return fmt.Errorf("bench: the run was stopped: %w", context.Cause(ctx))
}

// clock starts the workers, stops them, and waits for their end.
func (c *crew) clock(ctx context.Context, begin chan<- struct{}, all *sync.WaitGroup) {
	meter := newMeter(c.server, c.way)
	if c.lead > 0 {
		close(begin)
		c.pass(ctx, c.lead, nil)
	}
	c.began = meter.start(ctx)
	if c.lead <= 0 {
		close(begin)
	}
	if c.pass(ctx, c.time, c.full) && c.first != nil {
		c.pass(ctx, endPatience, c.first) // a slow op is a figure too
	}
	c.ran = time.Since(c.began)
	if c.timely {
		c.spent = meter.stop(ctx)
	}
	c.stopped.Store(true)
	if c.stop != nil {
		c.stop()
	}
	all.Wait()
	if !c.timely {
		c.spent = meter.stop(ctx)
	}
}

// pass lets the time pass, and returns true, or false if something has come before.
func (c *crew) pass(ctx context.Context, d time.Duration, full <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-full:
	case <-c.failed:
	case <-ctx.Done():
	}
	return false
}
