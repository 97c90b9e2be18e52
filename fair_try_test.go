package redigolock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// TryAcquire of a fair Locker whose reply is lost looks once more, on a connection of its own. What it finds counts from that
// look; what it does not find it leaves to the clean-up.
func TestFairTryAcquireLooksAgainAfterALostReply(t *testing.T) {
	for name, tt := range map[string]struct {
		act  redistest.Action
		anew bool // with a new token
	}{
		"carried out":     {redistest.Drop(), false},
		"not carried out": {redistest.Cut(), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = shortOp
				r.once("try", 1, tt.act)
				before := time.Now()
				k, err := r.Locker.TryAcquire(bg, r.key, time.Minute)
				looks := r.Sent("fairextend")
				if len(looks) != 1 || looks[0].Conn == r.Sent("try")[0].Conn {
					t.Errorf("it looked %d times, want once on a connection of its own", len(looks))
				}
				r.OK(err)
				r.valid(k)
				tries := r.Sent("try")
				if anew := len(tries) == 2; anew != tt.anew || anew && tries[0].Args[5] == tries[1].Args[5] {
					t.Errorf("it tried with %v", tries)
				}
				if tt.anew {
					eventually(t, "it is confirmed twice", func() bool { return len(r.Sent("rel")) >= 2 && !redigolock.FairOwes(r.Locker) })
					r.valid(k)
				}
				if k.Deadline().Before(before.Add(validFor(time.Minute))) {
					t.Errorf("Deadline is %v from before the send", k.Deadline().Sub(before))
				}
				r.OK(k.Release(bg))
				r.gone()
			})
		})
	}
}

// A grant that is told so late that nothing of its ttl is left is ErrExpired, which the Observer is told once, and the lock is
// released.
func TestFairGrantThatIsToldTooLateIsUndone(t *testing.T) {
	const ttl = time.Minute
	for name, tt := range map[string]struct {
		verb    string
		acquire func(*redigolock.Locker) (*redigolock.Lock, error)
	}{
		"TryAcquire": {"try", func(l *redigolock.Locker) (*redigolock.Lock, error) { return l.TryAcquire(bg, fairKey, ttl) }},
		"Acquire":    {"try", func(l *redigolock.Locker) (*redigolock.Lock, error) { return l.Acquire(bg, fairKey, ttl) }},
		"Acquire while subscribed": {"enter", func(l *redigolock.Locker) (*redigolock.Lock, error) {
			return l.Acquire(bg, fairKey, ttl)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = time.Minute
				var failed atomic.Int64
				r.Locker.Observer = &redigolock.Observer{Failed: func(_ context.Context, _, verb string, err error) {
					wants(t, err, redigolock.ErrExpired)
					if failed.Add(1); verb != "acquire" {
						t.Errorf("%s has failed", verb)
					}
				}}
				clock := stopClock(r.Locker)
				if tt.verb == "enter" {
					k := r.Must(r.other().Acquire(bg, r.key, ttl))
					waiter := waits(bg, r.Locker, r.key, ttl)
					r.queued(1)
					r.OK(k.Release(bg))
					r.OK(r.got("the waiter", waiter).Release(bg))
					r.gone()
				}
				release := make(chan struct{})
				came := r.once(tt.verb, 1, redistest.Hold(release))
				late := inBackground(func() error { _, err := tt.acquire(r.Locker); return err })
				<-came
				eventually(t, "it is carried out", func() bool { return r.Get(r.key) != "" })
				clock.Add(ttl)
				close(release)
				wants(t, receive(t, "the answer", late), redigolock.ErrExpired)
				r.gone()
				if n := failed.Load(); n != 1 {
					t.Errorf("the Observer was told %d failures, want 1", n)
				}
			})
		})
	}
}

// The connection breaks late, and the next dial hangs.
func TestFairTryAcquireLooksAgainWithinTheSameOpTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Fair: true})
		s.Next("try", sim.Late(time.Hour))
		time.AfterFunc(900*time.Millisecond, func() {
			s.CloseConns()
			s.HangDials()
		})
		inTime(t, "TryAcquire", redigolock.DefaultOpTimeout, func() {
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrUnknown)
		})
	})
}
