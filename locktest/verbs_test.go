package locktest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/scripts"
	"github.com/redigolock/redigolock/locktest"
)

// TestEachScriptHasAVerb compares the table with the scripts that the library has.
func TestEachScriptHasAVerb(t *testing.T) {
	have, want := slices.Sorted(maps.Keys(locktest.ScriptVerbs)), slices.Sorted(maps.Keys(scripts.Digests))
	if !slices.Equal(have, want) {
		t.Errorf("there are verbs for %v, and the scripts are %v", have, want)
	}
	if texts := slices.Sorted(maps.Keys(scripts.Texts)); !slices.Equal(texts, want) {
		t.Errorf("there are texts of %v, and digests of %v", texts, want)
	}
	for name, verb := range locktest.ScriptVerbs {
		if !slices.Contains(locktest.Verbs, verb) {
			t.Errorf("the script %s has the verb %q, which there is not", name, verb)
		}
	}
}

// TestEachWayIsKnown refuses one verb after the other, and looks which calls that reaches, for all ways to lock.
func TestEachWayIsKnown(t *testing.T) {
	ways := map[string]func(l *redigolock.Locker){
		"default":       func(l *redigolock.Locker) {},
		"SetNX":         func(l *redigolock.Locker) { l.AcquireWith = redigolock.SetNX },
		"SetNXVerified": func(l *redigolock.Locker) { l.AcquireWith = redigolock.SetNXVerified },
		"SetNXGet":      func(l *redigolock.Locker) { l.AcquireWith = redigolock.SetNXGet },
		"SetNXScript":   func(l *redigolock.Locker) { l.AcquireWith = redigolock.SetNXScript },
		"ReleaseTx":     func(l *redigolock.Locker) { l.ReleaseWith = redigolock.ReleaseTx },
		"ReleaseNative": func(l *redigolock.Locker) { l.ReleaseWith = redigolock.ReleaseNative },
		"MinHold":       func(l *redigolock.Locker) { l.MinHold = time.Minute },
		"Fair":          func(l *redigolock.Locker) { l.Fair = true },
		"Mux":           func(l *redigolock.Locker) { l.Pool = &redigolock.Mux{Pool: l.Pool} },
	}
	for way, set := range ways {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { refuseEach(t, set) })
		})
	}
}

func refuseEach(t *testing.T, set func(l *redigolock.Locker)) {
	s := locktest.Start(t)
	l := s.Locker()
	set(l)
	var k *redigolock.Lock
	calls := []struct {
		verb string
		call func() error
	}{
		{"acquire", func() (err error) { k, err = l.TryAcquire(bg, "k", time.Minute); return err }},
		{"verify", func() error { return k.Verify(bg) }},
		{"extend", func() error { return k.Extend(bg, time.Minute) }},
		{"fence", func() error { _, err := k.Fence(bg); return err }},
		{"release", func() error { return k.Release(bg) }},
	}
	for _, refused := range calls {
		for _, c := range calls {
			stop := s.Refuse("NOPERM not now", refused.verb)
			err := c.call()
			stop()
			if (c.verb == refused.verb) != (err != nil) {
				t.Errorf("%s is refused, and %s: %v", refused.verb, c.verb, err)
			}
			if err != nil && !strings.Contains(err.Error(), "NOPERM not now") {
				t.Errorf("%s: %v", c.verb, err)
			}
			if err != nil && c.verb == "acquire" {
				ok(t, c.call())
			}
		}
		if k.Valid() {
			t.Errorf("%s is refused, and the lock is valid after its release", refused.verb)
		}
		if len(s.Locks()) > 0 {
			s.Lose("k")
		}
	}
}

// TestEachWayLosesItsReply: each verb is carried out, and its caller cannot know.
func TestEachWayLosesItsReply(t *testing.T) {
	for name, way := range map[string]struct {
		acquire redigolock.AcquireFunc
		release redigolock.ReleaseFunc
	}{
		"SetNX":       {redigolock.SetNX, redigolock.Release},
		"Verified":    {redigolock.SetNXVerified, redigolock.ReleaseTx},
		"SetNXScript": {redigolock.SetNXScript, redigolock.ReleaseNative},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := locktest.Start(t)
				p := s.Pool()
				for _, verb := range []string{"acquire", "extend", "verify", "fence", "release"} {
					c := p.Get()
					s.LoseReplies(1, verb)
					var err error
					switch verb {
					case "acquire":
						err = way.acquire(bg, c, "k", "token", time.Minute)
					case "extend":
						err = redigolock.Extend(bg, c, "k", "token", time.Hour)
					case "verify":
						_, err = redigolock.Verify(bg, c, "k", "token")
					case "fence":
						_, err = redigolock.Fence(bg, c, "k", "token")
					case "release":
						err = way.release(bg, c, "k", "token")
					}
					if !errors.Is(err, redigolock.ErrUnknown) {
						t.Errorf("%s: %v", verb, err)
					}
					c.Close()
					locks := s.Locks()
					if (len(locks) == 0) != (verb == "release") {
						t.Fatalf("after the %s: %v", verb, locks)
					}
					if verb == "extend" && locks[0].TTL < 50*time.Minute {
						t.Errorf("it was not carried out: %v are left", locks[0].TTL)
					}
				}
			})
		})
	}
}

// TestFairVerbs: the words for what only a waiter of a fair Locker sends.
func TestFairVerbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := locktest.Start(t)
		l := s.Locker()
		l.Fair = true
		s.Hold("k", "other", time.Hour)
		var mu sync.Mutex // protects refused
		refused := map[string]bool{}
		l.Observer = &redigolock.Observer{Failed: func(_ context.Context, _, verb string, _ error) {
			mu.Lock()
			defer mu.Unlock()
			refused[verb] = true
		}}
		s.Refuse("LOADING Redis is loading the dataset in memory", "poke", "quit")
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		if _, err := l.Acquire(ctx, "k", time.Minute); err == nil {
			t.Fatal("it was acquired")
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if !refused["poke"] || !refused["quit"] || refused["acquire"] {
			t.Errorf("refused: %v", refused)
		}
	})
}

// TestCommandsByName: a command in capitals is that command, whatever it is for.
func TestCommandsByName(t *testing.T) {
	s := locktest.Start(t)
	l := s.Locker()
	stop := s.Refuse("OOM command not allowed when used memory > 'maxmemory'.", "SET")
	if _, err := l.TryAcquire(bg, "k", time.Minute); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("SET: %v", err)
	}
	stop()
	k := must(t)(l.TryAcquire(bg, "k", time.Minute))
	stop = s.Refuse("NOPERM no scripts", "EVALSHA", "EVAL")
	if err := k.Verify(bg); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("EVALSHA: %v", err)
	}
	stop()
	ok(t, k.Release(bg))
}
