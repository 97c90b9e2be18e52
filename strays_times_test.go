package redigolock_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

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
		loseKey(t, s, l, "key", 298*time.Second)
		s.Rule(func(q sim.Request) sim.Action {
			if q.Verb == "release" {
				return sim.Refuse("LOADING Redis is loading the dataset in memory")
			}
			return sim.Pass()
		})
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
