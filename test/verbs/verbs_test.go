package verbs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/redistest"
)

// What the tests of the verbs share: the servers, the table of all verbs, and connections that are not redigo's.

const minute = time.Minute

// A verbSite is a server to try the verbs on.
type verbSite struct {
	t    *testing.T
	addr string
	real bool       // redis-server, else miniredis
	ctl  redis.Conn // to look and to prepare
}

// onEachServer runs f on miniredis and on redis-server.
func onEachServer(t *testing.T, f func(t *testing.T, s *verbSite)) {
	t.Run("miniredis", func(t *testing.T) { f(t, newVerbSite(t, redistest.StartMini(t).Addr(), false)) })
	t.Run("redis-server", func(t *testing.T) { f(t, newVerbSite(t, redistest.Start(t).Addr(), true)) })
}

func newVerbSite(t *testing.T, addr string, isReal bool) *verbSite {
	s := &verbSite{t: t, addr: addr, real: isReal}
	s.ctl = s.dial()
	return s
}

// dial opens a connection that is closed with the test.
func (s *verbSite) dial(opts ...redis.DialOption) redis.Conn {
	s.t.Helper()
	return dialFor(s.t, s.addr, opts...)
}

// do prepares or looks.
func (s *verbSite) do(cmd string, args ...any) any {
	s.t.Helper()
	reply, err := s.ctl.Do(cmd, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", cmd, err)
	}
	return reply
}

// put leaves a token in the key; ttl 0 leaves a string without TTL.
func (s *verbSite) put(key, token string, ttl time.Duration) {
	s.t.Helper()
	s.do("DEL", key)
	s.do("SET", key, token)
	if ttl > 0 {
		s.do("PEXPIRE", key, ttl.Milliseconds())
	}
}

// value is the string in the key, "" if there is none.
func (s *verbSite) value(key string) string {
	s.t.Helper()
	v, err := redis.String(s.ctl.Do("GET", key))
	if err != nil && !errors.Is(err, redis.ErrNil) {
		s.t.Fatal(err)
	}
	return v
}

// pttl is what PTTL says: -1 ms for no TTL, -2 ms for no key.
func (s *verbSite) pttl(key string) time.Duration {
	s.t.Helper()
	return time.Duration(s.do("PTTL", key).(int64)) * time.Millisecond
}

// wantTTL wants the PTTL of the key to be want, of which up to 20 s may have passed.
func (s *verbSite) wantTTL(key string, want time.Duration) {
	s.t.Helper()
	if left := s.pttl(key); left > want || left < want-20*time.Second {
		s.t.Errorf("PTTL of %.20q is %v, want nearly %v", key, left, want)
	}
}

// wantLock wants the key to carry the token for nearly ttl.
func (s *verbSite) wantLock(key, token string, ttl time.Duration) {
	s.t.Helper()
	if got := s.value(key); got != token {
		s.t.Errorf("%.20q carries %.60q, want %.60q", key, got, token)
	}
	s.wantTTL(key, ttl)
}

// wantKeys wants exactly these keys to exist.
func (s *verbSite) wantKeys(keys ...string) {
	s.t.Helper()
	got, err := redis.Strings(s.ctl.Do("KEYS", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(keys)
	if !slices.Equal(got, keys) {
		s.t.Errorf("the keys are %.200q, want %.200q", got, keys)
	}
}

// wantPlain wants c to be neither inside MULTI nor watching key, which it overwrites.
func (s *verbSite) wantPlain(c redis.Conn, key string) {
	s.t.Helper()
	if reply, err := c.Do("ECHO", "x"); err != nil || string(reply.([]byte)) != "x" {
		s.t.Fatalf("the connection is not as before: ECHO answers %v, %v", reply, err)
	}
	s.do("SET", key, "touched")
	c.Send("MULTI")
	c.Send("ECHO", "y")
	if reply, err := redis.Strings(c.Do("EXEC")); err != nil || len(reply) != 1 {
		s.t.Fatalf("the connection still watches: EXEC answers %q, %v", reply, err)
	}
}

// heldError wants err to be a *HeldError and returns it.
func heldError(t *testing.T, err error) redigolock.HeldError {
	t.Helper()
	var held *redigolock.HeldError
	if !errors.As(err, &held) || !errors.Is(err, redigolock.ErrHeld) {
		t.Fatalf("got %v, want a *HeldError", err)
	}
	return *held
}

// wantReply wants err to carry an error reply that begins with word, and to be none of our sentinels.
func wantReply(t *testing.T, err error, word string) {
	t.Helper()
	var re redis.Error
	if !errors.As(err, &re) || !strings.HasPrefix(string(re), word) {
		t.Errorf("got %v, want the server's %s", err, word)
	}
	wantsNot(t, err, redigolock.ErrHeld, redigolock.ErrNotHeld, redigolock.ErrUnknown, redigolock.ErrInvalid,
		redigolock.ErrConflict, redigolock.ErrExpired, redigolock.ErrFenced)
}

// A verbCall is a call of one verb, with the arguments that verbs have in common.
type verbCall struct {
	name     string
	commands []string // what it sends to a server that knows its script
	token    bool     // it has a token
	ttl      bool     // it has a ttl
	call     func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error
}

// guardNumber is the fencing number in the calls of Guard and GuardDo.
const guardNumber = 7

var allVerbs = []verbCall{
	{"SetNX", []string{"SET"}, true, true, redigolock.SetNX},
	{"SetNXVerified", []string{"SET", "GET"}, true, true, redigolock.SetNXVerified},
	{"SetNXGet", []string{"SET"}, true, true, redigolock.SetNXGet},
	{"SetNXScript", []string{"EVALSHA"}, true, true, redigolock.SetNXScript},
	{"Extend", []string{"EVALSHA"}, true, true, redigolock.Extend},
	{"Verify", []string{"EVALSHA"}, true, false,
		func(ctx context.Context, c redis.Conn, key, token string, _ time.Duration) error {
			_, err := redigolock.Verify(ctx, c, key, token)
			return err
		}},
	{"Fence", []string{"EVALSHA"}, true, false,
		func(ctx context.Context, c redis.Conn, key, token string, _ time.Duration) error {
			_, err := redigolock.Fence(ctx, c, key, token)
			return err
		}},
	{"Release", []string{"EVALSHA"}, true, false, asCall(redigolock.Release)},
	{"ReleaseTx", []string{"WATCH", "GET", "MULTI", "DEL", "EXEC"}, true, false, asCall(redigolock.ReleaseTx)},
	{"ReleaseNative", []string{"DELEX", "DELIFEQ"}, true, false, asCall(redigolock.ReleaseNative)},
	{"Inspect", []string{"EVALSHA"}, false, false,
		func(ctx context.Context, c redis.Conn, key, _ string, _ time.Duration) error {
			_, err := redigolock.Inspect(ctx, c, key)
			return err
		}},
	{"Guard", []string{"EVALSHA"}, false, false,
		func(ctx context.Context, c redis.Conn, key, _ string, _ time.Duration) error {
			return redigolock.Guard(ctx, c, key, guardNumber)
		}},
	{"GuardDo", []string{"EVALSHA"}, false, false,
		func(ctx context.Context, c redis.Conn, key, _ string, _ time.Duration) error {
			_, err := redigolock.GuardDo(ctx, c, key, guardNumber, "SET", "resource", "v")
			return err
		}},
}

func asCall(f redigolock.ReleaseFunc) func(context.Context, redis.Conn, string, string, time.Duration) error {
	return func(ctx context.Context, c redis.Conn, key, token string, _ time.Duration) error {
		return f(ctx, c, key, token)
	}
}

// prepare makes the state in which the verb succeeds: the token in the key, or nothing for those that acquire.
func (v verbCall) prepare(s *verbSite, key, token string) {
	s.t.Helper()
	switch {
	case strings.HasPrefix(v.name, "SetNX"), strings.HasPrefix(v.name, "Guard"):
		s.do("DEL", key)
	default:
		s.put(key, token, minute)
	}
}

// supported reports whether the server of s has what the verb needs: redis-server 7 has no native compare-and-delete.
func (v verbCall) supported(s *verbSite) bool { return v.name != "ReleaseNative" || !s.real }

// knowScripts makes the server know all scripts, so that each verb sends what its table entry says.
func (s *verbSite) knowScripts() {
	s.t.Helper()
	c := s.dial()
	for _, v := range allVerbs {
		if v.supported(s) {
			v.prepare(s, "warm", "t")
			if err := v.call(bg, c, "warm", "t", minute); err != nil {
				s.t.Fatalf("%s: %v", v.name, err)
			}
		}
	}
	s.do("FLUSHDB")
}

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

var discardLogger = log.New(io.Discard, "", 0)

// cutOnCancel relies on what redigo does, and does not promise: ReceiveContext with a context that is past its deadline
// closes the socket under redigo's mutex, and touches nothing else. The race detector pins it: goroutines with pooled
// connections are cancelled in all phases of single commands, pipelines and transactions, and then give them back.
// Each goroutine checks every reply against its own number, so that none is ever read by another or later command.
func TestCutOnCancelDoesNotRace(t *testing.T) {
	const goroutines, rounds = 16, 150
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	s.knowScripts()
	pool, err := redigolock.NewPool("redis://" + s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	typical := typicalTime(t, pool)
	var answered, lost atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			r := racer{pool: pool, me: g, rnd: rand.New(rand.NewPCG(1, uint64(g)))}
			for i := range rounds {
				err := r.round(i, typical)
				switch {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, redigolock.ErrUnknown) && errors.Is(err, context.Canceled):
					lost.Add(1)
				case errors.Is(err, context.Canceled):
				default:
					t.Errorf("goroutine %d, round %d: %v", g, i, err)
				}
			}
		})
	}
	wg.Wait()
	if answered.Load() == 0 || lost.Load() == 0 {
		t.Errorf("%d answered, %d cancelled while a reply was awaited: nothing was tested", answered.Load(), lost.Load())
	}
}

// typicalTime is how long a command takes here and now.
func typicalTime(t *testing.T, pool *redis.Pool) time.Duration {
	t.Helper()
	c := pool.Get()
	defer c.Close()
	var all []time.Duration
	for range 21 {
		begin := time.Now()
		if _, err := c.Do("PING"); err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	return all[len(all)/2] // not the mean: one that took long is not typical
}

// A racer is a goroutine of TestCutOnCancelDoesNotRace.
type racer struct {
	pool *redis.Pool
	me   int
	rnd  *rand.Rand
}

// round is one exchange on a borrowed connection, with a context that is cancelled at any time: before, during, after.
func (r racer) round(i int, typical time.Duration) error {
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	c := r.pool.Get()
	defer c.Close() // with whatever is left of the cancellation running
	switch i % 5 {
	case 0: // none
	case 1: // a goroutine that is cancelled as soon as it is scheduled
		go cancel()
	default:
		phase := time.Duration(r.rnd.Int64N(int64(24 * typical)))
		defer time.AfterFunc(phase, cancel).Stop()
	}
	number := fmt.Sprintf("%d-%d", r.me, i)
	switch r.rnd.IntN(5) {
	case 0:
		return r.single(ctx, c, number)
	case 1:
		return r.pipeline(ctx, c, number)
	case 2:
		return r.contended(ctx, c, number)
	case 3:
		return r.transaction(ctx, c, number)
	default:
		return r.whole(ctx, c, number)
	}
}

// single asks a script to echo its number.
func (r racer) single(ctx context.Context, c redis.Conn, number string) error {
	reply, err := redis.String(redigolock.GuardDo(ctx, c, "guard", 7, "ECHO", number))
	if err == nil && reply != number {
		return fmt.Errorf("%s got the reply to %s", number, reply)
	}
	return err
}

// pipeline acquires a lock of its own, and then looks whose it is.
func (r racer) pipeline(ctx context.Context, c redis.Conn, number string) error {
	if err := redigolock.SetNXVerified(ctx, c, "lock:"+number, number, minute); err != nil {
		return err
	}
	info, err := redigolock.Inspect(ctx, c, "lock:"+number)
	if err == nil && info.Token != number {
		return fmt.Errorf("%s got the reply to %s", number, info.Token)
	}
	return err
}

// contended is told the holder of a lock that it has given away itself.
func (r racer) contended(ctx context.Context, c redis.Conn, number string) error {
	if err := redigolock.SetNX(ctx, c, "held:"+number, "holder-"+number, minute); err != nil {
		return err
	}
	err := redigolock.SetNXVerified(ctx, c, "held:"+number, "tok", minute)
	var held *redigolock.HeldError
	if !errors.As(err, &held) {
		return err
	}
	if held.Holder != names.Holder("holder-"+number) {
		return fmt.Errorf("%s is said to be held by %s", number, held.Holder)
	}
	return nil
}

// transaction releases by WATCH and EXEC, its own lock and one that is not its own.
func (r racer) transaction(ctx context.Context, c redis.Conn, number string) error {
	if err := redigolock.SetNX(ctx, c, "tx:"+number, number, minute); err != nil {
		return err
	}
	if err := redigolock.ReleaseTx(ctx, c, "tx:"+number, "stranger"); !errors.Is(err, redigolock.ErrNotHeld) {
		return fmt.Errorf("release by a stranger: %w", err)
	}
	return redigolock.ReleaseTx(ctx, c, "tx:"+number, number)
}

// whole goes on using a connection as long as it lives.
func (r racer) whole(ctx context.Context, c redis.Conn, number string) error {
	key := "whole:" + number
	for _, v := range allVerbs {
		if v.name == "ReleaseNative" {
			continue
		}
		err := v.call(ctx, c, key, number, minute)
		switch {
		case errors.Is(err, redigolock.ErrUnknown), errors.Is(err, context.Canceled):
			return err
		case v.name == "SetNXVerified", v.name == "SetNXGet", v.name == "SetNXScript", v.name == "Inspect", v.name == "Guard", v.name == "GuardDo":
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
		}
	}
	return nil
}
