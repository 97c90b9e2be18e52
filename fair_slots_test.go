package redigolock_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// What is refused for good leaves nothing behind in the Locker: neither the subscription, nor a dial, nor a script.
func TestFairRefusedKeysAreForgotten(t *testing.T) {
	refuse := func(verb string) func(*sim.Server) {
		return func(s *sim.Server) {
			s.Rule(func(r sim.Request) sim.Action {
				if r.Verb == verb {
					return sim.Refuse("NOPERM no")
				}
				return sim.Pass()
			})
		}
	}
	for name, tt := range map[string]struct {
		refuse func(*sim.Server)
	}{
		"SUBSCRIBE": {refuse("subscribe")},
		"TRY":       {refuse("try")},
		"ENTER":     {refuse("enter")},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				l, other := simFair(t, s), simFair(t, s)
				const n = 300
				for i := range n {
					mustGet(t)(other.Acquire(bg, fmt.Sprint("key", i), time.Hour))
				}
				tt.refuse(s)
				for i := range n {
					if _, err := l.Acquire(bg, fmt.Sprint("key", i), time.Hour); err == nil {
						t.Fatal("no error")
					}
				}
				time.Sleep(10 * time.Second) // a subscription lives for a while
				if n := redigolock.FairSlots(l); n > 0 {
					t.Errorf("%d slots are left", n)
				}
			})
		})
	}
}

// A slot is kept as long as its holder's lease, and no longer than the sweep pauses.
func TestFairSlotsOfLocksThatRanOutAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simFair(t, s)
		const n = 300
		kept := mustGet(t)(l.TryAcquire(bg, "kept", 20*time.Second))
		kept.KeepAlive(bg)
		for i := range n {
			mustGet(t)(l.TryAcquire(bg, fmt.Sprint("key", i), time.Duration(i+1)*100*time.Millisecond))
		}
		for i := range 30 {
			if got, want := redigolock.FairSlots(l), n-10*i; got < want-3 || got > want+1+30 {
				t.Errorf("%d slots after %d s, %d locks have not run out", got, i, want)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if n := redigolock.FairSlots(l); n != 1 {
			t.Errorf("%d slots are left beside that of a lock that is kept alive", n)
		}
		if err := kept.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkFairSweep has 100,000 locks run out at once, or none, and tells the longest time for which the sweep keeps
// everybody else waiting, in the best round: in others the machine has done something else meanwhile.
func BenchmarkFairSweep(b *testing.B) {
	for name, left := range map[string]time.Duration{"held": time.Hour, "ran-out": time.Second} {
		b.Run("locks="+name, func(b *testing.B) {
			most := time.Hour
			for b.Loop() {
				b.StopTimer()
				l := &redigolock.Locker{Fair: true}
				redigolock.FillFair(l, 100_000, left)
				if left < time.Hour {
					time.Sleep(left)
				}
				b.StartTimer()
				most = min(most, redigolock.SweepFair(l))
			}
			b.ReportMetric(float64(most.Microseconds()), "µs-longest")
		})
	}
}
