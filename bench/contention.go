package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Contention is a number of waiters of one key, in one or more processes, each of which acquires, holds, and releases,
// again and again. The processes are started for it: see [Join]. Mutual exclusion is checked over all of them: if two
// ever hold, Run fails, and gives no figure.
type Contention struct {
	Server *Server // Required.
	// Way is how they acquire: "polling", a Locker with its defaults; "fair", one with Fair; "cohort", one with Fair and
	// Cohort {64, 5 ms}. "floor" is no lock: each waiter wakes the next, in another process where there is one, by an
	// EVALSHA that publishes on a channel, to which that process has subscribed. Or the name of a RivalKind. Zero:
	// "polling".
	Way       string
	Lanes     int           // Connections of a Mux that each Locker goes through. Zero: an unbounded pool.
	Waiters   int           // Of all processes together, 2 to 4096. Zero: 2.
	Processes int           // 1 to Waiters, at most 64. Zero: 1.
	Hold      time.Duration // How long each holds, less than TTL. Zero: not at all.
	TTL       time.Duration // 10 ms to 24 h in whole milliseconds. Zero: DefaultTTL.
	// Time is how long a Run measures; before that comes a lead, a fifth of it, 50 ms at least and 1 s at most, in which
	// the queue comes to its length. Each acquisition takes 24 bytes of memory. Zero: DefaultTime.
	Time time.Duration
}

// ContentionWays are those of a Contention, besides the rivals.
func ContentionWays() []string { return append([]string{"floor"}, waitingWays...) }

func (c Contention) withDefaults() Contention {
	if c.Way == "" {
		c.Way = "polling"
	}
	if c.Waiters == 0 {
		c.Waiters = 2
	}
	if c.Processes == 0 {
		c.Processes = 1
	}
	c.TTL, c.Time = orDefault(c.TTL, DefaultTTL), orDefault(c.Time, DefaultTime)
	return c
}

// Called is the way as it is in names.
func (c Contention) Called() string {
	c = c.withDefaults()
	if c.Lanes > 0 {
		return fmt.Sprintf("%s-mux%d", c.Way, c.Lanes)
	}
	return c.Way
}

// WayCalled is the Contention whose way is called so, as Called has it: fair-mux2.
func WayCalled(name string) (Contention, error) {
	way, lanes := numbered(name, "-mux")
	c := Contention{Way: way, Lanes: lanes}
	if c.Called() != name {
		c = Contention{Way: name}
	}
	w := c.way()
	w.server = &Server{}
	return c, w.check(ContentionWays(), WaitingRivals())
}

// Name is Contention/server=…/way=…/waiters=…/processes=…/hold=….
func (c Contention) Name() string {
	c = c.withDefaults()
	return fmt.Sprintf("Contention/server=%s/way=%s/waiters=%d/processes=%d/hold=%v%s",
		c.Server.serverOf(c.Way), c.Called(), c.Waiters, c.Processes, c.Hold, c.Server.suffix())
}

func (c Contention) check() error {
	if err := checkCommon(c.Server, c.TTL, c.Time); err != nil {
		return err
	}
	if err := c.way().check(ContentionWays(), WaitingRivals()); err != nil {
		return err
	}
	switch {
	case c.Waiters < 2 || c.Waiters > MaxWorkers:
		return badConfig("%d waiters, allowed are 2 to %d", c.Waiters, MaxWorkers)
	case c.Processes < 1 || c.Processes > min(c.Waiters, MaxProcesses):
		return badConfig("%d processes of %d waiters, allowed are 1 to as many, and %d", c.Processes, c.Waiters, MaxProcesses)
	case c.Hold < 0 || c.Hold > c.TTL/2:
		return badConfig("a hold time of %v, allowed is 0 to half of the ttl, %v", c.Hold, c.TTL/2)
	}
	return checkJoined()
}

func (c Contention) way() wayConfig {
	return wayConfig{server: c.Server, name: c.Way, lanes: c.Lanes, ttl: c.TTL}
}

func checkJoined() error {
	if !joined.Load() {
		return badConfig("the program has not called bench.Join, without which it cannot start the waiters' processes")
	}
	return nil
}

// lead is how long they contend before the time counts.
func (c Contention) lead() time.Duration { return min(max(c.Time/5, 50*time.Millisecond), time.Second) }

// Run measures for Time; or for longer, if nobody has got the lock by then: a slow op is a figure too.
func (c Contention) Run(ctx context.Context) (res Result, err error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return Result{}, err
	}
	if err := readyFor(c.Way); err != nil {
		return Result{}, err
	}
	for {
		res, err = c.contend(ctx)
		if !errors.Is(err, errNoOps) || c.Time > time.Minute {
			return res, err
		}
		c.Time *= 2
	}
}

func (c Contention) contend(ctx context.Context) (res Result, err error) {
	if ctx.Err() != nil {
		return Result{}, stoppedRun(ctx)
	}
	k := newKeys(1 + c.Waiters)
	key := k.names[c.Waiters]
	k.more = queueKeys(k.names[c.Waiters:])
	defer k.remove(ctx, c.Server, &err)
	t := &team{Contention: c, clock: newSharedClock()}
	defer t.end()
	if err := t.start(key, k.names[:c.Waiters], false); err != nil {
		return Result{}, err
	}
	if err := t.run(ctx); err != nil {
		if ctx.Err() != nil {
			err = stoppedRun(ctx)
		}
		return Result{}, err
	}
	return t.result()
}
