package fair

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// newCohortRig is a rig in a bubble, whose Locker hands its locks on.
func newCohortRig(t *testing.T, passes int, slice time.Duration) *fairRig {
	r := newSimFairRig(t)
	r.Locker.Cohort = redigolock.Cohort{Passes: passes, Slice: slice}
	return r
}

// scripts counts what the rig's Locker has sent but for pings and subscriptions.
func (r *fairRig) scripts() (n int) {
	for _, q := range r.Proxy.Requests() {
		if q.Name == "EVALSHA" {
			n++
		}
	}
	return n
}

// A pass within the process sends nothing, keeps the token and the lease, and ends the handle before.
func TestCohortPassesWithoutACommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, 3, time.Hour)
		k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
		waiter := r.Local(fairTestTTL)
		sent := r.scripts()
		r.OK(k.Release(bg))
		next := r.Got("the next", waiter)
		if n := r.scripts() - sent; n != 0 {
			t.Errorf("%d scripts were sent", n)
		}
		if next.Token() != k.Token() || !next.Deadline().Equal(k.Deadline()) {
			t.Errorf("token %q, Deadline %v; want %q, %v", next.Token(), next.Deadline(), k.Token(), k.Deadline())
		}
		for name, use := range lockUses() {
			wants(t, use(bg, k), redigolock.ErrNotHeld)
			if t.Failed() {
				t.Fatal("the old handle can ", name)
			}
		}
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		r.Valid(next)
		r.OK(next.Release(bg))
		r.Gone()
	})
}

// After so many passes the lock goes to whoever is first in the queue.
func TestCohortEndsAfterItsPasses(t *testing.T) {
	const passes = 2
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, passes, time.Hour)
		k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
		other := waits(bg, r.Other(), r.Key, fairTestTTL)
		r.Queued(1)
		var own []<-chan acquired
		for range passes + 1 {
			own = append(own, r.Local(fairTestTTL))
		}
		for i := range passes {
			r.OK(k.Release(bg))
			k = r.Got("the next of the cohort", own[i])
		}
		r.OK(k.Release(bg))
		k = r.Got("the other Locker", other)
		r.OK(k.Release(bg))
		r.OK(r.Got("the last of the cohort", own[passes]).Release(bg))
		r.Gone()
	})
}

// When its time is over the lock goes to whoever is first in the queue, too.
func TestCohortEndsAfterItsSlice(t *testing.T) {
	for _, slice := range []time.Duration{0, 20 * time.Millisecond} { // 0: 5 ms
		synctest.Test(t, func(t *testing.T) {
			r := newCohortRig(t, 1000, slice)
			k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
			begin := time.Now()
			other := waits(bg, r.Other(), r.Key, fairTestTTL)
			r.Queued(1)
			own := r.Local(fairTestTTL)
			eventually(t, "the slice is over", func() bool { return time.Since(begin) > 25*time.Millisecond })
			r.OK(k.Release(bg))
			r.OK(r.Got("the other Locker", other).Release(bg))
			r.OK(r.Got("the one of the cohort", own).Release(bg))
			r.Gone()
		})
	}
}

// Whatever hangs, a Release takes three OpTimeouts at most: one for the renewal in flight together with the extension for the next
// holder, and one for each of its tries.
func TestCohortReleaseHasOneOpTimeoutForWhatComesBefore(t *testing.T) {
	const op, ttl = 100 * time.Millisecond, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, 10, time.Hour)
		r.Locker.OpTimeout = op
		k := r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		waiter := r.Local(time.Minute)
		hang := redistest.Swallow()
		r.Plan(map[string][]redistest.Action{"fairextend": {hang, hang, hang}, "rel": {hang, hang}})
		k.KeepAlive(bg)
		within(t, ttl, "it is renewed", func() bool { return len(r.Sent("fairextend")) == 1 })
		time.Sleep(op / 4)
		inTime(t, "Release", 3*op, func() { wants(t, k.Release(bg), redigolock.ErrUnknown) })
		if n := len(r.Sent("fairextend")); n < 2 {
			t.Errorf("%d extends were sent, want one for the renewal, and one for the next holder at least", n)
		}
		r.OK(r.Got("the next", waiter).Release(bg))
		r.Gone()
	})
}

// What is lost is not passed on: neither past its Deadline, nor when the server says so.
func TestCohortDoesNotPassALostLock(t *testing.T) {
	const ttl = time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, 10, time.Hour)
		k := r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		waiter := r.Local(fairTestTTL) // a third of its ttl is more than is left: the lease is extended first
		r.Do("DEL", r.Key)
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		next := r.Got("the next", waiter)
		if next.Token() == k.Token() {
			t.Error("a lock that was lost is passed on")
		}
		r.OK(next.Release(bg))

		k = r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		r.Do("SET", r.Key, "foreign", "PX", 2000)
		waiter = r.Local(fairTestTTL)
		eventually(t, "Deadline has passed", func() bool { return time.Now().After(k.Deadline()) })
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		next = r.Got("the next", waiter)
		if next.Token() == k.Token() {
			t.Error("a lock that is over is passed on")
		}
		r.OK(next.Release(bg))
		r.Gone()
	})
}

// Fencing numbers rise from handle to handle, and KeepAlive goes from one to the next.
func TestCohortFencesAndKeepsAlive(t *testing.T) {
	t.Parallel() // mostly it waits
	const ttl = 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, 1000, time.Hour)
		var last int64
		k := r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		for i := range 4 {
			n, err := k.Fence(bg)
			r.OK(err)
			if n <= last {
				t.Errorf("number %d after %d", n, last)
			}
			last = n
			kept := k.KeepAlive(bg)
			token, waiter := k.Token(), r.Local(ttl)
			if i == 1 {
				deadline := k.Deadline()
				eventually(t, "it is renewed", func() bool { return k.Deadline().After(deadline.Add(ttl / 4)) })
			}
			r.OK(k.Release(bg))
			receive(t, "the context ends", kept.Done())
			if k = r.Got("the next", waiter); k.Token() != token {
				t.Error("it was not passed on")
			}
		}
		r.OK(k.Release(bg))
	})
}

// Among Lockers with cohorts nobody starves, and no two hold the lock.
func TestCohortContention(t *testing.T) {
	r := newFairRig(t) // who hands on without a command takes no time in a bubble
	r.Locker.Cohort = redigolock.Cohort{Passes: 64, Slice: 5 * time.Millisecond}
	r.Cohort = r.Locker.Cohort
	r.Contend(3, 24, 300*time.Millisecond)
	r.Gone()
}

// The next of a cohort has the same token. A Fence that is carried out after the pass gives the old holder no number, for it
// would be higher than that of the new one.
func TestCohortLateFenceOfTheOldHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, 3, time.Hour)
		k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
		_, err := k.Fence(bg)
		r.OK(err)
		waiter := r.Local(fairTestTTL)
		release := make(chan struct{})
		came := r.Once("fence", 1, redistest.Late(release))
		late := inBackground(func() error { _, err := k.Fence(bg); return err })
		<-came
		r.OK(k.Release(bg))
		next := r.Got("the next", waiter)
		_, err = next.Fence(bg)
		r.OK(err)
		close(release)
		wants(t, receive(t, "the late Fence", late), redigolock.ErrNotHeld)
		r.OK(next.Release(bg))
	})
}

// The lease is extended for the head. If that leaves meanwhile, there is no pass to the one behind, whose ttl is much longer.
func TestCohortHeadLeavesWhileTheLeaseIsExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCohortRig(t, 3, time.Hour)
		k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
		ctx, cancel := context.WithCancel(bg)
		head := waits(ctx, r.Locker, r.Key, 4*fairTestTTL)
		synctest.Wait() // the head waits
		behind := r.Local(100 * fairTestTTL)
		release := make(chan struct{})
		came := r.Once("fairextend", 1, redistest.Hold(release))
		released := inBackground(func() error { return k.Release(bg) })
		<-came
		cancel()
		wants(t, receive(t, "the head leaves", head).Err, context.Canceled)
		close(release)
		r.OK(receive(t, "Release", released))
		next := r.Got("the one behind", behind)
		if left := time.Until(next.Deadline()); left < 30*fairTestTTL {
			t.Errorf("the lock for %v lasts %v", 100*fairTestTTL, left)
		}
		r.OK(next.Release(bg))
		r.Gone()
	})
}

// A hand-off asks nothing of the server: however short the holds are, the lock is asked after within a cap.
func TestCohortHandOffsDoNotPutOffTheQuestion(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		l := simLocker(t, &redigolock.Locker{
			Pool: simPool(t, s, "redis"), Fair: true,
			Cohort: redigolock.Cohort{Passes: 100, Slice: time.Hour},
		})
		k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
		next := waits(bg, l, "key", time.Minute)
		for range 20 { // for 4 s
			time.Sleep(200 * time.Millisecond)
			behind := waits(bg, l, "key", time.Minute)
			synctest.Wait()
			if err := k.Release(bg); err != nil {
				t.Fatal(err)
			}
			a := <-next
			k, next = mustGet(t)(a.K, a.Err), behind
		}
		if n := s.Count("rel"); n > 0 {
			t.Fatalf("%d releases were sent", n)
		}
		if n := s.Count("fairextend"); n < 3 {
			t.Errorf("%d questions in 4 s", n)
		}
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		a := <-next
		mustGet(t)(a.K, a.Err)
	})
}

// Each of the server's grants begins a cohort: what was passed before does not count, nor does the time of the grant before.
func TestCohortBeginsWithAGrant(t *testing.T) {
	for _, try := range []bool{false, true} {
		t.Run(map[bool]string{false: "Acquire", true: "TryAcquire"}[try], func(t *testing.T) { testCohortBegins(t, try) })
	}
}

func testCohortBegins(t *testing.T, try bool) {
	for name, cohort := range map[string]redigolock.Cohort{
		"passes": {Passes: 1, Slice: time.Hour},
		"slice":  {Passes: 100, Slice: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: true, Cohort: cohort})
				pass := func(k *redigolock.Lock) *redigolock.Lock {
					waiter := waits(bg, l, "key", time.Minute)
					synctest.Wait()
					if err := k.Release(bg); err != nil {
						t.Fatal(err)
					}
					a := <-waiter
					next := mustGet(t)(a.K, a.Err)
					if next.Token() != k.Token() {
						t.Error("it was not handed on in the process")
					}
					return next
				}
				if err := pass(mustGet(t)(l.Acquire(bg, "key", time.Minute))).Release(bg); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				acquire := l.Acquire
				if try {
					acquire = l.TryAcquire
				}
				k := mustGet(t)(acquire(bg, "key", time.Minute))
				time.Sleep(2 * time.Second)
				pass(k)
			})
		})
	}
}
