package servers

import (
	"context"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/testbed"
)

// Short names for what is in internal/testbed.
var (
	bg         = context.Background()
	eventually = testbed.Eventually
	wants      = testbed.Wants
	wantsNot   = testbed.WantsNot
	within     = testbed.Within
	validFor   = testbed.ValidFor
	plainSetNX = testbed.PlainSetNX
	inBubble   = testbed.InBubble
	inTime     = testbed.InTime
	simPool    = testbed.SimPool
	newSim     = testbed.NewSimServer
	simLocker  = testbed.SimLocker
	twoCycles  = testbed.TwoCycles
	dialFor    = testbed.Dial
	idle       = testbed.Idle
	patient    = testbed.Patient
)

const minute = time.Minute

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	return testbed.Receive(t, what, ch)
}

// An acquired is what an Acquire returned.
type acquired struct {
	k   *redigolock.Lock
	err error
}

// waits has a Locker acquire in the background.
func waits(ctx context.Context, l *redigolock.Locker, key string, ttl time.Duration) <-chan acquired {
	return testbed.InBackground(func() acquired {
		k, err := l.Acquire(ctx, key, ttl)
		return acquired{k, err}
	})
}
