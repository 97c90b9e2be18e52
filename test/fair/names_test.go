package fair

import (
	"context"
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/internal/testbed"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // those that are parallel wait for real time, or for a real server
	goleak.VerifyTestMain(m)
}

// Short names for what is in internal/testbed.
var (
	bg           = context.Background()
	wants        = testbed.Wants
	wantsNot     = testbed.WantsNot
	eventually   = testbed.Eventually
	within       = testbed.Within
	inBubble     = testbed.InBubble
	inTime       = testbed.InTime
	simPool      = testbed.SimPool
	simLocker    = testbed.SimLocker
	validFor     = testbed.ValidFor
	lockUses     = testbed.LockUses
	waits        = testbed.Waits
	inFairBubble = testbed.InFairBubble
	simFair      = testbed.SimFair
	mustGet      = testbed.MustGet
)

const (
	capOfPokes  = testbed.CapOfPokes
	fairTestTTL = testbed.FairTTL
	shortOp     = testbed.ShortOp
)

type acquired = testbed.Acquired

// A fairRig is a testbed.FairRig, with more methods in the files that need them.
type fairRig struct{ *testbed.FairRig }

func newFairRig(t *testing.T, args ...string) *fairRig {
	t.Helper()
	return &fairRig{testbed.NewFairRig(t, args...)}
}

func newSimFairRig(t *testing.T) *fairRig {
	t.Helper()
	return &fairRig{testbed.NewSimFairRig(t)}
}

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	return testbed.Receive(t, what, ch)
}

func inBackground[T any](f func() T) <-chan T { return testbed.InBackground(f) }
