package redigolock_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A refusal does not stop EXEC, so that inside MULTI nothing may look like a pass.
func TestVerbsInsideMultiClaimNothing(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		s.knowScripts()
		for _, v := range allVerbs {
			for _, known := range []bool{true, false} {
				if !known && s.real {
					s.do("SCRIPT", "FLUSH") // queued all the same
				}
				c := s.dial()
				if _, err := c.Do("MULTI"); err != nil {
					t.Fatal(err)
				}
				v.prepare(s, "k", "tok")
				err := v.call(bg, c, "k", "tok", time.Hour)
				wants(t, err, redigolock.ErrUnsupported)
				wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrHeld, redigolock.ErrNotHeld)
				if c.Err() != nil {
					t.Errorf("%s: the connection is dead: %v", v.name, c.Err())
				}
				if _, err := c.Do("DISCARD"); err != nil { // it is still the caller's transaction
					t.Errorf("%s: DISCARD: %v", v.name, err)
				}
				s.wantPlain(c, "other")
				s.do("FLUSHDB")
				if known && s.real {
					s.knowScripts()
				}
			}
		}
	})
}

func TestVerbsAreOneRoundTripAndReleaseTxTwo(t *testing.T) {
	server := redistest.Start(t)
	s := newVerbSite(t, server.Addr(), true)
	s.knowScripts()
	proxy := redistest.NewProxy(t, server.Addr())
	for _, v := range allVerbs {
		direct, viaProxy := s.dial(), dialFor(t, proxy.Addr())
		wantReads := int64(1)
		if v.name == "ReleaseTx" {
			wantReads = 2
		}
		v.prepare(s, "k", "tok")
		before, err := server.Reads()
		if err != nil {
			t.Fatal(err)
		}
		callErr := v.call(bg, direct, "k", "tok", minute)
		after, err := server.Reads()
		if err != nil {
			t.Fatal(err)
		}
		if got := after - before - 2; got != wantReads { // 2 are for the asking itself
			t.Errorf("%s: %d round trips, want %d", v.name, got, wantReads)
		}
		if v.supported(s) && callErr != nil {
			t.Errorf("%s: %v", v.name, callErr)
		}

		v.prepare(s, "k", "tok")
		seen := len(proxy.Requests())
		_ = v.call(bg, viaProxy, "k", "tok", minute)
		if got := namesOf(proxy.Requests()[seen:]); !reflect.DeepEqual(got, v.commands) {
			t.Errorf("%s sent %q, want %q", v.name, got, v.commands)
		}
		s.do("FLUSHDB")
	}
}
