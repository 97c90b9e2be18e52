package redigolock_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

const (
	fairKey   = "lock"
	fairQueue = "{lock}:redigolock-q2"
	fairBeats = "{lock}:redigolock-h2"
)

// A fairSite is a server with the scripts of Locker.Fair, and one connection that hears the channels of its callers.
type fairSite struct {
	t       *testing.T
	c, subs redis.Conn
	sharded string
}

// onFairServers runs a test on each kind of server.
func onFairServers(t *testing.T, f func(t *testing.T, pool *redis.Pool)) {
	t.Run("miniredis", func(t *testing.T) { f(t, redistest.StartMini(t).Pool()) })
	t.Run("redis", func(t *testing.T) { f(t, redistest.Start(t).Pool()) })
	t.Run("redis8", func(t *testing.T) { f(t, redistest.StartRedis8(t).Pool()) })
	t.Run("valkey", func(t *testing.T) { f(t, redistest.StartValkey(t).Pool()) })
}

func newFairSite(t *testing.T, pool *redis.Pool, sharded string) *fairSite {
	s := &fairSite{t: t, c: pool.Get(), subs: pool.Get(), sharded: sharded}
	t.Cleanup(func() { s.c.Close(); s.subs.Close() })
	return s
}

func (s *fairSite) do(cmd string, args ...any) any {
	s.t.Helper()
	reply, err := s.c.Do(cmd, args...)
	if err != nil {
		s.t.Fatal(cmd, err)
	}
	return reply
}

// entry is an entry of the queue, as the format says. Its channel is c-token, its ttl as fairTTL has it.
func fairEntry(token string) string {
	if token == "junk" {
		return "12 to the left"
	}
	return fmt.Sprintf("%d %d c-%s %s", fairTTL[token], len(token)+2, token, token)
}

var fairTTL = map[string]int{"me": 70_000, "live": 80_000, "dead": 90_000, "foe": 50_000, "next": 65_000}

// fairSlack is how many ms may pass between what a script does and the look at it.
const fairSlack = 9000

// A fairState is the lock, the queue, and who hears; and the reference that the scripts are compared with.
type fairState struct {
	holder   string
	pttl     int // -1: no TTL
	queue    []string
	hears    []string
	messages []string
}

// pump is the reference for the scripts' end.
func (f *fairState) pump(mine string) {
	for f.holder == "" && len(f.queue) > 0 {
		next := f.queue[0]
		f.queue = f.queue[1:]
		if next == "junk" || next != mine && !slices.Contains(f.hears, next) {
			continue
		}
		f.holder, f.pttl = next, fairTTL[next]
		if next != mine {
			f.messages = append(f.messages, next)
		}
	}
}

// said is 1 if me has the lock, else no.
func (f *fairState) said(no int) int {
	if f.holder == "me" {
		return 1
	}
	return no
}

// reference does what FAIR's scripts must do for me, and returns was and said, or the error.
func (f *fairState) reference(script string, ttl int) (was, said int, conflict bool) {
	hears, queued := slices.Contains(f.hears, "me"), slices.Contains(f.queue, "me")
	endless := f.holder != "" && f.pttl < 0
	switch script {
	case "try":
		if endless {
			return 0, 0, true
		}
		if f.pump(""); f.holder == "" {
			f.holder, f.pttl = "me", ttl
		}
		return 0, f.said(2), false
	case "enter":
		switch {
		case endless:
			return 0, 0, true
		case !hears:
			f.pump("")
			return 0, 3, false
		}
		if f.pump("me"); f.holder != "me" {
			f.queue = append(f.queue, "me")
			f.pump("me")
		}
		return 0, f.said(2), false
	case "rel", "rel+next":
		mine := ""
		if f.holder == "me" {
			was, f.holder = 1, ""
		}
		if script == "rel+next" {
			f.queue, mine, said = append(f.queue, "next"), "next", 2
		}
		if f.pump(mine); f.holder == "next" {
			said = 1
		}
		return was, said, false
	case "poke", "poke+beat":
		switch f.pump("me"); {
		case f.holder == "me" && f.pttl < 0:
			return 0, 0, true
		case f.holder == "me":
			f.pttl = max(f.pttl, ttl)
			return 0, 1, false
		case !queued:
			return 0, 4, false
		case !slices.Contains(f.queue, "me"):
			return 0, 4, false
		case !hears:
			return 0, 3, false
		}
		return 0, 2, false
	case "quit":
		if f.queue = slices.DeleteFunc(f.queue, func(e string) bool { return e == "me" }); queued {
			was = 1
		}
		if f.holder == "me" {
			was, f.holder = 1, ""
		}
		f.pump("")
		return was, 0, false
	}
	if f.holder == "" { // extend
		f.pump("")
		return 0, 0, false
	}
	if endless || f.holder != "me" {
		return 0, 0, endless
	}
	f.pttl = max(f.pttl, ttl)
	return 0, f.pttl, false
}

func (f *fairState) clone() *fairState {
	g := *f
	g.queue = slices.Clone(f.queue)
	return &g
}

// set makes the server's state.
func (s *fairSite) set(f *fairState) {
	s.do("FLUSHALL")
	if f.holder != "" && f.pttl < 0 {
		s.do("SET", fairKey, f.holder)
	} else if f.holder != "" {
		s.do("SET", fairKey, f.holder, "PX", f.pttl)
	}
	for _, token := range f.queue {
		s.do("RPUSH", fairQueue, fairEntry(token))
	}
	for _, token := range []string{"me", "next", "live"} {
		cmd := "UNSUBSCRIBE"
		if slices.Contains(f.hears, token) {
			cmd = "SUBSCRIBE"
		}
		if s.sharded == "S" {
			cmd = "S" + cmd
		}
		if err := errors.Join(s.subs.Send(cmd, "c-"+token), s.subs.Flush()); err != nil {
			s.t.Fatal(err)
		}
	}
	s.heard()
}

// messages returns those that have come. miniredis sends them in the background: want are waited for.
func (s *fairSite) messages(want int) (tokens []string) {
	for end := time.Now().Add(10 * time.Second); ; {
		tokens = append(tokens, s.heard()...)
		if len(tokens) >= want || time.Now().After(end) {
			return tokens
		}
	}
}

func (s *fairSite) heard() (tokens []string) {
	if err := errors.Join(s.subs.Send("PING"), s.subs.Flush()); err != nil {
		s.t.Fatal(err)
	}
	for {
		reply, err := s.subs.Receive()
		if err != nil {
			s.t.Fatal(err)
		}
		list, err := redis.Strings(reply, nil)
		if err != nil || list[0] == "pong" {
			if _, isCount := reply.([]any); isCount && err != nil {
				continue // of a SUBSCRIBE: its last element is a number
			}
			return tokens
		}
		if len(list) == 3 && strings.HasSuffix(list[0], "message") {
			if list[1] != "c-"+list[2] {
				s.t.Errorf("the message for %s came to %s", list[2], list[1])
			}
			tokens = append(tokens, list[2])
		}
	}
}

// run evaluates a script for me.
func (s *fairSite) run(script string, ttl int) (any, error) {
	args := []any{"", 2, fairKey, fairQueue, s.sharded}
	name, with, _ := strings.Cut(script, "+")
	if with == "beat" {
		args = []any{"", 3, fairKey, fairQueue, fairBeats, s.sharded}
	}
	switch args[0] = redigolock.FairScripts[name]; name {
	case "try", "extend":
		args = append(args, "me", ttl)
	case "enter", "quit":
		args = append(args, fairEntry("me"))
	case "poke":
		args = append(args, fairEntry("me"), ttl)
	case "rel":
		args = append(args, "me")
	}
	if with == "next" {
		args = append(args, fairEntry("next"))
	}
	return s.c.Do("EVAL", args...)
}

// state reads the server's state, and so many messages.
func (s *fairSite) state(messages int) *fairState {
	f := &fairState{}
	f.holder, _ = redis.String(s.do("GET", fairKey), nil)
	f.pttl, _ = redis.Int(s.do("PTTL", fairKey), nil)
	entries, _ := redis.Strings(s.do("LRANGE", fairQueue, 0, -1), nil)
	for _, e := range entries {
		for _, token := range []string{"me", "live", "dead", "next", "junk"} {
			if e == fairEntry(token) {
				f.queue = append(f.queue, token)
			}
		}
	}
	f.messages = s.messages(messages)
	return f
}

var fairScriptNames = []string{"try", "enter", "rel", "rel+next", "poke", "poke+beat", "quit", "extend"}

// Each script in each state of lock and queue does what a reference of some lines says: nobody barges, no entry that nobody
// hears is told, none is lost, no TTL is lowered, nothing of another's is removed, and the lock is held or the queue is
// empty.
func TestFairScriptsInEachState(t *testing.T) {
	onFairServers(t, func(t *testing.T, pool *redis.Pool) {
		s := newFairSite(t, pool, "")
		everyFairState(func(f *fairState) {
			for _, script := range fairScriptNames {
				s.compare(f, script, 40_000)
				s.compare(f, script, 120_000)
			}
		})
	})
}

// The same with sharded messages, as in a cluster.
func TestFairScriptsSharded(t *testing.T) {
	s := newFairSite(t, redistest.Start(t).Pool(), "S")
	everyFairState(func(f *fairState) {
		for _, script := range fairScriptNames {
			s.compare(f, script, 40_000)
		}
	})
}

// everyFairState calls f with all states that can be.
func everyFairState(f func(*fairState)) {
	queues := [][]string{{}, {"dead"}, {"live"}, {"me"}, {"dead", "live"}, {"junk", "live", "me"}, {"me", "live"}, {"dead", "me"}}
	holders := []fairState{{}, {holder: "me", pttl: 60_000}, {holder: "foe", pttl: 50_000}, {holder: "foe", pttl: -1}, {holder: "me", pttl: -1}}
	for _, hears := range [][]string{{"live"}, {"me", "next", "live"}} {
		for _, h := range holders {
			for _, q := range queues {
				f(&fairState{holder: h.holder, pttl: h.pttl, queue: q, hears: hears})
			}
		}
	}
}

// compare runs a script in a state, and the reference.
func (s *fairSite) compare(from *fairState, script string, ttl int) {
	s.t.Helper()
	if s.t.Failed() {
		return // one state that fails is enough
	}
	name := fmt.Sprintf("%s %d with holder %q (%d) and queue %v, heard by %v", script, ttl, from.holder, from.pttl, from.queue, from.hears)
	s.set(from)
	want := from.clone()
	was, said, conflict := want.reference(script, ttl)
	reply, err := s.run(script, ttl)
	got := s.state(len(want.messages))
	if conflict != (err != nil) || conflict && !strings.HasPrefix(err.Error(), "CONFLICT ") {
		s.t.Errorf("%s: the error is %v, want a conflict: %v", name, err, conflict)
	}
	if err == nil {
		s.compareReply(name, script, reply, was, said, got)
	}
	if kept := s.do("PTTL", fairQueue).(int64); script != "extend" && err == nil && len(got.queue) > 0 && int(kept) < max(got.pttl, 0)+60_000-fairSlack {
		s.t.Errorf("%s: the queue's TTL is %d ms, the lock's %d ms", name, kept, got.pttl)
	}
	if got.holder != want.holder || !slices.Equal(got.queue, want.queue) || !slices.Equal(got.messages, want.messages) {
		s.t.Errorf("%s: holder %q, queue %v, messages %v; want %q, %v, %v", name,
			got.holder, got.queue, got.messages, want.holder, want.queue, want.messages)
	}
	if want.holder != "" && (got.pttl > want.pttl || got.pttl < want.pttl-fairSlack) {
		s.t.Errorf("%s: the TTL is %d ms, want %d", name, got.pttl, want.pttl)
	}
	if got.holder == "" && len(got.queue) > 0 {
		s.t.Errorf("%s: the lock is free, and %v wait", name, got.queue)
	}
}

func (s *fairSite) compareReply(name, script string, reply any, was, said int, got *fairState) {
	s.t.Helper()
	if script == "extend" {
		if n, ok := reply.(int64); !ok || int(n) > said || int(n) < said-fairSlack || n == 0 && said > 0 {
			s.t.Errorf("%s: replied %v, want %d", name, reply, said)
		}
		return
	}
	r, ok := redigolock.ReadFair(reply)
	if !ok || r.Was != (was == 1) || int(r.Said) != said || r.Holder != got.holder || r.Deaf != nil {
		s.t.Errorf("%s: replied %+v, want was %d, said %d, holder %q", name, r, was, said, got.holder)
	}
	if left := r.Left.Milliseconds(); got.pttl >= 0 && (left < int64(got.pttl) || left > int64(got.pttl)+fairSlack) || got.pttl < 0 && left >= 0 {
		s.t.Errorf("%s: replied a PTTL of %d ms, it is %d", name, left, got.pttl)
	}
}

// Both keys' types, and the right to ask who hears, are looked at before anything is written.
func TestFairScriptsRefuseBeforeTheyWrite(t *testing.T) {
	onFairServers(t, func(t *testing.T, pool *redis.Pool) {
		s := newFairSite(t, pool, "")
		for _, script := range fairScriptNames {
			s.set(&fairState{holder: "me", pttl: 6000, hears: []string{"me", "live"}})
			s.do("SET", fairQueue, "no list")
			_, err := s.run(script, 4000)
			if script != "extend" && (err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE")) {
				t.Errorf("%s on a queue of another type: %v", script, err)
			}
			if got, _ := redis.String(s.do("GET", fairKey), nil); got != "me" {
				t.Errorf("%s on a queue of another type left the lock with %q", script, got)
			}
			s.set(&fairState{queue: []string{"live"}, hears: []string{"me", "live"}})
			s.do("RPUSH", fairKey, "no string")
			_, err = s.run(script, 4000)
			if script != "quit" && (err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE")) {
				t.Errorf("%s on a lock of another type: %v", script, err)
			}
			if n := s.do("LLEN", fairQueue).(int64); n != 1 {
				t.Errorf("%s on a lock of another type left %d entries", script, n)
			}
		}
	})
}

// A ttl or an entry that would be refused only after a write is refused before.
func TestFairScriptsRefuseBadArguments(t *testing.T) {
	s := newFairSite(t, redistest.Start(t).Pool(), "")
	run := func(script string, args ...any) {
		t.Helper()
		s.set(&fairState{queue: []string{"dead"}, hears: []string{"me"}})
		_, err := s.c.Do("EVAL", append([]any{redigolock.FairScripts[script], 2, fairKey, fairQueue, ""}, args...)...)
		if err == nil || !strings.HasPrefix(err.Error(), "ERR ") {
			t.Errorf("%s %q: %v, want it refused", script, args, err)
		}
		if n := s.do("LLEN", fairQueue).(int64); n != 1 {
			t.Errorf("%s %q has written", script, args)
		}
	}
	for _, ttl := range []any{0, -1, "1.5", 86400001, "", "1e3", "100000000000"} {
		run("try", "me", ttl)
		run("extend", "me", ttl)
		run("poke", fairEntry("me"), ttl)
	}
	for _, entry := range []string{"", "x", "0 1 c t", "86400001 1 c t", "100 0  t", "100 1 ct", "100 1 c ", "100 999999 c t", "-1 1 c t"} {
		run("enter", entry)
		run("poke", entry, 100)
		run("quit", entry)
		run("rel", "me", entry)
	}
}

// A channel or a token may hold any byte.
func TestFairEntriesHoldAnyByte(t *testing.T) {
	onFairServers(t, func(t *testing.T, pool *redis.Pool) {
		s := newFairSite(t, pool, "")
		for _, channel := range []string{"a b", " 9 x y ", "\x00\xff\r\n", strings.Repeat("{ }", 21000)} {
			token := "to ken\n\x00 7 7"
			s.do("FLUSHALL")
			s.do("RPUSH", fairQueue, fmt.Sprintf("7000 %d %s %s", len(channel), channel, token))
			if err := errors.Join(s.subs.Send("SUBSCRIBE", channel), s.subs.Flush()); err != nil {
				t.Fatal(err)
			}
			s.heardRaw()
			if _, err := s.run("quit", 0); err != nil {
				t.Fatal(err)
			}
			if got, _ := redis.String(s.do("GET", fairKey), nil); got != token {
				t.Errorf("with channel %.20q the lock has %q", channel, got)
			}
			var got []string
			eventually(t, "a message comes", func() bool { got = append(got, s.heardRaw()...); return len(got) > 0 })
			if got[0] != token {
				t.Errorf("channel %.20q heard %q", channel, got)
			}
		}
	})
}

// heardRaw is heard for channels of any name.
func (s *fairSite) heardRaw() (tokens []string) {
	if err := errors.Join(s.subs.Send("PING"), s.subs.Flush()); err != nil {
		s.t.Fatal(err)
	}
	for {
		reply, err := s.subs.Receive()
		list, _ := reply.([]any)
		if err != nil || len(list) != 3 {
			return tokens
		}
		if token, ok := list[2].([]byte); ok {
			tokens = append(tokens, string(token))
		}
	}
}

// A script that fails half-way is not rolled back. So the user's right to ask who hears is tried before the first write, and
// a PUBLISH that is refused leaves the lock with its new holder, who will ask, and is told to the caller.
func TestFairScriptsWithoutRights(t *testing.T) {
	server := redistest.Start(t)
	s := newFairSite(t, server.Pool(), "")
	limited, err := server.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer limited.Close()
	user := func(rights ...any) {
		s.do("ACL", append([]any{"SETUSER", "u", "reset", "on", ">pw", "~*", "+@all"}, rights...)...)
		if _, err := limited.Do("AUTH", "u", "pw"); err != nil {
			t.Fatal(err)
		}
	}
	before := fairState{holder: "me", pttl: 6000, queue: []string{"live"}, hears: []string{"live", "me"}}
	admin := s.c
	for _, script := range fairScriptNames {
		user("allchannels", "-pubsub")
		s.set(&before)
		s.c = limited
		_, err := s.run(script, 4000)
		s.c = admin
		if got := s.state(0); got.holder != "me" || len(got.queue) != 1 || err == nil && script != "extend" {
			t.Errorf("%s without PUBSUB: %v, and left holder %q, queue %v", script, err, got.holder, got.queue)
		}
	}
	user("allchannels", "-rpush")
	s.set(&before)
	s.c = limited
	_, err = s.run("rel+next", 0)
	s.c = admin
	if got := s.state(0); got.holder != "live" || len(got.queue) != 0 || err == nil {
		t.Errorf("REL without RPUSH: %v, and left holder %q, queue %v; the next was not told", err, got.holder, got.queue)
	}
	user("resetchannels")
	s.set(&before)
	s.c = limited
	reply, err := s.run("rel", 0)
	s.c = admin
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := redigolock.ReadFair(reply); !ok || !r.Was || r.Holder != "live" || r.Deaf == nil {
		t.Errorf("REL without the right to the channel replied %+v", r)
	}
	if got := s.state(0); got.holder != "live" || len(got.messages) > 0 {
		t.Errorf("REL without the right to the channel left %+v", got)
	}
}

// The lock is there before the message is.
func TestFairSetComesBeforePublish(t *testing.T) {
	for name, src := range redigolock.FairScripts {
		if set, publish := strings.Index(src, "= grant(token, ttl)"), strings.Index(src, "redis.pcall(publish"); set < 0 || publish < set {
			t.Errorf("%s: SET at %d, PUBLISH at %d", name, set, publish)
		}
	}
}

// When the server is out of memory a release hands the lock on all the same, also to the entry that it carries, and nothing
// new is queued or taken.
func TestFairReleaseWorksWithoutMemory(t *testing.T) {
	server := redistest.Start(t)
	s := newFairSite(t, server.Pool(), "")
	run := func(from fairState, script, holder string, refuses bool) {
		t.Helper()
		from.pttl, from.hears = 6000, []string{"live", "me"}
		s.set(&from)
		s.do("CONFIG", "SET", "maxmemory", "1")
		_, err := s.run(script, 0)
		s.do("CONFIG", "SET", "maxmemory", "0")
		if refused := err != nil && strings.HasPrefix(err.Error(), "OOM"); refused != refuses || !refused && err != nil {
			t.Errorf("%s without memory, from %+v: %v", script, from, err)
		}
		var told []string
		if holder == "live" {
			told = []string{"live"}
		}
		if got := s.state(len(told)); got.holder != holder || !slices.Equal(got.messages, told) {
			t.Errorf("%s without memory, from %+v, left %+v", script, from, got)
		}
	}
	run(fairState{holder: "other", queue: []string{"live"}}, "enter", "other", true)
	run(fairState{}, "enter", "", true)
	run(fairState{queue: []string{"live"}}, "enter", "live", false) // what is handed on frees the way
	run(fairState{holder: "me", queue: []string{"live"}}, "rel+next", "live", false)
	run(fairState{holder: "me"}, "rel+next", "next", false)
}

// An entry's TTL is the one that it was queued with, also after it has waited for long.
func TestFairTTLOfQueueIsNotLowered(t *testing.T) {
	s := newFairSite(t, redistest.Start(t).Pool(), "")
	s.set(&fairState{holder: "foe", pttl: 5000, queue: []string{"live"}, hears: []string{"live", "me"}})
	s.do("PEXPIRE", fairQueue, (10 * time.Minute).Milliseconds())
	if _, err := s.run("enter", 0); err != nil {
		t.Fatal(err)
	}
	if left := s.do("PTTL", fairQueue).(int64); left < (9 * time.Minute).Milliseconds() {
		t.Errorf("ENTER lowered the queue's TTL to %d ms", left)
	}
}
