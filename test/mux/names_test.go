package mux

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/testbed"
	"github.com/redigolock/redigolock/internal/wire"
)

// Short names for what is in internal/testbed.
var (
	bg          = context.Background()
	wants       = testbed.Wants
	wantsNot    = testbed.WantsNot
	eventually  = testbed.Eventually
	plainSetNX  = testbed.PlainSetNX
	acquireWays = testbed.AcquireWays
	inBubble    = testbed.InBubble
	simPool     = testbed.SimPool
	simLocker   = testbed.SimLocker
	newRig      = testbed.New
	learns      = testbed.Learns
)

const shortOp = testbed.ShortOp

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	return testbed.Receive(t, what, ch)
}

func inBackground[T any](f func() T) <-chan T { return testbed.InBackground(f) }

// doBounded has a connection carry out a command under a context and a timeout, as a Locker's commands are under ctx and
// OpTimeout.
func doBounded(ctx context.Context, c redis.Conn, timeout time.Duration, cmd string, args ...any) (any, error) {
	var replies [1]any
	res := wire.Exchange(ctx, wire.BoundBy(c, time.Now().Add(timeout)), []wire.Request{{Cmd: cmd, Args: args}}, replies[:])
	return replies[0], res.Err
}

// do has a connection carry out a command as a verb does: it is unknown if it was sent, and no reply came.
func do(ctx context.Context, c redis.Conn, cmd string, args ...any) error {
	var replies [1]any
	res := wire.Exchange(ctx, c, []wire.Request{{Cmd: cmd, Args: args}}, replies[:])
	if res.Err != nil && res.Sent {
		return fault.UnknownOutcome(ctx, "ask", "key", res.Err)
	}
	return res.Err
}
