package locktest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/locktest"
)

func TestExclusionAndExpiry(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		s := locktest.Start(t)
		a, b := s.Locker(), s.Locker()
		k := must(t)(a.TryAcquire(bg, "k", 300*time.Millisecond))
		if _, err := b.TryAcquire(bg, "k", time.Second); !errors.Is(err, redigolock.ErrHeld) {
			t.Errorf("the second host got %v", err)
		}
		if got := held(s); got != "k=locker1" {
			t.Errorf("held: %s", got)
		}
		time.Sleep(time.Until(k.Deadline()) + 100*time.Millisecond)
		next := must(t)(b.Acquire(bg, "k", 10*time.Second)) // TTLs run
		ok(t, next.Release(bg))
		if got := held(s); got != "" {
			t.Errorf("held: %s", got)
		}
	})
}

func TestLose(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		s := locktest.Start(t)
		l := s.Locker()
		k := must(t)(l.TryAcquire(bg, "k", 10*time.Second))
		_, err := k.Fence(bg)
		ok(t, err)
		c := s.Pool().Get()
		defer c.Close()
		s.Lose("k")
		if n, err := redis.Int(c.Do("EXISTS", "{k}:redigolock-fence")); err != nil || n != 1 {
			t.Errorf("the counter of the fencing numbers is lost, too: %d, %v", n, err)
		}
		if err := k.Verify(bg); !errors.Is(err, redigolock.ErrNotHeld) {
			t.Errorf("Verify: %v", err)
		}
		s.Lose("k") // nobody has it: that is no failure
	})
}

// TestLoseWhileKept also shows when a holder notices.
func TestLoseWhileKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := locktest.Start(t)
		var lost, done time.Time
		err := s.Locker().Do(bg, "k", 9*time.Second, func(ctx context.Context, k *redigolock.Lock) error {
			s.Lose("k")
			lost = time.Now()
			<-ctx.Done()
			done = time.Now()
			return context.Cause(ctx)
		})
		if !errors.Is(err, redigolock.ErrLost) || done.Sub(lost) > 9*time.Second || done.Equal(lost) {
			t.Errorf("after %v: %v", done.Sub(lost), err)
		}
	})
}

func TestHold(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		s := locktest.Start(t)
		release := s.Hold("k", "host-7", time.Minute)
		var held *redigolock.HeldError
		if _, err := s.Locker().TryAcquire(bg, "k", time.Second); !errors.As(err, &held) || !strings.HasPrefix(held.Holder, "host-7#") {
			t.Errorf("TryAcquire: %v", err)
		}
		release()
		k := must(t)(s.Locker().TryAcquire(bg, "k", 10*time.Second))
		release() // touches no other's lock
		ok(t, k.Verify(bg))
		ok(t, k.Release(bg))
		s.Hold("k", "", time.Minute) // is no lock that is left
	})
}

// TestNoReplicas shows what docs/testing.md says of a Locker that wants replicas.
func TestNoReplicas(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		s := locktest.Start(t)
		l := s.Locker()
		l.Replicas = 1
		if _, err := l.TryAcquire(bg, "k", time.Minute); !errors.Is(err, redigolock.ErrNotReplicated) {
			t.Errorf("TryAcquire: %v", err)
		}
		if got := held(s); got != "" {
			t.Errorf("held: %s", got)
		}
	})
}

func TestHoldForAFairLocker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := locktest.Start(t)
		l := s.Locker()
		l.Fair = true
		release := s.Hold("k", "host-7", time.Minute)
		time.AfterFunc(10*time.Second, release)
		start := time.Now()
		k := must(t)(l.Acquire(bg, "k", time.Second))
		if d := time.Since(start); d < 10*time.Second || d > 12*time.Second {
			t.Errorf("it came after %v", d)
		}
		ok(t, k.Release(bg))
	})
}

func TestDown(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		s := locktest.Start(t)
		l := s.Locker()
		k := must(t)(l.TryAcquire(bg, "k", 10*time.Second))
		up, up2 := s.Down(), s.Down()
		for range 2 {
			if _, err := l.TryAcquire(bg, "other", time.Second); !errors.Is(err, redigolock.ErrUnavailable) {
				t.Errorf("TryAcquire: %v", err)
			}
			if err := k.Verify(bg); !errors.Is(err, redigolock.ErrUnavailable) {
				t.Errorf("Verify: %v", err)
			}
			up()
			up()
		}
		up2()
		ok(t, k.Verify(bg)) // the data have stayed
		ok(t, k.Release(bg))
	})
}

// TestHang shows that what came is carried out in its order, also for a caller that has left.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := locktest.Start(t)
		a, b := s.Locker(), s.Locker()
		k := must(t)(a.TryAcquire(bg, "k", time.Minute))
		goOn := s.Hang()
		took(t, "a release", 2*time.Second, func() {
			if err := k.Release(bg); !errors.Is(err, redigolock.ErrUnknown) {
				t.Errorf("Release: %v", err)
			}
		})
		got := make(chan error)
		go func() {
			k, err := b.TryAcquire(bg, "k", time.Minute)
			if err == nil {
				err = k.Release(bg)
			}
			got <- err
		}()
		time.Sleep(500 * time.Millisecond)
		if got := held(s); got != "k=locker1" {
			t.Errorf("while it hangs: %s", got)
		}
		goOn()
		ok(t, <-got) // the release came first
		goOn()
	})
}

// TestARefusalWaitsForAServerThatHangs too.
func TestARefusalWaitsForAServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := locktest.Start(t)
		l := s.Locker()
		s.Refuse("OOM command not allowed when used memory > 'maxmemory'.")
		goOn := s.Hang()
		if _, err := l.TryAcquire(bg, "k", time.Minute); !errors.Is(err, redigolock.ErrUnknown) {
			t.Errorf("TryAcquire: %v", err)
		}
		goOn()
		if _, err := l.TryAcquire(bg, "k", time.Minute); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("TryAcquire: %v", err)
		}
	})
}

// TestHangEndsWithTheTest shows that what hangs then is carried out, and no lock of it left.
func TestHangEndsWithTheTest(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		failures := record(t, func(t testing.TB) {
			s := locktest.Start(t)
			l := s.Locker()
			l.OpTimeout = 100 * time.Millisecond
			k := must(t)(l.TryAcquire(bg, "k", time.Minute))
			s.Hang()
			if err := k.Release(bg); !errors.Is(err, redigolock.ErrUnknown) {
				t.Errorf("Release: %v", err)
			}
		})
		if len(failures) > 0 {
			t.Error(failures)
		}
	})
}

func TestLoseReplies(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		s := locktest.Start(t)
		l := s.Locker()
		s.LoseReplies(1, "acquire")
		k := must(t)(l.TryAcquire(bg, "k", 10*time.Second)) // it asks again, and finds its own token
		s.LoseReplies(2, "extend")
		if err := k.Extend(bg, time.Minute); !errors.Is(err, redigolock.ErrUnknown) {
			t.Errorf("Extend: %v", err)
		}
		if left := s.Locks()[0].TTL; left < 50*time.Second {
			t.Errorf("%v are left: it was not carried out", left)
		}
		ok(t, k.Extend(bg, time.Minute))
		s.LoseReplies(1, "release")
		ok(t, k.Release(bg)) // so does this
		if got := held(s); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

// TestLoseRepliesOfAll loses what a Locker sends first, and then that of its second try, so that it cannot know.
func TestLoseRepliesOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := locktest.Start(t)
		s.LoseReplies(2)
		if _, err := s.Locker().TryAcquire(bg, "k", time.Minute); !errors.Is(err, redigolock.ErrUnknown) {
			t.Errorf("TryAcquire: %v", err)
		}
		if got := held(s); got != "k=locker1" {
			t.Errorf("held: %q", got)
		}
		// Its clean-up removes the key before the end looks for what is left.
	})
}

func TestRefuse(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		s := locktest.Start(t)
		l := s.Locker()
		k := must(t)(l.TryAcquire(bg, "k", 10*time.Second))
		stop := s.Refuse("READONLY You can't write against a read only replica.", "extend", "release")
		if err := k.Extend(bg, time.Minute); err == nil || !strings.Contains(err.Error(), "READONLY") {
			t.Errorf("Extend: %v", err)
		}
		ok(t, k.Verify(bg))
		stopAll := s.Refuse("NOPERM User app has no permissions")
		if err := k.Verify(bg); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("Verify: %v", err)
		}
		stopAll()
		stop()
		ok(t, k.Extend(bg, time.Minute))
		ok(t, k.Release(bg))
	})
}

func TestComplaints(t *testing.T) {
	take := func(t testing.TB, l *redigolock.Locker, key string) *redigolock.Lock {
		return must(t)(l.TryAcquire(bg, key, 10*time.Second))
	}
	left := func(key, owner string) string {
		return fmt.Sprintf("locktest: the lock %q is left by %s. Release it, or let it be left by Leave(%q).", key, owner, key)
	}
	tests := []struct {
		name string
		run  func(t testing.TB, s *locktest.Server)
		want []string
	}{
		{"released", func(t testing.TB, s *locktest.Server) {
			ok(t, take(t, s.Locker(), "k").Release(bg))
		}, nil},
		{"left", func(t testing.TB, s *locktest.Server) {
			take(t, s.Locker(), "b")
			l := s.Locker()
			l.Owner = "host-2"
			take(t, l, "a")
		}, []string{left("a", "host-2"), left("b", "locker1")}},
		{"left by a Locker of the test's own, with no Owner", func(t testing.TB, s *locktest.Server) {
			take(t, &redigolock.Locker{Pool: s.Pool()}, "k")
		}, []string{left("k", "a holder without Owner")}},
		{"kept alive", func(t testing.TB, s *locktest.Server) {
			take(t, s.Locker(), "k").KeepAlive(bg)
		}, []string{left("k", "locker1")}},
		{"by a verb", func(t testing.TB, s *locktest.Server) {
			c := s.Pool().Get()
			defer c.Close()
			ok(t, redigolock.SetNXScript(bg, c, "k", "secret", 10*time.Second))
		}, []string{left("k", "a holder without Owner")}},
		{"without TTL", func(t testing.TB, s *locktest.Server) {
			c := s.Pool().Get()
			defer c.Close()
			_, err := c.Do("SETNX", "k", "secret")
			ok(t, err)
		}, []string{left("k", "a holder without Owner")}},
		{"fair", func(t testing.TB, s *locktest.Server) {
			l := s.Locker()
			l.Fair = true
			take(t, l, "k")
		}, []string{left("k", "locker1")}},
		{"while replies are lost", func(t testing.TB, s *locktest.Server) {
			take(t, s.Locker(), "k")
			s.LoseReplies(5)
		}, []string{left("k", "locker1")}},
		{"while the server is down", func(t testing.TB, s *locktest.Server) {
			take(t, s.Locker(), "k")
			s.Down()
		}, []string{left("k", "locker1")}},
		{"Leave", func(t testing.TB, s *locktest.Server) {
			s.Leave("k")
			take(t, s.Locker(), "k")
		}, nil},
		{"MinHold", func(t testing.TB, s *locktest.Server) {
			l := s.Locker()
			l.MinHold = time.Hour
			ok(t, l.TryDo(bg, "k", 10*time.Second, func(context.Context, *redigolock.Lock) error { return nil }))
			if got := held(s); got != "k=locker1" {
				t.Errorf("held: %q", got)
			}
		}, nil},
		{"taken after Hold", func(t testing.TB, s *locktest.Server) {
			s.Hold("k", "other", time.Minute)
			s.Lose("k")
			take(t, s.Locker(), "k")
		}, []string{left("k", "locker1")}},
		{"data", func(t testing.TB, s *locktest.Server) {
			c := s.Pool().Get()
			defer c.Close()
			_, err := c.Do("SET", "data", "x", "PX", 10000)
			ok(t, err)
			_, err = redigolock.Inspect(bg, c, "data")
			ok(t, err)
			ok(t, redigolock.Guard(bg, c, "guard", 7))
		}, nil},
		{"data that are watched", func(t testing.TB, s *locktest.Server) {
			c := s.Pool().Get()
			defer c.Close()
			for _, cmd := range [][]any{{"SET", "data", "x"}, {"WATCH", "data"}, {"GET", "data"}, {"MULTI"}, {"SET", "data", "y"}, {"EXEC"}} {
				_, err := c.Do(cmd[0].(string), cmd[1:]...)
				ok(t, err)
			}
		}, nil},
		{"a short lock beside a clean-up that takes longer", func(t testing.TB, s *locktest.Server) {
			l := s.Locker()
			must(t)(l.TryAcquire(bg, "short", 500*time.Millisecond))
			s.LoseReplies(2, "acquire")
			if _, err := l.TryAcquire(bg, "unknown", 500*time.Millisecond); !errors.Is(err, redigolock.ErrUnknown) {
				t.Errorf("TryAcquire: %v", err)
			}
		}, []string{left("short", "locker1")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := record(t, func(t testing.TB) { test.run(t, locktest.Start(t)) })
				if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
					t.Errorf("got  %q\nwant %q", got, test.want)
				}
			})
		})
	}
}

func TestBadArguments(t *testing.T) {
	tests := []struct {
		name string
		call func(s *locktest.Server)
		want string
	}{
		{"Lose", func(s *locktest.Server) { s.Lose("") }, "Lose: the key is empty"},
		{"Leave", func(s *locktest.Server) { s.Leave("") }, "Leave: the key is empty"},
		{"Hold", func(s *locktest.Server) { s.Hold("", "o", time.Second) }, "Hold: the key is empty"},
		{"Hold owner", func(s *locktest.Server) { s.Hold("k", "a|b", time.Second) }, `an owner is at most 128 bytes of printable ASCII without space and '|', not "a|b"`},
		{"Hold ttl", func(s *locktest.Server) { s.Hold("k", "o", 0) }, "ttl"},
		{"Hold twice", func(s *locktest.Server) { s.Hold("k", "o", time.Second); s.Hold("k", "p", time.Second) }, `holder o#`},
		{"LoseReplies 0", func(s *locktest.Server) { s.LoseReplies(0) }, "at least 1 reply"},
		{"LoseReplies verb", func(s *locktest.Server) { s.LoseReplies(1, "acquire", "aquire") }, `there is no verb "aquire": it is one of acquire, extend,`},
		{"LoseReplies capital", func(s *locktest.Server) { s.LoseReplies(1, "Acquire") }, `there is no verb "Acquire"`},
		{"LoseReplies attach", func(s *locktest.Server) { s.LoseReplies(1, "attach") }, `"attach" is not told apart: say "verify"`},
		{"LoseReplies command", func(s *locktest.Server) { s.LoseReplies(1, "ACQUIRE") }, `there is no verb "ACQUIRE"`},
		{"Refuse verb", func(s *locktest.Server) { s.Refuse("ERR x", "") }, `there is no verb ""`},
		{"Refuse nothing", func(s *locktest.Server) { s.Refuse("") }, `Refuse(""): an error of a server is one line`},
		{"Refuse words", func(s *locktest.Server) { s.Refuse("connection refused") }, "first word, in capitals"},
		{"Refuse lines", func(s *locktest.Server) { s.Refuse("ERR x\r\n+OK") }, "one line"},
	}
	for _, test := range tests {
		got := record(t, func(t testing.TB) { test.call(locktest.Start(t)) })
		if len(got) != 1 || !strings.HasPrefix(got[0], "locktest: ") || !strings.Contains(got[0], test.want) {
			t.Errorf("%s: %q, want one with %q", test.name, got, test.want)
		}
	}
	record(t, func(tb testing.TB) {
		s := locktest.Start(tb)
		s.LoseReplies(1, "SUBSCRIBE", "DELIFEQ", "SET", "MULTI")
		s.Refuse("NOAUTH")
	})
}

// TestStartNeedsTheBubblesT, or its end would run outside of the bubble, and end the process.
func TestStartNeedsTheBubblesT(t *testing.T) {
	outer := t
	synctest.Test(t, func(t *testing.T) {
		got := record(t, func(t testing.TB) { locktest.Start(dated{t.(*recorder), outer}) })
		if len(got) != 1 || !strings.Contains(got[0], "the t of the bubble's func") {
			t.Errorf("with the outer t: %q", got)
		}
		if got := record(t, func(r testing.TB) { locktest.Start(dated{r.(*recorder), t}) }); len(got) > 0 {
			t.Errorf("with the bubble's: %q", got)
		}
	})
}

// dated is a recorder with the deadline of a test.
type dated struct {
	*recorder
	of *testing.T
}

func (d dated) Deadline() (time.Time, bool) { return d.of.Deadline() }

// TestEndsInABubble shows that no end of a test is a panic of its bubble, and that none waits for ever.
func TestEndsInABubble(t *testing.T) {
	begin := map[string]func(t testing.TB, s *locktest.Server, l *redigolock.Locker){
		"idle": func(t testing.TB, s *locktest.Server, l *redigolock.Locker) {},
		"kept alive": func(t testing.TB, s *locktest.Server, l *redigolock.Locker) {
			must(t)(l.TryAcquire(bg, "k", time.Minute)).KeepAlive(bg)
		},
		"waiters": func(t testing.TB, s *locktest.Server, l *redigolock.Locker) {
			s.Hold("k", "other", 24*time.Hour)
			for range 20 {
				go l.Acquire(bg, "k", time.Minute)
			}
			time.Sleep(time.Second)
		},
		"a holder who does not wait": func(t testing.TB, s *locktest.Server, l *redigolock.Locker) {
			go l.Do(bg, "k", time.Second, func(ctx context.Context, _ *redigolock.Lock) error {
				<-ctx.Done()
				return nil
			})
			time.Sleep(time.Minute)
		},
		"an unknown outcome": func(t testing.TB, s *locktest.Server, l *redigolock.Locker) {
			s.LoseReplies(2)
			_, _ = l.TryAcquire(bg, "k", 24*time.Hour)
		},
	}
	faults := map[string]func(s *locktest.Server){
		"":             func(s *locktest.Server) {},
		"down":         func(s *locktest.Server) { s.Down() },
		"hangs":        func(s *locktest.Server) { s.Hang() },
		"loses":        func(s *locktest.Server) { s.LoseReplies(1000) },
		"refuses":      func(s *locktest.Server) { s.Refuse("LOADING Redis is loading the dataset in memory") },
		"hangs, down":  func(s *locktest.Server) { s.Hang(); s.Down() },
		"lost, passed": func(s *locktest.Server) { s.Lose("k"); time.Sleep(time.Minute) },
	}
	lockers := map[string]func(t testing.TB, s *locktest.Server) *redigolock.Locker{
		"Locker": func(t testing.TB, s *locktest.Server) *redigolock.Locker { return s.Locker() },
		"Fair": func(t testing.TB, s *locktest.Server) *redigolock.Locker {
			l := s.Locker()
			l.Fair = true
			return l
		},
		"not closed": func(t testing.TB, s *locktest.Server) *redigolock.Locker { return &redigolock.Locker{Pool: s.Pool()} },
		"fair, not closed": func(t testing.TB, s *locktest.Server) *redigolock.Locker {
			return &redigolock.Locker{Pool: s.Pool(), Fair: true}
		},
		"Mux, not closed": func(t testing.TB, s *locktest.Server) *redigolock.Locker {
			return &redigolock.Locker{Pool: &redigolock.Mux{Pool: s.Pool()}}
		},
	}
	for locker, make := range lockers {
		for begun, begin := range begin {
			for fault, cause := range faults {
				t.Run(locker+"/"+begun+"/"+fault, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						for _, failure := range record(t, func(t testing.TB) {
							s := locktest.Start(t)
							begin(t, s, make(t, s))
							cause(s)
						}) {
							if !strings.Contains(failure, `the lock "k" is left`) {
								t.Error(failure)
							}
						}
					})
				})
			}
		}
	}
}

// TestWhoDoesNotEndIsNamed: work that does not look at its context goes on for ever, and the test is told why its bubble does
// not end.
func TestWhoDoesNotEndIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		defer close(never)
		got := record(t, func(t testing.TB) {
			s := locktest.Start(t)
			s.Leave("k")
			l := s.Locker()
			go l.Do(bg, "k", time.Minute, func(context.Context, *redigolock.Lock) error {
				<-never
				return nil
			})
			time.Sleep(time.Second)
		})
		if len(got) != 1 || !strings.Contains(got[0], "1 goroutines still run code of the library") || !strings.Contains(got[0], "(*Locker).Do") {
			t.Errorf("got %q", got)
		}
	})
}

// TestACrowdInABubble shows that the time goes on while many contend.
func TestACrowdInABubble(t *testing.T) {
	for _, fair := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := locktest.Start(t)
			l := s.Locker()
			l.Fair = fair
			var inside, most, holds atomic.Int32
			until := time.Now().Add(200 * time.Millisecond)
			for range 8 {
				go func() {
					for time.Now().Before(until) {
						err := l.Do(t.Context(), "k", time.Second, func(context.Context, *redigolock.Lock) error {
							most.Store(max(most.Load(), inside.Add(1)))
							holds.Add(1)
							inside.Add(-1)
							return nil
						})
						if err != nil {
							t.Error(err)
						}
					}
				}()
			}
			time.Sleep(3 * time.Second)
			if most.Load() != 1 || holds.Load() < 50 {
				t.Errorf("fair %v: %d holds, %d at a time", fair, holds.Load(), most.Load())
			}
		})
	}
}

// TestBlockingCommandsAreRefused: one that waited would stop the whole server.
func TestBlockingCommandsAreRefused(t *testing.T) {
	s := locktest.Start(t)
	c := s.Pool().Get()
	defer c.Close()
	for cmd, args := range map[string][]any{"BLPOP": {"list", 0}, "XREAD": {"BLOCK", 0, "STREAMS", "s", "$"}} {
		if _, err := c.Do(cmd, args...); err == nil || !strings.Contains(err.Error(), "locktest: "+cmd+" may block") {
			t.Errorf("%s: %v", cmd, err)
		}
	}
	if _, err := c.Do("XREAD", "STREAMS", "s", "0"); err != nil && !errors.Is(err, redis.ErrNil) {
		t.Error(err)
	}
}

// TestManyKeys: the server forgets the keys of locks that are gone.
func TestManyKeys(t *testing.T) {
	s := locktest.Start(t)
	c := s.Pool().Get()
	defer c.Close()
	for i := range 2500 {
		key := fmt.Sprint("k", i)
		ok(t, redigolock.SetNX(bg, c, key, "x", time.Minute))
		if i != 77 {
			ok(t, redigolock.Release(bg, c, key, "x"))
		}
	}
	if n := locktest.KnownKeys(s); n > 1500 {
		t.Errorf("%d keys are known", n)
	}
	if got := held(s); got != "k77=" {
		t.Errorf("held: %s", got)
	}
	s.Lose("k77")
}

func BenchmarkLocker(b *testing.B) {
	s := locktest.Start(b)
	l := s.Locker()
	for b.Loop() {
		ok(b, must(b)(l.TryAcquire(bg, "k", time.Minute)).Release(bg))
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		record(b, func(t testing.TB) { locktest.Start(t) })
	}
}

// TestManyAtATime: connections do not wait for each other in a circle, of which one decides and another carries out.
func TestManyAtATime(t *testing.T) {
	s := locktest.Start(t)
	l := s.Locker()
	s.LoseReplies(1000, "fence")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				k, err := l.TryAcquire(bg, fmt.Sprint("k", i), time.Minute)
				if err != nil || k.Release(bg) != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// A Quorum has several servers, whose ends wait for each other in a bubble.
func TestSeveralServersInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &redigolock.Quorum{}
		var servers []*locktest.Server
		for range 3 {
			servers = append(servers, locktest.Start(t))
			q.Pools = append(q.Pools, servers[len(servers)-1].Pool())
		}
		defer q.Close()
		servers[0].Down()
		err := q.Do(t.Context(), "report", 10*time.Second, func(ctx context.Context, _ *redigolock.Lock) error {
			time.Sleep(time.Minute)
			return context.Cause(ctx)
		})
		if err != nil {
			t.Errorf("one of three servers is down: %v", err)
		}
	})
}
