package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"pgregory.net/rapid"

	"github.com/redigolock/redigolock"
)

const maxKeyBytes = 64 << 10

func TestVerbsRefuseBadInputBeforeAnyIO(t *testing.T) {
	type input struct {
		ctx        context.Context
		noConn     bool
		key, token string
		ttl        time.Duration
	}
	long := strings.Repeat("k", maxKeyBytes+1)
	cases := []struct {
		name  string
		input input
		for_  func(verbCall) bool // nil: every verb
	}{
		{"nil ctx", input{nil, false, "k", "tok", minute}, nil},
		{"nil connection", input{bg, true, "k", "tok", minute}, nil},
		{"empty key", input{bg, false, "", "tok", minute}, nil},
		{"key over 64 KiB", input{bg, false, long, "tok", minute}, nil},
		{"empty token", input{bg, false, "k", "", minute}, func(v verbCall) bool { return v.token }},
		{"token over 64 KiB", input{bg, false, "k", long, minute}, func(v verbCall) bool { return v.token }},
	}
	for _, ttl := range []time.Duration{
		0, -1, -time.Millisecond, -minute, 1, 500 * time.Microsecond, 1500 * time.Microsecond, minute + 1,
		24*time.Hour + time.Millisecond, 24*time.Hour + 1, 1<<63 - 1, -1 << 63,
	} {
		cases = append(cases, struct {
			name  string
			input input
			for_  func(verbCall) bool
		}{fmt.Sprintf("ttl %v", ttl), input{bg, false, "k", "tok", ttl}, func(v verbCall) bool { return v.ttl }})
	}
	for _, v := range allVerbs {
		for _, tc := range cases {
			if tc.for_ != nil && !tc.for_(v) {
				continue
			}
			t.Run(v.name+"/"+tc.name, func(t *testing.T) {
				var c redis.Conn = untouchable{t}
				if tc.input.noConn {
					c = nil
				}
				err := v.call(tc.input.ctx, c, tc.input.key, tc.input.token, tc.input.ttl)
				wants(t, err, redigolock.ErrInvalid)
				wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrHeld, redigolock.ErrNotHeld)
				if len(err.Error()) > 300 {
					t.Errorf("a message of %d bytes shows the whole input", len(err.Error()))
				}
			})
		}
	}
}

func TestGuardRefusesImpossibleNumbersBeforeAnyIO(t *testing.T) {
	for _, n := range []int64{0, -1, -1 << 63, 1 << 53, 1<<53 + 1, 1<<63 - 1} {
		c := untouchable{t}
		wants(t, redigolock.Guard(bg, c, "guard", n), redigolock.ErrInvalid)
		reply, err := redigolock.GuardDo(bg, c, "guard", n, "SET", "k", "v")
		wants(t, err, redigolock.ErrInvalid)
		if reply != nil {
			t.Errorf("number %d: reply %v beside the error", n, reply)
		}
	}
}

func TestGuardDoRefusesBadCommandsBeforeAnyIO(t *testing.T) {
	type call struct {
		cmd, key string
		args     []any
	}
	calls := map[string]call{
		"no command":            {"", "k", nil},
		"empty key":             {"SET", "", []any{"v"}},
		"key over 64 KiB":       {"SET", strings.Repeat("k", maxKeyBytes+1), []any{"v"}},
		"more than 1000 values": {"RPUSH", "k", make([]any, 1001)},
	}
	for _, cmd := range []string{
		"BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "WAIT", "WAITAOF",
		"XREAD", "XREADGROUP", "blpop", "BlPop",
	} {
		calls[cmd] = call{cmd, "k", []any{0}}
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			_, err := redigolock.GuardDo(bg, untouchable{t}, "guard", 1, call.cmd, call.key, call.args...)
			wants(t, err, redigolock.ErrInvalid)
		})
	}
}

func TestFenceNeedsASiblingKey(t *testing.T) {
	for _, key := range []string{"}", "a}b", "{}", "{}{x}", "}{", "a{}b"} {
		_, err := redigolock.Fence(bg, untouchable{t}, key, "tok")
		wants(t, err, redigolock.ErrInvalid)
	}
}

var errTestCause = errors.New("the request was withdrawn")

// endedContexts are contexts that have ended in each way there is.
func endedContexts(t *testing.T) map[string]context.Context {
	cancelled, cancel := context.WithCancel(bg)
	cancel()
	withCause, cancelCause := context.WithCancelCause(bg)
	cancelCause(errTestCause)
	late, cancelLate := context.WithDeadline(bg, time.Unix(1, 0))
	t.Cleanup(cancelLate)
	lateCause, cancelLateCause := context.WithDeadlineCause(bg, time.Unix(1, 0), errTestCause)
	t.Cleanup(cancelLateCause)
	child, cancelChild := context.WithTimeout(withCause, minute)
	t.Cleanup(cancelChild)
	return map[string]context.Context{
		"cancelled": cancelled, "cancelled with cause": withCause, "deadline passed": late,
		"deadline passed with cause": lateCause, "parent cancelled with cause": child,
	}
}

// FACTS: DoContext with a cancelled ctx still reached the server in 5 of 300 calls.
func TestVerbsSendNothingAfterTheirContextEnded(t *testing.T) {
	for how, ctx := range endedContexts(t) {
		for _, v := range allVerbs {
			t.Run(v.name+"/"+how, func(t *testing.T) {
				err := v.call(ctx, untouchable{t}, "k", "tok", minute)
				wants(t, err, ctx.Err(), context.Cause(ctx))
				wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrInvalid)
				if !strings.Contains(err.Error(), `"k"`) {
					t.Errorf("the message does not name the key: %v", err)
				}
			})
		}
	}
}

func TestVerbsTakeKeysOfAnyBytes(t *testing.T) {
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	bytes := strings.ReplaceAll(string(all[:]), "}", "")
	keys := []string{
		"k", " ", "\x00", "\r\n", "$3\r\nfoo\r\n", bytes, "{tag}" + bytes, "日本語", "{", "{a", "%s%d", "'\"`;--",
		strings.Repeat("k", maxKeyBytes), strings.Repeat("\xff", maxKeyBytes),
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		c := s.dial()
		for _, v := range allVerbs {
			if !v.supported(s) {
				continue
			}
			for _, key := range keys {
				v.prepare(s, key, key)
				if err := v.call(bg, c, key, key, minute); err != nil {
					t.Errorf("%s of %.20q with the same bytes as token: %.200v", v.name, key, err)
				}
			}
			s.do("FLUSHDB")
		}
	})
}

func TestVerbsTakeTheLongestAndTheShortestTTL(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		c := s.dial()
		for _, v := range allVerbs {
			if !v.ttl {
				continue
			}
			v.prepare(s, "k", "tok")
			if err := v.call(bg, c, "k", "tok", 24*time.Hour); err != nil {
				t.Errorf("%s for 24 h: %v", v.name, err)
			}
			s.wantLock("k", "tok", 24*time.Hour)

			v.prepare(s, "k", "tok")
			err := v.call(bg, c, "k", "tok", time.Millisecond)
			if err != nil && !errors.Is(err, redigolock.ErrExpired) {
				t.Errorf("%s for 1 ms: %v", v.name, err)
			}
			if v.name == "Extend" {
				s.wantLock("k", "tok", minute) // had a minute: not lowered
				continue
			}
			eventually(t, v.name+" for 1 ms is gone", func() bool { return s.value("k") == "" })
		}
	})
}

// crc16 is that of Redis Cluster (XMODEM), from its specification.
func crc16(s string) (crc uint16) {
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// clusterSlot follows the specification's text, not our code.
func clusterSlot(key string) uint16 {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if shut := strings.IndexByte(key[open+1:], '}'); shut > 0 {
			key = key[open+1 : open+1+shut]
		}
	}
	return crc16(key) % 16384
}

func TestClusterSlotOfTheTestIsTheServers(t *testing.T) {
	for key, slot := range map[string]uint16{"123456789": 0x31C3, "foo": 12182, "{foo}bar": 12182, "bar{foo}": 12182} {
		if got := clusterSlot(key); got != slot%16384 {
			t.Errorf("slot of %q: %d, want %d", key, got, slot%16384)
		}
	}
}

// keyGen makes keys that have braces more often than not.
var keyGen = rapid.OneOf(rapid.StringOfN(rapid.RuneFrom([]rune("{}:ab")), 1, 12, -1), rapid.StringN(1, 20, -1))

func TestSiblingIsInjectiveAndInTheSameSlot(t *testing.T) {
	purposes := rapid.SampledFrom([]string{"fence", "q1", "q2", "h2"})
	rapid.Check(t, func(t *rapid.T) {
		key1, key2 := keyGen.Draw(t, "key1"), keyGen.Draw(t, "key2")
		for1, for2 := purposes.Draw(t, "purpose1"), purposes.Draw(t, "purpose2")
		s1, err1 := redigolock.Sibling("test", key1, for1)
		s2, err2 := redigolock.Sibling("test", key2, for2)
		if err1 != nil || err2 != nil {
			return
		}
		if clusterSlot(s1) != clusterSlot(key1) {
			t.Errorf("%q is in slot %d, its sibling %q in %d", key1, clusterSlot(key1), s1, clusterSlot(s1))
		}
		if s1 == key1 {
			t.Errorf("%q is its own sibling", key1)
		}
		if !redigolock.IsSibling(s1) {
			t.Errorf("%q may be the key of a lock, though it goes with %q", s1, key1)
		}
		if redigolock.HasHashTag(key1) && !strings.HasPrefix(s1, key1) {
			t.Errorf("the sibling %q of %q is not under its prefix", s1, key1)
		}
		if (key1 != key2 || for1 != for2) && s1 == s2 {
			t.Errorf("%q of %q and %q of %q share %q", for1, key1, for2, key2, s1)
		}
	})
}

// Only what goes with a lock looks like it: a key that is no sibling may be a lock's.
func TestOnlySiblingsLookLikeOne(t *testing.T) {
	names := []string{"fence", "q1", "q2", "h2"}
	like := rapid.Custom(func(t *rapid.T) string {
		of := keyGen.Draw(t, "of")
		name := rapid.SampledFrom(append(names, "q3", "", "fence-t")).Draw(t, "name")
		return of + rapid.SampledFrom([]string{":redigolock-", "redigolock-", "}:redigolock-"}).Draw(t, "joint") + name +
			rapid.SampledFrom([]string{"", "-t"}).Draw(t, "end")
	})
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(keyGen, like).Draw(t, "key")
		found := false
		for i := range key {
			for _, name := range names {
				for _, of := range []string{key[:i], strings.TrimPrefix(strings.TrimSuffix(key[:i], "}"), "{")} {
					s, err := redigolock.Sibling("test", of, name)
					found = found || err == nil && of != "" && s == key
				}
			}
		}
		if found != redigolock.IsSibling(key) {
			t.Errorf("%q goes with a lock: %v, it looks like it: %v", key, found, !found)
		}
	})
}

func TestALockMustNotHaveTheKeyOfASibling(t *testing.T) {
	r := newSimRig(t)
	for _, key := range []string{"{order}:redigolock-fence", "order:{17}:redigolock-q1-t"} {
		_, err := r.Locker.TryAcquire(bg, key, minute)
		wants(t, err, redigolock.ErrInvalid)
		wants(t, redigolock.SetNX(bg, r.Locker.Pool.Get(), key, "tok", minute), redigolock.ErrInvalid)
	}
}

func TestSiblingOfAKeyWithoutPossibleSlotIsInvalid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := keyGen.Draw(t, "key")
		_, err := redigolock.Sibling("test", key, "fence")
		// No tag and a '}': "{" + key + "}" would be hashed by less than the key.
		hopeless := strings.Contains(key, "}") && clusterSlot(key) == crc16(key)%16384 && !redigolock.HasHashTag(key)
		if hopeless != errors.Is(err, redigolock.ErrInvalid) || !hopeless && err != nil {
			t.Errorf("key %q: %v", key, err)
		}
	})
}
