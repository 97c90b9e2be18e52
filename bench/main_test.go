package bench_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/bench"
)

// Most tests of this package wait: for a round to be over, a lease, a server that hangs. So many do it side by side, however
// few processors there are.
const sideBySide = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if !isSet("test.parallel") {
		_ = flag.Set("test.parallel", sideBySide)
	}
	bench.AddRivals(bench.RivalKind{Name: "no-lock", Open: openNothing},
		bench.RivalKind{Name: "other-locker", Open: openLocker},
		bench.RivalKind{Name: "no-lock-renewing", Open: openNothing, Renews: true},
		bench.RivalKind{Name: "renewing", Open: openRenewing, Renews: true},
		bench.RivalKind{Name: "far-locker", Open: openLocker, Server: "other"})
	bench.Join()
	goleak.VerifyTestMain(m)
}

// isSet says whether the flag was given.
func isSet(name string) (given bool) {
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}
