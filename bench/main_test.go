package bench_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/bench"
)

func TestMain(m *testing.M) {
	bench.AddRivals(bench.RivalKind{Name: "no-lock", Open: openNothing},
		bench.RivalKind{Name: "other-locker", Open: openLocker},
		bench.RivalKind{Name: "no-lock-renewing", Open: openNothing, Renews: true},
		bench.RivalKind{Name: "renewing", Open: openRenewing, Renews: true},
		bench.RivalKind{Name: "far-locker", Open: openLocker, Server: "other"})
	bench.Join()
	goleak.VerifyTestMain(m)
}
