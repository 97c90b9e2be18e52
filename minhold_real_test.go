package redigolock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// What a Locker with MinHold does on a real server; minhold_test.go has the rest, in virtual time.

// isLeft says whether the key holds what a Release of the token has left.
func (r *rig) isLeft(key, token string) bool { return r.Get(key) == token+"|left" }

func TestMinHoldOnARealServer(t *testing.T) {
	for _, mux := range []bool{false, true} {
		r := newRig(t)
		r.Locker.MinHold, r.Locker.Owner = time.Hour, "cron-1"
		if mux {
			m := &redigolock.Mux{Pool: r.Locker.Pool}
			defer m.Close()
			r.Locker.Pool = m
		}
		k := r.Must(r.Locker.TryAcquire(bg, "key", 10*time.Second))
		r.OK(k.Release(bg))
		if !r.isLeft("key", k.Token()) {
			t.Errorf("the key holds %q", r.Get("key"))
		}
		if left := r.PTTL("key"); left > time.Hour || left < 59*time.Minute {
			t.Errorf("it is left for %v of an hour", left)
		}
		wants(t, k.Release(bg), redigolock.ErrNotHeld)

		var held *redigolock.HeldError
		_, err := r.Locker.TryAcquire(bg, "key", time.Minute)
		if !errors.As(err, &held) || held.Holder != redigolock.HolderOf(k.Token())+"|left" {
			t.Errorf("TryAcquire: %v", err)
		}
		if strings.Contains(err.Error(), k.Token()) {
			t.Error("the message shows the token")
		}
		c := r.Server.Pool().Get()
		info, err := redigolock.Inspect(bg, c, "key")
		if err != nil || !info.Held || info.Owner != "cron-1" || info.Token != k.Token()+"|left" || info.TTL < 59*time.Minute {
			t.Errorf("Inspect: %+v, %v", info, err)
		}
		r.OK(redigolock.Release(bg, c, "key", info.Token)) // an operator lets the next host in
		c.Close()
		r.OK(r.Must(r.Locker.TryAcquire(bg, "key", time.Minute)).Release(bg))
	}
}

// The hosts start 100 ms apart, in real time, and the job takes 50 ms: runsOn.
func TestMinHoldOnThreeHostsAndARealServer(t *testing.T) {
	server := redistest.Start(t)
	var hosts []*redigolock.Locker
	for range 3 {
		hosts = append(hosts, &redigolock.Locker{Pool: server.Pool(), MinHold: time.Minute})
	}
	runs, errs := runsOn(hosts)
	held := 0
	for _, err := range errs {
		if errors.Is(err, redigolock.ErrHeld) {
			held++
		} else if err != nil {
			t.Error(err)
		}
	}
	if runs != 1 || held != 2 {
		t.Errorf("the job ran %d times, and %d hosts were told that another has run it", runs, held)
	}
}

func TestMinHoldShortensAndLengthensTheTTL(t *testing.T) {
	for _, ttl := range []time.Duration{10 * time.Second, time.Hour} {
		r := newRig(t)
		r.Locker.MinHold = time.Minute
		k := r.Must(r.Locker.TryAcquire(bg, "key", ttl))
		r.OK(k.Release(bg))
		if left := r.PTTL("key"); left > time.Minute || left < 50*time.Second || !r.isLeft("key", k.Token()) {
			t.Errorf("with a ttl of %v %q is left for %v", ttl, r.Get("key"), left)
		}
	}
}

// SET as a script's first write is refused then, DEL is not: a Release works when the memory is full.
func TestMinHoldWorksWithoutMemory(t *testing.T) {
	r := newRig(t)
	r.Locker.MinHold = time.Hour
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	r.Do("CONFIG", "SET", "maxmemory", 1)
	r.OK(k.Release(bg))
	if !r.isLeft("key", k.Token()) || r.PTTL("key") < 59*time.Minute {
		t.Errorf("%q is left for %v", r.Get("key"), r.PTTL("key"))
	}
}

// A user without the right to SET inside scripts, as one with SetNXScript may be, gets the server's refusal, and the key its
// time all the same.
func TestMinHoldRefusedKeepsTheTime(t *testing.T) {
	r := newRig(t)
	r.Do("ACL", "SETUSER", "narrow", "on", "nopass", "~*", "+setnx", "+get", "+pttl", "+pexpire", "+del", "+eval", "+evalsha")
	pool := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", r.Real().Addr(), redis.DialUsername("narrow"), redis.DialPassword("x"))
	}}
	defer pool.Close()
	locks := &redigolock.Locker{Pool: pool, AcquireWith: redigolock.SetNXScript, MinHold: time.Hour}
	k := r.Must(locks.TryAcquire(bg, "key", time.Minute))
	var refusal redis.Error
	if err := k.Release(bg); !errors.As(err, &refusal) {
		t.Errorf("Release: %v", err)
	}
	if r.Get("key") != k.Token() || r.PTTL("key") < 59*time.Minute {
		t.Errorf("%q is left for %v", r.Get("key"), r.PTTL("key"))
	}
}

func TestMinHoldOfAForeignOrTTLlessKey(t *testing.T) {
	r := newRig(t)
	r.Locker.MinHold = time.Hour
	for name, c := range map[string]struct {
		set  []any
		want error
	}{
		"gone":                    {nil, redigolock.ErrNotHeld},
		"another's":               {[]any{"SET", "key", "another's", "PX", 60000}, redigolock.ErrNotHeld},
		"another's without a TTL": {[]any{"SET", "key", "another's"}, redigolock.ErrConflict},
		"a list":                  {[]any{"RPUSH", "key", "x"}, redigolock.ErrConflict},
	} {
		k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
		r.Do("DEL", "key")
		if c.set != nil {
			r.Do(c.set[0].(string), c.set[1:]...)
		}
		before, _ := r.Server.Do("DUMP", "key")
		wants(t, k.Release(bg), c.want)
		if after, _ := r.Server.Do("DUMP", "key"); string(bytesOf(after)) != string(bytesOf(before)) {
			t.Errorf("%s: it was touched", name)
		}
		r.Do("DEL", "key")
	}
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	r.Do("PERSIST", "key")
	r.OK(k.Release(bg)) // a lock that is ours, and has lost its TTL, gets one
	if left := r.PTTL("key"); left < 59*time.Minute || !r.isLeft("key", k.Token()) {
		t.Errorf("%q is left for %v", r.Get("key"), left)
	}
}

func bytesOf(reply any) []byte {
	b, _ := reply.([]byte)
	return b
}

func TestMinHoldIsChecked(t *testing.T) {
	r := newRig(t)
	for _, l := range []*redigolock.Locker{
		{MinHold: -1},
		{MinHold: 24*time.Hour + 1},
		{MinHold: time.Second, Fair: true},
	} {
		l.Pool = r.Proxy.Pool()
		r.Silent("a bad MinHold", func() {
			_, err := l.TryAcquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrInvalid)
			_, err = l.Acquire(bg, "key", time.Minute)
			wants(t, err, redigolock.ErrInvalid)
			_, err = l.Attach(bg, "key", "token", time.Minute)
			wants(t, err, redigolock.ErrInvalid)
			wants(t, l.TryDo(bg, "key", time.Minute, neverCalled(t)), redigolock.ErrInvalid)
		})
	}
	r.Locker.MinHold = 24 * time.Hour
	k := r.Must(r.Locker.TryAcquire(bg, "key", 24*time.Hour))
	r.OK(k.Release(bg))
	if left := r.PTTL("key"); left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("left for %v", left)
	}
}

// A first reply that is lost: the second try finds what the first one left.
func TestMinHoldReleaseWhoseReplyIsLost(t *testing.T) {
	r := newRig(t)
	r.Locker.MinHold = time.Hour
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	r.Plan(map[string][]redistest.Action{"leave": {redistest.Drop()}})
	r.OK(k.Release(bg))
	if n := len(r.Sent("leave")); n != 2 {
		t.Errorf("%d tries", n)
	}
	if !r.isLeft("key", k.Token()) {
		t.Errorf("the key holds %q", r.Get("key"))
	}
}
