package redigolock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// capOfPokes is how long a waiting Locker goes without asking.
const capOfPokes = time.Second

func simFair(t *testing.T, s *sim.Server) *redigolock.Locker {
	t.Helper()
	return simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: true})
}

// mustGet is for the results of an acquire.
func mustGet(t *testing.T) func(*redigolock.Lock, error) *redigolock.Lock {
	return func(k *redigolock.Lock, err error) *redigolock.Lock {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
}

// A lock that somebody else takes away from a holder of the waiters' own Locker costs them a cap, not its lease.
func TestFairWaitersOfAHolderWhoseLockIsTaken(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, s *sim.Server, k *redigolock.Lock){
		"DEL": func(t *testing.T, s *sim.Server, k *redigolock.Lock) { s.Miniredis().Del("key") },
		"Attach and Release by another process": func(t *testing.T, s *sim.Server, k *redigolock.Lock) {
			k = mustGet(t)(simFair(t, s).Attach(bg, "key", k.Token(), time.Minute))
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
		},
	} {
		for _, kept := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", kept alive"}[kept], func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					s.Delay(time.Millisecond)
					l := simFair(t, s)
					k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
					ctx := bg
					if kept {
						ctx = k.KeepAlive(bg)
					}
					waiter := waits(bg, l, "key", time.Minute)
					time.Sleep(2500 * time.Millisecond)
					take(t, s, k)
					begin := time.Now()
					a := <-waiter
					if a.err != nil {
						t.Fatal(a.err)
					}
					if took := time.Since(begin); took > capOfPokes+10*time.Millisecond {
						t.Errorf("the waiter got it after %v", took)
					}
					before := s.Count("verify")
					wants(t, k.Verify(bg), redigolock.ErrNotHeld)
					if s.Count("verify") > before {
						t.Error("the handle had to ask")
					}
					if kept {
						synctest.Wait()
						wants(t, context.Cause(ctx), redigolock.ErrLost)
					}
					wants(t, k.Release(bg), redigolock.ErrNotHeld)
					if err := a.k.Release(bg); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// A hold of n caps with local waiters costs n - 1 questions, with jitter up to a third more, and one that is renewed meanwhile
// none; without waiters nothing is asked.
func TestFairQuestionsAboutALocalHolder(t *testing.T) {
	for name, tt := range map[string]struct {
		waiters int
		extend  bool
		at      time.Duration
		most    int
		least   int
	}{
		"no waiter":         {0, false, 10 * time.Second, 0, 0},
		"a short hold":      {1, false, 700 * time.Millisecond, 0, 0},
		"a waiter":          {1, false, 10 * time.Second, 13, 9},
		"many waiters":      {20, false, 10 * time.Second, 13, 9},
		"renewed meanwhile": {1, true, 10 * time.Second, 20, 20}, // the renewals
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				l := simFair(t, s)
				k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
				if err := k.Extend(bg, time.Minute); err != nil { // the server learns the script
					t.Fatal(err)
				}
				before := s.Count("fairextend")
				ctx, leave := context.WithCancel(bg)
				for range tt.waiters {
					waits(ctx, l, "key", time.Minute)
				}
				for range 20 {
					time.Sleep(tt.at / 20)
					if tt.extend {
						if err := k.Extend(bg, time.Minute); err != nil {
							t.Fatal(err)
						}
					}
				}
				if n := s.Count("fairextend") - before; n > tt.most || n < tt.least {
					t.Errorf("%d questions in %v", n, tt.at)
				}
				leave()
				synctest.Wait()
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A question without an answer says nothing of the lock, and is asked again a cap later.
func TestFairQuestionAboutALocalHolderIsLost(t *testing.T) {
	for name, action := range map[string]sim.Action{
		"not carried out": sim.Cut(),
		"no reply":        sim.Drop(),
		"refused":         sim.Refuse("NOPERM no"),
		"busy":            sim.Refuse("LOADING data"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				l := simFair(t, s)
				k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
				waiter := waits(bg, l, "key", time.Minute)
				s.Next("fairextend", action)
				time.Sleep(1500 * time.Millisecond)
				if n := s.Count("fairextend"); n < 1 {
					t.Fatalf("%d questions", n)
				}
				if err := k.Verify(bg); err != nil {
					t.Errorf("the holder: %v", err)
				}
				s.Miniredis().Del("key")
				begin := time.Now()
				a := <-waiter
				if a.err != nil || time.Since(begin) > capOfPokes+10*time.Millisecond {
					t.Errorf("the waiter: %v after %v", a.err, time.Since(begin))
				}
			})
		})
	}
}

// An answer that comes when the slot has another handle does not end that one.
func TestFairLateAnswerAboutAnEarlierHolder(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simFair(t, s)
		k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
		first := waits(bg, l, "key", time.Minute)
		synctest.Wait()
		second := waits(bg, l, "key", time.Minute)
		s.Next("fairextend", sim.Late(200*time.Millisecond)) // carried out after the release
		for s.Count("fairextend") == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		a := <-first
		if a.err != nil {
			t.Fatal(a.err)
		}
		b := <-waitsUntil(second, time.Second)
		if !errors.Is(b.err, context.DeadlineExceeded) {
			t.Error("two hold the lock")
		}
		if err := a.k.Release(bg); err != nil {
			t.Errorf("the second holder: %v", err)
		}
		b = <-second
		if b.err != nil {
			t.Fatal(b.err)
		}
	})
}

// waitsUntil is what ch brings within d, else the end of a context.
func waitsUntil(ch <-chan acquired, d time.Duration) <-chan acquired {
	return inBackground(func() acquired {
		select {
		case a := <-ch:
			return a
		case <-time.After(d):
			return acquired{err: context.DeadlineExceeded}
		}
	})
}
