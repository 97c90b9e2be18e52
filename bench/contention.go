package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

// Contention is a number of waiters of one key, each of which acquires by Locker.Acquire, holds, and releases, again
// and again. Mutual exclusion is checked all the time: if two ever hold, Run fails, and gives no figure.
type Contention struct {
	Server  *Server       // Required.
	Waiters int           // 2 to 4096. Zero: 2.
	Hold    time.Duration // How long each holds, less than TTL. Zero: not at all.
	TTL     time.Duration // 10 ms to 24 h in whole milliseconds. Zero: DefaultTTL.
	Time    time.Duration // How long a Run measures. Zero: DefaultTime.
	Ops     int64         // Ends a Run after so many acquisitions. Zero: Time alone decides.
}

// A Contest is what one Run of a Contention has measured beside Result.
type Contest struct {
	// Handoff is in ns, from just before the holder sends its release until the Acquire of another waiter returns.
	// Handoffs to the same waiter are left out: they would flatter a lock that lets its holder come back.
	Handoff *hdrhistogram.Histogram
	// Jain is Jain's index of fairness over the acquisitions of the waiters: 1 if all have the same, 1/waiters if one
	// has all.
	Jain float64
	// Sent is the number of commands that the clients sent for each acquisition.
	Sent float64
	// Calls is the number of commands that the server executed for each acquisition, by INFO commandstats: with
	// those that scripts call, and those of others who use the server. On a server that does not tell, it is Sent.
	Calls float64
	// Longest is the longest wait. Those who still waited when the time was up count with what they had waited until
	// then; if the longest is one of those, Censored is true, and Longest is a lower bound.
	Longest  time.Duration
	Censored bool
}

func (c Contention) withDefaults() Contention {
	if c.Waiters == 0 {
		c.Waiters = 2
	}
	c.TTL, c.Time = orDefault(c.TTL, DefaultTTL), orDefault(c.Time, DefaultTime)
	return c
}

// Name is Contention/server=…/approach=locker/waiters=…/hold=….
func (c Contention) Name() string {
	c = c.withDefaults()
	return fmt.Sprintf("Contention/server=%s/approach=locker/waiters=%d/hold=%v", c.Server.Name, c.Waiters, c.Hold)
}

func (c Contention) check() error {
	if err := checkCommon(c.Server, c.TTL, c.Time); err != nil {
		return err
	}
	switch {
	case c.Waiters < 2 || c.Waiters > MaxWorkers:
		return badConfig("%d waiters, allowed are 2 to %d", c.Waiters, MaxWorkers)
	case c.Hold < 0 || c.Hold > c.TTL/2:
		return badConfig("a hold time of %v, allowed is 0 to half of the ttl, %v", c.Hold, c.TTL/2)
	case c.Ops < 0:
		return badConfig("%d ops, below zero", c.Ops)
	}
	return nil
}

// A contest is a Run.
type contest struct {
	Contention
	crew   crew
	key    string
	locker *lock.Locker

	owner atomic.Int64 // the waiter that holds, counted from 1; 0: none
	last  handover     // belongs to the owner
	each  []waiterLog

	stopping chan struct{} // closed when the time is up
	full     chan struct{} // closed when there are enough ops
}

// A handover is what a holder leaves to the next.
type handover struct {
	by  int64
	at  time.Time
	ops int64
	lat *hdrhistogram.Histogram
}

// A waiterLog belongs to its waiter until all have ended.
type waiterLog struct {
	ops      int64
	longest  time.Duration
	censored bool // the longest had not ended
}

// Run measures for Time, or Ops.
func (c Contention) Run(ctx context.Context) (res Result, err error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return Result{}, err
	}
	k := newKeys(1 + c.Waiters)
	defer k.remove(ctx, c.Server, &err)
	r := &contest{
		Contention: c,
		key:        k.names[c.Waiters],
		locker:     &lock.Locker{Pool: c.Server.counted},
		last:       handover{lat: newHistogram()},
		each:       make([]waiterLog, c.Waiters),
		stopping:   make(chan struct{}),
		full:       make(chan struct{}),
	}
	closed := make(chan struct{})
	defer func() { c.Server.waitOrCut(ctx, closed) }()
	own := lockerOp(r.locker, c.TTL)
	r.crew = crew{server: c.Server, workers: c.Waiters, time: c.Time, work: r.wait, full: r.full}
	r.crew.warm = func(w int) error { return own(k.names[w]) }
	// Close ends the pauses of the waiters at once, and lets the tries be that are on their way: a context would cut
	// those, and leave their connections dead and their tokens to be cleaned up.
	r.crew.stop = func() {
		close(r.stopping)
		go func() {
			defer close(closed)
			_ = r.locker.Close()
		}()
	}
	var sent, calls int64
	r.crew.start = func() { sent, calls = c.commands(ctx) }
	if err := r.crew.run(ctx); err != nil {
		return Result{}, err
	}
	sentAfter, callsAfter := c.commands(ctx)
	return r.result(sentAfter-sent, callsAfter-calls)
}

// commands counts what was sent and what was executed until now.
func (c Contention) commands(ctx context.Context) (sent, calls int64) {
	sent = c.Server.sent.Load()
	calls, ok := c.Server.calls(ctx)
	if !ok {
		calls = sent
	}
	return sent, calls
}

func (r *contest) wait(w int) error {
	for !r.crew.stopped.Load() {
		began := time.Now()
		k, err := r.locker.Acquire(bg, r.key, r.TTL)
		got := time.Now()
		me := &r.each[w]
		if wait := got.Sub(began); wait > me.longest {
			me.longest, me.censored = wait, err != nil
		}
		if err != nil {
			return endOfWait(err)
		}
		if err := r.enter(w, got); err != nil {
			_ = k.Release(bg)
			return err
		}
		r.hold()
		if err := r.leave(w); err != nil {
			return err
		}
		if err := k.Release(bg); err != nil {
			return fmt.Errorf("bench: the lock did not hold until its release, no figures: %w", err)
		}
	}
	return nil
}

// endOfWait is nil for a wait that has ended because the time was up, and after nothing worse than that the lock was
// held.
func endOfWait(err error) error {
	var refused redis.Error
	var broken net.Error
	if errors.Is(err, lock.ErrClosed) && !errors.Is(err, lock.ErrUnknown) &&
		!errors.As(err, &refused) && !errors.As(err, &broken) {
		return nil
	}
	return err
}

// enter makes the waiter the owner, and counts. What others have left in r.last is safe to read once the owner is
// changed: that is the synchronization of memory that a lock on a server does not give.
func (r *contest) enter(w int, got time.Time) error {
	id := int64(w) + 1
	if !r.owner.CompareAndSwap(0, id) {
		return fmt.Errorf("bench: MUTUAL EXCLUSION VIOLATED: waiter %d got the lock that waiter %d holds, no figures",
			id, r.owner.Load())
	}
	if r.crew.stopped.Load() {
		return nil
	}
	r.each[w].ops++
	r.last.ops++
	if r.last.by != 0 && r.last.by != id {
		record(r.last.lat, got.Sub(r.last.at))
	}
	if r.last.ops == r.Ops {
		close(r.full)
	}
	return nil
}

// leave must be called before the release is sent: the next holder may be there before its answer.
func (r *contest) leave(w int) error {
	id := int64(w) + 1
	r.last.by, r.last.at = id, time.Now()
	if !r.owner.CompareAndSwap(id, 0) {
		return fmt.Errorf("bench: MUTUAL EXCLUSION VIOLATED: waiter %d found waiter %d in its lock, no figures",
			id, r.owner.Load())
	}
	return nil
}

func (r *contest) hold() {
	if r.Hold == 0 {
		return
	}
	timer := time.NewTimer(r.Hold)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.stopping:
	}
}

func (r *contest) result(sent, calls int64) (Result, error) {
	ops := r.last.ops
	con := &Contest{Handoff: r.last.lat, Sent: float64(sent) / float64(ops), Calls: float64(calls) / float64(ops)}
	var counts []int64
	for _, w := range r.each {
		counts = append(counts, w.ops)
		if w.longest > con.Longest {
			con.Longest, con.Censored = w.longest, w.censored
		}
	}
	con.Jain = Jain(counts)
	res := Result{Ops: ops, Elapsed: r.crew.ran, Latency: r.last.lat, CPU: &r.crew.cpu, Contest: con}
	return res.withAllocs(r.Server, r.crew.allocs)
}

// Jain is Jain's index of fairness of what several have got: (Σx)² / (n Σx²). It is 0 if nobody has got anything.
func Jain(counts []int64) float64 {
	var sum, squares float64
	for _, n := range counts {
		sum += float64(n)
		squares += float64(n) * float64(n)
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(counts)) * squares)
}
