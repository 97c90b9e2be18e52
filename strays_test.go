package redigolock_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// giveUp has an acquire lose its reply and its context, and returns its error. What happens to the SET is action. rest
// decides about all other requests, nil passes them.
func (r *rig) giveUp(acquire func(context.Context, string, time.Duration) (*redigolock.Lock, error), verb string,
	action redistest.Action, rest func(verb string, n int) redistest.Action) error {
	r.T.Helper()
	cause := errors.New("the caller has gone")
	ctx, cancel := context.WithCancelCause(bg)
	arrived := make(chan struct{})
	r.Rule(func(v string, n int) redistest.Action {
		if v == verb && n == 1 {
			close(arrived)
			return action
		}
		if rest == nil {
			return redistest.Pass()
		}
		return rest(v, n)
	})
	ended := inBackground(func() error {
		_, err := acquire(ctx, "key", time.Minute)
		return err
	})
	receive(r.T, "the acquire is sent", arrived)
	cancel(cause)
	err := receive(r.T, "the acquire returns", ended)
	wants(r.T, err, redigolock.ErrUnknown, context.Canceled, cause)
	return err
}

func TestAcquireThatGivesUpIsCleanedUpThoughItsContextHasEnded(t *testing.T) { // redsync cleans up with the ended ctx
	for _, a := range acquireWays[:4] {
		for _, action := range []redistest.Action{redistest.Swallow(), redistest.Hold(nil)} {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, 2*time.Second
				for _, acquire := range []func(context.Context, string, time.Duration) (*redigolock.Lock, error){
					r.Locker.TryAcquire, r.Locker.Acquire,
				} {
					start := time.Now()
					r.giveUp(acquire, a.Verb, action, nil)
					if took := time.Since(start); took > r.Locker.OpTimeout {
						t.Errorf("%s: giving up took %v", a.Name, took)
					}
					eventually(t, "the key is removed", func() bool { return r.Get("key") == "" })
				}
			})
		}
	}
}

func TestCleanUpComparesTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		r.Do("SET", "key", "another's", "PX", 60000)
		r.giveUp(r.Locker.TryAcquire, "set", redistest.Swallow(), nil)
		r.noCleanUp()
		if r.Get("key") != "another's" {
			t.Error("the clean-up removed another's lock")
		}
		if n := len(r.Sent("del")); n != 0 {
			t.Errorf("%d bare DELs", n)
		}
	})
}

func TestCleanUpGoesAroundAnExhaustedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		pool := r.Proxy.Pool()
		pool.MaxActive, pool.Wait = 1, true
		r.Locker.Pool, r.Locker.OpTimeout = pool, time.Second
		var busy <-chan redis.Conn
		r.Locker.AcquireWith = func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
			busy = inBackground(pool.Get) // takes the only connection as soon as it comes back
			return redigolock.SetNX(ctx, c, key, token, ttl)
		}
		r.giveUp(r.Locker.TryAcquire, "set", redistest.Swallow(), nil)
		c := receive(t, "the pool is exhausted", busy)
		defer c.Close()
		eventually(t, "the key is removed", func() bool { return r.Get("key") == "" && len(r.Sent("release")) > 0 })
		if first, clean := r.Sent("set")[0].Conn, r.Sent("release")[0].Conn; first == clean {
			t.Error("the clean-up took the connection whose reply was lost")
		}
	})
}

func TestCleanUpEndsAfterTwoConfirmationsAnOpTimeoutApart(t *testing.T) {
	for _, action := range []redistest.Action{redistest.Swallow(), redistest.Cut()} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimRig(t)
			r.Locker.OpTimeout = shortOp
			var came []time.Time // of each release, before it is answered
			r.Rule(func(verb string, _ int) redistest.Action {
				switch verb {
				case "set":
					return action
				case "extend":
					return redistest.Cut()
				case "release":
					came = append(came, time.Now())
				}
				return redistest.Pass()
			})
			_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrUnknown)
			r.noCleanUp()
			r.Proxy.Rule(nil) // from now on came belongs to the test
			if len(came) != 2 {
				t.Fatalf("%d releases were sent, want 2", len(came))
			}
			if apart := came[1].Sub(came[0]); apart < r.Locker.OpTimeout {
				t.Errorf("the two confirmations are %v apart, want %v", apart, r.Locker.OpTimeout)
			}
		})
	}
}

// giveUpOrLose has a TryAcquire end with ErrUnknown.
func (r *rig) giveUpOrLose(action redistest.Action) {
	r.T.Helper()
	r.Rule(func(verb string, n int) redistest.Action {
		switch {
		case verb != "set":
			return redistest.Pass()
		case n == 1:
			return action
		}
		return redistest.Cut()
	})
	_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
	wants(r.T, err, redigolock.ErrUnknown)
}

// evals is how many scripts the server has run.
func (r *rig) evals() int64 {
	r.T.Helper()
	calls, err := r.Server.Calls()
	r.OK(err)
	return calls["evalsha"]
}

func TestSetThatIsCarriedOutAfterTheFirstConfirmationIsRemovedByTheSecond(t *testing.T) {
	for _, a := range acquireWays[:4] {
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.AcquireWith, r.Locker.OpTimeout = a.With, 2*time.Second
				before := r.evals()
				late := make(chan struct{})
				r.giveUp(r.Locker.TryAcquire, a.Verb, redistest.Late(late), nil)
				eventually(t, "the first confirmation", func() bool { return r.evals() == before+1 })
				close(late)
				eventually(t, "the SET is carried out", func() bool { return r.Get("key") != "" })
				eventually(t, "the key is removed", func() bool { return r.Get("key") == "" })
				if n := len(r.Sent("release")); n != 2 {
					t.Errorf("%d releases were sent", n)
				}
			})
		})
	}
}

func TestCleanUpIsTriedAgainUntilTheServerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = 200 * time.Millisecond
		busy, gone := redistest.Reply("-BUSY wait\r\n"), redistest.Cut()
		r.Plan(map[string][]redistest.Action{
			"set": {redistest.Drop(), gone}, "release": {gone, busy, redistest.Swallow()},
		})
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown)
		eventually(t, "the key is removed", func() bool { return r.Get("key") == "" })
		r.noCleanUp()
		if n := len(r.Sent("release")); n < 5 { // more where the machine is busy
			t.Errorf("%d releases were sent, want 3 that failed and 2 that were confirmed", n)
		}
	})
}

func TestCleanUpEndsWhenTheTTLMustBeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		r.Plan(map[string][]redistest.Action{"set": {redistest.Drop(), redistest.Drop()}})
		_, err := r.Locker.TryAcquire(bg, "key", time.Second)
		wants(t, err, redigolock.ErrUnknown)
		r.Server.Kill()
		r.noCleanUp()
	})
}

// The Extend that was to adopt it was carried out and lost, too: the key lives on from then.
func TestCleanUpGoesOnUntilAnAdoptionThatWasLostMustBeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		const ttl = 4 * time.Second
		r.Locker.OpTimeout = shortOp
		ctx, cancel := context.WithCancel(bg)
		r.Rule(func(verb string, n int) redistest.Action {
			switch {
			case verb == "set" && n <= 2: // the second on another connection
				return redistest.Drop()
			case verb == "extend":
				cancel()
				r.Proxy.Refuse(true)
				return redistest.Drop()
			}
			return redistest.Pass()
		})
		r.Locker.Retry = func(int, time.Duration) time.Duration { return ttl - ttl/8 }
		_, err := r.Locker.Acquire(ctx, "key", ttl)
		wants(t, err, redigolock.ErrUnknown, context.Canceled)
		extended := time.Now()
		eventually(t, "the ttl of the SET is over, that of the Extend is not", func() bool { return time.Since(extended) > ttl/2 })
		r.Proxy.Refuse(false)
		eventually(t, "the clean-up goes on", func() bool { return len(r.Sent("release")) > 0 || !redigolock.CleaningUp(r.Locker) })
		if len(r.Sent("release")) == 0 {
			t.Error("the clean-up ended before the Extend's ttl was over")
		}
		r.OK(r.Locker.Close())
	})
}

func TestManyStraysAreCleanedUpByOneGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		r.Rule(func(verb string, n int) redistest.Action {
			switch verb {
			case "set":
				return redistest.Drop()
			case "extend":
				return redistest.Cut()
			}
			return redistest.Pass()
		})
		const n = 50
		done := make(chan struct{}, n)
		for i := range n {
			go func() {
				r.Locker.TryAcquire(bg, string(rune('A'+i)), time.Minute)
				done <- struct{}{}
			}()
		}
		for range n {
			receive(t, "all return", done)
		}
		r.noCleanUp()
		if left := r.Do("DBSIZE"); left != int64(0) {
			t.Errorf("%v keys are left", left)
		}
	})
}

func TestCloseWaitsForTheCleanUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = 500 * time.Millisecond
		r.giveUpOrLose(redistest.Drop())
		r.OK(r.Locker.Close())
		if redigolock.CleaningUp(r.Locker) || r.Get("key") != "" || len(r.Sent("release")) != 2 {
			t.Errorf("Close returned after %d releases, the key holds %q", len(r.Sent("release")), r.Get("key"))
		}
	})
}

func TestCloseWaitsBoundedForADeadServer(t *testing.T) {
	for name, kill := range map[string]func(*rig){
		"killed": func(r *rig) { r.Server.Kill() },
		"hung":   func(r *rig) { r.Server.Pause() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				r.Locker.OpTimeout = shortOp
				r.giveUpOrLose(redistest.Drop())
				kill(r)
				start := time.Now()
				r.OK(r.Locker.Close())
				if took := time.Since(start); took != 3*r.Locker.OpTimeout {
					t.Errorf("Close took %v", took)
				}
				r.noCleanUp()
			})
		})
	}
}

func TestCloseWaitsBoundedThoughTheCleanUpHangsInADialThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		dialer := newHangingDialer(t, r.Proxy.Dial)
		r.Locker.Pool = &redis.Pool{DialContext: func(context.Context) (redis.Conn, error) { return dialer.dial() }}
		r.Locker.OpTimeout = shortOp
		r.Rule(func(verb string, n int) redistest.Action {
			if n == 2 { // on another connection
				dialer.hang()
			}
			return redistest.Drop()
		})
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnknown)
		eventually(t, "the clean-up hangs", func() bool { return dialer.hanging() > 0 })
		r.OK(receive(t, "Close returns", inBackground(r.Locker.Close)))
	})
}

func TestAcquireAfterCloseThatStraysIsStillCleanedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = shortOp
		r.Locker.AcquireWith = func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
			r.OK(r.Locker.Close()) // while the acquire is under way
			return redigolock.SetNX(ctx, c, key, token, ttl)
		}
		r.giveUpOrLose(redistest.Drop())
		eventually(t, "the key is removed", func() bool { return r.Get("key") == "" })
		r.noCleanUp()
	})
}

func TestReleaseOfAnAdoptedLockRemovesALateSetToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = time.Second
		late := make(chan struct{})
		r.Plan(map[string][]redistest.Action{"set": {redistest.Late(late)}})
		k := r.Must(r.Locker.Acquire(endsIn(t, 10*time.Second), "key", time.Minute))
		before := r.evals()
		r.OK(k.Release(bg))
		eventually(t, "the release and the first confirmation", func() bool { return r.evals() >= before+2 })
		close(late) // the first SET, of before the release
		eventually(t, "it is carried out", func() bool { return r.Get("key") != "" })
		eventually(t, "it is removed", func() bool { return r.Get("key") == "" })
		r.noCleanUp()
	})
}

func TestNothingIsCleanedUpWhereNothingWasLost(t *testing.T) { // redsync sends a release after every failed try
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		ctx, cancel := context.WithCancel(bg)
		r.Locker.Retry = func(attempt int, _ time.Duration) time.Duration {
			if attempt == 5 {
				cancel()
			}
			return time.Millisecond
		}
		r.Do("SET", "key", "another's", "PX", 60000)
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld)
		wantsNot(t, err, redigolock.ErrUnknown)
		_, err = r.Locker.Acquire(ctx, "key", time.Minute)
		wants(t, err, redigolock.ErrHeld, context.Canceled)
		r.OK(r.Locker.Close())
		if n := len(r.Sent("release")); n != 0 {
			t.Errorf("%d releases were sent", n)
		}
	})
}

func TestCleanUpThroughAPoolThatOnlyLends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.Pool, r.Locker.OpTimeout = getPool{Pool: r.Proxy.Pool()}, shortOp
		r.giveUpOrLose(redistest.Drop())
		eventually(t, "the key is removed", func() bool { return r.Get("key") == "" })
		r.noCleanUp()
	})
}

// A dial of the user's may fail with an error of any type.
func TestCleanUpGoesOnWhateverTheErrorsType(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		var down atomic.Bool
		pool := &redis.Pool{Dial: func() (redis.Conn, error) {
			if down.Load() {
				return nil, errors.New("the tunnel is down")
			}
			return s.DialRedis(bg)
		}}
		defer pool.Close()
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		s.Rule(func(r sim.Request) sim.Action {
			switch {
			case r.Verb == "set" && r.N == 1:
				down.Store(true)
				return sim.Drop()
			case r.Verb == "release" && r.N == 1:
				return sim.Drop()
			}
			return sim.Pass()
		})
		_, err := l.TryAcquire(bg, "key", time.Hour)
		wants(t, err, redigolock.ErrUnknown)
		time.Sleep(time.Second / 2)
		down.Store(false)
		time.Sleep(10 * time.Second)
		if n, _ := redis.Int(s.Do("EXISTS", "key")); n != 0 {
			t.Error("the key is left")
		}
	})
}

// What undoes an acquire is never Locker.ReleaseWith, which may panic: on the clean-up's goroutine that would end the process.
func TestUndoingAnAcquireNeverCallsReleaseWith(t *testing.T) {
	const ttl = 500 * time.Millisecond
	undone := map[string]func(t *testing.T, s *sim.Server, l *redigolock.Locker){
		"a lost try": func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
			loseATry(t, s, l)
		},
		"an acquire that is too late": func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
			l.AcquireWith = func(ctx context.Context, c redis.Conn, key, token string, _ time.Duration) error {
				err := redigolock.SetNX(ctx, c, key, token, time.Minute)
				time.Sleep(ttl)
				return err
			}
			_, err := l.TryAcquire(bg, "key", ttl)
			wants(t, err, redigolock.ErrExpired)
		},
		"an Observer that panics": func(t *testing.T, s *sim.Server, l *redigolock.Locker) {
			l.Observer = &redigolock.Observer{Acquired: func(context.Context, *redigolock.Lock, time.Duration) { panic("mine") }}
			aside(func() { _, _ = l.TryAcquire(bg, "key", time.Minute) })
		},
	}
	for name, undo := range undone {
		for _, pool := range []string{"pool", "Mux", "binding"} {
			t.Run(name+"/"+pool, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					base := simPool(t, s, "redis")
					l := simLocker(t, &redigolock.Locker{Pool: base, OpTimeout: time.Second})
					switch pool {
					case "Mux":
						m := &redigolock.Mux{Pool: base}
						t.Cleanup(func() { m.Close() })
						l.Pool = m
					case "binding":
						l.Pool = &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
							c, err := base.DialContext(ctx)
							return bindsToAll{c}, err
						}}
					}
					l.ReleaseWith = func(context.Context, redis.Conn, string, string) error {
						t.Error("ReleaseWith was called")
						return nil
					}
					undo(t, s, l)
					time.Sleep(10 * time.Second)
					if n, _ := s.Do("EXISTS", "key"); n != int64(0) {
						t.Error("the key is left")
					}
					if n := l.Stats().Owed; n != 0 {
						t.Errorf("%d are owed", n)
					}
				})
			})
		}
	}
}

// loseATry has the caller of a TryAcquire leave before its reply comes: the key is set until it is cleaned up.
func loseATry(t *testing.T, s *sim.Server, l *redigolock.Locker) {
	t.Helper()
	s.Next("set", sim.Hold(nil))
	ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
	defer cancel()
	_, err := l.TryAcquire(ctx, "key", time.Hour)
	wants(t, err, redigolock.ErrUnknown)
}

// A bindsToAll is a connection of a cluster.
type bindsToAll struct{ redis.Conn }

func (bindsToAll) Bind(...string) error { return nil }

func (c bindsToAll) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

func (c bindsToAll) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	return redis.DoContext(c.Conn, ctx, cmd, args...)
}

func (c bindsToAll) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func (c bindsToAll) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, d, cmd, args...)
}

// Where no script may run, the clean-up is a transaction, as the ReleaseTx of such a user is.
func TestCleanUpOfAUserThatMayRunNoScript(t *testing.T) {
	for _, refusal := range []string{"NOPERM this user has no permissions to run the 'evalsha' command", "ERR unknown command 'EVALSHA'"} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			s.Rule(func(r sim.Request) sim.Action {
				if r.Verb == "release" || r.Verb == "eval" || r.Verb == "extend" {
					return sim.Refuse(refusal)
				}
				return sim.Pass()
			})
			l := simLocker(t, &redigolock.Locker{
				Pool: simPool(t, s, "redis"), AcquireWith: redigolock.SetNX, ReleaseWith: redigolock.ReleaseTx, OpTimeout: time.Second,
			})
			loseATry(t, s, l)
			time.Sleep(10 * time.Second)
			if n, _ := s.Do("EXISTS", "key"); n != int64(0) {
				t.Error("the key is left")
			}
		})
	}
}

// loseKey has a TryAcquire of the key end with ErrUnknown at once: no connection lives long enough for a reply. Its SET is
// carried out.
func loseKey(t *testing.T, s *sim.Server, l *redigolock.Locker, key string, ttl time.Duration) {
	t.Helper()
	s.Next("set", slices.Repeat([]sim.Action{sim.Drop()}, 70)...) // where it cannot dial, it tries so many
	_, err := l.TryAcquire(bg, key, ttl)
	wants(t, err, redigolock.ErrUnknown)
}

// knownScripts has the server know the scripts, so that each verb is one request.
func knownScripts(t *testing.T, s *sim.Server) {
	t.Helper()
	for _, text := range redigolock.ScriptTexts {
		if _, err := s.Do("SCRIPT", "LOAD", text); err != nil {
			t.Fatal(err)
		}
	}
}

// cameAfter are the times at which requests of a verb have come, since start.
func cameAfter(s *sim.Server, verb string, start time.Time) (times []time.Duration) {
	for _, q := range s.Requests() {
		if q.Verb == verb {
			times = append(times, q.At.Sub(start))
		}
	}
	return times
}

func TestEachStrayHasItsOwnTimes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: time.Minute})
		knownScripts(t, s)
		start := time.Now()
		loseKey(t, s, l, "first", time.Hour)
		time.Sleep(20 * time.Second)
		loseKey(t, s, l, "second", time.Hour) // the clean-up sleeps until the first is to be confirmed again
		if n := l.Stats().Owed; n != 2 {
			t.Errorf("%d are owed", n)
		}
		time.Sleep(time.Hour)
		want := []time.Duration{0, 20 * time.Second, time.Minute, 80 * time.Second}
		if got := cameAfter(s, "release", start); !slices.Equal(got, want) {
			t.Errorf("the releases came after %v, want %v", got, want)
		}
		if n := l.Stats().Owed; n != 0 {
			t.Errorf("%d are owed", n)
		}
	})
}

func TestCleanUpOfAServerThatIsAwayPausesLongerAndLonger(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: 4 * time.Second})
		knownScripts(t, s)
		start := time.Now()
		testbed.Refuses(s, "release", sim.Refuse("LOADING Redis is loading the dataset in memory")) // before there is anything to clean up
		loseKey(t, s, l, "key", 298*time.Second)
		time.Sleep(time.Hour)
		var want []time.Duration // until 302 s, when the ttl must be over, and once more
		for at, pause := time.Duration(0), 4*time.Second; at <= 6*time.Minute; pause = min(2*pause, time.Minute) {
			want = append(want, at)
			at += pause
		}
		if got := cameAfter(s, "release", start); !slices.Equal(got, want) {
			t.Errorf("the releases came after %v, want %v", got, want)
		}
	})
}

// A pause begins at its shortest after each answer.
func TestCleanUpForgetsItsFailuresOnceItIsAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: 4 * time.Second})
		knownScripts(t, s)
		start := time.Now()
		loading := sim.Refuse("LOADING Redis is loading the dataset in memory")
		s.Next("release", loading, loading, sim.Pass(), loading, loading, sim.Pass())
		loseKey(t, s, l, "key", 5*time.Minute)
		time.Sleep(time.Hour)
		var want []time.Duration
		for _, at := range []int{0, 4, 12, 16, 20, 28} {
			want = append(want, time.Duration(at)*time.Second)
		}
		if got := cameAfter(s, "release", start); !slices.Equal(got, want) {
			t.Errorf("the releases came after %v, want %v", got, want)
		}
	})
}

// toldErrors are what an Observer was told.
type toldErrors struct {
	mu   sync.Mutex // protects errs
	errs []error
}

func (e *toldErrors) add(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errs = append(e.errs, err)
}

func (e *toldErrors) all() []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.errs)
}

// What the server refuses for good is told once, and not asked for again.
func TestCleanUpThatIsRefusedForGoodEnds(t *testing.T) {
	for name, pool := range map[string]func(t *testing.T, s *sim.Server) redigolock.Pool{
		"pool":  func(t *testing.T, s *sim.Server) redigolock.Pool { return simPool(t, s, "redis") },
		"binds": func(t *testing.T, s *sim.Server) redigolock.Pool { return bindingPool{s.Pool(), t} },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				knownScripts(t, s)
				var told toldErrors
				l := simLocker(t, &redigolock.Locker{Pool: pool(t, s), OpTimeout: time.Second, Observer: &redigolock.Observer{
					Failed: func(_ context.Context, _, verb string, err error) {
						if verb == "clean up" {
							told.add(err)
						}
					},
				}})
				s.Rule(func(q sim.Request) sim.Action {
					if q.Verb == "release" {
						return sim.Refuse("OOM command not allowed when used memory > 'maxmemory'.")
					}
					return sim.Pass()
				})
				loseKey(t, s, l, "key", time.Hour)
				time.Sleep(10 * time.Minute)
				if n := s.Count("release"); n != 1 {
					t.Errorf("%d releases were sent", n)
				}
				if all := told.all(); len(all) != 1 || l.Stats().Owed != 0 {
					t.Errorf("the Observer was told %v, %+v", all, l.Stats())
				}
			})
		})
	}
}

// The key may be of another type for now, and the lost SET come later still.
func TestCleanUpThatFindsSomethingElseLooksAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		knownScripts(t, s)
		var told toldErrors
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: 2 * time.Second, Observer: &redigolock.Observer{
			Failed: func(_ context.Context, _, _ string, err error) { told.add(err) },
		}})
		if _, err := s.Do("RPUSH", "key", "1"); err != nil {
			t.Fatal(err)
		}
		carry := make(chan struct{})
		s.Next("set", sim.LateUntil(carry))
		ctx, cancel := context.WithCancel(bg)
		time.AfterFunc(time.Second, cancel)
		_, err := l.TryAcquire(ctx, "key", time.Hour)
		wants(t, err, redigolock.ErrUnknown)
		time.Sleep(time.Second) // the first confirmation found a list
		if _, err := s.Do("DEL", "key"); err != nil {
			t.Fatal(err)
		}
		close(carry)
		synctest.Wait()
		if n, _ := s.Do("EXISTS", "key"); n != int64(1) {
			t.Fatal("the SET was not carried out late")
		}
		time.Sleep(time.Minute)
		if n, _ := s.Do("EXISTS", "key"); n != int64(0) {
			t.Error("the key is left")
		}
		if n := s.Count("release"); n != 2 {
			t.Errorf("%d releases were sent", n)
		}
		if all := told.all(); len(all) != 0 {
			t.Errorf("the Observer was told %v", all)
		}
	})
}

// A clean-up that begins after Close has one OpTimeout: nobody waits for it, and nobody could end it any more.
func TestCleanUpThatBeginsAfterCloseEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.OpTimeout = 2 * time.Second
		come := make(chan struct{})
		r.Rule(func(verb string, n int) redistest.Action {
			switch {
			case verb == "set" && n == 1:
				close(come)
				return redistest.Swallow()
			case verb == "release":
				return redistest.Reply("-LOADING Redis is loading the dataset in memory\r\n")
			}
			return redistest.Pass()
		})
		ended := inBackground(func() error {
			_, err := r.Locker.TryAcquire(bg, "key", time.Hour)
			return err
		})
		<-come
		r.OK(r.Locker.Close())
		err := <-ended
		if !errors.Is(err, redigolock.ErrUnknown) {
			t.Fatal(err)
		}
		if !redigolock.CleaningUp(r.Locker) {
			t.Error("it was not tried even once")
		}
		time.Sleep(r.Locker.OpTimeout)
		synctest.Wait()
		if redigolock.CleaningUp(r.Locker) {
			t.Error("it goes on after an OpTimeout")
		}
		if n := len(r.Sent("release")); n < 1 {
			t.Errorf("%d releases were sent", n)
		}
	})
}

// A Release that ends without an answer leaves the lock to the clean-up: nobody else would release it before its ttl is over.
func TestReleaseWithoutAnAnswerIsCleanedUp(t *testing.T) {
	pools := map[string]func(t *testing.T, p *redis.Pool) (redigolock.Pool, bool){
		"pool": func(_ *testing.T, p *redis.Pool) (redigolock.Pool, bool) { return p, false },
		"mux": func(t *testing.T, p *redis.Pool) (redigolock.Pool, bool) {
			m := &redigolock.Mux{Pool: p}
			t.Cleanup(func() { m.Close() })
			return m, false
		},
		"fair": func(_ *testing.T, p *redis.Pool) (redigolock.Pool, bool) { return p, true },
	}
	actions := map[string]func() redistest.Action{"swallowed": redistest.Swallow, "cut": redistest.Cut}
	for name, pool := range pools {
		for what, action := range actions {
			t.Run(name+" "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSimRig(t)
					r.Locker.Pool, r.Locker.Fair = pool(t, r.Proxy.Pool())
					r.Locker.OpTimeout = 100 * time.Millisecond
					k := r.Must(r.Locker.Acquire(bg, "key", time.Minute))
					r.OK(k.Extend(bg, time.Hour))
					begin := time.Now()
					r.Rule(func(verb string, n int) redistest.Action {
						if (verb == "release" || verb == "rel") && time.Since(begin) < 2*time.Minute {
							return action()
						}
						return redistest.Pass()
					})
					wants(t, k.Release(bg), redigolock.ErrUnknown)
					if n := r.Locker.Stats().Owed; n != 1 {
						t.Errorf("%d are owed", n)
					}
					time.Sleep(4 * time.Minute)
					if r.Get("key") != "" {
						t.Error("the lock is left until its ttl is over")
					}
				})
			})
		}
	}
}

// An Extend without an answer may have been carried out: the clean-up of a Release goes on for as long as that would last.
func TestReleaseAfterAnExtendWithoutAnAnswerIsCleanedUp(t *testing.T) {
	type locks interface {
		TryAcquire(ctx context.Context, key string, ttl time.Duration) (*redigolock.Lock, error)
	}
	for name, mint := range map[string]func(t *testing.T, p *redis.Pool) locks{
		"plain": func(t *testing.T, p *redis.Pool) locks {
			return simLocker(t, &redigolock.Locker{Pool: p, OpTimeout: time.Second})
		},
		"fair": func(t *testing.T, p *redis.Pool) locks {
			return simLocker(t, &redigolock.Locker{Pool: p, OpTimeout: time.Second, Fair: true})
		},
		"quorum": func(t *testing.T, p *redis.Pool) locks {
			q := &redigolock.Quorum{Pools: []redigolock.Pool{p}, OpTimeout: time.Second}
			t.Cleanup(func() { q.Close() })
			return q
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				k := mustGet(t)(mint(t, simPool(t, s, "redis")).TryAcquire(bg, "key", time.Minute))
				if err := k.Extend(bg, time.Minute); err != nil { // loads the script
					t.Fatal(err)
				}
				heal := s.BlackHole(sim.ToClient)
				wants(t, k.Extend(bg, time.Hour), redigolock.ErrUnknown)
				heal()
				heal = s.BlackHole(sim.ToServer)
				if err := k.Release(bg); err == nil {
					t.Fatal("the Release had an answer: this test shows nothing")
				}
				time.Sleep(10 * time.Minute) // longer than the ttl of the acquire
				heal()
				time.Sleep(3 * time.Minute)
				if n, _ := s.Do("EXISTS", "key"); n != int64(0) {
					t.Errorf("the key is left for %v", s.Miniredis().TTL("key"))
				}
			})
		})
	}
}

// The clean-up of an attached lock goes on for as long as its ttl was at the server.
func TestReleaseOfAnAttachedLockIsCleanedUp(t *testing.T) {
	for _, minHold := range []time.Duration{0, 5 * time.Minute} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: time.Second, MinHold: minHold})
			s.Do("SET", "key", "token", "PX", time.Hour.Milliseconds())
			k := mustGet(t)(l.Attach(bg, "key", "token", 10*time.Second))
			heal := s.BlackHole(sim.ToServer)
			if err := k.Release(bg); err == nil {
				t.Fatal("the Release had an answer: this test shows nothing")
			}
			time.Sleep(2 * time.Minute)
			heal()
			time.Sleep(10 * time.Minute)
			if n, _ := s.Do("EXISTS", "key"); n != int64(0) {
				t.Errorf("MinHold %v: the key is left for %v", minHold, s.Miniredis().TTL("key"))
			}
		})
	}
}

// What a Release may not touch yet is not cleaned up before MinHold is over, either.
func TestReleaseWithoutAnAnswerKeepsMinHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		r.Locker.MinHold, r.Locker.OpTimeout = 10*time.Second, 100*time.Millisecond
		k := r.Must(r.Locker.Acquire(bg, "key", time.Minute))
		down := true
		r.Rule(func(string, int) redistest.Action {
			if down {
				return redistest.Swallow()
			}
			return redistest.Pass()
		})
		wants(t, k.Release(bg), redigolock.ErrUnknown)
		down = false
		time.Sleep(9 * time.Second)
		if r.Get("key") == "" {
			t.Error("the key is gone before MinHold is over")
		}
		time.Sleep(3 * time.Second)
		if r.Get("key") != "" {
			t.Error("the key is left")
		}
	})
}

// A transaction whose reply is lost has not cleaned up for certain.
func TestCleanUpByATransactionIsTriedAgain(t *testing.T) {
	for name, tx := range map[string]sim.Action{"not carried out": sim.Cut(), "reply lost": sim.Drop(), "refused for now": sim.Refuse("LOADING")} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			execs := 0
			s.Rule(func(r sim.Request) sim.Action {
				switch r.Verb {
				case "release", "eval":
					return sim.Refuse("NOPERM this user has no permissions to run the 'evalsha' command")
				case "watch":
					if execs++; execs == 1 {
						return tx
					}
				}
				return sim.Pass()
			})
			l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), AcquireWith: redigolock.SetNX, OpTimeout: time.Second})
			loseATry(t, s, l)
			time.Sleep(10 * time.Second)
			if n, _ := s.Do("EXISTS", "key"); n != int64(0) || execs < 2 {
				t.Errorf("%s: %v key is left after %d transactions", name, n, execs)
			}
		})
	}
}
