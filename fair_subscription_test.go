package redigolock_test

import (
	"context"
	"fmt"
	"runtime"
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

// The subscription of a fair Locker: when it is made, given up, and made again, and what is told of it.

// atOnce is how long what follows at once may take, with the pauses after a first failure.
const atOnce = 60 * time.Millisecond

// lineSite is a fair Locker whose waiters wait for keys that another Locker holds, in a bubble whose network takes 1 ms.
type lineSite struct {
	*sim.Server
	t        *testing.T
	l, other *redigolock.Locker
}

func onLine(t *testing.T, f func(t *testing.T, s *lineSite)) {
	t.Helper()
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		f(t, &lineSite{s, t, simFair(t, s), simFair(t, s)})
	})
}

func (s *lineSite) holds(key string) *redigolock.Lock {
	s.t.Helper()
	return mustGet(s.t)(s.other.Acquire(bg, key, time.Hour))
}

// waits has somebody wait for a key who leaves when the func is called.
func (s *lineSite) waits(key string) (leave func()) {
	ctx, cancel := context.WithCancel(bg)
	ch := waits(ctx, s.l, key, time.Hour)
	return func() { cancel(); <-ch }
}

// placed waits until the token of a key's waiters is queued, for at most so long.
func (s *lineSite) placed(key string, most time.Duration) {
	s.t.Helper()
	for begin := time.Now(); !redigolock.Placed(s.l, key); time.Sleep(time.Millisecond) {
		if time.Since(begin) > most {
			s.t.Fatalf("%s is not queued within %v", key, most)
		}
	}
}

// subscribes checks how many SUBSCRIBEs were sent so far.
func (s *lineSite) subscribes(want int) {
	s.t.Helper()
	if n := s.Count("subscribe"); n != want {
		s.t.Errorf("SUBSCRIBE was sent %d times, want %d", n, want)
	}
}

// A key that is waited for while the subscription lives is subscribed to at once, not with the next ping.
func TestFairNextKeyIsHeardAtOnce(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		for _, key := range []string{"a", "b", "c"} {
			s.holds(key)
			defer s.waits(key)()
			s.placed(key, atOnce)
		}
		s.subscribes(3)
	})
}

// It lives for a while after the last wait, however long that was, and is used again.
func TestFairSubscriptionLingers(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		s.holds("key")
		for range 3 {
			leave := s.waits("key")
			time.Sleep(5 * time.Second)
			leave()
			time.Sleep(2 * time.Second)
		}
		s.subscribes(1)
		time.Sleep(3 * time.Second)
		if n := s.Count("unsubscribe"); n > 1 || redigolock.Subscribed(s.l) {
			t.Errorf("it lives 5 s after the last wait; %d channels were left", n)
		}
	})
}

// It goes on while somebody waits behind a holder of the same Locker, who has no token at the server.
func TestFairSubscriptionLivesBehindALocalHolder(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		mustGet(t)(s.l.Acquire(bg, "key", time.Hour))
		defer s.waits("key")()
		time.Sleep(10 * time.Second)
		s.subscribes(1)
	})
}

// Close does not wait for the next ping.
func TestFairCloseEndsTheSubscriptionAtOnce(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		s.holds("key")
		leave := s.waits("key")
		s.placed("key", atOnce)
		leave()
		synctest.Wait()
		inTime(t, "Close", 2*time.Millisecond, func() { // QUIT is under way
			if err := s.l.Close(); err != nil {
				t.Error(err)
			}
		})
		if redigolock.Subscribed(s.l) {
			t.Error("the subscription lives")
		}
	})
}

// A connection that is silent is given up within a ping, another, and an OpTimeout.
func TestFairSilentSubscriptionIsMadeAnew(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		s.holds("key")
		defer s.waits("key")()
		s.placed("key", atOnce)
		s.HalfOpen()
		time.Sleep(2*time.Second + redigolock.DefaultOpTimeout + atOnce)
		s.subscribes(2)
	})
}

// A server that is slow, but answers each ping within an OpTimeout, keeps its subscription.
func TestFairSlowSubscriptionIsKept(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		s.holds("key")
		defer s.waits("key")()
		s.placed("key", atOnce)
		s.Next("ping", sim.Slow(redigolock.DefaultOpTimeout-10*time.Millisecond))
		time.Sleep(5 * time.Second)
		s.subscribes(1)
	})
}

// A dial that hangs ends after an OpTimeout, and is made again.
func TestFairSubscriptionWhoseDialHangs(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		mustGet(t)(simFair(t, s).Acquire(bg, "key", time.Hour))
		base := simPool(t, s, "redis")
		var dials atomic.Int64
		l := simLocker(t, &redigolock.Locker{Fair: true, Pool: dialPool{base.Get, func(ctx context.Context) (redis.Conn, error) {
			if dials.Add(1) == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return base.DialContext(ctx)
		}}})
		ctx, cancel := context.WithCancel(bg)
		waiter := waits(ctx, l, "key", time.Hour)
		time.Sleep(redigolock.DefaultOpTimeout + atOnce)
		if !redigolock.Placed(l, "key") {
			t.Error("it is not queued an OpTimeout after the dial")
		}
		cancel()
		<-waiter
		time.Sleep(time.Minute) // the dial ends
	})
}

// While it cannot be had it is tried with growing pauses, also by a dial that ends its goroutine; once it has stood for a while,
// the next pause is short again.
func TestFairSubscriptionIsMadeWithPauses(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		s.holds("key")
		testbed.Refuses(s.Server, "subscribe", sim.Cut())
		defer s.waits("key")()
		time.Sleep(time.Second)
		if n := s.Count("subscribe"); n < 4 || n > 15 {
			t.Errorf("SUBSCRIBE was sent %d times in the first second", n)
		}
		s.Rule(nil)
		s.placed("key", 300*time.Millisecond)
		for range 10 { // each after more than a ping
			time.Sleep(1500 * time.Millisecond)
			before := s.Count("subscribe")
			s.CutSubscribers()
			time.Sleep(atOnce)
			if n := s.Count("subscribe") - before; n != 1 {
				t.Fatalf("SUBSCRIBE was sent %d times %v after a break", n, atOnce)
			}
		}
	})
}

func TestFairSubscriptionWhoseDialsExitIsMadeWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		var dials atomic.Int64
		l := r.Fair(dialPool{r.Server.Pool().Get, func(context.Context) (redis.Conn, error) {
			dials.Add(1)
			runtime.Goexit()
			return nil, nil
		}})
		r.Must(r.Other().Acquire(bg, r.Key, time.Hour))
		ctx, cancel := context.WithCancel(bg)
		waiter := waits(ctx, l, r.Key, time.Hour)
		time.Sleep(time.Second)
		if n := dials.Load(); n < 4 || n > 15 {
			t.Errorf("%d dials in a second", n)
		}
		cancel()
		<-waiter
	})
}

// A refusal that passes is tried again; one for good is the waiters' error, and concerns their key only: others keep the
// connection, and who comes when the right is there is heard.
func TestFairSubscriptionThatIsRefused(t *testing.T) {
	t.Run("for a moment", func(t *testing.T) {
		onLine(t, func(t *testing.T, s *lineSite) {
			s.holds("key")
			s.Next("subscribe", sim.Refuse("LOADING Redis is loading the dataset in memory"))
			defer s.waits("key")()
			s.placed("key", atOnce)
			s.subscribes(2)
		})
	})
	t.Run("for good", func(t *testing.T) {
		onLine(t, func(t *testing.T, s *lineSite) {
			s.holds("key")
			s.holds("refused")
			defer s.waits("key")()
			s.placed("key", atOnce)
			s.Next("subscribe", sim.Refuse("NOPERM no permissions to access a channel"))
			a := <-waits(bg, s.l, "refused", time.Hour)
			if a.Err == nil || !strings.Contains(a.Err.Error(), "NOPERM") {
				t.Errorf("the waiter: %v", a.Err)
			}
			defer s.waits("refused")()
			s.placed("refused", atOnce)
			s.subscribes(3) // the first key's is not repeated
		})
	})
}

// What was sent on a connection that broke is not waited for on the next.
func TestFairSubscribeThatIsLostWithItsConnection(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		s.holds("key")
		s.Next("subscribe", sim.Cut())
		defer s.waits("key")()
		s.placed("key", atOnce)
		s.subscribes(2)
	})
}

// Answers that do not fit end the connection: it is not known what it hears.
func TestFairSubscriptionOutOfStep(t *testing.T) {
	const channelKey = "key"
	answer := func(kind, channel string) sim.Action {
		return sim.Answer(fmt.Sprintf("*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:0\r\n", len(kind), kind, len(channel), channel))
	}
	t.Run("another channel is confirmed", func(t *testing.T) {
		onLine(t, func(t *testing.T, s *lineSite) {
			s.holds(channelKey)
			s.Next("subscribe", answer("subscribe", "another"))
			defer s.waits(channelKey)()
			s.placed(channelKey, atOnce)
			s.subscribes(2)
		})
	})
	t.Run("a channel is left that is heard", func(t *testing.T) { // as when its slot moves to another node
		onLine(t, func(t *testing.T, s *lineSite) {
			s.holds(channelKey)
			defer s.waits(channelKey)()
			s.placed(channelKey, atOnce)
			list, _ := redis.Strings(s.Do("PUBSUB", "CHANNELS"))
			s.Next("ping", answer("unsubscribe", list[0]))
			time.Sleep(time.Second + atOnce)
			s.subscribes(2)
		})
	})
	t.Run("a channel is left instead of another's confirmation", func(t *testing.T) {
		onLine(t, func(t *testing.T, s *lineSite) {
			s.holds(channelKey)
			s.Next("subscribe", answer("unsubscribe", "another"))
			defer s.waits(channelKey)()
			s.placed(channelKey, atOnce)
			s.subscribes(2)
		})
	})
}

// A "nosub" that comes while the subscription is being made says nothing: the new connection is not cut, however slow it is.
func TestFairNoSubWhileTheSubscriptionIsMade(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		s.l.OpTimeout = 10 * time.Second
		s.holds("key")
		defer s.waits("key")()
		s.placed("key", atOnce)
		s.Next("subscribe", sim.Late(3*time.Second))
		s.CutSubscribers()
		time.Sleep(3*time.Second + atOnce)
		if n := s.Count("poke"); n < 2 {
			t.Errorf("%d POKEs: this test shows nothing", n)
		}
		s.subscribes(2)
		if list, _ := redis.Strings(s.Do("PUBSUB", "CHANNELS")); len(list) != 1 {
			t.Error("the channel is not heard")
		}
	})
}

// A "nosub" makes the connection anew, at once.
func TestFairNoSubMakesTheSubscriptionAnew(t *testing.T) {
	for _, verb := range []string{"enter", "poke"} {
		t.Run(verb, func(t *testing.T) {
			onLine(t, func(t *testing.T, s *lineSite) {
				holder := s.holds("key")
				leave := s.waits("key")
				s.placed("key", atOnce)
				nosub := fmt.Sprintf("*5\r\n:0\r\n:3\r\n$%d\r\n%s\r\n:50000\r\n$-1\r\n", len(holder.Token()), holder.Token())
				s.Next(verb, sim.Answer(nosub))
				if verb == "enter" {
					leave()
					time.Sleep(100 * time.Millisecond)
					leave = s.waits("key")
				}
				before := s.Count(verb)
				for s.Count(verb) == before {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(atOnce)
				s.subscribes(2)
				s.placed("key", atOnce)
				leave()
			})
		})
	}
}

// Until the first subscription stands TRY asks, after a pause: the server has just said that the lock is held.
func TestFairTriesWithPausesUntilItIsHeard(t *testing.T) {
	onLine(t, func(t *testing.T, s *lineSite) {
		s.holds("key")
		testbed.Refuses(s.Server, "subscribe", sim.Lose())
		begin, last := time.Now(), time.Time{}
		leave := s.waits("key")
		time.Sleep(1500 * time.Millisecond)
		for _, q := range s.Requests() {
			if q.Verb == "try" && q.At.After(begin) {
				if pause := q.At.Sub(last); pause < 4*time.Millisecond {
					t.Errorf("TRY was sent %v after another", pause)
				}
				last = q.At
			}
		}
		if n := s.Count("try"); n < 6 || n > 20 { // and the holder's
			t.Errorf("TRY was sent %d times in 1.5 s", n)
		}
		leave()
		time.Sleep(10 * time.Second) // the subscription is given up; what is remembered of the tokens is not
		from := time.Now()
		defer s.waits("key")()
		time.Sleep(100 * time.Millisecond)
		if n := testbed.SentSince(s.Server, "try", from); n < 3 {
			t.Errorf("a new waiter has sent TRY %d times in 100 ms", n)
		}
	})
}

// The Observer is told of each failure once, while somebody waits; and who gives up reads why there was no subscription.
func TestFairSubscriptionFailuresAreTold(t *testing.T) {
	for _, name := range []string{"no connection", "refused"} {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				s.Delay(time.Millisecond)
				var failed atomic.Int64
				l := simLocker(t, &redigolock.Locker{
					Fair: true,
					Pool: simPool(t, s, "redis"),
					Observer: &redigolock.Observer{Failed: func(_ context.Context, key, verb string, _ error) {
						if failed.Add(1); key != "key" || verb != "subscribe" {
							t.Errorf("%s of %s has failed", verb, key)
						}
					}},
				})
				mustGet(t)(l.Acquire(bg, "key", time.Hour)) // so that the waiter sends nothing
				if name == "refused" {
					testbed.Refuses(s, "subscribe", sim.Refuse("LOADING Redis is loading the dataset in memory"))
				} else {
					s.RefuseDials()
				}
				ctx, cancel := context.WithCancel(bg)
				waiter := waits(ctx, l, "key", time.Hour)
				time.Sleep(900 * time.Millisecond)
				cancel()
				a := <-waiter
				if a.Err == nil || !strings.Contains(a.Err.Error(), "subscribe") {
					t.Errorf("who gives up reads %v", a.Err)
				}
				n := failed.Load()
				// One that was on its way when the waiter left is not told.
				if tries := int64(s.Count("subscribe")); n < 3 || n > 15 || name == "refused" && n != tries && n != tries-1 {
					t.Errorf("the Observer was told %d failures of %d", n, tries)
				}
				time.Sleep(2 * time.Second) // nobody waits, and it is still tried
				if failed.Load() != n {
					t.Error("the Observer was told what nobody waits for")
				}
			})
		})
	}
}

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
					if err := mustGet(t)(a.K, a.Err).Release(bg); err != nil {
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
			if n, _ := redis.Int(s.Do("LLEN", "{key}:redigolock-q2")); n != 0 {
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
			mustGet(t)(a.K, a.Err)
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
