package redigolock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

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
			k, next = mustGet(t)(a.k, a.err), behind
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
		mustGet(t)(a.k, a.err)
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
					next := mustGet(t)(a.k, a.err)
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
