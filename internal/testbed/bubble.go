package testbed

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// InBubble runs f in virtual time, with a server whose requests have the names of this package's scripts. What f has started
// must have ended when it returns, but for what its t's Cleanup ends.
func InBubble(t *testing.T, f func(t *testing.T, s *sim.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, NewSimServer(t)) })
}

// NewSimServer is the server of a bubble.
func NewSimServer(t *testing.T) *sim.Server {
	s := sim.NewServer(t)
	names := map[string]string{}
	for hash, name := range ScriptNames {
		names[hash.(string)] = name
	}
	s.NameScripts(names)
	return s
}

// SimPool is what NewPool makes for the server of a bubble, closed with the test; rediss asks for TLS.
func SimPool(t *testing.T, s *sim.Server, scheme string, opts ...redis.DialOption) *redis.Pool {
	t.Helper()
	p, err := redigolock.NewPool(scheme+"://sim", append(s.Options(), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// SimLocker closes the Locker with the test.
func SimLocker(t *testing.T, l *redigolock.Locker) *redigolock.Locker {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	return l
}

// InTime checks how much of the bubble's time f takes, exactly.
func InTime(t *testing.T, what string, want time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d != want {
		t.Errorf("%s took %v, want %v", what, d, want)
	}
}
