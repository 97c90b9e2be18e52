package lockbench

import (
	"context"
	"testing"
)

func TestRivalsAreToldWithTheirSettings(t *testing.T) {
	o := lockbench(context.Background(), nil, "rivals")
	want := "toy\n    polls every ms\ntoy-client\n    tries once\n"
	if o.code != exitDone || o.stdout != want || o.stderr != "" {
		t.Errorf("exit code %d, got %q, %q, want %q", o.code, o.stdout, o.stderr, want)
	}
}
