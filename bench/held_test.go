//go:build unix

package bench_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	recorded "github.com/redigolock/redigolock/internal/figures"
	"github.com/redigolock/redigolock/internal/redistest"
)

// What the server does for a fair lock that several wait for, and that each of them needs for longer than its ttl: one
// script to hand it on, and one to extend it for each half of a ttl; one more at times, for a lock that came by a message
// counts from when its Locker last asked. What else was sent are POKEs, by which a Locker that waits for long asks. The
// figures are added to those of faults_test.go:
//
//	REDIGOLOCK_LONG=1 go test -run HeldLocks -v -parallel 8 ./bench/ -faults-out $PWD/faults.txt

const (
	heldWaiters = 4
	heldFor     = 1200 * time.Millisecond // each time
)

// A held is a case, and what was counted.
type held struct {
	keepAlive bool
	lockers   int // that the waiters belong to in turn, as if each were a process
	ttl       time.Duration

	rounds   int // of each waiter
	acquired atomic.Int64
	renewed  atomic.Int64
	halves   atomic.Int64 // of a ttl, that passed in whole while the lock was held
	scripts  int64        // that the server was sent
}

func TestHeldLocksCostTheServerAHandOverAndTheirRenewals(t *testing.T) {
	t.Parallel()
	const kept, enough = time.Second, 10 * time.Second
	cases := []*held{{keepAlive: true, lockers: 1, ttl: kept}, {keepAlive: true, lockers: 2, ttl: kept},
		{lockers: 1, ttl: enough}, {lockers: 2, ttl: enough}}
	servers := make([]*redistest.Server, len(cases)) // each counts its commands
	for i := range cases {
		servers[i] = redistest.Start(t)
	}
	repeat(t, len(cases), true, func(t *testing.T, i int) {
		cases[i].run(t, servers[i])
		cases[i].check(t)
	})
	for i, x := range cases {
		if !t.Failed() {
			record(t, servers[i], x.line())
		}
	}
}

// run has some keys held at a time.
func (x *held) run(t *testing.T, server *redistest.Server) {
	keys := 1
	if x.rounds = 1; long {
		keys, x.rounds = 25, 2
	}
	var gates []*redigolock.Lock
	ended := make(chan error, keys*heldWaiters)
	for range keys {
		h := newHarm(t, server)
		t.Cleanup(h.close)
		gates = append(gates, x.queue(h, ended))
	}
	for _, k := range gates {
		if err := k.Release(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	before := scripts(t, server)
	for range keys * heldWaiters {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	x.scripts = scripts(t, server) - before
	t.Log(x)
}

// queue has the waiters wait behind a lock that the caller releases.
func (x *held) queue(h *harm, ended chan<- error) *redigolock.Lock {
	h.t.Helper()
	gate, err := h.locker(h.server.Pool()).Acquire(context.Background(), h.key, time.Minute)
	h.ok(err)
	h.ok(gate.Extend(context.Background(), time.Minute)) // so that the server knows the script
	lockers := []*redigolock.Locker{h.first, h.second}[:x.lockers]
	for _, l := range lockers {
		l.Observer = &redigolock.Observer{Extended: func(context.Context, *redigolock.Lock, time.Duration) { x.renewed.Add(1) }}
	}
	for i := range heldWaiters {
		go func() { ended <- x.wait(lockers[i%x.lockers], h.key) }()
	}
	h.queued(x.lockers)
	return gate
}

func (x *held) wait(l *redigolock.Locker, key string) error {
	for range x.rounds {
		if err := x.hold(l, key); err != nil {
			return err
		}
	}
	return nil
}

func (x *held) hold(l *redigolock.Locker, key string) error {
	work := context.Background()
	k, err := l.Acquire(work, key, x.ttl)
	if err != nil {
		return err
	}
	if x.keepAlive {
		work = k.KeepAlive(work)
	}
	began, timer := time.Now(), time.NewTimer(heldFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-work.Done():
		return context.Cause(work)
	}
	x.halves.Add(int64(time.Since(began) / (x.ttl / 2)))
	x.acquired.Add(1)
	return k.Release(context.Background())
}

// scripts is how many the server was sent.
func scripts(t *testing.T, server *redistest.Server) int64 {
	t.Helper()
	calls, err := server.Calls()
	if err != nil {
		t.Fatal(err)
	}
	return calls["evalsha"]
}

// asked is how many scripts neither handed the lock on nor extended it.
func (x *held) asked() int64 { return x.scripts - x.acquired.Load() - x.renewed.Load() }

func (x *held) check(t *testing.T) {
	t.Helper()
	acquired, renewed, halves := x.acquired.Load(), x.renewed.Load(), x.halves.Load()
	switch {
	case x.keepAlive && (renewed < acquired || renewed > halves+acquired):
		t.Errorf("%d renewals", renewed)
	case !x.keepAlive && renewed > 0:
		t.Errorf("%d renewals without KeepAlive", renewed)
	}
	if asked := x.asked(); asked < 0 || x.lockers == 1 && asked >= acquired {
		t.Errorf("%d scripts for something else", asked)
	}
}

func (x *held) name() string {
	on := "off"
	if x.keepAlive {
		on = "on"
	}
	return fmt.Sprintf("Held/server=redis/way=fair/keepalive=%s/waiters=%d/lockers=%d/hold=%v/ttl=%v",
		on, heldWaiters, x.lockers, heldFor, x.ttl)
}

func (x *held) String() string {
	return fmt.Sprintf("%s: %d acquisitions, %d scripts: %d renewals in %d halves of a ttl, %d for something else",
		x.name(), x.acquired.Load(), x.scripts, x.renewed.Load(), x.halves.Load(), x.asked())
}

// line leaves out what cannot be said of a lock that is held for less than half of its ttl.
func (x *held) line() string {
	n := float64(x.acquired.Load())
	line := fmt.Sprintf("%s %v %.4g evalsha/acq %.4g renewals/acq %.4g asks/acq",
		x.name(), n, float64(x.scripts)/n, float64(x.renewed.Load())/n, float64(x.asked())/n)
	if halves := x.halves.Load(); halves > 0 {
		line += fmt.Sprintf(" %.4g renewals/half-ttl", float64(x.renewed.Load())/float64(halves))
	}
	return line
}

func TestWhatIsRecordedCanBeReadAsFigures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "faults.txt")
	x := &held{keepAlive: true, lockers: 2, ttl: time.Second, scripts: 10}
	x.acquired.Store(4)
	x.renewed.Store(5)
	x.halves.Store(5)
	for _, line := range []string{staleSum{"guarded", 7, 2, 5}.line(), x.line()} {
		if err := addFigure(path, "redis 7", line); err != nil {
			t.Fatal(err)
		}
	}
	set, err := recorded.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		kind, where, unit string
		value             float64
	}{
		{"Stale", "way=guarded", "stale-writes", 2}, {"Stale", "way=guarded", "refused", 5},
		{"Held", "lockers=2", "evalsha/acq", 2.5}, {"Held", "keepalive=on", "renewals/acq", 1.25},
		{"Held", "ttl=1s", "asks/acq", 0.25}, {"Held", "hold=1.2s", "renewals/half-ttl", 1},
	} {
		cells := set.Find(want.kind, "server=redis", want.where)
		if len(cells) != 1 || !slices.Equal(cells[0].Values(want.unit), []float64{want.value}) {
			t.Errorf("%s with %s has not %v %s", want.kind, want.where, want.value, want.unit)
		}
	}
}
