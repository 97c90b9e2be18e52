package verbs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
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
				var c redis.Conn = untouchable{T: t}
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
		c := untouchable{T: t}
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
			_, err := redigolock.GuardDo(bg, untouchable{T: t}, "guard", 1, call.cmd, call.key, call.args...)
			wants(t, err, redigolock.ErrInvalid)
		})
	}
}

func TestFenceNeedsASiblingKey(t *testing.T) {
	for _, key := range []string{"}", "a}b", "{}", "{}{x}", "}{", "a{}b"} {
		_, err := redigolock.Fence(bg, untouchable{T: t}, key, "tok")
		wants(t, err, redigolock.ErrInvalid)
	}
}

// FACTS: DoContext with a cancelled ctx still reached the server in 5 of 300 calls.
func TestVerbsSendNothingAfterTheirContextEnded(t *testing.T) {
	for how, ctx := range endedContexts(t) {
		for _, v := range allVerbs {
			t.Run(v.name+"/"+how, func(t *testing.T) {
				err := v.call(ctx, untouchable{T: t}, "k", "tok", minute)
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

func TestALockMustNotHaveTheKeyOfASibling(t *testing.T) {
	l := &redigolock.Locker{Pool: redistest.StartMini(t).Pool()}
	defer l.Close()
	for _, key := range []string{"{order}:redigolock-fence", "order:{17}:redigolock-q1-t"} {
		_, err := l.TryAcquire(bg, key, minute)
		wants(t, err, redigolock.ErrInvalid)
		wants(t, redigolock.SetNX(bg, untouchable{T: t}, key, "tok", minute), redigolock.ErrInvalid)
	}
}
