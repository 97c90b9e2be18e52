package verbs

import (
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// strangerTokens are pairs of one's own token and another that is nearly the same. Redislock compared prefixes, and so
// "worker-1" could take what "worker-10" held.
var strangerTokens = [][2]string{
	{"worker-1", "worker-10"}, {"worker-10", "worker-1"}, {"t", "T"}, {"t", "t\x00"}, {"t\x00a", "t\x00b"}, {"1", "1.0"},
	{"1", "01"}, {"%w+", "abc"}, {"t", "t\n"}, {"é", "e\u0301"},
}

// holderVerbs are those that need the token to be in the key.
func holderVerbs() (verbs []verbCall) {
	for _, v := range allVerbs {
		if v.token && !strings.HasPrefix(v.name, "SetNX") {
			verbs = append(verbs, v)
		}
	}
	return verbs
}

func TestTokensAreComparedWhole(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range holderVerbs() {
			if !v.supported(s) {
				continue
			}
			c := s.dial()
			for _, pair := range strangerTokens {
				s.do("FLUSHDB")
				s.put("k", pair[1], minute)
				wants(t, v.call(bg, c, "k", pair[0], time.Hour), redigolock.ErrNotHeld)
				s.wantLock("k", pair[1], minute)
				s.wantKeys("k")
			}
		}
	})
}

// EXISTS, as one of the articles has it, is no proof: nothing here may make or keep a key.
func TestVerbsOfTheHolderMakeNoKey(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range holderVerbs() {
			if !v.supported(s) {
				continue
			}
			err := v.call(bg, s.dial(), "k", "tok", minute)
			wants(t, err, redigolock.ErrNotHeld)
			wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrConflict)
			s.wantKeys()
		}
	})
}

func TestVerbsOfTheHolderCallAnotherTypeAConflict(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range holderVerbs() {
			if v.name == "ReleaseNative" {
				continue // has a test of its own: servers differ
			}
			for _, make := range [][]any{{"RPUSH", "k", "tok"}, {"SADD", "k", "tok"}, {"HSET", "k", "tok", "tok"}} {
				s.do("FLUSHDB")
				s.do(make[0].(string), make[1:]...)
				s.do("PEXPIRE", "k", minute.Milliseconds())
				err := v.call(bg, s.dial(), "k", "tok", time.Hour)
				wants(t, err, redigolock.ErrConflict)
				wantsNot(t, err, redigolock.ErrNotHeld)
				s.wantKeys("k")
				s.wantTTL("k", minute)
			}
		}
	})
}

// What a string without TTL is to each verb: never a lock that one holds, but Release may remove one's own.
func TestStringWithoutTTLIsConflictWhereItCanBeSeen(t *testing.T) {
	type outcome struct{ own, foreign error } // nil: success
	want := map[string]outcome{
		"Extend":        {redigolock.ErrConflict, redigolock.ErrConflict},
		"Verify":        {redigolock.ErrConflict, redigolock.ErrConflict},
		"Fence":         {redigolock.ErrConflict, redigolock.ErrConflict},
		"Release":       {nil, redigolock.ErrConflict},
		"ReleaseTx":     {nil, redigolock.ErrNotHeld},
		"ReleaseNative": {nil, redigolock.ErrConflict},
		"Inspect":       {redigolock.ErrConflict, redigolock.ErrConflict},
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range allVerbs {
			want, ok := want[v.name]
			if !ok || !v.supported(s) {
				continue
			}
			c := s.dial()
			s.put("k", "tok", 0)
			err := v.call(bg, c, "k", "tok", minute)
			if want.own == nil {
				if err != nil {
					t.Errorf("%s of one's own token without TTL: %v", v.name, err)
				}
				s.wantKeys()
			} else {
				wants(t, err, want.own)
				wantsNot(t, err, redigolock.ErrNotHeld)
				s.wantLock("k", "tok", -time.Millisecond)
			}

			s.put("k", "other", 0)
			err = v.call(bg, c, "k", "tok", minute)
			wants(t, err, want.foreign)
			s.wantLock("k", "other", -time.Millisecond)
			s.wantKeys("k")
		}
	})
}

func TestVerifyReturnsWhatIsLeftAndChangesNothing(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		c := s.dial()
		for _, ttl := range []time.Duration{30 * time.Second, minute, 24 * time.Hour} {
			s.put("k", "tok", ttl)
			left, err := redigolock.Verify(bg, c, "k", "tok")
			if err != nil || left > ttl || left < ttl-20*time.Second || left%time.Millisecond != 0 {
				t.Errorf("Verify of a lock for %v: %v, %v", ttl, left, err)
			}
			s.wantLock("k", "tok", ttl)
		}
	})
}

func TestVerifyOfALockThatEndsIsPositiveUntilItIsNotHeld(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		c := s.dial()
		s.put("k", "tok", 50*time.Millisecond)
		eventually(t, "the lock ends", func() bool {
			left, err := redigolock.Verify(bg, c, "k", "tok")
			if err != nil {
				wants(t, err, redigolock.ErrNotHeld)
				return true
			}
			if left < time.Millisecond || left > 50*time.Millisecond {
				t.Errorf("still held, and %v left", left)
			}
			return false
		})
	})
}

// A lock whose last millisecond has begun has PTTL 0; 0 from the script means "not held".
func TestVerifyOfTheLastMillisecondIsNotNotHeld(t *testing.T) {
	m := redistest.StartMini(t)
	m.ClockTTL(false)
	s := newVerbSite(t, m.Addr(), false)
	s.do("SET", "k", "tok")
	m.SetTTL("k", 500*time.Microsecond)
	if left := s.pttl("k"); left != 0 {
		t.Fatalf("PTTL is %v: nothing is tested", left)
	}
	if left, err := redigolock.Verify(bg, s.ctl, "k", "tok"); err != nil || left != time.Millisecond {
		t.Errorf("%v, %v", left, err)
	}
	if err := redigolock.Extend(bg, s.ctl, "k", "tok", minute); err != nil {
		t.Error(err)
	}
	s.wantLock("k", "tok", minute)
}

func TestInspect(t *testing.T) {
	id := redigolock.NewToken()
	cases := []struct {
		name, token, owner string
		ttl                time.Duration
		held               bool
		err                error
	}{
		{"token without owner", id, "", minute, true, nil},
		{"our token with owner", "api-7|" + id, "api-7", minute, true, nil},
		{"our token with the longest owner", strings.Repeat("~", 128) + "|" + id, strings.Repeat("~", 128), minute, true, nil},
		{"owner too long for ours", strings.Repeat("~", 129) + "|" + id, "", minute, true, nil},
		{"foreign token", "redsync-value==", "", minute, true, nil},
		{"foreign token with a bar", "secret|abc", "", minute, true, nil},
		{"foreign token with two bars", "a|b|" + id, "", minute, true, nil},
		{"foreign owner with a space", "a b|" + id, "", minute, true, nil},
		{"foreign owner with a newline", "a\nb|" + id, "", minute, true, nil},
		{"foreign owner that is no ASCII", "é|" + id, "", minute, true, nil},
		{"uuid in another form", "secret|{" + id + "}", "", minute, true, nil},
		{"uuid without dashes", "secret|" + strings.ReplaceAll(id, "-", ""), "", minute, true, nil},
		{"uuid as URN", "secret|urn:uuid:" + id, "", minute, true, nil},
		{"empty token", "", "", minute, true, nil},
		{"string without TTL", "api-7|" + id, "api-7", 0, false, redigolock.ErrConflict},
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				s.put("k", tc.token, tc.ttl)
				info, err := redigolock.Inspect(bg, s.ctl, "k")
				if tc.err == nil && err != nil {
					t.Fatal(err)
				} else if tc.err != nil {
					wants(t, err, tc.err)
				}
				if info.TTL > tc.ttl || info.TTL < tc.ttl-20*time.Second {
					t.Errorf("TTL %v, want nearly %v", info.TTL, tc.ttl)
				}
				info.TTL = 0
				if want := (redigolock.Info{Key: "k", Token: tc.token, Owner: tc.owner, Held: tc.held}); info != want {
					t.Errorf("got %+v, want %+v", info, want)
				}
			})
		}
	})
}

func TestInspectOfAFreeLockIsNoError(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		info, err := redigolock.Inspect(bg, s.ctl, "k")
		if want := (redigolock.Info{Key: "k"}); err != nil || info != want {
			t.Errorf("got %+v, %v", info, err)
		}
		s.do("RPUSH", "k", "x")
		info, err = redigolock.Inspect(bg, s.ctl, "k")
		wants(t, err, redigolock.ErrConflict)
		if want := (redigolock.Info{Key: "k"}); info != want {
			t.Errorf("another type: %+v", info)
		}
	})
}

func TestVerbsOnNewerServers(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *redistest.Server{
		"valkey": redistest.StartValkey, "redis8": redistest.StartRedis8,
	} {
		t.Run(name, func(t *testing.T) {
			s := newVerbSite(t, start(t).Addr(), true)
			c := s.dial()
			for _, v := range allVerbs {
				if v.name == "ReleaseNative" {
					continue
				}
				v.prepare(s, "k", "tok")
				if err := v.call(bg, c, "k", "tok", 2*minute); err != nil {
					t.Errorf("%s: %v", v.name, err)
				}
				s.wantPlain(c, "k")
				s.do("FLUSHDB")
			}
			for _, v := range holderVerbs() {
				if v.name == "ReleaseNative" {
					continue
				}
				s.put("k", "tok2", minute)
				wants(t, v.call(bg, c, "k", "tok", 2*minute), redigolock.ErrNotHeld)
				s.wantLock("k", "tok2", minute)
			}
		})
	}
}
