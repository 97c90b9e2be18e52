package verbs

import (
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestExtendLengthensAndNeverLowers(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		c := s.dial()
		for _, tc := range []struct{ had, ttl, want time.Duration }{
			{minute, time.Hour, time.Hour},
			{minute, 24 * time.Hour, 24 * time.Hour},
			{time.Hour, minute, time.Hour}, // a late, shorter extend would end the lease under its holder
			{time.Hour, time.Millisecond, time.Hour},
			{time.Hour, time.Hour, time.Hour},
		} {
			s.put("k", "tok", tc.had)
			if err := redigolock.Extend(bg, c, "k", "tok", tc.ttl); err != nil {
				t.Errorf("Extend from %v to %v: %v", tc.had, tc.ttl, err)
			}
			s.wantLock("k", "tok", tc.want)
		}
	})
}

// The server's clock decides what is left: an extend that comes a moment later never takes that moment away.
func TestExtendIsNeverTheShorterOfTwo(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		c := s.dial()
		s.put("k", "tok", minute)
		read := time.Now()
		least := s.pttl("k")
		for ttl := minute; ttl > 50*time.Second; ttl -= 100 * time.Millisecond {
			if err := redigolock.Extend(bg, c, "k", "tok", ttl); err != nil {
				t.Fatal(err)
			}
			again := time.Now()
			left := s.pttl("k")
			// What passed between the two reads may be missing, and a millisecond for each rounding.
			if passed := time.Since(read) + 2*time.Millisecond; left < least-passed {
				t.Fatalf("an Extend to %v lowered the TTL from %v to %v", ttl, least, left)
			}
			read, least = again, left
		}
	})
}

// Redsync's WithSetNXOnExtend re-creates an expired key: then the lock belongs to one who believes to have lost it.
func TestExtendNeverRecreates(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		c := s.dial()
		s.put("k", "tok", 20*time.Millisecond)
		eventually(t, "the lock expires", func() bool { return s.value("k") == "" })
		for range 2 {
			wants(t, redigolock.Extend(bg, c, "k", "tok", minute), redigolock.ErrNotHeld)
			s.wantKeys()
		}
	})
}

// A full server refuses SET, so a renewal by SET would fail; compare-and-pexpire works.
func TestExtendAndReleaseWorkOnAFullServer(t *testing.T) {
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	c := s.dial()
	s.put("k", "tok", minute)
	s.do("CONFIG", "SET", "maxmemory", 1)
	if err := redigolock.Extend(bg, c, "k", "tok", time.Hour); err != nil {
		t.Error(err)
	}
	s.wantLock("k", "tok", time.Hour)
	// Redis 7.0 queues nothing inside MULTI when it is full, so that this release fails, and must leave all as it was.
	// Newer servers release.
	if err := redigolock.ReleaseTx(bg, c, "k", "tok"); err != nil {
		wantReply(t, err, "OOM")
		s.wantLock("k", "tok", time.Hour)
	} else {
		s.wantKeys()
	}
	s.do("CONFIG", "SET", "maxmemory", 0)
	s.put("k", "tok", minute)
	s.do("CONFIG", "SET", "maxmemory", 1)
	if err := redigolock.Release(bg, c, "k", "tok"); err != nil {
		t.Error(err)
	}
	s.wantKeys()
	s.do("CONFIG", "SET", "maxmemory", 0)
	s.wantPlain(c, "k")
}

func TestExtendOfARefusedPexpireLeavesTheTTL(t *testing.T) {
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	s.put("k", "tok", minute)
	err := redigolock.Extend(bg, limitedUser(s, "pexpire"), "k", "tok", time.Hour)
	wantDenied(t, err)
	if !strings.Contains(err.Error(), `extend "k"`) {
		t.Errorf("the message names neither verb nor key: %v", err)
	}
	s.wantLock("k", "tok", minute)
}
