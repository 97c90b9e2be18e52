//go:build !race

package fairmodel_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"testing"

	"github.com/redigolock/redigolock/internal/fairmodel"
)

// total is what all explorations came to; ended of them have seen all that there is.
var total struct{ explorations, ended, states, steps atomic.Int64 }

// TestMain says with -v how far the explorations went. They allocate small things by the million, and keep most of them, so they are
// a third faster where the collector runs seldom.
func TestMain(m *testing.M) {
	debug.SetGCPercent(300)
	code := m.Run()
	if testing.Verbose() {
		fmt.Printf("%d explorations, of which %d have an end, %d states, %d steps between them\n",
			total.explorations.Load(), total.ended.Load(), total.states.Load(), total.steps.Load())
	}
	os.Exit(code)
}

func explore(cfg fairmodel.Config) fairmodel.Result {
	r := fairmodel.Explore(cfg)
	total.explorations.Add(1)
	if cfg.MaxStates == 0 || r.States < cfg.MaxStates {
		total.ended.Add(1)
	}
	total.states.Add(int64(r.States))
	total.steps.Add(int64(r.Steps))
	return r
}
