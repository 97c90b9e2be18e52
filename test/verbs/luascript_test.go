package verbs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/scripts"
)

// SETNX, then PEXPIRE with a bad ttl, leaves the key without TTL for ever, or no key: scripts do not roll back.
func TestScriptsRefuseABadTTLBeforeTheyWrite(t *testing.T) {
	bad := []string{
		"0", "-1", "-0", "1.5", "", " ", " 5", "5 ", "5\n", "5\x00", "abc", "1e3", "0x10", "+5", "nan", "inf", "86400001",
		"99999999", "100000000", "000000005", "9223372036854775807", "99999999999999999999999",
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, ttl := range bad {
			reply, err := s.ctl.Do("EVAL", scripts.Texts["setNX"], 1, "k", "tok", ttl)
			wantTTLRefused(t, "setnx", ttl, reply, err)
			s.wantKeys()

			s.put("k", "tok", minute)
			reply, err = s.ctl.Do("EVAL", scripts.Texts["extend"], 1, "k", "tok", ttl)
			wantTTLRefused(t, "extend", ttl, reply, err)
			s.wantLock("k", "tok", minute)
			s.do("DEL", "k")
		}
	})
}

func wantTTLRefused(t *testing.T, script, ttl string, reply any, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "ttl out of range") {
		t.Errorf("the %s script with ttl %q answers %v, %v", script, ttl, reply, err)
	}
}

// Redis does not roll back: what is wrong with one lock must neither be written for it nor keep the others from theirs.
func TestExtendScriptJudgesEachOfManyLocksForItself(t *testing.T) {
	type lock struct {
		key, value string
		left       time.Duration // before; 0: without TTL
		ttl        any
		want       any           // the PTTL of its reply, or what its error contains
		leaves     time.Duration // after
	}
	locks := []lock{
		{"shorter", "tok", minute, 120000, int64(120000), 2 * minute},
		{"too long a ttl", "tok", minute, 86400001, "ttl out of range", minute},
		{"no ttl", "tok", minute, 0, "ttl out of range", minute},
		{"no number", "tok", minute, "1.5", "ttl out of range", minute},
		{"gone", "", 0, 120000, int64(0), 0},
		{"another's", "other", minute, 120000, int64(0), minute},
		{"prefix", "tok2", minute, 120000, int64(0), minute},
		{"a string", "other", 0, 120000, "CONFLICT a string without TTL", 0},
		{"persisted", "tok", 0, 120000, "CONFLICT the lock has lost its TTL", 0},
		{"a list", "", 0, 120000, "WRONGTYPE", 0},
		{"its own ttl", "tok", minute, 180000, int64(180000), 3 * minute},
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		args, rest := []any{scripts.Texts["extend"], len(locks)}, []any{}
		for _, k := range locks {
			if k.value != "" {
				s.put(k.key, k.value, k.left)
			}
			args, rest = append(args, k.key), append(rest, "tok", k.ttl)
		}
		s.do("RPUSH", "a list", "tok")
		replies, err := redis.Values(s.ctl.Do("EVAL", append(args, rest...)...))
		if err != nil || len(replies) != len(locks) {
			t.Fatalf("%d replies, %v", len(replies), err)
		}
		for i, k := range locks {
			text, wantsError := k.want.(string)
			re, isError := replies[i].(redis.Error)
			if isError != wantsError || !strings.Contains(string(re), text) || !wantsError && replies[i] != k.want {
				t.Errorf("%s: the reply is %#v, want %v", k.key, replies[i], k.want)
			}
			if k.value != "" {
				s.wantLock(k.key, k.value, k.leaves)
			}
		}
		s.do("PEXPIRE", "shorter", 300000)
		s.do("EVAL", scripts.Texts["extend"], 2, "its own ttl", "shorter", "tok", 60000, "tok", 60000)
		s.wantLock("shorter", "tok", 5*minute)
		s.wantLock("its own ttl", "tok", 3*minute)
		if s.do("EXISTS", "gone") != int64(0) {
			t.Error("the script made a key")
		}
	})
}

func TestScriptsTakeEveryTTLThatVerbsAllow(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, ttl := range []int{1, 9, 10, 99999, 9999999, 86399999, 86400000} {
			s.do("DEL", "k")
			if reply, err := s.ctl.Do("EVAL", scripts.Texts["setNX"], 1, "k", "tok", ttl); err != nil || reply != int64(1) {
				t.Errorf("ttl %d: %v, %v", ttl, reply, err)
			}
		}
	})
}

// limitedUser dials as a user who may do everything but the given commands.
func limitedUser(s *verbSite, denied ...string) redis.Conn {
	s.t.Helper()
	rules := []any{"SETUSER", "limited", "reset", "on", ">pw", "~*", "&*", "+@all"}
	for _, cmd := range denied {
		rules = append(rules, "-"+cmd)
	}
	s.do("ACL", rules...)
	return s.dial(redis.DialUsername("limited"), redis.DialPassword("pw"))
}

// denials are how servers say that a script may not run a command, none of them with NOPERM: Redis 6.2, 7.0, and Redis
// 8 and Valkey.
var denials = []string{"The user executing the script", "ERR The user executing the script", "ERR ACL failure in script"}

// wantDenied wants the error of a script that may not run a command.
func wantDenied(t *testing.T, err error) {
	t.Helper()
	var re redis.Error
	if !errors.As(err, &re) ||
		!slices.ContainsFunc(denials, func(denial string) bool { return strings.HasPrefix(string(re), denial) }) {
		t.Errorf("got %v, want the server's denial", err)
		return
	}
	wantReply(t, err, string(re))
	if fault.Transient(err) {
		t.Errorf("%v is tried again", err)
	}
}

func TestSetNXScriptLeavesNoKeyWhenPexpireIsRefused(t *testing.T) {
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	wantDenied(t, redigolock.SetNXScript(bg, limitedUser(s, "pexpire"), "k", "tok", minute))
	s.wantKeys()
}

func TestScriptsWithoutARightChangeNothing(t *testing.T) {
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	for _, denied := range []string{"get", "setnx", "pexpire", "pttl", "del", "set", "time"} {
		c := limitedUser(s, denied)
		for _, v := range allVerbs {
			if v.commands[0] != "EVALSHA" {
				continue
			}
			t.Run(v.name+"/"+denied, func(t *testing.T) {
				s.do("FLUSHDB")
				v.prepare(s, "k", "tok")
				err := v.call(bg, c, "k", "tok", 2*minute)
				if err == nil {
					return // it does not need this right
				}
				wantDenied(t, err)
				if strings.HasPrefix(v.name, "SetNX") || strings.HasPrefix(v.name, "Guard") {
					s.wantKeys()
				} else {
					s.wantKeys("k")
					s.wantLock("k", "tok", minute)
				}
			})
		}
	}
}

func TestUnknownScriptIsSentOnceMoreAsText(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		proxy := redistest.NewProxy(t, s.addr)
		c := dialFor(t, proxy.Addr())
		for _, v := range allVerbs {
			if v.commands[0] != "EVALSHA" {
				continue
			}
			s.do("SCRIPT", "FLUSH")
			for _, want := range []string{"[EVALSHA EVAL]", "[EVALSHA]"} {
				v.prepare(s, "k", "tok")
				before := len(proxy.Requests())
				if err := v.call(bg, c, "k", "tok", minute); err != nil {
					t.Errorf("%s: %v", v.name, err)
				}
				if got := fmt.Sprint(namesOf(proxy.Requests()[before:])); got != want {
					t.Errorf("%s sent %s, want %s", v.name, got, want)
				}
				s.do("DEL", "k")
			}
		}
	})
}

func namesOf(requests []redistest.Request) []string {
	var names []string
	for _, q := range requests {
		names = append(names, q.Name)
	}
	return names
}

// A server, or a proxy before several, that never knows a script must not be asked for ever.
func TestUnknownScriptIsNotSentForEver(t *testing.T) {
	for _, v := range allVerbs {
		if v.commands[0] != "EVALSHA" {
			continue
		}
		unknown := redis.Error("NOSCRIPT No matching script. Please use EVAL.")
		c := &scriptedConn{Replies: []any{unknown, unknown}}
		wantReply(t, v.call(bg, c, "k", "tok", minute), "NOSCRIPT")
		if len(c.Commands) != 2 {
			t.Errorf("%s sent %d commands", v.name, len(c.Commands))
		}
	}
}

// Everything that differs from call to call travels as KEYS and ARGV: no token can be code.
func TestScriptsAreTheSameForEveryCall(t *testing.T) {
	evil := `'] redis.call('FLUSHALL') --]] ]=] " \ %d %s ` + "\r\n"
	onEachServer(t, func(t *testing.T, s *verbSite) {
		proxy := redistest.NewProxy(t, s.addr)
		c := dialFor(t, proxy.Addr())
		for _, v := range allVerbs {
			if v.commands[0] != "EVALSHA" {
				continue
			}
			s.do("SET", "bystander", "here")
			var hashes []string
			for _, token := range []string{"tok", evil} {
				v.prepare(s, token, token)
				before := len(proxy.Requests())
				if err := v.call(bg, c, token, token, minute); err != nil {
					t.Errorf("%s with %q: %v", v.name, token, err)
				}
				hashes = append(hashes, proxy.Requests()[before].Args[0])
				s.do("DEL", token)
			}
			if hashes[0] != hashes[1] || s.value("bystander") != "here" {
				t.Errorf("%s sends other code for another token: %q", v.name, hashes)
			}
		}
	})
}

func TestScriptRepliesThatTheProtocolDoesNotAllowAreNoSuccess(t *testing.T) {
	for _, v := range allVerbs {
		if v.commands[0] != "EVALSHA" {
			continue
		}
		for _, reply := range []any{"QUEUED", "OK", int64(-1), []any{}, []any{int64(1), int64(2), int64(3)}, []any{nil, nil}} {
			c := &scriptedConn{Replies: []any{reply}}
			if err := v.call(bg, c, "k", "tok", minute); err == nil {
				t.Errorf("%s: reply %v is success", v.name, reply)
			}
		}
	}
	c := &scriptedConn{Replies: []any{int64(0)}}
	if err := redigolock.SetNXScript(bg, c, "k", "tok", minute); err == nil {
		t.Error("SetNXScript: reply 0 is success, which the articles' script says for \"held\"")
	}
}
