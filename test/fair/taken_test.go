package fair

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

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
					if a.Err != nil {
						t.Fatal(a.Err)
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
					if err := a.K.Release(bg); err != nil {
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
				if a.Err != nil || time.Since(begin) > capOfPokes+10*time.Millisecond {
					t.Errorf("the waiter: %v after %v", a.Err, time.Since(begin))
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
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		b := <-waitsUntil(second, time.Second)
		if !errors.Is(b.Err, context.DeadlineExceeded) {
			t.Error("two hold the lock")
		}
		if err := a.K.Release(bg); err != nil {
			t.Errorf("the second holder: %v", err)
		}
		b = <-second
		if b.Err != nil {
			t.Fatal(b.Err)
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
			return acquired{Err: context.DeadlineExceeded}
		}
	})
}

// The pauses between what a fair Locker repeats. The server answers within 2 ms, so that a loop without pauses goes on for as
// long as its test, and is counted.

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
				n := testbed.SentSince(s, verb, from)
				if most := map[bool]int{true: 1, false: 10}[verb == "fairextend"]; n > most {
					t.Errorf("%s was sent %d times in 500 ms", verb, n)
				}
				if verb == "fairextend" {
					from = from.Add(-capOfPokes / 2)
					time.Sleep(capOfPokes)
				}
				if testbed.SentSince(s, verb, from) == 0 {
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
				testbed.Refuses(s, "subscribe", sim.Cut())
				ctx, cancel := context.WithCancel(bg)
				waiter := waits(ctx, l, "key", time.Minute)
				time.Sleep(away)
				s.Rule(nil)
				time.Sleep(500 * time.Millisecond)
				cancel()
				<-waiter
				synctest.Wait()
				tries := s.Count("try")
				testbed.Refuses(s, "subscribe", sim.Cut())
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
				mustGet(t)(a.K, a.Err)
			})
		})
	}
}

// A reply ends the row of failures: the pause after the next one is short.
func TestFairReplyEndsTheRowOfFailures(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		p := simPool(t, s, "redis")
		p.MaxIdle = 0 // so that each command dials; the subscription stands
		l := simLocker(t, &redigolock.Locker{Pool: p, Fair: true})
		// waits has somebody wait for so long until the lock can be had, and returns how long it takes from then on.
		waits := func(begin func() (end func()), most time.Duration) time.Duration {
			end := begin()
			waiter := waits(bg, l, "key", time.Minute)
			time.Sleep(most)
			end()
			ended := time.Now()
			a := <-waiter
			if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil {
				t.Fatal(err)
			}
			return time.Since(ended)
		}
		waits(func() func() { // it subscribes
			k := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Minute))
			return func() {
				if err := k.Release(bg); err != nil {
					t.Fatal(err)
				}
			}
		}, time.Second)
		waits(s.RefuseDials, 20*time.Second)
		if took := waits(s.RefuseDials, 30*time.Millisecond); took > 60*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if n := s.Count("subscribe"); n != 1 {
			t.Errorf("it has subscribed %d times: this test shows nothing", n)
		}
	})
}

// What is owed is repeated until the lease must be over: its ttl, and an OpTimeout in which the command may have been on its way.
func TestFairOwesForTheTTLAndAnOpTimeout(t *testing.T) {
	const ttl, op = 10 * time.Second, 2 * time.Minute
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l := simFair(t, s)
		l.OpTimeout = op
		testbed.Refuses(s, "rel", sim.Cut())
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
		before, _ := redis.Strings(s.Do("LRANGE", "{key}:redigolock-q2", 0, -1))
		behind := waits(bg, simFair(t, s), "key", time.Minute)
		time.Sleep(100 * time.Millisecond)
		accept := own.RefuseDials()
		own.CloseConns()
		time.Sleep(3 * capOfPokes)
		accept()
		time.Sleep(capOfPokes)
		after, _ := redis.Strings(s.Do("LRANGE", "{key}:redigolock-q2", 0, -1))
		if len(before) != 1 || len(after) != 2 || after[0] != before[0] {
			t.Errorf("the queue was %q, and is %q", before, after)
		}
		for _, ch := range []<-chan acquired{waiter, behind} {
			if err := holder.Release(bg); err != nil {
				t.Fatal(err)
			}
			a := <-ch
			holder = mustGet(t)(a.K, a.Err)
		}
	})
}

// What a Deadline counts from, to the nanosecond: in a bubble nothing takes time that is not told to.

// sentAt is when the newest command of this verb was sent.
func sentAt(t *testing.T, s *sim.Server, verb string) (at time.Time) {
	t.Helper()
	for _, q := range s.Requests() {
		if q.Verb == verb {
			at = q.At
		}
	}
	if at.IsZero() {
		t.Fatalf("no %s was sent", verb)
	}
	return at
}

// endsWith checks that a handle's Deadline counts from that send.
func endsWith(t *testing.T, k *redigolock.Lock, sent time.Time, ttl time.Duration) {
	t.Helper()
	if off := k.Deadline().Sub(sent.Add(validFor(ttl))); off != 0 {
		t.Errorf("Deadline is %v off what the send allows", off)
	}
}

// A message counts from the send of the command whose reply said "queued", however late that reply came.
func TestFairMessageCountsFromTheSendNotFromItsReply(t *testing.T) {
	for verb, wait := range map[string]time.Duration{"enter": 800 * time.Millisecond, "poke": 1800 * time.Millisecond} {
		t.Run(verb, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l, other := simFair(t, s), simFair(t, s)
				holder := mustGet(t)(other.Acquire(bg, "key", time.Minute))
				s.Next(verb, sim.Slow(700*time.Millisecond))
				waiter := waits(bg, l, "key", time.Minute)
				time.Sleep(wait)
				if n := s.Count("poke"); (verb == "poke") != (n == 1) {
					t.Fatalf("%d pokes", n)
				}
				if err := holder.Release(bg); err != nil {
					t.Fatal(err)
				}
				a := <-waiter
				k := mustGet(t)(a.K, a.Err)
				endsWith(t, k, sentAt(t, s, verb), time.Minute)
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A POKE that is told "nosub" has its place, but says nothing of a grant from then on: until the subscription stands the entry
// is passed over. So a message counts from the command before.
func TestFairMessageDoesNotCountFromANoSub(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l, other := simFair(t, s), simFair(t, s)
		holder := mustGet(t)(other.Acquire(bg, "key", time.Minute))
		waiter := waits(bg, l, "key", time.Minute)
		nosub := fmt.Sprintf("*5\r\n:0\r\n:3\r\n$%d\r\n%s\r\n:50000\r\n$-1\r\n", len(holder.Token()), holder.Token())
		s.Next("poke", sim.Answer(nosub))
		s.Next("poke", sim.LateUntil(nil)) // that after the next subscription
		for s.Count("poke") < 2 {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if err := holder.Release(bg); err != nil {
			t.Fatal(err)
		}
		a := <-waiter
		k := mustGet(t)(a.K, a.Err)
		endsWith(t, k, sentAt(t, s, "enter"), time.Minute)
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

func simCohort(t *testing.T, s *sim.Server) *redigolock.Locker {
	return simLocker(t, &redigolock.Locker{
		Pool: simPool(t, s, "redis"), Fair: true,
		Cohort: redigolock.Cohort{Passes: 10, Slice: time.Hour},
	})
}

// What a cohort's hand-off extends counts from the send of that EXTEND.
func TestCohortExtensionCountsFromItsSend(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		l := simCohort(t, s)
		k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
		time.Sleep(50 * time.Second) // less than a third is left
		waiter := waits(bg, l, "key", time.Minute)
		synctest.Wait()
		s.Next("fairextend", sim.Slow(700*time.Millisecond))
		inTime(t, "Release", 700*time.Millisecond, func() {
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
		})
		a := <-waiter
		next := mustGet(t)(a.K, a.Err)
		if next.Token() != k.Token() {
			t.Fatal("it was not handed on in the process")
		}
		endsWith(t, next, sentAt(t, s, "fairextend"), time.Minute)
		if err := next.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// While a cohort's hand-off extends the lease, nothing else is sent for the key: neither a question about the holder, nor an
// entry when the holder's Deadline passes meanwhile, for the hand-off may be about to take place.
func TestCohortNothingIsSentDuringAHandOff(t *testing.T) {
	for name, left := range map[string]time.Duration{"held all the time": 15 * time.Second, "Deadline passes": time.Second} {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				l := simCohort(t, s)
				l.OpTimeout = 10 * time.Second
				k := mustGet(t)(l.Acquire(bg, "key", time.Minute))
				time.Sleep(time.Until(k.Deadline()) - left)
				waiter := waits(bg, l, "key", time.Minute)
				synctest.Wait()
				before := len(testbed.Evals(s))
				s.Next("fairextend", sim.Slow(4*time.Second))
				released := inBackground(func() error { return k.Release(bg) })
				time.Sleep(3900 * time.Millisecond)
				if sent := testbed.Evals(s)[before:]; len(sent) != 1 {
					t.Errorf("%q were sent, want one EXTEND", sent)
				}
				err := <-released
				if left > 4*time.Second && err != nil {
					t.Error(err)
				}
				a := <-waiter
				if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// dressed is a fair Locker whose connections turn what comes for a script while on is true.
func dressed(t *testing.T, s *sim.Server, verb string, turn func(reply any, err error) (any, error)) (l *redigolock.Locker, on *atomic.Bool) {
	on = new(atomic.Bool)
	turnScript := func(_ string, args []any, reply any, err error) (any, error) {
		if on.Load() && len(args) > 0 && testbed.ScriptNames[args[0]] == verb {
			return turn(reply, err)
		}
		return reply, err
	}
	base := simPool(t, s, "redis")
	p := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
		c, err := base.DialContext(ctx)
		if err != nil {
			return nil, err
		}
		return &testbed.TurnedConn{Conn: c, Turn: turnScript}, nil
	}}
	t.Cleanup(func() { p.Close() })
	return simLocker(t, &redigolock.Locker{Pool: p, Fair: true}), on
}

// foreignReplies are replies of adapters to a script that was carried out.
var foreignReplies = map[string]any{
	"a type of its own": struct{}{},
	"nil":               nil,
	"a number":          int64(1),
	"a short list":      []any{int64(1), int64(0)},
	"text in a list":    []any{"1", "0", "holder", "5", ""},
}

// A REL whose reply cannot be read has released the lock, or not: Release says what it got, and it is repeated until a reply can
// be read. The waiter who went along is told that its place is not known, leaves the queue, and the next one gets the lock.
func TestFairForeignReplyToARelease(t *testing.T) {
	for name, reply := range foreignReplies {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				s.Delay(time.Millisecond)
				l, on := dressed(t, s, "rel", func(any, error) (any, error) { return reply, nil })
				k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
				taken := waits(bg, l, "key", time.Hour)
				time.Sleep(100 * time.Millisecond)
				on.Store(true)
				if err := k.Release(bg); err == nil || !strings.Contains(err.Error(), "release") {
					t.Errorf("Release: %v", err)
				}
				a := <-taken
				wants(t, a.Err, redigolock.ErrUnknown)
				if n := s.Count("rel"); n < 1 {
					t.Fatal("no REL was sent")
				}
				on.Store(false)
				time.Sleep(time.Second)
				if n := l.Stats().Owed; n != 0 || s.Miniredis().Exists("key") {
					t.Errorf("%d are owed, keys are left: %v", n, s.Miniredis().Keys())
				}
			})
		})
	}
}

// A POKE whose reply cannot be read ends its waiter with ErrUnknown, which says what came, and leaves nothing behind; those who
// wait in the same Locker go on.
func TestFairForeignReplyToAPoke(t *testing.T) {
	for name, reply := range foreignReplies {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				s.Delay(time.Millisecond)
				l, on := dressed(t, s, "poke", func(any, error) (any, error) { return reply, nil })
				holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
				first := waits(bg, l, "key", time.Hour)
				time.Sleep(100 * time.Millisecond)
				second := waits(bg, l, "key", time.Hour)
				on.Store(true)
				a := <-first
				wants(t, a.Err, redigolock.ErrUnknown)
				on.Store(false)
				time.Sleep(100 * time.Millisecond)
				if n, _ := redis.Int(s.Do("LLEN", "{key}:redigolock-q2")); n != 1 {
					t.Errorf("%d entries, want that of the second waiter", n)
				}
				if err := holder.Release(bg); err != nil {
					t.Fatal(err)
				}
				a = <-second
				if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil {
					t.Error(err)
				}
				if s.Miniredis().Exists("key") {
					t.Error("the key is left")
				}
			})
		})
	}
}

// An error reply that another package has dressed is what the server said: a transient one is repeated, one for good is
// definite, and none is an unknown outcome.
func TestFairRefusalsInAnotherDress(t *testing.T) {
	for name, turn := range testbed.Turns {
		t.Run(name, func(t *testing.T) {
			n := 0
			turned := func(reply any, err error) (any, error) {
				if _, isReply := err.(redis.Error); isReply {
					n++
					err = turn(err)
				}
				return reply, err
			}
			wantsTurned := func(t *testing.T) {
				t.Helper()
				if n == 0 {
					t.Error("no reply was turned: this test proves nothing")
				}
				n = 0
			}
			for _, text := range []string{"LOADING Redis is loading the dataset in memory", "NOPERM no permissions"} {
				passes := strings.HasPrefix(text, "LOADING")
				t.Run(text[:6], func(t *testing.T) {
					inFairBubble(t, func(t *testing.T, s *sim.Server) {
						s.Delay(time.Millisecond)
						l, on := dressed(t, s, "rel", turned)
						on.Store(true)
						k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
						s.Next("rel", sim.Refuse(text))
						err := k.Release(bg)
						wantsNot(t, err, redigolock.ErrUnknown)
						if passes != (err == nil) || err != nil && !strings.Contains(err.Error(), text) {
							t.Errorf("Release: %v", err)
						}
						time.Sleep(time.Second)
						if n := l.Stats().Owed; n != 0 || s.Miniredis().Exists("key") {
							t.Errorf("%d are owed, the key is left: %v", n, s.Miniredis().Exists("key"))
						}
						wantsTurned(t)
					})
					inFairBubble(t, func(t *testing.T, s *sim.Server) {
						s.Delay(time.Millisecond)
						l, on := dressed(t, s, "poke", turned)
						on.Store(true)
						holder := mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
						waiter := waits(bg, l, "key", time.Hour)
						time.Sleep(100 * time.Millisecond)
						s.Next("poke", sim.Refuse(text))
						time.Sleep(2 * capOfPokes)
						if err := holder.Release(bg); err != nil {
							t.Fatal(err)
						}
						a := <-waiter
						wantsNot(t, a.Err, redigolock.ErrUnknown)
						if passes != (a.Err == nil) || a.Err != nil && !strings.Contains(a.Err.Error(), text) {
							t.Errorf("the waiter: %v", a.Err)
						}
						wantsTurned(t)
						if a.K != nil {
							if err := a.K.Release(bg); err != nil {
								t.Error(err)
							}
						}
						if s.Miniredis().Exists("{key}:redigolock-q2") || s.Miniredis().Exists("key") {
							t.Errorf("keys are left: %v", s.Miniredis().Keys())
						}
					})
				})
			}
		})
	}
}
