package redigolock_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// What a Deadline counts from where several commands, slow replies or connections of their own are in play. Each test is for a
// fault that one changed line would bring in.

// endsInTime checks that the lock's validity ends no later than its key.
func endsInTime(t *testing.T, s *sim.Server, k *redigolock.Lock) {
	t.Helper()
	_, left := inKey(t, s, k.Key())
	if over := k.Deadline().Sub(time.Now().Add(left)); over > 0 {
		t.Errorf("Deadline is %v after the key's end", over)
	}
}

// The first Extend's reply is lost, the second's comes late.
func TestExtendThatAsksAgainCountsFromBeforeItsSend(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), OpTimeout: 2 * time.Second})
		k := got(t)(l.TryAcquire(bg, "key", time.Second))
		s.Next("extend", sim.Cut(), sim.Slow(500*time.Millisecond))
		sent := time.Now()
		if err := k.Extend(bg, time.Minute); err != nil {
			t.Fatal(err)
		}
		if want := sent.Add(validFor(time.Minute)); !k.Deadline().Equal(want) {
			t.Errorf("Deadline is %v after what counts from the second send", k.Deadline().Sub(want))
		}
		endsInTime(t, s, k)
	})
}

// The second try of an Acquire loses its reply, too, and asks again: what it finds then may be of the first try.
func TestTokenFoundByTheSecondTryThatWasLostCountsFromAnExtend(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Retry: redigolock.Every(time.Second)})
		s.Next("set", sim.Drop(), sim.Drop(), sim.Drop())
		k := got(t)(l.Acquire(bg, "key", 10*time.Second))
		if n := s.Count("set"); n != 4 {
			t.Fatalf("%d SETs: this test proves nothing", n)
		}
		endsInTime(t, s, k)
	})
}

// A renewal over a connection that is bound, whose reply comes late.
func TestRenewalOverABoundConnectionCountsFromBeforeItsSend(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: nodePool{map[string]*sim.Link{"key": s.Link}}})
		k := got(t)(l.TryAcquire(bg, "key", 4*time.Second))
		k.KeepAlive(bg)
		s.Rule(func(q sim.Request) sim.Action {
			if q.Verb == "extend" {
				return sim.Slow(300 * time.Millisecond)
			}
			return sim.Pass()
		})
		time.Sleep(3 * time.Second)
		if s.Count("extend") == 0 {
			t.Fatal("no renewal: this test proves nothing")
		}
		endsInTime(t, s, k)
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// Eight renewals over bound connections hang, and the ninth lock is released while it waits for its place.
func TestNoRenewalIsSentForALockThatWasReleasedWhileItWaitedForItsPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		bad := sim.NewServer(t)
		l := simLocker(t, &redigolock.Locker{
			Pool:      nodePool{map[string]*sim.Link{"good": s.Link, "bad": bad.Link}},
			OpTimeout: 400 * time.Millisecond,
		})
		const ttl = 10 * time.Second
		for i := range 8 {
			got(t)(l.TryAcquire(bg, fmt.Sprint("bad ", i), ttl)).KeepAlive(bg)
		}
		time.Sleep(10 * time.Millisecond) // the ninth is due last
		k := got(t)(l.TryAcquire(bg, "good", ttl))
		k.KeepAlive(bg)
		goOn := bad.Pause()
		time.Sleep(ttl/2 + ttl/100 - 10*time.Millisecond) // the renewals are under way
		if n := s.Count("extend"); n != 0 {
			t.Fatalf("%d renewals of the ninth lock: this test proves nothing", n)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		time.Sleep(ttl)
		goOn()
		if n := s.Count("extend"); n != 0 {
			t.Errorf("%d renewals of a lock that was released", n)
		}
	})
}

// No more is worth waiting for than the ttl: what is answered later is no lock.
func TestAcquireWaitsForAReplyNoLongerThanItsTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{
			Pool: simPool(t, s, "redis"), OpTimeout: 30 * time.Second, Retry: redigolock.Tries(2, redigolock.Every(100*time.Millisecond)),
		})
		s.Next("set", sim.Swallow(), sim.Swallow())
		inTime(t, "TryAcquire", 2*time.Second, func() { // it asks twice
			_, err := l.TryAcquire(bg, "key", time.Second)
			wants(t, err, redigolock.ErrUnknown)
		})
		s.Next("set", sim.Drop(), sim.Drop())
		s.Next("extend", sim.Swallow())
		start := time.Now()
		_, err := l.Acquire(bg, "another", time.Second)
		wants(t, err, redigolock.ErrUnknown)
		if took := time.Since(start); took > 2200*time.Millisecond {
			t.Errorf("Acquire took %v", took)
		}
	})
}
