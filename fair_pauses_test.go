package redigolock_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// The pauses between what a fair Locker repeats. The server answers within 2 ms, so that a loop without pauses goes on for as
// long as its test, and is counted.

// sentSince counts the commands of a verb that came from then on.
func sentSince(s *sim.Server, verb string, from time.Time) (n int) {
	for _, q := range s.Requests() {
		if q.Verb == verb && !q.At.Before(from) {
			n++
		}
	}
	return n
}

// refuses answers each command of a verb in this way.
func refuses(s *sim.Server, verb string, action sim.Action) {
	s.Rule(func(q sim.Request) sim.Action {
		if q.Verb == verb {
			return action
		}
		return sim.Pass()
	})
}

// What fails is repeated with growing pauses: within half a second not more than ten times.
func TestFairRepeatsWithPauses(t *testing.T) {
	for verb, begin := range map[string]func(t *testing.T, s *sim.Server, l *redigolock.Locker){
		"poke": func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
			mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
			waits(bg, l, "key", time.Minute)
			time.Sleep(capOfPokes)
		},
		"quit": func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
			mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
			ctx, cancel := context.WithCancel(bg)
			waiter := waits(ctx, l, "key", time.Minute)
			time.Sleep(100 * time.Millisecond)
			cancel()
			<-waiter
		},
		"rel": func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
			wants(t, mustGet(t)(l.Acquire(bg, "key", time.Minute)).Release(bg), redigolock.ErrUnknown)
		},
		"fairextend": func(t *testing.T, s *sim.Server, l *redigolock.Locker) { // a cap between them
			mustGet(t)(l.Acquire(bg, "key", time.Minute))
			waits(bg, l, "key", time.Minute)
			time.Sleep(capOfPokes)
		},
	} {
		t.Run(verb, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				s.Delay(time.Millisecond)
				l := simFair(t, s)
				s.Rule(func(q sim.Request) sim.Action {
					if q.Verb != verb {
						return sim.Pass()
					}
					return sim.Cut()
				})
				begin(t, s, l)
				from := time.Now()
				time.Sleep(500 * time.Millisecond)
				n := sentSince(s, verb, from)
				if most := map[bool]int{true: 1, false: 10}[verb == "fairextend"]; n > most {
					t.Errorf("%s was sent %d times in 500 ms", verb, n)
				}
				if verb == "fairextend" {
					from = from.Add(-capOfPokes / 2)
					time.Sleep(capOfPokes)
				}
				if sentSince(s, verb, from) == 0 {
					t.Errorf("%s was not sent again", verb)
				}
				s.Rule(nil)
			})
		})
	}
}

// After an ENTER that was not queued, since nobody hears its channel, TRY asks until the subscription stands: after a pause, for
// the server may say so again and again, and a short one, for the subscription stood before.
func TestFairPauseAfterANoSub(t *testing.T) {
	for name, away := range map[string]time.Duration{"at once": 0, "after long without a subscription": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l := simFair(t, s)
				holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
				nosub := fmt.Sprintf("*5\r\n:0\r\n:3\r\n$%d\r\n%s\r\n:50000\r\n$-1\r\n", len(holder.Token()), holder.Token())
				refuses(s, "subscribe", sim.Cut())
				ctx, cancel := context.WithCancel(bg)
				waiter := waits(ctx, l, "key", time.Minute)
				time.Sleep(away)
				s.Rule(nil)
				time.Sleep(500 * time.Millisecond)
				cancel()
				<-waiter
				synctest.Wait()
				tries := s.Count("try")
				refuses(s, "subscribe", sim.Cut())
				s.Next("enter", sim.Answer(nosub))
				begin := time.Now()
				waiter = waits(bg, l, "key", time.Minute)
				for s.Count("try") == tries {
					time.Sleep(time.Millisecond / 10)
				}
				if took := time.Since(begin); took < 4*time.Millisecond || took > 60*time.Millisecond {
					t.Errorf("TRY was sent after %v", took)
				}
				if n := s.Count("enter"); n != 2 {
					t.Errorf("ENTER was sent %d times", n)
				}
				s.Rule(nil)
				if err := holder.Release(bg); err != nil {
					t.Fatal(err)
				}
				a := <-waiter
				mustGet(t)(a.k, a.err)
			})
		})
	}
}

// A reply ends the row of failures: the pause after the next one is short.
func TestFairReplyEndsTheRowOfFailures(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		p := simPool(t, s, "redis")
		p.MaxIdle = 0 // so that each command dials
		l := simLocker(t, &redigolock.Locker{Pool: p, Fair: true})
		accept := s.RefuseDials()
		waiter := waits(bg, l, "key", time.Minute)
		time.Sleep(20 * time.Second)
		accept()
		a := <-waiter
		if err := mustGet(t)(a.k, a.err).Release(bg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // the subscription stands
		accept = s.RefuseDials()
		s.CloseConns()
		synctest.Wait()
		waiter = waits(bg, l, "key", time.Minute)
		time.Sleep(30 * time.Millisecond)
		accept()
		begin := time.Now()
		a = <-waiter
		mustGet(t)(a.k, a.err)
		if took := time.Since(begin); took > 60*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// What is owed is repeated until the lease must be over: its ttl, and an OpTimeout in which the command may have been on its way.
func TestFairOwesForTheTTLAndAnOpTimeout(t *testing.T) {
	const ttl, op = 10 * time.Second, 2 * time.Minute
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l := simFair(t, s)
		l.OpTimeout = op
		refuses(s, "rel", sim.Cut())
		k := mustGet(t)(l.Acquire(bg, "key", ttl))
		wants(t, k.Release(bg), redigolock.ErrUnknown)
		time.Sleep(op - ttl)
		if n := l.Stats().Owed; n != 1 {
			t.Errorf("%d are owed after %v", n, op-ttl)
		}
		time.Sleep(2*ttl + 30*time.Second) // the longest pause
		if n := l.Stats().Owed; n != 0 {
			t.Errorf("%d are owed when the lease must be over", n)
		}
	})
}

// A POKE that cannot be sent says nothing: the waiter keeps its token, and with it its place, once.
func TestFairPokeThatCannotBeSentKeepsThePlace(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		own := s.NewLink("own")
		p, err := redigolock.NewPool("redis://sim", own.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		l := simLocker(t, &redigolock.Locker{Pool: p, Fair: true})
		other := simFair(t, s)
		holder := mustGet(t)(other.Acquire(bg, "key", time.Minute))
		waiter := waits(bg, l, "key", time.Minute)
		time.Sleep(100 * time.Millisecond)
		before, _ := redis.Strings(s.Do("LRANGE", "{key}:redigolock-q1", 0, -1))
		behind := waits(bg, simFair(t, s), "key", time.Minute)
		time.Sleep(100 * time.Millisecond)
		accept := own.RefuseDials()
		own.CloseConns()
		time.Sleep(3 * capOfPokes)
		accept()
		time.Sleep(capOfPokes)
		after, _ := redis.Strings(s.Do("LRANGE", "{key}:redigolock-q1", 0, -1))
		if len(before) != 1 || len(after) != 2 || after[0] != before[0] {
			t.Errorf("the queue was %q, and is %q", before, after)
		}
		for _, ch := range []<-chan acquired{waiter, behind} {
			if err := holder.Release(bg); err != nil {
				t.Fatal(err)
			}
			a := <-ch
			holder = mustGet(t)(a.k, a.err)
		}
	})
}
