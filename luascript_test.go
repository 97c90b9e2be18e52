package redigolock_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// SETNX, then PEXPIRE with a bad ttl, leaves the key without TTL for ever, or no key: scripts do not roll back.
func TestScriptsRefuseABadTTLBeforeTheyWrite(t *testing.T) {
	bad := []string{
		"0", "-1", "-0", "1.5", "", " ", " 5", "5 ", "5\n", "5\x00", "abc", "1e3", "0x10", "+5", "nan", "inf", "86400001",
		"99999999", "100000000", "000000005", "9223372036854775807", "99999999999999999999999",
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, ttl := range bad {
			reply, err := s.ctl.Do("EVAL", redigolock.ScriptSetNX, 1, "k", "tok", ttl)
			wantTTLRefused(t, "setnx", ttl, reply, err)
			s.wantKeys()

			s.put("k", "tok", minute)
			reply, err = s.ctl.Do("EVAL", redigolock.ScriptExtend, 1, "k", "tok", ttl)
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

func TestScriptsTakeEveryTTLThatVerbsAllow(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, ttl := range []int{1, 9, 10, 99999, 9999999, 86399999, 86400000} {
			s.do("DEL", "k")
			if reply, err := s.ctl.Do("EVAL", redigolock.ScriptSetNX, 1, "k", "tok", ttl); err != nil || reply != int64(1) {
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
	if redigolock.Transient(err) {
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
		c := &scriptedConn{replies: []any{unknown, unknown}}
		wantReply(t, v.call(bg, c, "k", "tok", minute), "NOSCRIPT")
		if len(c.sent) != 2 {
			t.Errorf("%s sent %d commands", v.name, len(c.sent))
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
			c := &scriptedConn{replies: []any{reply}}
			if err := v.call(bg, c, "k", "tok", minute); err == nil {
				t.Errorf("%s: reply %v is success", v.name, reply)
			}
		}
	}
	c := &scriptedConn{replies: []any{int64(0)}}
	if err := redigolock.SetNXScript(bg, c, "k", "tok", minute); err == nil {
		t.Error("SetNXScript: reply 0 is success, which the articles' script says for \"held\"")
	}
}
