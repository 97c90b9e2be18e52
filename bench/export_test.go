package bench

// What bench_test.go needs to run the ops inside package testing.

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

var (
	VersionOf   = versionOf
	WithoutUser = withoutUser
)

// SumCalls sums up INFO commandstats.
func SumCalls(commandstats string) (all, evalsha int64) {
	c := sumCalls(commandstats)
	return c.all, c.evalsha
}

// Turn is how many ops a verb does before what it needs is restored.
const Turn = turn

// Counted is the pool that counts.
func (s *Server) Counted() *redis.Pool { return s.counted }

// Sent is what it has counted.
func (s *Server) Sent() int64 { return s.sent.Load() }

// Bounded is the pool of n connections.
func (s *Server) Bounded(n int) *redis.Pool { return s.pool(n) }

// Arrivals are when they come.
func (l Load) Arrivals() []time.Duration { return l.arrivals() }

// NewPacer is what an open loop waits with.
func NewPacer() (until func(time.Time) error, stop func(), err error) {
	p, err := newPacer()
	if err != nil {
		return nil, nil, err
	}
	return p.until, p.stop, nil
}

// CutAll cuts the connections, as a run does that is stopped while the server hangs.
func (s *Server) CutAll() { s.conns.cut() }

// Op is the op of a configuration on a number of keys, which the end of the test removes.
func (u Uncontended) Op(tb testing.TB) (func(key string) error, []string) {
	tb.Helper()
	u = u.withDefaults()
	if err := u.check(); err != nil {
		tb.Fatal(err)
	}
	k := newKeys(u.Goroutines)
	var lent []redis.Conn
	for range k.names { // so that the pool has a connection for each
		lent = append(lent, u.Server.Pool.Get())
	}
	for _, c := range lent {
		c.Close()
	}
	op, end, err := u.op()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		end()
		var err error
		if k.remove(context.Background(), u.Server, &err); err != nil {
			tb.Error(err)
		}
	})
	return op, k.names
}

// Op is the verb's op, and what restores the keys before each turn.
func (v Verb) Op(tb testing.TB) (restore func() error, op func(i int) error) {
	tb.Helper()
	spec, err := v.spec()
	if err != nil {
		tb.Fatal(err)
	}
	run := v.open()
	tb.Cleanup(func() {
		run.c.Close()
		var err error
		if run.keys.remove(context.Background(), v.Server, &err); err != nil {
			tb.Error(err)
		}
	})
	restore = func() error {
		if spec.restore == nil {
			return nil
		}
		return spec.restore(run)
	}
	return restore, func(i int) error { return spec.op(run, i) }
}
