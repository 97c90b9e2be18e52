package bench_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/bench"
)

func TestMain(m *testing.M) {
	bench.Join()
	goleak.VerifyTestMain(m)
}
