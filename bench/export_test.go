package bench

// What bench_test.go needs to run the ops inside package testing.

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	VersionOf   = versionOf
	WithoutUser = withoutUser
)

// Draw draws the keys of arrivals.
var Draw = draw

// Linked is where a link leads for a URL, and the URL through it.
var Linked = linked

// RemoveRival makes a rival unknown.
func RemoveRival(name string) {
	rivalsMu.Lock()
	defer rivalsMu.Unlock()
	rivals = slices.DeleteFunc(rivals, func(k RivalKind) bool { return k.Name == name })
}

// SumCalls sums up INFO commandstats.
var SumCalls = sumCalls

// Judge judges the death of a holder who asked for the lock, was killed, and was followed at these times.
func (r Recovery) Judge(asked, killed, got time.Duration) error {
	return r.judge(death{int64(asked), int64(killed), int64(got)})
}

// CostOf is what the server does while f runs.
func (s *Server) CostOf(f func()) Cost {
	_ = s.usage(context.Background()) // makes the connection
	before := s.usage(context.Background())
	f()
	return s.usage(context.Background()).since(before).cost
}

// A Tenure is an acquisition of a Contention, by the shared clock.
type Tenure struct {
	Asked, Got, Left int64
	Waiter, Process  int
}

// Judge is what comes of two waiters in a process each, who have done this in the time from 0 to 1 s; Got is 0 for who still
// waits.
func (c Contention) Judge(cycles [2][]Tenure) (Result, error) {
	t := &team{Contention: c.withDefaults(), span: span{0, 1e9}}
	t.Processes = 2
	for p, list := range cycles {
		r := &report{Process: p, Cycles: make([][]cycle, 1)}
		for _, x := range list {
			r.Cycles[0] = append(r.Cycles[0], cycle{x.Asked, x.Got, x.Left})
		}
		t.reports = append(t.reports, r)
	}
	return t.result()
}

// A Peer is a process with one fair waiter of a key, which does not release.
type Peer struct {
	Child  *os.Process
	child  *child
	events chan event
}

// StartPeer starts one, and has it acquire.
func StartPeer(tb testing.TB, url, key string, ttl time.Duration) *Peer {
	tb.Helper()
	p := &Peer{events: make(chan event, newsOfChild)}
	j := job{URL: url, Key: key, Own: []string{key + ":own"}, Way: "fair", Waiters: 1, Processes: 1, Hold: forever, TTL: ttl}
	var err error
	if p.child, err = startChild(j, p.events); err != nil {
		tb.Fatal(err)
	}
	p.Child = p.child.cmd.Process
	select {
	case e := <-p.events:
		if !e.Ready {
			tb.Fatalf("the process is not ready: %v", e.err)
		}
	case <-time.After(time.Minute):
		tb.Fatal("the process is not ready within a minute")
	}
	if err := p.child.out.Encode(span{Until: int64(forever)}); err != nil {
		tb.Fatal(err)
	}
	return p
}

// Kill kills it, and returns when it has ended.
func (p *Peer) Kill() { p.child.end() }

// SetJoined makes it so that Join was called, or was not.
func SetJoined(yes bool) { joined.Store(yes) }

// NewClock is the clock that processes share.
func NewClock() func() int64 { return newSharedClock().now }

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

// A Wait is one of a waiter, by a clock that says 0 when the time begins.
type Wait struct{ Asked, Got time.Duration }

// LongerThan is of what is seen of waits until the time is up.
func LongerThan(list []Wait, length time.Duration, share float64) (wait time.Duration, left float64) {
	var w waits
	for _, x := range list {
		switch {
		case x.Got >= length && x.Asked < length:
			w.add(length-x.Asked, -x.Asked, true)
		case x.Got >= 0 && x.Got < length:
			w.add(x.Got-x.Asked, -x.Asked, false)
		}
	}
	return w.longerThan(share)
}
