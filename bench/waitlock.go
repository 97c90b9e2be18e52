package bench

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

// waitingWays are our own ways to wait for a lock.
var waitingWays = []string{"polling", "fair", "cohort"}

// A waitLock is a lock for which goroutines of one process wait.
type waitLock struct {
	once    opFunc // acquires without a wait, and releases
	acquire func(key string) (release func() error, err error)
	ended   func(error) error // nil for the error of a wait that close has ended
	close   func()            // ends all waits, while others may still hold and release
	end     func()            // when all have ended
}

// A waitConfig is what a waitLock is made for.
type waitConfig struct {
	server     *Server
	pool       lock.Pool // of our own ways
	way        string    // one of waitingWays, or a rival
	lanes      int
	ttl        time.Duration
	goroutines int
}

// checkWay checks the way to wait, which may be one of ways or a rival, and the lanes that it goes through.
func checkWay(s *Server, way string, ways []string, lanes int) error {
	kind, rival := rivalNamed(way)
	known := strings.Join(slices.Concat(ways, WaitingRivals()), ", ")
	switch {
	case !rival && !slices.Contains(ways, way):
		return badConfig("unknown way %q, there are %s; and fair-mux2 and the like", way, known)
	case kind.OneTry:
		return badConfig("way %q: it cannot wait for a lock; those that can are %s", way, known)
	case lanes < 0 || lanes > MaxLanes:
		return badConfig("%d lanes, allowed are 0 to %d", lanes, MaxLanes)
	case lanes > 0 && !slices.Contains(waitingWays, way):
		return badConfig("way %q: a Mux is for a Locker", way)
	}
	return checkRival(s, way)
}

// queueKeys are the keys of the queues that fair Lockers make, which are there after a Run only if its end was violent, and of
// what their waiters beat in, which are there for a minute.
func queueKeys(names []string) []string {
	list := make([]string, 0, 2*len(names))
	for _, name := range names {
		list = append(list, "{"+name+"}:redigolock-q2", "{"+name+"}:redigolock-h2")
	}
	return list
}

func (c waitConfig) open() (waitLock, error) {
	if kind, ok := rivalNamed(c.way); ok {
		return c.rival(kind)
	}
	return c.locker(), nil
}

// cohort is that of the way with this name.
var cohort = lock.Cohort{Passes: 64, Slice: 5 * time.Millisecond}

func (c waitConfig) locker() waitLock {
	l := &lock.Locker{Pool: c.pool, Fair: c.way != "polling"}
	if c.way == "cohort" {
		l.Cohort = cohort
	}
	ctx, end := context.WithCancel(bg) // as callers have, and rivals: a command watches a context that can end
	if c.lanes > 0 {
		mux := &lock.Mux{Pool: c.pool, Conns: c.lanes}
		cancel := end
		l.Pool, end = mux, func() { cancel(); _ = mux.Close() }
	}
	return waitLock{
		once: lockerOp(l, c.ttl),
		acquire: func(key string) (func() error, error) {
			k, err := l.Acquire(ctx, key, c.ttl)
			if err != nil {
				return nil, err
			}
			return func() error { return k.Release(ctx) }, nil
		},
		ended: func(err error) error {
			if !l.Fair && errors.Is(err, lock.ErrUnknown) {
				return err
			}
			return endOfWait(err)
		},
		close: func() { _ = l.Close() },
		end:   end,
	}
}

func (c waitConfig) rival(kind RivalKind) (waitLock, error) {
	r, err := kind.Open(RivalConfig{Server: c.server, TTL: c.ttl, Goroutines: c.goroutines})
	if err != nil {
		return waitLock{}, err
	}
	ctx, cancel := context.WithCancel(bg)
	return waitLock{
		once:    rivalOp(r),
		acquire: func(key string) (func() error, error) { return r.Acquire(ctx, key) },
		ended: func(err error) error {
			if ctx.Err() != nil {
				return nil // whatever a library says of a wait that it was told to end
			}
			return err
		},
		close: cancel,
		end: func() {
			cancel()
			r.Close()
		},
	}, nil
}

// endOfWait is nil for a wait that has ended because the time was up, and after nothing worse than that the lock was
// held. A fair waiter leaves at once whatever is on its way, which is then ErrUnknown, and is cleaned up by Close.
func endOfWait(err error) error {
	var refused redis.Error
	var broken net.Error
	if errors.Is(err, lock.ErrClosed) && !errors.As(err, &refused) && !errors.As(err, &broken) {
		return nil
	}
	return err
}
