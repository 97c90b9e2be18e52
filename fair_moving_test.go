package redigolock_test

import (
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

// While a slot moves from one cluster node to another, the server refuses every script for two keys, for as long as that lasts. A
// lock is given back all the same, by a script for its key alone; who waits has it within a cap of the end.
func TestFairReleaseWhileTheSlotMoves(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		l, other := simFair(t, s), simFair(t, s)
		k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
		waiter, here := waits(bg, other, "key", time.Hour), waits(bg, l, "key", time.Hour)
		time.Sleep(100 * time.Millisecond)
		s.Rule(func(q sim.Request) sim.Action {
			switch q.Verb {
			case "try", "enter", "rel", "poke", "quit", "fairextend":
				return sim.Refuse("TRYAGAIN Multiple keys request during rehashing of slot")
			}
			return sim.Pass()
		})
		begin := time.Now()
		if err := k.Release(bg); err != nil {
			t.Errorf("Release: %v", err)
		}
		if s.Miniredis().Exists("key") || time.Since(begin) > 100*time.Millisecond {
			t.Errorf("the key is left: %v, after %v", s.Miniredis().Exists("key"), time.Since(begin))
		}
		time.Sleep(3 * time.Second)
		s.Rule(nil)
		moved := time.Now()
		next := receive(t, "the waiter that is queued", waiter)
		if next.err != nil || time.Since(moved) > capOfPokes {
			t.Fatalf("%v, after %v", next.err, time.Since(moved))
		}
		if err := next.k.Release(bg); err != nil {
			t.Error(err)
		}
		last := receive(t, "the waiter that came behind", here)
		if last.err != nil {
			t.Fatal(last.err)
		}
		if err := last.k.Release(bg); err != nil {
			t.Error(err)
		}
		if n := l.Stats().Owed + other.Stats().Owed; n != 0 {
			t.Errorf("%d are owed", n)
		}
	})
}
