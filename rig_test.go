package redigolock_test

import (
	"context"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// Short names for what is in internal/testbed.
var (
	bg            = context.Background()
	wants         = testbed.Wants
	wantsNot      = testbed.WantsNot
	eventually    = testbed.Eventually
	within        = testbed.Within
	untilSent     = testbed.UntilSent
	running       = testbed.Running
	validFor      = testbed.ValidFor
	verbOf        = testbed.VerbOf
	plainSetNX    = testbed.PlainSetNX
	plainRelease  = testbed.PlainRelease
	acquireWays   = testbed.AcquireWays
	afterSetNX    = testbed.AfterSetNX
	lockUses      = testbed.LockUses
	learns        = testbed.Learns
	inBubble      = testbed.InBubble
	inTime        = testbed.InTime
	newSim        = testbed.NewSimServer
	simPool       = testbed.SimPool
	simLocker     = testbed.SimLocker
	dialFor       = testbed.Dial
	idle          = testbed.Idle
	waits         = testbed.Waits
	isBeats       = testbed.IsBeats
	inFairBubble  = testbed.InFairBubble
	simFair       = testbed.SimFair
	mustGet       = testbed.MustGet
	patient       = testbed.Patient
	errNotDialled = testbed.ErrNotDialled
	errTestCause  = testbed.ErrTestCause
	endedContexts = testbed.EndedContexts
)

const (
	capOfPokes  = testbed.CapOfPokes
	fairTestTTL = testbed.FairTTL
	shortOp     = testbed.ShortOp
	minute      = time.Minute
)

type (
	acquired     = testbed.Acquired
	poolFunc     = testbed.PoolFunc
	getPool      = testbed.GetPool
	clock        = testbed.Clock
	scriptedConn = testbed.ScriptedConn
	untouchable  = testbed.Untouchable
)

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	return testbed.Receive(t, what, ch)
}

func inBackground[T any](f func() T) <-chan T { return testbed.InBackground(f) }

// A rig is a testbed.Rig, with more methods in the files that need them.
type rig struct{ *testbed.Rig }

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{testbed.New(t)}
}

func newRigOn(t *testing.T, server *redistest.Server) *rig {
	t.Helper()
	return &rig{testbed.NewOn(t, server)}
}

func newRigOnMini(t *testing.T) *rig {
	t.Helper()
	return &rig{testbed.NewOnMini(t)}
}

func newSimRig(t *testing.T) *rig {
	t.Helper()
	return &rig{testbed.NewSim(t)}
}

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

// stopClock gives the Locker a clock that stands still.
func stopClock(l *redigolock.Locker) *clock {
	c := testbed.NewClock(time.Now())
	redigolock.SetClock(l, c.Now)
	return c
}

// noCleanUp waits until the clean-up in the background has ended.
func (r *rig) noCleanUp() {
	r.T.Helper()
	eventually(r.T, "the clean-up ends", func() bool { return !redigolock.CleaningUp(r.Locker) })
}
