package verbs

import (
	"context"
	"testing"

	"github.com/redigolock/redigolock/internal/testbed"
)

// Short names for what is in internal/testbed.
var (
	bg            = context.Background()
	wants         = testbed.Wants
	wantsNot      = testbed.WantsNot
	eventually    = testbed.Eventually
	learns        = testbed.Learns
	olderVersion  = testbed.OlderVersion
	inBubble      = testbed.InBubble
	simPool       = testbed.SimPool
	simLocker     = testbed.SimLocker
	twoCycles     = testbed.TwoCycles
	untilSent     = testbed.UntilSent
	dialFor       = testbed.Dial
	errNotDialled = testbed.ErrNotDialled
	errTestCause  = testbed.ErrTestCause
	endedContexts = testbed.EndedContexts
	mustGet       = testbed.MustGet
)

const shortOp = testbed.ShortOp

type (
	poolFunc     = testbed.PoolFunc
	getPool      = testbed.GetPool
	scriptedConn = testbed.ScriptedConn
	untouchable  = testbed.Untouchable
)

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	return testbed.Receive(t, what, ch)
}
