package redigolock_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

const (
	maxClients = "ERR max number of clients reached"
	denied     = "DENIED Redis is running in protected mode because protected mode is enabled"
)

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// wantTurnedAway wants a definite error that carries the server's text.
func wantTurnedAway(t *testing.T, err error, line string, unavailable bool) {
	t.Helper()
	var re redis.Error
	if !errors.As(err, &re) || string(re) != line {
		t.Errorf("%v, want the server's text %q", err, line)
	}
	wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrHeld, redigolock.ErrNotHeld)
	if errors.Is(err, redigolock.ErrUnavailable) != unavailable || redigolock.Transient(err) != unavailable {
		t.Errorf("%v: ErrUnavailable and tried again should be %v", err, unavailable)
	}
}

// soon is for what must end at once: where it does not, the test fails, and does not hang.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestLockersThatAreRefusedAtTheDoor(t *testing.T) {
	for line, unavailable := range map[string]bool{maxClients: true, denied: false} {
		for name := range doorLockers(t, nil) {
			t.Run(firstWord(line)+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					s.Rule(func(sim.Request) sim.Action { return sim.RefuseAndEnd(line) })
					l := simLocker(t, doorLockers(t, s)[name])
					_, err := l.TryAcquire(bg, "k", minute)
					wantTurnedAway(t, err, line, unavailable)
					if redigolock.CleaningUp(l) {
						t.Error("cleans up what was never set")
					}
					ctx, cancel := context.WithTimeout(bg, 300*time.Millisecond)
					defer cancel()
					_, err = l.Acquire(ctx, "k", minute)
					wantsNot(t, err, redigolock.ErrUnknown)
					if !strings.Contains(err.Error(), line) {
						t.Errorf("%v does not say %q", err, line)
					}
					if unavailable != errors.Is(err, context.DeadlineExceeded) || unavailable == (ctx.Err() == nil) {
						t.Errorf("%v: it should have waited: %v", err, unavailable)
					}
				})
			})
		}
	}
}

// doorLockers are over the bubble's server; nil: only their names count.
func doorLockers(t *testing.T, s *sim.Server) map[string]*redigolock.Locker {
	pool := func() *redis.Pool {
		if s == nil {
			return nil
		}
		return simPool(t, s, "redis")
	}
	lockers := map[string]*redigolock.Locker{
		"default":       {Pool: pool()},
		"SetNX":         {Pool: pool(), AcquireWith: redigolock.SetNX},
		"SetNXScript":   {Pool: pool(), AcquireWith: redigolock.SetNXScript},
		"fair":          {Pool: pool(), Fair: true},
		"Get only":      {Pool: getPool{Pool: pool()}},
		"a func around": {Pool: pool(), AcquireWith: testbed.WrappedAcquire},
	}
	for _, name := range []string{"default", "fair", "SetNX"} {
		l := lockers[name]
		m := &redigolock.Mux{Pool: pool()}
		if s != nil {
			t.Cleanup(func() { m.Close() })
		}
		lockers["Mux, "+name] = &redigolock.Locker{Pool: m, AcquireWith: l.AcquireWith, Fair: l.Fair}
	}
	return lockers
}

func TestMaxClientsOfARealServer(t *testing.T) {
	srv := redistest.Start(t)
	admin, err := srv.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	lockers := map[string]*redigolock.Locker{"default": {Pool: srv.Pool()}, "fair": {Pool: srv.Pool(), Fair: true}}
	m := &redigolock.Mux{Pool: srv.Pool()}
	defer m.Close()
	lockers["Mux"] = &redigolock.Locker{Pool: m}
	set := func(n int) {
		t.Helper()
		if _, err := admin.Do("CONFIG", "SET", "maxclients", n); err != nil {
			t.Fatal(err)
		}
	}
	turnedAway := func() (n int) {
		t.Helper()
		info, err := redis.String(admin.Do("INFO", "stats"))
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(info, "rejected_connections:")
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, l := range lockers {
		t.Run(name, func(t *testing.T) {
			defer l.Close()
			set(1)
			_, err := l.TryAcquire(bg, "k "+name, time.Hour)
			wantTurnedAway(t, err, maxClients, true)
			before := turnedAway()
			got := inBackground(func() error {
				k, err := l.Acquire(bg, "k "+name, time.Hour)
				if err == nil {
					err = k.Release(bg)
				}
				return err
			})
			eventually(t, "several tries", func() bool { return turnedAway() >= before+3 })
			set(100)
			if err := <-got; err != nil {
				t.Errorf("once there is room: %v", err)
			}
		})
	}
}

// Why no connection was to be had decides whether a wait goes on.
func TestNoConnection(t *testing.T) {
	timeout := &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
	for _, tc := range []struct {
		name        string
		err         error
		unavailable bool
	}{
		{"refused", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{"of a name we do not know", errors.New("sentinel: no master yet"), true},
		{"too late", timeout, true},
		{"EOF", io.EOF, true},
		{"resolver away", &net.DNSError{Err: "server misbehaving", Name: "h", IsTemporary: true}, true},
		{"loading", redis.Error("LOADING Redis is loading the dataset in memory"), true},
		{"max clients", redis.Error(maxClients), true},
		{"pool exhausted", redis.ErrPoolExhausted, true},
		{"Locker closed", redigolock.ErrClosed, false},
		{"no such host", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}}, false},
		{"WRONGPASS", redis.Error("WRONGPASS invalid username-password pair or user is disabled."), false},
		{"NOAUTH", redis.Error("NOAUTH Authentication required."), false},
		{"NOPERM", redis.Error("NOPERM this user has no permissions to run the 'client|setname' command"), false},
		{"DENIED", redis.Error(denied), false},
		{"unknown authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, false},
		{"no TLS there", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, false},
		{"certificate wanted", &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, false},
		{"no port", &net.OpError{Op: "dial", Err: &net.AddrError{Err: "missing port in address", Addr: "h"}}, false},
	} {
		for name, l := range lockersThatCannotDial(t, tc.err) {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				defer l.Close()
				_, err := l.TryAcquire(bg, "k", minute)
				if !errors.Is(err, tc.err) && !(tc.err == error(timeout) && strings.Contains(err.Error(), "OpTimeout")) {
					t.Errorf("%v does not wrap %v", err, tc.err)
				}
				wantsNot(t, err, redigolock.ErrUnknown)
				if errors.Is(err, redigolock.ErrUnavailable) != tc.unavailable || redigolock.Transient(err) != tc.unavailable {
					t.Errorf("%v: ErrUnavailable, tried again: want %v", err, tc.unavailable)
				}
				if !tc.unavailable {
					_, err := l.Acquire(soon(t), "k", minute)
					wants(t, err, tc.err)
					wantsNot(t, err, context.DeadlineExceeded)
				}
			})
		}
	}
}

func lockersThatCannotDial(t *testing.T, err error) map[string]*redigolock.Locker {
	dial := func() (redis.Conn, error) { return nil, err }
	plain := func() *redis.Pool { return &redis.Pool{Dial: dial} }
	m := &redigolock.Mux{Pool: plain()}
	t.Cleanup(func() { m.Close() })
	return map[string]*redigolock.Locker{
		"pool":     {Pool: plain()},
		"context":  {Pool: &redis.Pool{DialContext: func(context.Context) (redis.Conn, error) { return dial() }}},
		"Get only": {Pool: getPool{Pool: plain()}},
		"Mux":      {Pool: m},
		"fair":     {Pool: plain(), Fair: true},
	}
}

func TestPoolThatIsExhaustedOrClosed(t *testing.T) {
	addr := redistest.StartMini(t).Addr()
	pool := &redis.Pool{MaxActive: 1, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", addr) }}
	c := pool.Get()
	l := &redigolock.Locker{Pool: pool}
	_, err := l.TryAcquire(bg, "k", minute)
	wants(t, err, redigolock.ErrUnavailable, redis.ErrPoolExhausted)

	c.Close()

	waits := &redis.Pool{MaxActive: 1, Wait: true, Dial: pool.Dial}
	c = waits.Get()
	_, err = (&redigolock.Locker{Pool: waits, OpTimeout: 10 * time.Millisecond}).TryAcquire(bg, "k", minute)
	wants(t, err, redigolock.ErrUnavailable)
	c.Close()
	waits.Close()

	pool.Close()
	_, err = l.Acquire(soon(t), "k", minute)
	wantsNot(t, err, redigolock.ErrUnavailable, redigolock.ErrUnknown)
	if err == nil || !strings.Contains(err.Error(), "closed pool") {
		t.Errorf("a closed pool: %v", err)
	}
}

// A wait that lost a reply, and then found nobody, is unknown and unavailable.
func TestUnknownAndUnavailable(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		s.Rule(func(sim.Request) sim.Action { return sim.Drop() })
		var dials atomic.Int32
		l := &redigolock.Locker{Pool: &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
			if dials.Add(1) > 1 {
				return nil, errNotDialled
			}
			return s.DialRedis(ctx)
		}}, Retry: func(attempt int, _ time.Duration) time.Duration { return time.Duration(1-attempt) * time.Millisecond }}
		_, err := l.Acquire(bg, "k", time.Second)
		wants(t, err, redigolock.ErrUnknown, redigolock.ErrUnavailable, errNotDialled)
		if l.Close(); dials.Load() < 2 {
			t.Errorf("%d dials", dials.Load())
		}
	})
}
