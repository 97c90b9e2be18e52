package lockbench

import (
	"context"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/bench"
)

func TestRivalsAreToldWithTheirSettings(t *testing.T) {
	o := lockbench(context.Background(), nil, "rivals")
	want := "toy\n    polls every ms\ntoy-client\n    tries once\n"
	if o.code != exitDone || o.stdout != want || o.stderr != "" {
		t.Errorf("exit code %d, got %q, %q, want %q", o.code, o.stdout, o.stderr, want)
	}
}

func TestRivalsModulesHaveTheirVersions(t *testing.T) {
	deps := []*debug.Module{
		{Path: "example.com/lock", Version: "v1.2.3"},
		{Path: "example.com/client", Version: "v1.0.0", Replace: &debug.Module{Path: "../client"}},
	}
	kind := bench.RivalKind{Name: "new", Settings: "polls", Modules: []string{"example.com/lock", "example.com/client",
		"example.com/unknown"}}
	var b strings.Builder
	writeRival(&b, kind, deps)
	if want := "new  example.com/lock v1.2.3, ../client, example.com/unknown\n    polls\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
