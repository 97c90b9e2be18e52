package bench_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/bench"
)

func TestMain(m *testing.M) {
	bench.AddRivals(bench.RivalKind{Name: "no-lock", Open: func(bench.RivalConfig) (bench.Rival, error) {
		return madeUp{func(string) error { return nil }}, nil
	}})
	bench.Join()
	goleak.VerifyTestMain(m)
}
