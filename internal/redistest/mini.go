package redistest

import (
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
)

// Mini is an embedded miniredis whose TTLs run with the clock, as those of a
// real server do. It serves tests of logic; it proves nothing about Redis and
// its speed says nothing: each command costs 0.3 µs for every key that exists.
type Mini struct {
	*miniredis.Miniredis
	pools pools
}

// RunMini starts a [Mini] on a free port of 127.0.0.1. The caller calls
// [Mini.Stop].
func RunMini() (*Mini, error) {
	m, err := miniredis.Run()
	if err != nil {
		return nil, fmt.Errorf("redistest: start miniredis: %w", err)
	}
	// Miniredis then lowers the TTLs at every access by the time since the last
	// one. A goroutine that calls FastForward on a ticker would also charge a
	// new key with the time before it was set, and so end it too early by up to
	// a tick, or by any delay of the ticker.
	m.ClockTTL(true)
	return &Mini{Miniredis: m}, nil
}

// StartMini is [RunMini] for a test, which stops the server when it ends.
func StartMini(tb testing.TB) *Mini {
	tb.Helper()
	m, err := RunMini()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.Stop)
	return m
}

// Stop closes the server and the pools of [Mini.Pool] and waits until the
// server's goroutines have ended. Further calls do nothing.
func (m *Mini) Stop() {
	m.pools.close()
	m.Close()
}

// URL returns the address as redis://host:port.
func (m *Mini) URL() string { return "redis://" + m.Addr() }

// Pool returns a new unbounded pool of connections whose connect, read and
// write are bounded by 5 s each. The caller or [Mini.Stop] closes it.
func (m *Mini) Pool() *redis.Pool { return m.pools.open(m.Addr()) }
