package redigolock_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// A POKE's "granted" may come when its token was granted by a message. While that lock is held it is no news, and the lock stays.
// When it was released, and a failover has lost that release, it is the only reply that tells: the token is released again.
func TestFairLateGrantedOfATokenThatAMessageGranted(t *testing.T) {
	for name, held := range map[string]bool{"held": true, "released": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimFairRig(t)
				r.Locker.OpTimeout = time.Minute
				k := r.Must(r.other().Acquire(bg, r.key, time.Hour))
				waiter := waits(bg, r.Locker, r.key, time.Hour)
				r.queued(1)
				messages, answer := make(chan struct{}), make(chan struct{})
				r.Proxy.Rule(func(q redistest.Request) redistest.Action {
					switch {
					case q.Name == "PING" && len(q.Args) == 0:
						return redistest.Hold(messages)
					case verbOf(q) == "poke" && r.Get(r.key) != k.Token():
						return redistest.Hold(answer)
					}
					return redistest.Pass()
				})
				time.Sleep(1100 * time.Millisecond) // a PING has come
				r.OK(k.Release(bg))
				before := r.CarriedOut("poke")
				eventually(t, "POKE is carried out", func() bool { return r.CarriedOut("poke") > before })
				close(messages)
				k = r.got("the waiter, by the message", waiter)
				if !held {
					r.OK(k.Release(bg))
					r.gone()
					r.Do("SET", r.key, k.Token(), "PX", time.Hour.Milliseconds())
				}
				close(answer)
				if !held {
					r.gone()
					return
				}
				time.Sleep(time.Second)
				r.valid(k)
				r.OK(k.Verify(bg))
				r.OK(k.Release(bg))
				r.gone()
			})
		})
	}
}

// A lost TRY of TryAcquire may be carried out just before the next one, which then says that its token has the lock. That is no
// other holder: the outcome is unknown, and the lock is released.
func TestFairTryAcquireFindsItsOwnLateTry(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		l := simFair(t, s)
		release := make(chan struct{})
		s.Rule(func(q sim.Request) sim.Action {
			switch {
			case q.Verb == "try" && q.N == 1:
				return sim.LateUntil(release)
			case q.Verb == "try":
				close(release)
				return sim.Late(time.Millisecond)
			case q.Verb == "rel" && q.N == 1: // on another connection
				return sim.Late(10 * time.Millisecond)
			}
			return sim.Pass()
		})
		time.AfterFunc(100*time.Millisecond, s.CloseConns)
		_, err := l.TryAcquire(bg, "key", time.Hour)
		wants(t, err, redigolock.ErrUnknown)
		var held *redigolock.HeldError
		if errors.As(err, &held) {
			t.Errorf("%v names a holder", err)
		}
		if n := s.Count("try"); n != 2 {
			t.Errorf("TRY was sent %d times: this test shows nothing", n)
		}
		time.Sleep(3 * redigolock.DefaultOpTimeout)
		if s.Miniredis().Exists("key") {
			t.Error("the key is left")
		}
	})
}
