package fairdriver

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"pgregory.net/rapid"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/names"
)

// newDriver makes a Driver that has nothing to send.
func newDriver() *Driver {
	n := 0
	return New(Env{
		Now:       time.Now,
		OpTimeout: time.Second,
		ID:        func() string { n++; return "id" + strconv.Itoa(n) },
		Drift:     func(ttl time.Duration) time.Duration { return ttl / 100 },
		Conns:     new(atomic.Int64),
		Owed:      new(atomic.Int64),
	})
}

// keyGen makes keys that have braces more often than not.
var keyGen = rapid.OneOf(rapid.StringOfN(rapid.RuneFrom([]rune("{}:ab")), 1, 12, -1), rapid.StringN(1, 20, -1))

// The channel of a key is heard by one Locker for that key only, is in the key's cluster slot, and begins with the prefix.
func TestFairChannelsAreInjectiveAndShareTheSlot(t *testing.T) {
	ids := rapid.StringOfN(rapid.RuneFrom([]rune("0123456789abcdef-")), 1, 36, -1)
	rapid.Check(t, func(t *rapid.T) {
		a := keyGen.Draw(t, "a")
		b := rapid.OneOf(keyGen, rapid.Just("{"+a+"}"), rapid.Just("{"+a), rapid.Just(a+"}")).Draw(t, "b")
		if _, ok := names.Sibling(a, names.Queue); !ok {
			return // such a key has no queue
		}
		id := ids.Draw(t, "id")
		channel := channelOf(id, a)
		if !strings.HasPrefix(channel, "redigolock:") {
			t.Fatalf("%q", channel)
		}
		if got, want := slotTag(channel), slotTag(a); got != want {
			t.Fatalf("channel %q hashes %q, the key %q hashes %q", channel, got, a, want)
		}
		if a != b && channel == channelOf(id, b) {
			t.Fatalf("%q and %q share %q", a, b, channel)
		}
	})
}

// slotTag is the part of a key that Redis Cluster hashes.
func slotTag(key string) string {
	_, tail, ok := strings.Cut(key, "{")
	if tag, _, closed := strings.Cut(tail, "}"); ok && closed && tag != "" {
		return tag
	}
	return key
}

// A beat that the server refuses for now says nothing; one that it denies ends the wait, or those who beat would drop the waiter.
func TestFairRefusedBeat(t *testing.T) {
	s := &slot{key: "key"}
	after := func(refusal string) Reply {
		r, ok := Read([]any{int64(1), int64(fairqueue.Held), nil, int64(-2), []byte(refusal)})
		if !ok {
			t.Fatal("the reply cannot be read")
		}
		s.muted(&r)
		return r
	}
	for _, text := range []string{"OOM command not allowed", "MISCONF Redis is configured to save", "READONLY You can't write"} {
		if r := after(text); r.Said != fairqueue.Held || r.Err != nil {
			t.Errorf("after %q the reply counts as %+v", text, r)
		}
	}
	var re redis.Error
	if r := after("NOPERM no rights"); r.Said != fairqueue.Mute || !errors.As(r.Err, &re) {
		t.Errorf("after a denial the reply counts as %+v", r)
	}
}

// BenchmarkFairSweep has 100,000 locks run out at once, or none, and tells the longest time for which the sweep keeps
// everybody else waiting, in the best round: in others the machine has done something else meanwhile.
func BenchmarkFairSweep(b *testing.B) {
	for name, left := range map[string]time.Duration{"held": time.Hour, "ran-out": time.Second} {
		b.Run("locks="+name, func(b *testing.B) {
			most := time.Hour
			for b.Loop() {
				b.StopTimer()
				d := newDriver()
				d.fill(100_000, left)
				if left < time.Hour {
					time.Sleep(left)
				}
				b.StartTimer()
				most = min(most, d.longestSweep())
			}
			b.ReportMetric(float64(most.Microseconds()), "µs-longest")
		})
	}
}

// fill makes the slots of n locks that are held for so long.
func (d *Driver) fill(n int, left time.Duration) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range n {
		key := "key" + strconv.Itoa(i)
		s := d.slotOf(key)
		x := fairqueue.Handle{Who: new(int), Token: key, TTL: left, Most: left, Ctx: context.Background()}
		s.q.Tried(now, x, now.Add(left), &d.then)
		s.follow(now)
	}
	d.sweep.stop()
}

// longestSweep sweeps the slots, and tells for how long it kept the mutex at most.
func (d *Driver) longestSweep() (most time.Duration) {
	for more := true; more; {
		start := time.Now()
		more = d.sweepSome()
		most = max(most, time.Since(start))
	}
	return most
}
