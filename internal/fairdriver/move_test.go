package fairdriver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/subscription"
	"github.com/redigolock/redigolock/internal/wire"
)

// A halfway connection is to a node from which a slot is moving: it says so in the middle of a script.
type halfway struct{ granting }

func (c *halfway) DoWithTimeout(time.Duration, string, ...any) (any, error) {
	c.asked++
	return nil, redis.Error("ERR Script attempted to access a non local key in a cluster node")
}

// driverInCluster is of a Driver whose pool lends that connection, and calls lent before.
func driverInCluster(c redis.Conn, where func() string, lent func()) *Driver {
	var says wire.Dialect
	d := newDriver()
	d.env.Token = func() string { return "another token" }
	d.env.Scripts.Try = &wire.Script{Digest: "try", Keys: 2}
	d.env.Nodes = &subscription.Nodes{Where: func(string) string { return where() }}
	d.env.Borrow = func(_ context.Context, b *wire.Bound, _, _ string, within, most time.Duration) (time.Time, error) {
		lent()
		now := time.Now()
		b.Borrow(false, &says)
		b.Conn = c
		b.Begin(now, now.Add(within), most)
		return now, nil
	}
	d.env.GiveBack = func(_ context.Context, b *wire.Bound, _ time.Time, returned bool, err error) {
		b.TakeBack(returned, err)
	}
	d.env.Own = func(_ context.Context, verb, key, _ string, _ time.Time, _ time.Duration, _ func(redis.Conn) error) error {
		return fault.Of(fault.Unavailable, verb, key, "not here")
	}
	return d
}

// That the slot is moving may be found in the middle of a script, when the token may be in the lock already: it is never sent again.
func TestTryIsNotRepeatedThatMayHaveBeenCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &halfway{}
		d := driverInCluster(c, func() string { return "a" }, func() {})
		defer d.Close(0)
		err := d.TryAcquire(t.Context(), "key", &lease{token: "token"})
		if !errors.Is(err, fault.Unknown) || c.asked != 1 {
			t.Errorf("%v, sent %d times", err, c.asked)
		}
	})
}

// A map that changes between the look at it and the send counts, too: nothing is sent to the new node before all have subscribed there.
func TestSlotThatMovesWhileAConnectionIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, c := "a", &granting{}
		d := driverInCluster(c, func() string { return node }, func() { node = "b" })
		defer d.Close(0)
		begin := time.Now()
		err := d.TryAcquire(t.Context(), "key", &lease{token: "token"})
		if took := time.Since(begin); err != nil || c.asked != 1 || took != settleFor {
			t.Errorf("%v after %v, sent %d times", err, took, c.asked)
		}
	})
}
