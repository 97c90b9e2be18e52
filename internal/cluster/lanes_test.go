package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/groupcommit"
	"github.com/redigolock/redigolock/internal/names"
)

func lanesOf(c *Cluster) *Lanes {
	return c.NewLanes(groupcommit.Env{Conns: 1, TestAfter: time.Minute, Bound: time.Second, Busy: errors.New("busy"), Closed: fault.Closed})
}

// TestLanes: one connection to each node, which redirects lead from and to; ASK goes over the pool.
func TestLanes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.cluster()
		ls := lanesOf(c)
		defer ls.Close()
		do := func(cmd string, args ...any) error {
			x := ls.Conn()
			defer x.Close()
			_, err := x.DoWithTimeout(time.Second, cmd, args...)
			return err
		}
		for range 3 {
			for _, key := range []string{keyA, keyB, keyC} {
				if err := do("SET", key, "v"); err != nil {
					t.Error(err)
				}
			}
		}
		if n := ls.Counts(); n.Conns != 3 || n.InFlight+n.Queued != 0 {
			t.Errorf("%+v", n)
		}
		w.importing[names.Slot(keyA)] = "d:1"
		if err := do("GET", "{"+keyA+"}other"); err != nil {
			t.Error(err)
		}
		if got, want := w.heard("d:1"), fmt.Sprintf("ASKING, GET {%s}other", keyA); got != want || ls.Counts().Conns != 3 {
			t.Error(got, ls.Counts())
		}
		delete(w.importing, names.Slot(keyA))
		w.share(func(slot int) string { return []string{"d:1", "b:1", "c:1"}[min(slot/slotsAt, 2)] }, 2)
		if err := do("SET", keyA, "v"); err != nil { // MOVED
			t.Error(err)
		}
		time.Sleep(2 * time.Second) // a is none of the cluster's any more: its lanes are closed
		if n := ls.Counts(); n.Conns != 3 || len(ls.groups) != 3 {
			t.Errorf("%+v, %d nodes", n, len(ls.groups))
		}
		for _, cmd := range []string{"WATCH", "SSUBSCRIBE", "BLPOP"} {
			if err := do(cmd, keyB, 1); !errors.Is(err, fault.Unsupported) {
				t.Errorf("%s: %v", cmd, err)
			}
		}
		ls.Close()
		if err := do("GET", keyB); !errors.Is(err, fault.Closed) {
			t.Error(err)
		}
	})
}
