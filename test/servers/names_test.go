package servers

import (
	"context"
	"testing"
	"time"

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
	waits      = testbed.Waits
)

const minute = time.Minute

type acquired = testbed.Acquired

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	return testbed.Receive(t, what, ch)
}
