package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// What a Locker with MinHold promises, in virtual time: a job runs once though its hosts come one after the other, and
// nothing that is late can delete, lengthen or take over what a Release has left.

const minHold = time.Minute

// cronHost is a process of its own, with MinHold.
func cronHost(t *testing.T, s *sim.Server, name string) *redigolock.Locker {
	link := s.NewLink(name)
	return simLocker(t, &redigolock.Locker{Pool: link.Pool(), Owner: name, MinHold: minHold})
}

// inKey is what the key holds, and for how long; "" and 0 if there is none.
func inKey(t *testing.T, s *sim.Server, key string) (string, time.Duration) {
	t.Helper()
	token, err := redis.String(s.Do("GET", key))
	if errors.Is(err, redis.ErrNil) {
		return "", 0
	}
	left, ttlErr := redis.Int64(s.Do("PTTL", key))
	if err != nil || ttlErr != nil {
		t.Fatal(err, ttlErr)
	}
	return token, time.Duration(left) * time.Millisecond
}

// wantLeft checks that the key is left for d.
func wantLeft(t *testing.T, s *sim.Server, k *redigolock.Lock, d time.Duration) {
	t.Helper()
	if token, left := inKey(t, s, k.Key()); token != k.Token()+"|left" || left != d {
		t.Errorf("the key holds %q for %v, want what the Release left, for %v", token, left, d)
	}
}

// wantGone checks that the key has gone.
func wantGone(t *testing.T, s *sim.Server, key string) {
	t.Helper()
	if token, left := inKey(t, s, key); token != "" {
		t.Errorf("the key holds %q for %v", token, left)
	}
}

// runsOn has three hosts do a job of 50 ms at the same occasion, 100 ms apart, and counts how often it ran.
func runsOn(hosts []*redigolock.Locker) (runs int, errs []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, l := range hosts {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			err := l.TryDo(bg, "cron", 10*time.Second, func(context.Context, *redigolock.Lock) error {
				time.Sleep(50 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				runs++
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return runs, errs
}

func threeHosts(t *testing.T, s *sim.Server) (hosts []*redigolock.Locker) {
	for i := range 3 {
		hosts = append(hosts, cronHost(t, s, fmt.Sprint("host-", i)))
	}
	return hosts
}

// Without MinHold the same three hosts run the job three times.
func TestMinHoldHasAJobRunOnceOnThreeHosts(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		hosts := threeHosts(t, s)
		for occasion := range 12 { // of an hour
			runs, errs := runsOn(hosts)
			held := 0
			for _, err := range errs {
				if errors.Is(err, redigolock.ErrHeld) {
					held++
				}
			}
			if runs != 1 || held != 2 {
				t.Errorf("occasion %d: %d runs, %v", occasion, runs, errs)
			}
			time.Sleep(5 * time.Minute)
		}
	})
	inBubble(t, func(t *testing.T, s *sim.Server) {
		hosts := threeHosts(t, s)
		for _, l := range hosts {
			l.MinHold = 0
		}
		if runs, _ := runsOn(hosts); runs != 3 {
			t.Errorf("%d runs without MinHold: this test proves nothing", runs)
		}
	})
}

func TestMinHoldHasAJobRunOnceThoughTheFirstReplyIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		s.Next("set", sim.Drop())
		runs, errs := runsOn(threeHosts(t, s))
		if runs != 1 {
			t.Errorf("%d runs, %v", runs, errs)
		}
		time.Sleep(minHold - time.Second) // the clean-up of the first token has been at work
		if token, _ := inKey(t, s, "cron"); token == "" {
			t.Error("the clean-up of a lost try has deleted what the Release left")
		}
		time.Sleep(time.Second)
		wantGone(t, s, "cron")
	})
}

// A clean-up that deletes it.
func TestMinHoldOutlivesTheCleanUpOfALostTry(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := cronHost(t, s, "host")
		s.Next("set", sim.Drop())
		k := mustGet(t)(l.TryAcquire(bg, "key", 10*time.Second)) // found by a second look
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		wantLeft(t, s, k, minHold)
		time.Sleep(30 * time.Second)
		if redigolock.CleaningUp(l) || s.Count("release") < 2 {
			t.Errorf("the clean-up has tried %d times: this test proves nothing", s.Count("release"))
		}
		wantLeft(t, s, k, minHold-30*time.Second)
	})
}

// A late renewal that raises it.
func TestMinHoldIsNotRaisedByALateRenewal(t *testing.T) {
	for name, kept := range map[string]bool{"KeepAlive": true, "Extend": false} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			l := cronHost(t, s, "host")
			k := mustGet(t)(l.TryAcquire(bg, "key", 100*time.Second))
			s.Next("extend", sim.Late(5*time.Second), sim.Cut(), sim.Cut(), sim.Cut(), sim.Cut(), sim.Cut())
			if kept {
				k.KeepAlive(bg)
				time.Sleep(50*time.Second + 500*time.Millisecond) // the renewal at half the ttl is on its way
			} else {
				time.Sleep(50 * time.Second)
				wants(t, k.Extend(bg, time.Hour), redigolock.ErrUnknown) // takes a second
			}
			if n := s.Count("extend"); n == 0 {
				t.Fatalf("%s: no renewal was sent", name)
			}
			if err := k.Release(bg); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			time.Sleep(7 * time.Second)
			var released time.Time
			late := false
			for _, c := range s.Log() {
				if c.Verb == "leave" {
					released = c.Ran
				}
				late = late || c.Verb == "extend" && !released.IsZero() && c.Ran.After(released)
			}
			if !late {
				t.Errorf("%s: no renewal was carried out after the Release: this test proves nothing", name)
			}
			if token, _ := inKey(t, s, "key"); token != k.Token()+"|left" {
				t.Errorf("%s: the key holds %q", name, token)
			}
			time.Sleep(5 * time.Second) // more than a minute after the acquire
			wantGone(t, s, "key")
		})
	}
}

// An Attach of the old token.
func TestMinHoldIsNotTakenOverByAnAttach(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l, other := cronHost(t, s, "host"), cronHost(t, s, "other")
		k := mustGet(t)(l.TryAcquire(bg, "key", 10*time.Second))
		twin := mustGet(t)(other.Attach(bg, "key", k.Token(), 10*time.Second))
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		_, err := other.Attach(bg, "key", k.Token(), 10*time.Second)
		wants(t, err, redigolock.ErrNotHeld)
		sent := len(s.Requests())
		_, err = other.Attach(bg, "key", k.Token()+"|left", 10*time.Second) // as Inspect shows it
		wants(t, err, redigolock.ErrNotHeld)
		if n := len(s.Requests()); n != sent {
			t.Error("an Attach of what was left has asked the server")
		}
		wants(t, twin.Extend(bg, time.Hour), redigolock.ErrNotHeld)
		wants(t, twin.Release(bg), redigolock.ErrNotHeld)
		wantLeft(t, s, k, minHold)
	})
}

func TestMinHoldOfAnAttachedLockCountsFromTheAttach(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		if _, err := s.Do("SET", "key", "token", "PX", 60000); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		k := mustGet(t)(cronHost(t, s, "host").Attach(bg, "key", "token", 10*time.Second))
		time.Sleep(5 * time.Second)
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		wantLeft(t, s, k, minHold-5*time.Second)
	})
}

// An undo that leaves it.
func TestMinHoldDoesNotKeepAnAcquireThatIsUndone(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := cronHost(t, s, "host")
		s.Next("set", sim.Slow(9*time.Millisecond))
		err := l.TryDo(bg, "key", 10*time.Millisecond, neverCalled(t))
		wants(t, err, redigolock.ErrExpired)
		if s.Count("release") == 0 || s.Count("leave") != 0 {
			t.Errorf("%d plain releases, and %d that leave the key", s.Count("release"), s.Count("leave"))
		}
		wantGone(t, s, "key")
	})
}

func TestMinHoldDoesNotKeepATryDoOfAnUnknownOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := cronHost(t, s, "host")
		s.Next("set", sim.Drop(), sim.Cut()) // the second on another connection
		err := l.TryDo(bg, "key", time.Hour, neverCalled(t))
		wants(t, err, redigolock.ErrUnknown)
		time.Sleep(5 * time.Second)
		wantGone(t, s, "key")
		if redigolock.CleaningUp(l) || s.Count("leave") != 0 {
			t.Error("the clean-up goes on, or leaves the key")
		}
		if err := l.TryDo(bg, "key", time.Hour, func(context.Context, *redigolock.Lock) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

func TestMinHoldDoesNotKeepALockThatItsCallerNeverGot(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := cronHost(t, s, "host")
		l.Observer = &redigolock.Observer{Acquired: func(context.Context, *redigolock.Lock, time.Duration) { panic("observer") }}
		func() {
			defer func() { _ = recover() }()
			_, _ = l.TryAcquire(bg, "key", time.Hour)
			t.Error("the panic was lost")
		}()
		time.Sleep(time.Second) // it is removed in the background
		wantGone(t, s, "key")
	})
}

func TestMinHoldExpiresByItselfAndOnTime(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, time.Hour} { // less and more than MinHold
		inBubble(t, func(t *testing.T, s *sim.Server) {
			l, next := cronHost(t, s, "host"), cronHost(t, s, "next")
			start := time.Now()
			k := mustGet(t)(l.TryAcquire(bg, "key", ttl))
			time.Sleep(500 * time.Millisecond)
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
			wantLeft(t, s, k, minHold-500*time.Millisecond)
			if err := l.Close(); err != nil { // nothing of its process is needed
				t.Error(err)
			}
			s.Cut()
			mustGet(t)(next.Acquire(bg, "key", ttl))
			if after := time.Since(start); after < minHold || after > minHold+30*time.Millisecond {
				t.Errorf("with a ttl of %v the next host got it %v after the first", ttl, after)
			}
		})
	}
}

// On a slow network the time counts from before the acquire was sent.
func TestMinHoldCountsFromTheBasisOfTheAcquire(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		link := s.NewLink("host")
		link.Delay(20 * time.Millisecond)
		l := simLocker(t, &redigolock.Locker{Pool: link.Pool(), MinHold: minHold})
		warm := mustGet(t)(l.TryAcquire(bg, "warm", time.Second)) // the connection is there
		if err := warm.Release(bg); err != nil {
			t.Error(err)
		}
		start := time.Now()
		k := mustGet(t)(l.TryAcquire(bg, "key", 10*time.Second))
		if err := k.Extend(bg, 20*time.Minute); err != nil { // does not move it
			t.Error(err)
		}
		sent := time.Now()
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		if d := sent.Sub(start); d < 80*time.Millisecond || time.Since(sent) != 40*time.Millisecond {
			t.Errorf("acquire and extend took %v, the release %v: this test proves nothing", d, time.Since(sent))
		}
		wantLeft(t, s, k, minHold-sent.Sub(start)-20*time.Millisecond) // it was carried out 20 ms ago
	})
}

func TestMinHoldThatIsOverDeletesAtOnceByReleaseWith(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := cronHost(t, s, "host")
		calls := 0
		l.ReleaseWith = func(ctx context.Context, c redis.Conn, key, token string) error {
			calls++
			return redigolock.ReleaseTx(ctx, c, key, token)
		}
		k := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		time.Sleep(minHold - time.Millisecond)
		if err := k.Release(bg); err != nil || calls != 0 {
			t.Errorf("a millisecond before: %v, and ReleaseWith was called %d times", err, calls)
		}
		wantLeft(t, s, k, time.Millisecond)
		time.Sleep(time.Millisecond)
		wantGone(t, s, "key")

		k = mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		time.Sleep(minHold)
		if err := k.Release(bg); err != nil || calls != 1 {
			t.Errorf("afterwards: %v, and ReleaseWith was called %d times", err, calls)
		}
		wantGone(t, s, "key")
	})
}

// The first try is lost on its way; when the second one is due, the time is over.
func TestMinHoldThatEndsBetweenTheTriesOfARelease(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := cronHost(t, s, "host")
		k := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		time.Sleep(minHold - 500*time.Millisecond)
		s.Next("leave", sim.Lose())
		if err := k.Release(bg); err != nil { // an OpTimeout later
			t.Error(err)
		}
		wantGone(t, s, "key")
	})
}

// A holder that dies leaves the key for its ttl, however long MinHold is: another host may run the job.
func TestMinHoldOfACrashIsTheTTLOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		link := s.NewLink("host")
		l := simLocker(t, &redigolock.Locker{Pool: link.Pool(), MinHold: minHold})
		start := time.Now()
		mustGet(t)(l.TryAcquire(bg, "key", 10*time.Second)).KeepAlive(bg)
		time.Sleep(time.Second)
		link.BlackHole() // its process dies without a word
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		mustGet(t)(cronHost(t, s, "next").Acquire(bg, "key", time.Second))
		if after := time.Since(start); after < 10*time.Second || after > 10*time.Second+30*time.Millisecond {
			t.Errorf("the next host got it after %v of a ttl of 10 s", after)
		}
	})
}

func TestMinHoldKeepsTheKeyWhateverTheJobDoes(t *testing.T) {
	jobs := map[string]func(context.Context, *redigolock.Lock) error{
		"error":   func(context.Context, *redigolock.Lock) error { return errFn },
		"panic":   func(context.Context, *redigolock.Lock) error { panic("fn's panic") },
		"release": func(ctx context.Context, k *redigolock.Lock) error { return k.Release(ctx) },
		"MaxHold": func(ctx context.Context, k *redigolock.Lock) error { <-ctx.Done(); return nil },
	}
	for name, job := range jobs {
		for verb, do := range map[string]func(*redigolock.Locker, context.Context, string, time.Duration, func(context.Context, *redigolock.Lock) error) error{
			"Do": (*redigolock.Locker).Do, "TryDo": (*redigolock.Locker).TryDo,
		} {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				l := cronHost(t, s, "host")
				l.MaxHold = 5 * time.Second
				told := 0
				l.Observer = &redigolock.Observer{Released: func(_ context.Context, k *redigolock.Lock, held time.Duration, err error) {
					told++
					if err != nil {
						t.Errorf("%s, %s: Released was told %v", verb, name, err)
					}
				}}
				start := time.Now()
				var lock *redigolock.Lock
				func() {
					defer func() { _ = recover() }()
					_ = do(l, bg, "key", 10*time.Second, func(ctx context.Context, k *redigolock.Lock) error {
						lock = k
						return job(ctx, k)
					})
				}()
				wantLeft(t, s, lock, minHold-time.Since(start))
				if told != 1 {
					t.Errorf("%s, %s: Released was told %d times", verb, name, told)
				}
			})
		}
	}
}

// A lock that was lost is not touched; one whose Deadline has passed, and which nobody else has got, is left as ever.
func TestMinHoldOfALostLock(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := cronHost(t, s, "host")
		k := mustGet(t)(l.TryAcquire(bg, "key", time.Second))
		time.Sleep(2 * time.Second)
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		wantGone(t, s, "key")

		k = mustGet(t)(l.TryAcquire(bg, "key", time.Second))
		time.Sleep(990 * time.Millisecond)
		wants(t, k.Release(bg), redigolock.ErrNotHeld)
		wantLeft(t, s, k, minHold-990*time.Millisecond)
	})
}

// A waiter learns that the holder has changed, and how long what it left will stay.
func TestMinHoldIsToldToTheRetryOfAWaiter(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l, waiter := cronHost(t, s, "host"), cronHost(t, s, "waiter")
		k := mustGet(t)(l.TryAcquire(bg, "key", time.Hour))
		var told []time.Duration
		waiter.Retry = func(attempt int, heldFor time.Duration) time.Duration {
			told = append(told, heldFor)
			if attempt == 6 {
				return -1
			}
			return time.Second
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := waiter.Acquire(bg, "key", time.Hour)
			var held *redigolock.HeldError
			if !errors.As(err, &held) || held.Holder != redigolock.HolderOf(k.Token())+"|left" {
				t.Errorf("Acquire: %v", err)
			}
		})
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if told[2] < 59*time.Minute || told[5] > minHold {
			t.Errorf("told %v", told)
		}
	})
}

// A first SET was lost, so the token is cleaned up after the release. The release is refused, and the key keeps others out.
func TestMinHoldOutlivesTheCleanUpOfAReleaseThatFailed(t *testing.T) {
	for _, panics := range []bool{false, true} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), MinHold: time.Minute})
			l.Observer = &redigolock.Observer{Failed: func(context.Context, string, string, error) {
				if panics {
					panic("a bug")
				}
			}}
			s.Next("set", sim.Drop())
			k := mustGet(t)(l.TryAcquire(bg, "key", 5*time.Minute))
			s.Next("leave", sim.Refuse("LOADING"), sim.Refuse("LOADING"))
			func() {
				defer func() { _ = recover() }()
				if err := k.Release(bg); err == nil {
					t.Error("Release was refused, and says nothing")
				}
			}()
			time.Sleep(59 * time.Second)
			if n, _ := redis.Int(s.Do("EXISTS", "key")); n != 1 {
				t.Error("the key is gone before MinHold is over")
			}
			time.Sleep(2 * time.Second)
			if n, _ := redis.Int(s.Do("EXISTS", "key")); n != 0 {
				t.Error("the key is left after MinHold")
			}
		})
	}
}

// Once MinHold is over, a Release that panics leaves its key to the clean-up, as without it.
func TestMinHoldThatIsOverLeavesAPanickingReleaseToTheCleanUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l, armed := cronHost(t, s, "host"), true
		l.ReleaseWith = func(ctx context.Context, c redis.Conn, key, token string) error {
			if armed {
				armed = false
				panic("mine")
			}
			return redigolock.Release(ctx, c, key, token)
		}
		k := mustGet(t)(l.TryAcquire(bg, "key", 2*minHold))
		time.Sleep(minHold + time.Second)
		if aside(func() { _ = k.Release(bg) }) {
			t.Error("Release returned")
		}
		time.Sleep(10 * time.Second)
		wantGone(t, s, "key")
	})
}

// What a Locker with MinHold does on a real server. The rest is in virtual time.

// isLeft says whether the key holds what a Release of the token has left.
func (r *rig) isLeft(key, token string) bool { return r.Get(key) == token+"|left" }

func TestMinHoldOnARealServer(t *testing.T) {
	for _, mux := range []bool{false, true} {
		r := newRig(t)
		r.Locker.MinHold, r.Locker.Owner = time.Hour, "cron-1"
		if mux {
			m := &redigolock.Mux{Pool: r.Locker.Pool}
			defer m.Close()
			r.Locker.Pool = m
		}
		k := r.Must(r.Locker.TryAcquire(bg, "key", 10*time.Second))
		r.OK(k.Release(bg))
		if !r.isLeft("key", k.Token()) {
			t.Errorf("the key holds %q", r.Get("key"))
		}
		if left := r.PTTL("key"); left > time.Hour || left < 59*time.Minute {
			t.Errorf("it is left for %v of an hour", left)
		}
		wants(t, k.Release(bg), redigolock.ErrNotHeld)

		var held *redigolock.HeldError
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		if !errors.As(err, &held) || held.Holder != redigolock.HolderOf(k.Token())+"|left" {
			t.Errorf("TryAcquire: %v", err)
		}
		if strings.Contains(err.Error(), k.Token()) {
			t.Error("the message shows the token")
		}
		c := r.Server.Pool().Get()
		info, err := redigolock.Inspect(bg, c, "key")
		if err != nil || !info.Held || info.Owner != "cron-1" || info.Token != k.Token()+"|left" || info.TTL < 59*time.Minute {
			t.Errorf("Inspect: %+v, %v", info, err)
		}
		r.OK(redigolock.Release(bg, c, "key", info.Token)) // an operator lets the next host in
		c.Close()
		r.OK(r.Must(r.Locker.TryAcquire(bg, "key", time.Minute)).Release(bg))
	}
}

// The hosts start 100 ms apart, in real time, and the job takes 50 ms: runsOn.
func TestMinHoldOnThreeHostsAndARealServer(t *testing.T) {
	server := redistest.Start(t)
	var hosts []*redigolock.Locker
	for range 3 {
		hosts = append(hosts, &redigolock.Locker{Pool: server.Pool(), MinHold: time.Minute})
	}
	runs, errs := runsOn(hosts)
	held := 0
	for _, err := range errs {
		if errors.Is(err, redigolock.ErrHeld) {
			held++
		} else if err != nil {
			t.Error(err)
		}
	}
	if runs != 1 || held != 2 {
		t.Errorf("the job ran %d times, and %d hosts were told that another has run it", runs, held)
	}
}

func TestMinHoldShortensAndLengthensTheTTL(t *testing.T) {
	for _, ttl := range []time.Duration{10 * time.Second, time.Hour} {
		r := newRig(t)
		r.Locker.MinHold = time.Minute
		k := r.Must(r.Locker.TryAcquire(bg, "key", ttl))
		r.OK(k.Release(bg))
		if left := r.PTTL("key"); left > time.Minute || left < 50*time.Second || !r.isLeft("key", k.Token()) {
			t.Errorf("with a ttl of %v %q is left for %v", ttl, r.Get("key"), left)
		}
	}
}

// SET as a script's first write is refused then, DEL is not: a Release works when the memory is full.
func TestMinHoldWorksWithoutMemory(t *testing.T) {
	r := newRig(t)
	r.Locker.MinHold = time.Hour
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	r.Do("CONFIG", "SET", "maxmemory", 1)
	r.OK(k.Release(bg))
	if !r.isLeft("key", k.Token()) || r.PTTL("key") < 59*time.Minute {
		t.Errorf("%q is left for %v", r.Get("key"), r.PTTL("key"))
	}
}

// A user without the right to SET inside scripts, as one with SetNXScript may be, gets the server's refusal, and the key its
// time all the same.
func TestMinHoldRefusedKeepsTheTime(t *testing.T) {
	r := newRig(t)
	r.Do("ACL", "SETUSER", "narrow", "on", "nopass", "~*", "+setnx", "+get", "+pttl", "+pexpire", "+del", "+eval", "+evalsha")
	pool := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", r.Real().Addr(), redis.DialUsername("narrow"), redis.DialPassword("x"))
	}}
	defer pool.Close()
	locks := &redigolock.Locker{Pool: pool, AcquireWith: redigolock.SetNXScript, MinHold: time.Hour}
	k := r.Must(locks.TryAcquire(bg, "key", time.Minute))
	var refusal redis.Error
	if err := k.Release(bg); !errors.As(err, &refusal) {
		t.Errorf("Release: %v", err)
	}
	if r.Get("key") != k.Token() || r.PTTL("key") < 59*time.Minute {
		t.Errorf("%q is left for %v", r.Get("key"), r.PTTL("key"))
	}
}

func TestMinHoldOfAForeignOrTTLlessKey(t *testing.T) {
	r := newRig(t)
	r.Locker.MinHold = time.Hour
	for name, c := range map[string]struct {
		set  []any
		want error
	}{
		"gone":                    {nil, redigolock.ErrNotHeld},
		"another's":               {[]any{"SET", "key", "another's", "PX", 60000}, redigolock.ErrNotHeld},
		"another's without a TTL": {[]any{"SET", "key", "another's"}, redigolock.ErrConflict},
		"a list":                  {[]any{"RPUSH", "key", "x"}, redigolock.ErrConflict},
	} {
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Do("DEL", "key")
		if c.set != nil {
			r.Do(c.set[0].(string), c.set[1:]...)
		}
		before, _ := r.Server.Do("DUMP", "key")
		wants(t, k.Release(bg), c.want)
		if after, _ := r.Server.Do("DUMP", "key"); string(bytesOf(after)) != string(bytesOf(before)) {
			t.Errorf("%s: it was touched", name)
		}
		r.Do("DEL", "key")
	}
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	r.Do("PERSIST", "key")
	r.OK(k.Release(bg)) // a lock that is ours, and has lost its TTL, gets one
	if left := r.PTTL("key"); left < 59*time.Minute || !r.isLeft("key", k.Token()) {
		t.Errorf("%q is left for %v", r.Get("key"), left)
	}
}

func bytesOf(reply any) []byte {
	b, _ := reply.([]byte)
	return b
}

func TestMinHoldIsChecked(t *testing.T) {
	r := newRig(t)
	for _, l := range []*redigolock.Locker{
		{MinHold: -1},
		{MinHold: 24*time.Hour + 1},
		{MinHold: time.Second, Fair: true},
	} {
		l.Pool = r.Proxy.Pool()
		r.Silent("a bad MinHold", func() {
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrInvalid)
			_, err = l.Acquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrInvalid)
			_, err = l.Attach(bg, "key", "token", time.Minute)
			wants(t, err, redigolock.ErrInvalid)
			wants(t, l.TryDo(bg, "key", time.Minute, neverCalled(t)), redigolock.ErrInvalid)
		})
	}
	r.Locker.MinHold = 24 * time.Hour
	k := r.Must(r.Locker.TryAcquire(bg, "key", 24*time.Hour))
	r.OK(k.Release(bg))
	if left := r.PTTL("key"); left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("left for %v", left)
	}
}

// A first reply that is lost: the second try finds what the first one left.
func TestMinHoldReleaseWhoseReplyIsLost(t *testing.T) {
	r := newRig(t)
	r.Locker.MinHold = time.Hour
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	r.Plan(map[string][]redistest.Action{"leave": {redistest.Drop()}})
	r.OK(k.Release(bg))
	if n := len(r.Sent("leave")); n != 2 {
		t.Errorf("%d tries", n)
	}
	if !r.isLeft("key", k.Token()) {
		t.Errorf("the key holds %q", r.Get("key"))
	}
}

// What a Release leaves lasts no less than MinHold by a fraction of a millisecond, and no more though the clock was put back.
func TestMinHoldIsRoundedUpAndNoLonger(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := cronHost(t, s, "a")
		back := time.Duration(0)
		redigolock.SetClock(l, func() time.Time { return time.Now().Add(-back) })
		for _, stepBack := range []bool{false, true} {
			k, err := l.TryAcquire(bg, "key", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Microsecond)
			if stepBack {
				back = time.Hour
			}
			if err := k.Release(bg); err != nil {
				t.Fatal(err)
			}
			wantLeft(t, s, k, minHold)
			time.Sleep(minHold)
		}
	})
}
