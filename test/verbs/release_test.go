package verbs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

func TestReleaseDeletesOnceAndNothingElse(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range holderVerbs() {
			if !strings.HasPrefix(v.name, "Release") || !v.supported(s) {
				continue
			}
			c := s.dial()
			s.do("SET", "bystander", "tok")
			s.put("k", "tok", minute)
			if err := v.call(bg, c, "k", "tok", 0); err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
			s.wantKeys("bystander")
			wants(t, v.call(bg, c, "k", "tok", 0), redigolock.ErrNotHeld) // no success: the lock was lost before
			s.wantPlain(c, "k")
			s.do("FLUSHDB")
		}
	})
}

func TestReleaseTxLeavesTheConnectionAsItWas(t *testing.T) {
	states := map[string]struct {
		make func(s *verbSite)
		err  error // nil: success
	}{
		"own":          {func(s *verbSite) { s.put("k", "tok", minute) }, nil},
		"own, no TTL":  {func(s *verbSite) { s.put("k", "tok", 0) }, nil},
		"free":         {func(s *verbSite) {}, redigolock.ErrNotHeld},
		"other":        {func(s *verbSite) { s.put("k", "tok2", minute) }, redigolock.ErrNotHeld},
		"another type": {func(s *verbSite) { s.do("RPUSH", "k", "tok") }, redigolock.ErrConflict},
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for name, state := range states {
			t.Run(name, func(t *testing.T) {
				s.do("FLUSHDB")
				state.make(s)
				c := s.dial()
				err := redigolock.ReleaseTx(bg, c, "k", "tok")
				if state.err == nil && err != nil {
					t.Error(err)
				} else if state.err != nil {
					wants(t, err, state.err)
				}
				if exists := s.do("EXISTS", "k") == int64(1); exists != (err != nil && name != "free") {
					t.Errorf("the key exists: %v", exists)
				}
				s.wantPlain(c, "k")
			})
		}
	})
}

// stalledTx runs ReleaseTx on a connection that stalls between WATCH and EXEC, and f meanwhile, in each of its tries.
func stalledTx(t *testing.T, s *verbSite, f func(try int)) (redis.Conn, error) {
	t.Helper()
	proxy := redistest.NewProxy(t, s.addr)
	gates := make(chan chan struct{}, 100)
	proxy.Rule(func(q redistest.Request) redistest.Action {
		if q.Name != "DEL" {
			return redistest.Pass()
		}
		gate := make(chan struct{})
		gates <- gate
		return redistest.Late(gate)
	})
	c := dialFor(t, proxy.Addr())
	done := make(chan error, 1)
	go func() { done <- redigolock.ReleaseTx(bg, c, "k", "tok") }()
	for try := 1; ; try++ {
		select {
		case gate := <-gates:
			f(try)
			close(gate)
		case err := <-done:
			return c, err
		case <-time.After(20 * time.Second):
			t.Fatal("ReleaseTx hangs")
		}
	}
}

// MULTI and EXEC alone, as one of the articles has it, delete anybody's lock.
func TestReleaseTxNeverDeletesALockThatWasTakenMeanwhile(t *testing.T) {
	meanwhile := map[string]func(s *verbSite){
		"taken by another":              func(s *verbSite) { s.put("k", "tok2", minute) },
		"taken by a SET over it":        func(s *verbSite) { s.do("SET", "k", "tok2", "PX", minute.Milliseconds()) },
		"taken by another and given up": func(s *verbSite) { s.put("k", "tok2", minute); s.do("DEL", "k") },
		"deleted":                       func(s *verbSite) { s.do("DEL", "k") },
		"another type": func(s *verbSite) {
			s.do("DEL", "k")
			s.do("RPUSH", "k", "tok")
		},
		"expired": func(s *verbSite) {
			s.do("PEXPIRE", "k", 1)
			eventually(s.t, "the lock expires", func() bool { return s.value("k") == "" })
		},
		"expired and taken": func(s *verbSite) {
			s.do("PEXPIRE", "k", 1)
			eventually(s.t, "the lock expires", func() bool { return s.value("k") == "" })
			s.put("k", "tok2", minute)
		},
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for name, f := range meanwhile {
			t.Run(name, func(t *testing.T) {
				s.put("k", "tok", minute)
				var after any
				c, err := stalledTx(t, s, func(try int) {
					if try == 1 {
						f(s)
						after, _ = s.ctl.Do("TYPE", "k")
					}
				})
				if name == "another type" {
					wants(t, err, redigolock.ErrConflict)
				} else {
					wants(t, err, redigolock.ErrNotHeld)
				}
				if now, _ := s.ctl.Do("TYPE", "k"); now != after {
					t.Errorf("ReleaseTx made a %v of a %v", now, after)
				}
				if after == "string" {
					s.wantLock("k", "tok2", minute)
				}
				s.wantPlain(c, "k")
				s.do("FLUSHDB")
			})
		}
	})
}

func TestReleaseTxStartsAnewAfterARenewalOfTheSameLock(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		s.put("k", "tok", minute)
		c, err := stalledTx(t, s, func(try int) {
			if try <= 3 {
				if err := redigolock.Extend(bg, s.ctl, "k", "tok", time.Duration(try)*time.Hour); err != nil {
					t.Error(err)
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
		s.wantKeys()
		s.wantPlain(c, "k")
	})
}

func TestReleaseTxGivesUpOnAKeyThatIsTouchedAllTheTime(t *testing.T) {
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	s.put("k", "tok", minute)
	tries := 0
	c, err := stalledTx(t, s, func(try int) {
		tries = try
		s.do("PEXPIRE", "k", minute.Milliseconds())
	})
	wants(t, err, redigolock.ErrUnsupported)
	wantsNot(t, err, redigolock.ErrNotHeld, redigolock.ErrUnknown)
	if tries != 16 {
		t.Errorf("%d tries, want 16", tries)
	}
	s.wantLock("k", "tok", minute)
	s.wantPlain(c, "k")
}

// After a MULTI that was refused, a DEL that was already sent would be a bare DEL, and delete anybody's lock.
func TestReleaseTxWithoutARightDeletesNothing(t *testing.T) {
	server := redistest.Start(t)
	s := newVerbSite(t, server.Addr(), true)
	for _, denied := range [][]string{
		{"watch"}, {"get"}, {"multi"}, {"del"}, {"exec"}, {"unwatch"}, {"discard"}, {"multi", "unwatch"}, {"multi", "discard"},
		{"watch", "discard"}, {"watch", "multi"}, {"watch", "multi", "exec"}, {"get", "multi", "unwatch"},
	} {
		for _, token := range []string{"tok", "tok2"} {
			t.Run(strings.Join(denied, "+")+" on "+token, func(t *testing.T) {
				s.put("k", token, minute)
				s.do("CONFIG", "RESETSTAT")
				c := limitedUser(s, denied...)
				err := redigolock.ReleaseTx(bg, c, "k", "tok")
				dead := c.Err() != nil
				if errors.Is(err, redigolock.ErrUnknown) != dead {
					t.Errorf("got %v, and the connection says %v", err, c.Err())
				}
				if err == nil { // it needs no such right here
					if token != "tok" || s.value("k") != "" || !slices.Contains([]string{"unwatch", "discard"}, denied[0]) {
						t.Errorf("success with %q in the key, %q after it", token, s.value("k"))
					}
				} else {
					s.wantLock("k", token, minute)
					calls, callsErr := server.Calls()
					if callsErr != nil || calls["del"] != 0 {
						t.Errorf("%d calls of DEL, %v", calls["del"], callsErr)
					}
				}
				s.do("ACL", "SETUSER", "limited", "+@all") // so that c can be looked at
				if !dead {
					s.wantPlain(c, "k")
				}
				s.do("FLUSHDB")
			})
		}
	}
}

// A context that ends between the two round trips leaves a connection inside MULTI: it must not look usable.
func TestReleaseTxCancelledBetweenItsRoundTripsGivesUpTheConnection(t *testing.T) {
	for name, notHeld := range map[string]bool{"held": false, "not held": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(bg)
			defer cancel(nil)
			token := "tok"
			if notHeld {
				token = "tok2"
			}
			c := &scriptedConn{Replies: []any{"OK", []byte(token), "OK"}, OnReply: func(n int) {
				if n == 3 {
					cancel(errTestCause)
				}
			}}
			err := redigolock.ReleaseTx(ctx, c, "k", "tok")
			wants(t, err, redigolock.ErrUnknown, context.Canceled, errTestCause)
			if want := "[WATCH k GET k MULTI]"; fmt.Sprint(c.Commands) != want {
				t.Errorf("sent %v, want %s", c.Commands, want)
			}
		})
	}
}

func TestReleaseTxRepliesThatTheProtocolDoesNotAllowAreNoSuccess(t *testing.T) {
	for _, exec := range []any{
		"OK", "QUEUED", int64(1), []byte("1"), []any{}, []any{int64(1), int64(1)}, []any{"OK"}, []any{nil}, []any{int64(0)},
		[]any{redis.Error("ERR x")}, redis.Error("EXECABORT x"),
	} {
		c := &scriptedConn{Replies: []any{"OK", []byte("tok"), "OK", "QUEUED", exec}}
		if err := redigolock.ReleaseTx(bg, c, "k", "tok"); err == nil {
			t.Errorf("EXEC's reply %v is success", exec)
		}
	}
}

// DELEX of Redis 8.4 and DELIFEQ of Valkey 9 travel together, and the one that the server knows answers.
func TestReleaseNativeTakesTheAnswerOfTheKnownCommand(t *testing.T) {
	unknown := redis.Error("ERR unknown command 'X', with args beginning with: 'k' 'IFEQ' 's3cret' ")
	noPerm := redis.Error("NOPERM User u has no permissions to run the 'delex' command")
	readOnly := redis.Error("READONLY You can't write against a read only replica.")
	badTypeOfDelex := redis.Error("ERR Key should be of string type if conditions are specified") // Redis 8.4
	one, none := int64(1), int64(0)
	for _, tc := range []struct {
		delex, delifeq any
		err            error  // nil: success, or the server's word
		word           string // what the server said
	}{
		{one, unknown, nil, ""},
		{unknown, one, nil, ""},
		{one, none, nil, ""}, // a server with both: the second finds nothing
		{none, unknown, redigolock.ErrNotHeld, ""},
		{unknown, none, redigolock.ErrNotHeld, ""},
		{none, none, redigolock.ErrNotHeld, ""},
		{unknown, unknown, redigolock.ErrUnsupported, ""},
		{errBadType, unknown, redigolock.ErrConflict, ""},
		{unknown, errBadType, redigolock.ErrConflict, ""},
		{badTypeOfDelex, unknown, redigolock.ErrConflict, ""},
		{noPerm, unknown, nil, "NOPERM"},
		{unknown, noPerm, nil, "NOPERM"},
		{readOnly, unknown, nil, "READONLY"},
		{noPerm, one, nil, ""}, // a server with both that denies one
		{"QUEUED", "QUEUED", redigolock.ErrUnsupported, ""},
		{unknown, "QUEUED", redigolock.ErrUnsupported, ""},
	} {
		c := &scriptedConn{Replies: []any{tc.delex, tc.delifeq, none}} // the last is the script's, which tells why nothing was deleted
		err := redigolock.ReleaseNative(bg, c, "k", "s3cret")
		switch {
		case tc.word != "":
			wantReply(t, err, tc.word)
		case tc.err != nil:
			wants(t, err, tc.err)
		case err != nil:
			t.Errorf("DELEX says %v, DELIFEQ %v: %v", tc.delex, tc.delifeq, err)
		}
		want := []string{"DELEX k IFEQ s3cret", "DELIFEQ k s3cret"}
		if len(c.Commands) > 2 && errors.Is(err, redigolock.ErrNotHeld) && strings.HasPrefix(c.Commands[2], "EVALSHA ") {
			want = append(want, c.Commands[2])
		}
		if !slices.Equal(c.Commands, want) {
			t.Errorf("sent %q, want %q", c.Commands, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the message shows the token: %v", err)
		}
	}
	for _, garbage := range []any{"OK", nil, []byte("1"), []any{one}, int64(-1)} {
		c := &scriptedConn{Replies: []any{unknown, garbage}}
		if err := redigolock.ReleaseNative(bg, c, "k", "s3cret"); err == nil {
			t.Errorf("reply %v is success", garbage)
		}
	}
}

// A reply of 0 says that the key does not carry the token, whatever comes of the script that is to tell why.
func TestReleaseNativeAsksWhyNothingWasDeleted(t *testing.T) {
	for name, tc := range map[string]struct {
		script any
		want   error // nil: success
	}{
		"not held":            {int64(0), redigolock.ErrNotHeld},
		"no lock":             {redis.Error("CONFLICT no TTL"), redigolock.ErrConflict},
		"another type by now": {errBadType, redigolock.ErrConflict},
		"it came meanwhile":   {int64(1), nil},
		"no right to scripts": {errNoPerm, redigolock.ErrNotHeld},
		"no answer":           {io.EOF, redigolock.ErrNotHeld},
		"no number":           {"OK", redigolock.ErrNotHeld},
	} {
		t.Run(name, func(t *testing.T) {
			c := &scriptedConn{Replies: []any{int64(0), redis.Error("ERR unknown command 'DELIFEQ'"), tc.script}}
			err := redigolock.ReleaseNative(bg, c, "k", "s3cret")
			if !errors.Is(err, tc.want) || err != nil && tc.want == nil {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			wantsNot(t, err, redigolock.ErrUnknown)
			if len(c.Commands) != 3 {
				t.Errorf("sent %q", c.Commands)
			}
		})
	}
}

// On a Locker's connections the command is sent that the server knows, as long as it knows it.
func TestReleaseNativeOfALockerSendsWhatItsServerKnows(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), AcquireWith: redigolock.SetNX, ReleaseWith: redigolock.ReleaseNative})
		if got := twoCycles(t, l, "key", s); got != "SET DELEX DELIFEQ / SET DELEX" {
			t.Errorf("it was sent %s", got)
		}
		k := mustGet(t)(l.TryAcquire(bg, "key", minute))
		s.Rule(func(q sim.Request) sim.Action { // a server that has the other by now
			switch q.Name {
			case "DELEX":
				return sim.Refuse("ERR unknown command 'DELEX'")
			case "DELIFEQ":
				return sim.Answer(":1\r\n")
			}
			return sim.Pass()
		})
		before := len(s.Requests())
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		s.Do("DEL", "key")
		l.TryAcquire(bg, "key", minute)
		var names []string
		for _, q := range s.Requests()[before:] {
			names = append(names, q.Name)
		}
		if got := strings.Join(names, " "); got != "DELEX DELEX DELIFEQ SET" {
			t.Errorf("it was sent %s", got)
		}
		s.Rule(nil)
		olderVersion(s)
		k = mustGet(t)(l.TryAcquire(bg, "other", minute))
		wants(t, k.Release(bg), redigolock.ErrUnsupported)
	})
}

// A Locker releases by the script where its user may not use the command that the server has, and learns that once. Where the user
// may not run the script, the command will do.
func TestLockerReleasesByWhatItMayUse(t *testing.T) {
	denies := func(s *sim.Server, verb string) {
		s.Rule(func(q sim.Request) sim.Action {
			if q.Verb == verb {
				return sim.Refuse("NOPERM no")
			}
			return sim.Pass()
		})
	}
	for _, fresh := range []bool{false, true} {
		for denied, want := range map[string]string{
			"delex":   "SETGET DELEX release / SETGET release",
			"release": "SETGET DELEX / SETGET DELEX",
		} {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
				if !fresh {
					learns(t, l)
				}
				denies(s, denied)
				if fresh {
					want = map[string]string{
						"delex":   "SETGET SETGET release DELEX DELIFEQ / SETGET release",
						"release": "SETGET SETGET release DELEX DELIFEQ / SETGET DELEX",
					}[denied]
				}
				if got := twoCycles(t, l, "key", s); got != want {
					t.Errorf("fresh %v: without the right to %s it was sent %s, want %s", fresh, denied, got, want)
				}
			})
		}
	}
}

// What keeps a server from writing for now says nothing of the commands that it has.
func TestLockerLearnsNoReleaseFromARefusalThatPasses(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		k := mustGet(t)(l.TryAcquire(bg, "key", minute))
		s.Rule(func(sim.Request) sim.Action { return sim.Refuse("MISCONF not now") })
		wantReply(t, k.Release(bg), "MISCONF")
		s.Rule(nil)
		time.Sleep(5 * time.Second) // the clean-up removes the key
		if got := twoCycles(t, l, "key", s); got != "SETGET release DELEX DELIFEQ / SETGET DELEX" {
			t.Errorf("it was sent %s", got)
		}
	})
}

func TestReleaseNative(t *testing.T) {
	servers := map[string]struct {
		start func(t *testing.T) string
		knows bool
	}{
		"miniredis, DELEX": {func(t *testing.T) string { return redistest.StartMini(t).Addr() }, true},
		"valkey, DELIFEQ":  {func(t *testing.T) string { return redistest.StartValkey(t).Addr() }, true},
		"redis-server 7":   {func(t *testing.T) string { return redistest.Start(t).Addr() }, false},
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			s := newVerbSite(t, server.start(t), false)
			c := s.dial()
			if _, err := s.ctl.Do("DELIFEQ", "k", "tok"); err == nil {
				server.knows = true // whatever REDIGOLOCK_SERVER names
			}
			for _, token := range []string{"tok", "tok2", ""} {
				s.do("FLUSHDB")
				if token != "" {
					s.put("k", token, minute)
				}
				err := redigolock.ReleaseNative(bg, c, "k", "tok")
				switch {
				case !server.knows:
					wants(t, err, redigolock.ErrUnsupported)
				case token == "tok" && err != nil:
					t.Error(err)
				case token != "tok":
					wants(t, err, redigolock.ErrNotHeld)
				}
				if token != "" && err != nil {
					s.wantLock("k", token, minute)
				} else {
					s.wantKeys()
				}
			}
			if server.knows {
				s.do("RPUSH", "k", "tok")
				wants(t, redigolock.ReleaseNative(bg, c, "k", "tok"), redigolock.ErrConflict)
				s.wantKeys("k")
				s.put("k", "a string without TTL", 0)
				wants(t, redigolock.ReleaseNative(bg, c, "k", "tok"), redigolock.ErrConflict)
				s.wantKeys("k")
			}
		})
	}
}
