package servers

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // those that are parallel wait for real time, or for a real server
	goleak.VerifyTestMain(m)
}
