package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// A handle that no acquire has returned is one that nobody holds, twice over.
func TestNilAndZeroLock(t *testing.T) {
	for name, k := range map[string]*redigolock.Lock{"nil": nil, "zero": {}} {
		for range 2 {
			if k.Key() != "" || k.Token() != "" || k.String() != "" || !k.Deadline().IsZero() || k.Valid() {
				t.Errorf("%s: %q %q %q %v %v", name, k.Key(), k.Token(), k.String(), k.Deadline(), k.Valid())
			}
			if text := fmt.Sprintf("%v%+v%#v%s%d", k, k, k, k, k); text != "" || k.LogValue().String() != "" {
				t.Errorf("%s is shown as %q", name, text)
			}
			_, fenceErr := k.Fence(bg)
			kept := k.KeepAlive(bg)
			if kept.Err() == nil {
				t.Errorf("%s: the context of KeepAlive has not ended", name)
			}
			for what, err := range map[string]error{
				"Verify": k.Verify(bg), "Extend": k.Extend(bg, minute), "Fence": fenceErr, "Release": k.Release(bg),
				"KeepAlive": context.Cause(kept),
			} {
				if !errors.Is(err, redigolock.ErrNotHeld) {
					t.Errorf("%s.%s: %v", name, what, err)
				}
			}
			var none context.Context
			wants(t, k.Verify(none), redigolock.ErrInvalid)
			wants(t, k.Release(none), redigolock.ErrInvalid)
			wants(t, context.Cause(k.KeepAlive(none)), redigolock.ErrInvalid)
		}
	}
}

// After a Release whose ReleaseFunc panics the next calls return, and what it has left is removed without that func.
func TestReleaseThatPanicsLeavesAUsableHandle(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{
			Pool:        simPool(t, s, "redis"),
			ReleaseWith: func(context.Context, redis.Conn, string, string) error { panic("mine") },
		})
		k, err := l.TryAcquire(bg, "k", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if r := recover(); r != "mine" {
					t.Errorf("recovered %v", r)
				}
			}()
			_ = k.Release(bg)
		}()
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		wants(t, k.Verify(bg), redigolock.ErrNotHeld)
		if k.Valid() {
			t.Error("valid after Release")
		}
		time.Sleep(10 * time.Second)
		if n, _ := s.Do("EXISTS", "k"); n != int64(0) {
			t.Error("the key is left")
		}
	})
}

func TestValid(t *testing.T) {
	for name, end := range map[string]func(*rig, *clock, *redigolock.Lock){
		"released":            func(r *rig, _ *clock, k *redigolock.Lock) { _ = k.Release(bg) },
		"the monotonic clock": func(r *rig, c *clock, k *redigolock.Lock) { c.Add(k.Deadline().Sub(c.Now())) },
		"the wall clock":      func(r *rig, c *clock, k *redigolock.Lock) { c.AddWall(r.T, minute) },
		"deleted": func(r *rig, _ *clock, k *redigolock.Lock) {
			_, _ = r.Server.Do("DEL", k.Key())
			_ = k.Verify(bg)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			clock := stopClock(r.Locker)
			k, err := r.Locker.TryAcquire(bg, "k", minute)
			if err != nil {
				t.Fatal(err)
			}
			if !k.Valid() {
				t.Error("not valid when it was acquired")
			}
			end(r, clock, k)
			if k.Valid() {
				t.Error("valid")
			}
			if name == "the wall clock" && !clock.Now().Before(k.Deadline()) {
				t.Error("this test shows nothing: the monotonic clock has passed Deadline, too")
			}
			clock.AddWall(t, -10*minute)
			if k.Valid() {
				t.Error("valid again")
			}
		})
	}
}

// A context of KeepAlive that has ended with ErrLost is not contradicted: not even a moment before Deadline.
func TestNotValidOnceKeepAliveSaysLost(t *testing.T) {
	l := &redigolock.Locker{Pool: redistest.StartMini(t).Pool(), MaxHold: 50 * time.Millisecond}
	defer l.Close()
	for _, wait := range []time.Duration{0, 60 * time.Millisecond} { // before, or when KeepAlive is called
		k, err := l.TryAcquire(bg, "k", minute)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait)
		kept := k.KeepAlive(bg)
		<-kept.Done()
		wants(t, context.Cause(kept), redigolock.ErrLost)
		if k.Valid() {
			t.Error("valid after ErrLost")
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	}
}
