package mux

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

type namedText string

type argText string

func (a argText) RedisArg() any { return string(a) }

// muxRefused are commands that a Mux must not send, each with its arguments.
var muxRefused = [][]any{
	{"WATCH", "k"}, {"UNWATCH"}, {"MULTI"}, {"EXEC"}, {"DISCARD"},
	{"SUBSCRIBE", "c"}, {"PSUBSCRIBE", "c*"}, {"SSUBSCRIBE", "c"},
	{"UNSUBSCRIBE"}, {"PUNSUBSCRIBE"}, {"SUNSUBSCRIBE"}, {"MONITOR"}, {"SYNC"}, {"PSYNC", "?", -1},
	{"BLPOP", "l", 0}, {"BRPOP", "l", 0}, {"BRPOPLPUSH", "a", "b", 0}, {"BLMOVE", "a", "b", "LEFT", "LEFT", 0},
	{"BLMPOP", 0, 1, "l", "LEFT"}, {"BZPOPMIN", "z", 0}, {"BZPOPMAX", "z", 0}, {"BZMPOP", 0, 1, "z", "MIN"},
	{"WAIT", 1, 0}, {"WAITAOF", 1, 0, 0},
	{"XREAD", "BLOCK", 0, "STREAMS", "s", "$"}, {"XREAD", "COUNT", 1, []byte("block"), 0, "STREAMS", "s", "$"},
	{"XREAD", namedText("BLOCK"), 0, "STREAMS", "s", "$"}, {"XREAD", argText("Block"), 0, "STREAMS", "s", "$"},
	{"XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">"},
	{"XREADGROUP", "GROUP", "streams", "c", "BLOCK", 0, "STREAMS", "s", ">"},
	{"SELECT", 1}, {"AUTH", "secret"}, {"HELLO", 3}, {"RESET"}, {"QUIT"}, {"READONLY"}, {"READWRITE"}, {"ASKING"},
	{"CLIENT", "REPLY", "OFF"}, {"CLIENT", []byte("reply"), "SKIP"}, {"CLIENT", namedText("Reply"), "SKIP"},
	{"CLIENT", "TRACKING", "ON"}, {"CLIENT", "SETNAME", "x"}, {"SCRIPT", "DEBUG", "YES"},
}

func TestMuxRefusesWhatNeedsAConnectionOfItsOwnAndSendsNothing(t *testing.T) {
	r := newRig(t)
	m := newMux(t, r.Proxy.Pool(), 0)
	c := m.Get()
	defer c.Close()
	for _, cmd := range muxRefused {
		name, args := cmd[0].(string), cmd[1:]
		t.Run(strings.ReplaceAll(fmt.Sprint(cmd), " ", "_"), func(t *testing.T) {
			r.Silent("a refused command", func() {
				for _, name := range []string{name, strings.ToLower(name), name[:1] + strings.ToLower(name[1:])} {
					_, err := c.Do(name, args...)
					wants(t, err, redigolock.ErrUnsupported)
					wants(t, c.Send(name, args...), redigolock.ErrUnsupported)
					if !strings.Contains(fmt.Sprint(err), "use the pool") || strings.Contains(fmt.Sprint(err), "secret") {
						t.Error("the error says", err)
					}
				}
			})
			if got, err := redis.String(c.Do("ECHO", name)); got != name || err != nil {
				t.Error("a refusal made the connection unusable:", got, err)
			}
		})
	}
}

func TestMuxSendsWhatOnlyLooksLikeARefusedCommand(t *testing.T) {
	r := newRig(t)
	c := newMux(t, r.Proxy.Pool(), 0).Get()
	defer c.Close()
	r.Do("XADD", "block", "1-1", "f", "v")
	r.Do("XGROUP", "CREATE", "block", "block", "0")
	for _, cmd := range [][]any{
		{"XREAD", "STREAMS", "block", "0"}, {"XREAD", "COUNT", 1, "STREAMS", "block", "0"},
		{"XREADGROUP", "GROUP", "block", "block", "STREAMS", "block", ">"},
		{"CLIENT", "ID"}, {"SCRIPT", "EXISTS", "00"}, {"ECHO", "WATCH"}, {"SET", "MULTI", "REPLY"},
	} {
		if _, err := c.Do(cmd[0].(string), cmd[1:]...); err != nil {
			t.Error(cmd, err)
		}
	}
}

func TestReleaseTxOverAMuxSaysThatItNeedsThePool(t *testing.T) {
	r := newRig(t)
	r.Locker.Pool = newMux(t, r.Proxy.Pool(), 0)
	r.Locker.ReleaseWith = redigolock.ReleaseTx
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	err := k.Release(bg)
	wants(t, err, redigolock.ErrUnsupported)
	wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrNotHeld)
	if !strings.Contains(fmt.Sprint(err), "use the pool") {
		t.Error("the error says", err)
	}
	if n := len(r.Sent("watch")); n > 0 || r.Get("key") != k.Token() {
		t.Errorf("%d WATCH were sent, and the key is %q", n, r.Get("key"))
	}
	var re redis.Error
	if errors.As(err, &re) {
		t.Error("the server was asked:", err)
	}
}
