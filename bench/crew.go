package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// grace is how long the workers may take to end by themselves once ctx has ended, before their connections are cut.
// closePatience is how long they may take then. It is above the three OpTimeouts, 3 s, that Close of a Locker takes at most.
const (
	grace         = 150 * time.Millisecond
	closePatience = 5 * time.Second
)

// A crew is a number of goroutines that do the same for a while, after each has done it once. It leaves none behind.
type crew struct {
	server  *Server
	way     string // that the workers go, whose server's time is measured
	workers int
	time    time.Duration
	warm    func(worker int) error // once each, before the clock starts
	start   func()                 // nil: nothing; when all are warm
	lead    time.Duration          // how long they work before anything is measured
	work    func(worker int) error // until stopped says true, but once at least: a slow op is a figure too
	stop    func()                 // nil: nothing; when the time is up, as a help to end
	full    <-chan struct{}        // nil: the time alone decides; ends the time early
	first   <-chan struct{}        // nil: nothing; awaited when the time is up, for endPatience at most
	within  time.Duration          // how long to wait for their end; zero: as long as it takes
	timely  bool                   // what follows is measured until the stop, not until the end of the last
	stopped atomic.Bool
	began   time.Time                    // when the lead was over
	ran     time.Duration                // from then to the stop
	elapsed time.Duration                // from then to the end of the last
	all     sync.WaitGroup               // the workers
	allocs  uint64                       // meanwhile, of the whole process
	cpu     CPU                          // meanwhile
	cost    Cost                         // meanwhile
	failure atomic.Pointer[workerFailed] // the first
	failed  chan struct{}                // closed with it
}

type workerFailed struct{ err error }

func (c *crew) fail(err error) {
	if c.failure.CompareAndSwap(nil, &workerFailed{err}) {
		c.stopped.Store(true)
		close(c.failed)
	}
}

// run returns ctx's cause if ctx ended it, and else what the first worker that failed has returned.
func (c *crew) run(ctx context.Context) error {
	c.failed = make(chan struct{})
	var warm sync.WaitGroup
	begin := make(chan struct{})
	warm.Add(c.workers)
	for w := range c.workers {
		c.all.Go(func() {
			c.worker(w, &warm, begin)
		})
	}
	c.server.endOrCut(ctx, warm.Wait)
	if c.start != nil && c.failure.Load() == nil {
		c.start()
	}
	c.clock(ctx, begin)
	if ctx.Err() != nil {
		return stoppedRun(ctx)
	}
	if f := c.failure.Load(); f != nil {
		return f.err
	}
	return nil
}

func stoppedRun(ctx context.Context) error {
	return fmt.Errorf("bench: the run was stopped: %w", context.Cause(ctx))
}

func (c *crew) worker(w int, warm *sync.WaitGroup, begin <-chan struct{}) {
	err := c.warm(w)
	if err != nil {
		c.fail(err)
	}
	warm.Done()
	<-begin
	if err != nil {
		return
	}
	if err := c.work(w); err != nil {
		c.fail(err)
	}
}

// clock starts the workers, stops them, and waits for their end.
func (c *crew) clock(ctx context.Context, begin chan<- struct{}) {
	var before runtime.MemStats
	cpu := costMeter{used: c.server.usageOf(c.way), embedded: c.server.busyHere()}
	if c.lead > 0 {
		close(begin)
		c.pass(ctx, c.lead, nil)
	}
	if c.sound(ctx) {
		cpu.ask(ctx)
	}
	runtime.ReadMemStats(&before)
	cpu.start()
	c.began = time.Now()
	if c.lead == 0 {
		close(begin)
	}
	if c.pass(ctx, c.time, c.full) && c.first != nil {
		c.pass(ctx, endPatience, c.first) // a slow op is a figure too
	}
	c.ran = time.Since(c.began)
	if c.timely {
		c.measure(ctx, &before, &cpu)
	}
	c.stopped.Store(true)
	if c.stop != nil {
		c.stop()
	}
	c.server.endWithin(ctx, c.within, c.all.Wait)
	if !c.timely {
		c.measure(ctx, &before, &cpu)
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

// measure takes what was used since they began.
func (c *crew) measure(ctx context.Context, before *runtime.MemStats, cpu *costMeter) {
	var after runtime.MemStats
	c.elapsed = time.Since(c.began)
	c.cpu = cpu.stop()
	runtime.ReadMemStats(&after)
	c.allocs = after.Mallocs - before.Mallocs
	if c.sound(ctx) {
		c.cost = cpu.askAgain(ctx, &c.cpu)
	}
}

// sound says that there is something to measure, at a server that answers.
func (c *crew) sound(ctx context.Context) bool { return ctx.Err() == nil && c.failure.Load() == nil }

// endOrCut runs end, in a goroutine, and waits for it. If ctx ends, it waits no longer than grace before it cuts the
// connections, which ends whatever the workers wait for. Only a rival can be deaf to that: it is left to end by itself.
func (s *Server) endOrCut(ctx context.Context, end func()) { s.endWithin(ctx, 0, end) }

// endWithin is endOrCut, and waits no longer than d if that is above zero. The channel is closed when end has returned.
func (s *Server) endWithin(ctx context.Context, d time.Duration, end func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		end()
	}()
	var enough <-chan time.Time // never
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-done:
	case <-enough:
	case <-ctx.Done():
		s.waitOrCut(done)
	}
	return done
}

func (s *Server) waitOrCut(done <-chan struct{}) {
	for _, patience := range []time.Duration{grace, closePatience} {
		timer := time.NewTimer(patience)
		select {
		case <-done:
			timer.Stop()
			return
		case <-timer.C:
			s.conns.cut()
		}
	}
}
