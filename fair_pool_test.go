package redigolock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// A fair Locker and the bound of its pool.

// exhausted is a fair Locker on a pool of one connection, and what takes that connection, and gives it back.
func exhausted(t *testing.T, s *sim.Server) (l *redigolock.Locker, take func() (giveBack func())) {
	p := simPool(t, s, "redis")
	p.MaxActive = 1
	return simLocker(t, &redigolock.Locker{Pool: p, Fair: true}), func() func() {
		c := p.Get()
		if c.Err() != nil {
			t.Fatal(c.Err())
		}
		return func() { c.Close() }
	}
}

// An Acquire waits for the pool, as that of any Locker does, and makes no connection that the pool's bound forbids.
func TestFairAcquireWaitsForThePool(t *testing.T) {
	for _, subscribed := range []bool{false, true} {
		t.Run(map[bool]string{false: "TRY", true: "ENTER"}[subscribed], func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l, take := exhausted(t, s)
				if subscribed {
					holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
					ctx, cancel := context.WithCancel(bg)
					waiter := waits(ctx, l, "key", time.Minute)
					time.Sleep(100 * time.Millisecond)
					cancel()
					<-waiter
					synctest.Wait() // QUIT is answered
					if err := holder.Release(bg); err != nil {
						t.Fatal(err)
					}
				}
				giveBack := take()
				synctest.Wait()
				s.Next("subscribe", sim.Lose()) // so that TRY goes on
				before := s.Accepted()
				waiter := waits(bg, l, "key", time.Minute)
				time.Sleep(2500 * time.Millisecond)                           // the pool has lent nothing within the first OpTimeout
				if n := s.Accepted() - before; n > 1 || n > 0 && subscribed { // the subscription is beside the pool
					t.Errorf("%d connections were made", n)
				}
				giveBack()
				inTime(t, "Acquire, once the connection is back", 0, func() {
					a := <-waiter
					if err := mustGet(t)(a.k, a.err).Release(bg); err != nil {
						t.Error(err)
					}
				})
			})
		})
	}
}

// What somebody else may wait for does not wait for the pool longer than an OpTimeout.
func TestFairWhatOthersWaitForGoesPastThePool(t *testing.T) {
	most := capOfPokes + redigolock.DefaultOpTimeout + 300*time.Millisecond // a cap until it is due, and a pause
	for name, f := range map[string]func(t *testing.T, s *sim.Server, l *redigolock.Locker, take func() func()){
		"QUIT": func(t *testing.T, s *sim.Server, l *redigolock.Locker, take func() func()) {
			mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
			ctx, cancel := context.WithCancel(bg)
			waiter := waits(ctx, l, "key", time.Minute)
			synctest.Wait()
			defer take()()
			cancel()
			<-waiter
			time.Sleep(most - capOfPokes)
			if n, _ := redis.Int(s.Do("LLEN", "{key}:redigolock-q1")); n != 0 {
				t.Error("it is still in the queue")
			}
		},
		"POKE": func(t *testing.T, s *sim.Server, l *redigolock.Locker, take func() func()) {
			holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
			waiter := waits(bg, l, "key", time.Minute)
			synctest.Wait()
			defer take()()
			time.Sleep(most)
			if n := s.Count("poke"); n == 0 {
				t.Error("it has not asked after its place")
			}
			if err := holder.Release(bg); err != nil {
				t.Fatal(err)
			}
			a := <-waiter
			mustGet(t)(a.k, a.err)
		},
		"CHECK": func(t *testing.T, s *sim.Server, l *redigolock.Locker, take func() func()) {
			mustGet(t)(l.Acquire(bg, "key", time.Minute))
			ctx, cancel := context.WithCancel(bg)
			waiter := waits(ctx, l, "key", time.Minute)
			synctest.Wait()
			defer take()()
			time.Sleep(most + capOfPokes) // the first was not sent, the next goes past the pool
			if n := s.Count("fairextend"); n == 0 {
				t.Error("it has not asked after the holder")
			}
			cancel()
			<-waiter
		},
		"REL of a grant that nobody wants any more": func(t *testing.T, s *sim.Server, l *redigolock.Locker, take func() func()) {
			holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
			s.Next("enter", sim.Slow(500*time.Millisecond))
			ctx, cancel := context.WithCancel(bg)
			waiter := waits(ctx, l, "key", time.Minute)
			synctest.Wait()
			cancel()
			<-waiter
			taken := inBackground(take) // as soon as ENTER has been answered
			synctest.Wait()
			if err := holder.Release(bg); err != nil {
				t.Fatal(err)
			}
			time.Sleep(most - capOfPokes)
			if n, _ := redis.Int(s.Do("EXISTS", "key")); n != 0 {
				t.Error("the key is still there")
			}
			(<-taken)()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l, take := exhausted(t, s)
				f(t, s, l, take)
			})
		})
	}
}

// After a TRY that was lost on a connection that had died, an Acquire stays on fresh ones: the pool may have more of that kind,
// and not say how many.
func TestFairAcquireStaysOnFreshConnectionsAfterALostTry(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		p := s.Pool()
		idleConns(t, p, 40)
		l := simLocker(t, &redigolock.Locker{Pool: dialPool{p.Get, p.DialContext}, Fair: true})
		s.HalfOpen()
		begin := time.Now()
		mustGet(t)(l.Acquire(bg, "key", time.Minute))
		if took := time.Since(begin); took > redigolock.DefaultOpTimeout+100*time.Millisecond {
			t.Errorf("Acquire took %v", took)
		}
	})
}

// While the pool lends nothing, and says so at once, an Acquire pauses between its tries.
func TestFairAcquirePausesWhileThereIsNoConnection(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		p := s.Pool()
		p.MaxActive = 1
		var failed atomic.Int64
		l := simLocker(t, &redigolock.Locker{Pool: p, Fair: true, Observer: &redigolock.Observer{
			Failed: func(context.Context, string, string, error) {
				failed.Add(1)
				time.Sleep(time.Millisecond) // so that time goes on even without pauses
			},
		}})
		mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
		ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		defer cancel()
		_, err := l.Acquire(ctx, "key", time.Minute) // there is a subscription then
		wants(t, err, context.DeadlineExceeded)
		synctest.Wait()
		defer p.Get().Close()
		ctx, cancel = context.WithTimeout(bg, 2*time.Second)
		defer cancel()
		_, err = l.Acquire(ctx, "key", time.Minute)
		wants(t, err, context.DeadlineExceeded, redis.ErrPoolExhausted)
		if n := failed.Load(); n < 5 || n > 40 {
			t.Errorf("%d tries in 2 s", n)
		}
		if n := s.Count("enter"); n != 1 {
			t.Errorf("%d ENTERs were sent", n)
		}
	})
}

// A lost TRY may be carried out later, when it was nowhere at first: its token is removed an OpTimeout after that.
func TestFairLostTryIsLookedForAgain(t *testing.T) {
	for verb, acquire := range map[string]func(t *testing.T, l *redigolock.Locker){
		"Acquire": func(t *testing.T, l *redigolock.Locker) { // with another token
			if err := mustGet(t)(l.Acquire(bg, "key", time.Minute)).Release(bg); err != nil {
				t.Fatal(err)
			}
		},
		"TryAcquire": func(t *testing.T, l *redigolock.Locker) {
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrUnknown)
		},
	} {
		t.Run(verb, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l := simFair(t, s)
				s.Next("try", sim.Late(1500*time.Millisecond))
				acquire(t, l)
				time.Sleep(redigolock.DefaultOpTimeout / 2)
				synctest.Wait()
				if n, _ := redis.Int(s.Do("EXISTS", "key")); n != 1 {
					t.Error("the late TRY was not carried out")
				}
				time.Sleep(redigolock.DefaultOpTimeout)
				if n, _ := redis.Int(s.Do("EXISTS", "key")); n != 0 {
					t.Error("its token is still there")
				}
			})
		})
	}
}
