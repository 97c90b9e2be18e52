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
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// The four ways to acquire, and what each can see.
var setNXWays = []struct {
	verbCall
	seesOwn      bool // its own token in the key is success
	seesHolder   bool
	seesTTL      bool
	seesType     bool // another type is ErrConflict
	seesUnending bool // a string without TTL is ErrConflict
}{
	{verbCall: allVerbs[0]},
	{verbCall: allVerbs[1], seesOwn: true, seesHolder: true, seesType: true},
	{verbCall: allVerbs[2], seesOwn: true, seesHolder: true, seesType: true},
	{verbCall: allVerbs[3], seesOwn: true, seesHolder: true, seesTTL: true, seesType: true, seesUnending: true},
}

func TestSetNXTakesAFreeKeyForTheTTL(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range setNXWays {
			if err := v.call(bg, s.dial(), v.name, "tok", minute); err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
			s.wantLock(v.name, "tok", minute)
		}
	})
}

func TestSetNXLeavesAnothersLockAlone(t *testing.T) {
	// Tokens that differ in the end, in the length, in case and in bytes that C and Lua could stumble over.
	others := [][2]string{
		{"worker-1", "worker-10"}, {"worker-10", "worker-1"}, {"t", "T"}, {"t", "t\x00"}, {"1", "1.0"}, {"1", "01"},
		{"t", " t"}, {"nil", "false"},
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range setNXWays {
			c := s.dial()
			for _, pair := range others {
				own, other := pair[0], pair[1]
				s.put("k", other, minute)
				held := heldError(t, v.call(bg, c, "k", own, time.Hour))
				wantHolder := ""
				if v.seesHolder {
					wantHolder = names.Holder(other)
				}
				if held.Key != "k" || held.Holder != wantHolder {
					t.Errorf("%s: %+v, want the holder %q", v.name, held, wantHolder)
				}
				if v.seesTTL && (held.TTL <= 40*time.Second || held.TTL > minute) || !v.seesTTL && held.TTL != 0 {
					t.Errorf("%s: the holder's TTL is said to be %v", v.name, held.TTL)
				}
				s.wantLock("k", other, minute)
			}
		}
	})
}

func TestSetNXRecognisesItsOwnTokenAndLeavesItsTTL(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range setNXWays {
			s.put("k", "tok", minute)
			err := v.call(bg, s.dial(), "k", "tok", time.Hour)
			if v.seesOwn && err != nil {
				t.Errorf("%s: %v", v.name, err)
			} else if !v.seesOwn {
				heldError(t, err) // as its comment says
			}
			s.wantLock("k", "tok", minute)
		}
	})
}

func TestSetNXOnAnotherTypeIsConflictWhereItCanBeSeen(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, make := range [][]any{
			{"RPUSH", "k", "tok"}, {"SADD", "k", "tok"}, {"HSET", "k", "tok", "tok"}, {"ZADD", "k", 1, "tok"},
			{"XADD", "k", "*", "tok", "tok"},
		} {
			for _, v := range setNXWays {
				s.do("DEL", "k")
				s.do(make[0].(string), make[1:]...)
				err := v.call(bg, s.dial(), "k", "tok", minute)
				if v.seesType {
					wants(t, err, redigolock.ErrConflict)
					wantsNot(t, err, redigolock.ErrHeld)
				} else if held := heldError(t, err); held.Holder != "" || held.TTL != 0 {
					t.Errorf("%s of a %s: %+v", v.name, make[0], held)
				}
				if left := s.pttl("k"); left != -time.Millisecond {
					t.Errorf("%s changed the TTL of a %s to %v", v.name, make[0], left)
				}
			}
		}
	})
}

func TestSetNXOnAStringWithoutTTLIsConflictWhereItCanBeSeen(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, v := range setNXWays {
			for _, token := range []string{"other", "tok"} {
				s.put("k", token, 0)
				err := v.call(bg, s.dial(), "k", "tok", minute)
				switch {
				case v.seesUnending:
					wants(t, err, redigolock.ErrConflict)
					wantsNot(t, err, redigolock.ErrHeld)
				case v.seesOwn && token == "tok":
					if err != nil { // GET decides, and says "own token"
						t.Errorf("%s: %v", v.name, err)
					}
				default:
					heldError(t, err)
				}
				if got, left := s.value("k"), s.pttl("k"); got != token || left != -time.Millisecond {
					t.Errorf("%s left %q for %v", v.name, got, left)
				}
			}
		}
	})
}

// setStates are what SET can have said, getStates what GET can have said, for TestSetNXVerifiedTruthTable.
var (
	errOOM      = redis.Error("OOM command not allowed when used memory > 'maxmemory'.")
	errNoPerm   = redis.Error("NOPERM this user has no permissions to run the 'get' command")
	errBadType  = redis.Error("WRONGTYPE Operation against a key holding the wrong kind of value")
	verifiedSet = map[string]any{"OK": "OK", "refused": nil, "OOM": errOOM, "garbage": int64(1), "garbage status": "YES"}
	verifiedGet = map[string]any{
		"own": []byte("tok"), "other": []byte("tok2"), "nothing": nil, "wrongtype": errBadType, "noperm": errNoPerm,
		"garbage status": "OK", "garbage number": int64(1), "garbage list": []any{[]byte("tok")}, "empty": []byte(""),
	}
)

func TestSetNXVerifiedTruthTable(t *testing.T) {
	for setSaid, set := range verifiedSet {
		for getSaid, get := range verifiedGet {
			t.Run("SET "+setSaid+"/GET "+getSaid, func(t *testing.T) {
				c := &scriptedConn{Replies: []any{set, get}}
				err := redigolock.SetNXVerified(bg, c, "k", "tok", minute)
				wantVerified(t, err, setSaid, getSaid)
				if want := []string{"SET k tok NX PX 60000", "GET k"}; strings.Join(c.Commands, "|") != strings.Join(want, "|") {
					t.Errorf("sent %q, want %q", c.Commands, want)
				}
			})
		}
	}
}

// wantVerified is the table in the comment of SetNXVerified, with the rows that only a broken server or proxy has.
func wantVerified(t *testing.T, err error, set, get string) {
	t.Helper()
	switch {
	case get == "own":
		if err != nil {
			t.Errorf("own token: %v", err)
		}
	case get == "other" || get == "empty":
		token := map[string]string{"other": "tok2", "empty": ""}[get]
		if held := heldError(t, err); held.Holder != names.Holder(token) {
			t.Errorf("got %+v", held)
		}
	case get == "wrongtype":
		wants(t, err, redigolock.ErrConflict)
	case get == "noperm":
		wantReply(t, err, "NOPERM")
	case get == "nothing" && set == "OK":
		wants(t, err, redigolock.ErrExpired)
		wantsNot(t, err, redigolock.ErrHeld, redigolock.ErrUnknown)
	case get == "nothing" && set == "refused":
		if held := heldError(t, err); held.Holder != "" || held.TTL != 0 {
			t.Errorf("got %+v, want an unknown holder", held)
		}
	case get == "nothing" && set == "OOM":
		wantReply(t, err, "OOM")
	default: // garbage: anything but success or a claim about a holder
		if err == nil || errors.Is(err, redigolock.ErrHeld) || errors.Is(err, redigolock.ErrExpired) {
			t.Errorf("a reply that the protocol does not allow gives %v", err)
		}
	}
}

// The rows of the table that a real server shows only in a race, made by a proxy.
func TestSetNXVerifiedWhenTheKeyIsGoneMeanwhile(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	c := dialFor(t, proxy.Addr())
	proxy.Rule(func(q redistest.Request) redistest.Action {
		if q.Name == "GET" {
			return redistest.Reply("$-1\r\n")
		}
		return redistest.Pass()
	})
	wants(t, redigolock.SetNXVerified(bg, c, "k", "tok", minute), redigolock.ErrExpired)
	if held := heldError(t, redigolock.SetNXVerified(bg, c, "k", "tok", minute)); held.Holder != "" {
		t.Errorf("got %+v", held)
	}
	if reply, err := c.Do("ECHO", "x"); err != nil || string(reply.([]byte)) != "x" {
		t.Errorf("the connection answers %v, %v afterwards", reply, err)
	}
}

// A full server refuses SET, but what GET says still decides.
func TestSetNXVerifiedOnAFullServer(t *testing.T) {
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	s.put("own", "tok", minute)
	s.put("other", "tok2", minute)
	s.do("CONFIG", "SET", "maxmemory", 1)
	c := s.dial()
	if err := redigolock.SetNXVerified(bg, c, "own", "tok", minute); err != nil {
		t.Error(err)
	}
	heldError(t, redigolock.SetNXVerified(bg, c, "other", "tok", minute))
	for _, v := range setNXWays {
		wantReply(t, v.call(bg, c, "free", "tok", minute), "OOM")
	}
	s.do("CONFIG", "SET", "maxmemory", 0)
	s.wantKeys("own", "other")
}

func TestSetNXGetTruthTable(t *testing.T) {
	for said, reply := range map[string]any{
		"nothing": nil, "own": []byte("tok"), "other": []byte("tok2"), "empty": []byte(""), "wrongtype": errBadType,
		"6.2": errSyntax, "noperm": errNoPerm, "OOM": errOOM, "OK": "OK", "number": int64(0), "list": []any{nil}, "queued": "QUEUED",
	} {
		t.Run(said, func(t *testing.T) {
			c := &scriptedConn{Replies: []any{reply}}
			err := redigolock.SetNXGet(bg, c, "k", "tok", minute)
			if want := []string{"SET k tok NX GET PX 60000"}; !slices.Equal(c.Commands, want) {
				t.Errorf("sent %q, want %q", c.Commands, want)
			}
			switch said {
			case "nothing", "own":
				if err != nil {
					t.Error(err)
				}
			case "other", "empty":
				if held := heldError(t, err); held.Holder != names.Holder(map[string]string{"other": "tok2"}[said]) || held.TTL != 0 {
					t.Errorf("got %+v", held)
				}
			case "wrongtype":
				wants(t, err, redigolock.ErrConflict)
			case "6.2", "queued":
				wants(t, err, redigolock.ErrUnsupported)
				wantsNot(t, err, redigolock.ErrHeld, redigolock.ErrUnknown)
			case "noperm":
				wantReply(t, err, "NOPERM")
			case "OOM":
				wantReply(t, err, "OOM")
			default: // as a server says that ignores GET: neither success nor a claim about a holder
				if err == nil || errors.Is(err, redigolock.ErrHeld) || errors.Is(err, redigolock.ErrUnsupported) {
					t.Error(err)
				}
			}
		})
	}
}

var errSyntax = redis.Error("ERR syntax error")

// What SET and then GET see, and SET with GET does not: who has the lock where SET is refused, and that a token is gone again.
func TestSetNXGetDoesNotSeeWhatGetAfterItSees(t *testing.T) {
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	s.put("own", "tok", minute)
	s.put("other", "tok2", minute)
	s.do("CONFIG", "SET", "maxmemory", 1)
	c := s.dial()
	for _, key := range []string{"own", "other"} {
		wantReply(t, redigolock.SetNXGet(bg, c, key, "tok", minute), "OOM")
	}
	l := &redigolock.Locker{Pool: poolFor(t, s.addr)} // which asks by SET and GET then
	defer l.Close()
	for range 2 {
		_, err := l.TryAcquire(bg, "other", minute)
		if held := heldError(t, err); held.Holder != names.Holder("tok2") {
			t.Errorf("got %+v", held)
		}
	}
	s.do("CONFIG", "SET", "maxmemory", 0)
	learns(t, l)
	s.do("CONFIG", "SET", "maxmemory", 1)
	_, err := l.TryAcquire(bg, "other", minute)
	heldError(t, err)
	_, err = l.TryAcquire(bg, "free", minute)
	wantReply(t, err, "OOM")
}

func poolFor(t *testing.T, addr string) *redis.Pool {
	t.Helper()
	p, err := redigolock.NewPool("redis://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// A Locker learns from the replies whether its server knows SET with NX and GET, with no round trip where it does, and with one,
// once, where it does not.
func TestLockerLearnsWhetherItsServerKnowsSetNXGet(t *testing.T) {
	for _, over := range []string{"pool", "mux"} {
		t.Run(over, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				locker := func() *redigolock.Locker {
					l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
					if over == "mux" {
						m := &redigolock.Mux{Pool: l.Pool}
						t.Cleanup(func() { m.Close() })
						l.Pool = m
					}
					return l
				}
				l := locker()
				if got := twoCycles(t, l, "key", s); got != "SETGET SETGET release DELEX DELIFEQ / SETGET DELEX" {
					t.Errorf("a server that knows it was sent %s", got)
				}
				olderVersion(s) // as after a failover that nobody was told of
				if got := twoCycles(t, l, "key", s); got != "SETGET SET GET DELEX release / SET GET release" {
					t.Errorf("when it knows it no more it was sent %s", got)
				}
				if got := twoCycles(t, locker(), "key", s); got != "SETGET SETGET SET GET release DELEX DELIFEQ / SET GET release" {
					t.Errorf("a server that never knew it was sent %s", got)
				}
			})
		})
	}
}

// A refusal for want of rights, or for now, does not say that the server does not know the command.
func TestLockerLearnsNothingFromOtherRefusals(t *testing.T) {
	for _, text := range []string{"NOPERM no", "LOADING not now", "ERR max", "OOM no", "WRONGTYPE no"} {
		inBubble(t, func(t *testing.T, s *sim.Server) {
			known, fresh := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")}), simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
			learns(t, known)
			for name, l := range map[string]*redigolock.Locker{"SETGET DELEX / SETGET DELEX": known, "SETGET SETGET release DELEX DELIFEQ / SETGET DELEX": fresh} {
				s.Rule(func(q sim.Request) sim.Action {
					if q.Name == "SET" {
						return sim.Refuse(text)
					}
					return sim.Pass()
				})
				if _, err := l.TryAcquire(bg, "key", minute); err == nil {
					t.Errorf("%s: it was acquired", text)
				}
				s.Rule(nil)
				if got := twoCycles(t, l, "key", s); got != name {
					t.Errorf("after %s it was sent %s, want %s", text, got, name)
				}
			}
		})
	}
}

// Servers that ignore GET, or answer nil where NX finds a key, turn the meaning of the reply around. Two Lockers must not both
// have a lock there.
func TestLockerTrustsNoServerThatMisreadsSetNXGet(t *testing.T) {
	for name, s := range map[string]lyingConn{"ignores GET": {ignores: true}, "has NX go first": {}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, server *sim.Server) {
				pool := &redis.Pool{Dial: func() (redis.Conn, error) {
					c, err := server.DialRedis(bg)
					return &lyingConn{Conn: c, ignores: s.ignores}, err
				}}
				defer pool.Close()
				first, second := simLocker(t, &redigolock.Locker{Pool: pool}), simLocker(t, &redigolock.Locker{Pool: pool})
				for range 3 {
					k := mustGet(t)(first.TryAcquire(bg, "key", minute))
					_, err := second.TryAcquire(bg, "key", minute)
					if held := heldError(t, err); held.Holder != names.Holder(k.Token()) {
						t.Errorf("got %+v", held)
					}
					if err := k.Release(bg); err != nil {
						t.Error(err)
					}
				}
				if got := twoCycles(t, first, "key", server); got != "SET GET DELEX / SET GET DELEX" {
					t.Errorf("it is sent %s", got)
				}
			})
		})
	}
}

// A lyingConn misreads SET with NX and GET, as Dragonfly 0.15 and miniredis 2.30 did.
type lyingConn struct {
	redis.Conn
	ignores bool   // GET is ignored; else a key that is there makes the reply nil
	nils    []bool // of the commands whose replies are due
}

func (c *lyingConn) Send(cmd string, args ...any) error {
	lies := cmd == "SET" && slices.Contains(args, any("GET"))
	c.nils = append(c.nils, lies && !c.ignores)
	if lies && c.ignores {
		args = slices.DeleteFunc(slices.Clone(args), func(a any) bool { return a == "GET" })
	}
	return c.Conn.Send(cmd, args...)
}

func (c *lyingConn) Receive() (any, error) { return c.ReceiveWithTimeout(time.Minute) }

func (c *lyingConn) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	reply, err := redis.ReceiveWithTimeout(c.Conn, timeout)
	isNil := len(c.nils) > 0 && c.nils[0]
	c.nils = c.nils[min(len(c.nils), 1):]
	if isNil && err == nil {
		return nil, nil
	}
	return reply, err
}

func (c *lyingConn) Do(cmd string, args ...any) (any, error) {
	return c.DoWithTimeout(time.Minute, cmd, args...)
}

func (c *lyingConn) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	if cmd == "" { // a pool asks for the replies that are due
		return c.Conn.Do("")
	}
	if err := c.Send(cmd, args...); err != nil {
		return nil, err
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	var last any
	for len(c.nils) > 0 {
		reply, err := c.ReceiveWithTimeout(timeout)
		if _, isReply := err.(redis.Error); err != nil && !isReply {
			return nil, err
		}
		if last = reply; err != nil {
			last = err
		}
	}
	if re, ok := last.(redis.Error); ok {
		return nil, re
	}
	return last, nil
}

// The lock that is found where a server is asked for the first time may end before the second of the two commands, which takes the
// key then. That is a new lock, and not one that was there, which a Quorum would take for that of another of its Pools.
func TestLockThatEndsWhileTheServerIsAskedForTheFirstTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		q := &redigolock.Quorum{Pools: []redigolock.Pool{simPool(t, s, "redis")}}
		defer q.Close()
		if _, err := s.Do("SET", "key", "another", "PX", 60_000); err != nil {
			t.Fatal(err)
		}
		var sent []string
		s.Around(func(r sim.Request, carry func() string) {
			if sent = append(sent, r.Name); r.Name == "SET" && slices.Contains(sent[:len(sent)-1], "SET") {
				s.Miniredis().Del("key")
			}
			carry()
		})
		k, err := q.TryAcquire(bg, "key", minute)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(sent, " "); got != "INFO SET SET" {
			t.Errorf("it was sent %s", got)
		}
		if v, _ := redis.String(s.Do("GET", "key")); v != k.Token() {
			t.Errorf("the key holds %q", v)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// What such a server has set, and cannot be read back, is removed.
func TestTokenThatALyingServerHasSetIsCleanedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		pool := &redis.Pool{Dial: func() (redis.Conn, error) {
			c, err := s.DialRedis(bg)
			return &lyingConn{Conn: c, ignores: true}, err
		}}
		defer pool.Close()
		l := simLocker(t, &redigolock.Locker{Pool: pool})
		s.Next("get", sim.Refuse("NOPERM no"))
		_, err := l.TryAcquire(bg, "key", minute)
		wants(t, err, redigolock.ErrUnknown, redis.Error("NOPERM no"))
		time.Sleep(5 * time.Second)
		if v, _ := redis.String(s.Do("GET", "key")); v != "" {
			t.Errorf("the key holds %q", v)
		}
	})
}

func TestSetNXRepliesThatTheProtocolDoesNotAllowAreNoSuccess(t *testing.T) {
	for _, reply := range []any{"QUEUED", "YES", "", int64(1), int64(0), []byte("OK"), []any{}, []any{"OK"}} {
		c := &scriptedConn{Replies: []any{reply}}
		err := redigolock.SetNX(bg, c, "k", "tok", minute)
		if err == nil || errors.Is(err, redigolock.ErrHeld) {
			t.Errorf("reply %v gives %v", reply, err)
		}
	}
}

// A time.Duration argument would be sent as "1.5s" and refused.
func TestSetNXSendsWholeMilliseconds(t *testing.T) {
	for ttl, want := range map[time.Duration]string{
		time.Millisecond: "1", 1500 * time.Millisecond: "1500", 24 * time.Hour: "86400000",
	} {
		c := &scriptedConn{Replies: []any{"OK"}}
		if err := redigolock.SetNX(bg, c, "k", "tok", ttl); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint("SET k tok NX PX ", want); c.Commands[0] != want {
			t.Errorf("sent %q, want %q", c.Commands[0], want)
		}
	}
}

func TestHeldErrorNeverShowsATokenAndSetNXNeverLogsOne(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		secret := redigolock.NewToken()
		tokens := map[string]string{ // token in the key → readable prefix of the holder
			secret:                  "",
			"api-7|" + secret:       "api-7",
			"hunter2|" + secret[1:]: "", // not one of our tokens: its prefix may be a secret
			"hunter2":               "",
		}
		for token, owner := range tokens {
			for _, v := range setNXWays[1:] {
				s.put("k", token, minute)
				err := v.call(bg, s.dial(), "k", "own", minute)
				held := heldError(t, err)
				if got, _, _ := strings.Cut(held.Holder, "#"); got != owner || len(held.Holder) != len(owner)+9 {
					t.Errorf("%s shows the holder %q of %q, want the owner %q", v.name, held.Holder, token, owner)
				}
				if strings.Contains(err.Error(), secret[1:]) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s shows a token: %v", v.name, err)
				}
			}
		}
	})
}
