package figures_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "raw.txt")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const raw = `cpu: x
BenchmarkContention/server=redis/way=fair/waiters=64-2 10 1000 ns/op 3 acq/s
BenchmarkContention/server=redis/way=polling/waiters=64-2 10 4000 ns/op 1 acq/s
BenchmarkContention/server=redis/way=fair/waiters=64-2 10 3000 ns/op 5 acq/s
BenchmarkContention/server=redis/way=polling/waiters=64-2 10 6000 ns/op 1 acq/s
BenchmarkContention/server=redis/way=fair/waiters=64-2 10 2000 ns/op 4 acq/s
BenchmarkContention/server=redis/way=polling/waiters=64-2 10 8000 ns/op 1 acq/s
`

func TestRoundsOfACellAreSummedUp(t *testing.T) {
	s, err := figures.Read(write(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Cells) != 2 || s.Cells[0].Name != "Contention/server=redis/way=fair/waiters=64" {
		t.Fatalf("cells are %+v", s.Cells)
	}
	found := s.Find("Contention", "way=fair", "waiters=64")
	if len(found) != 1 || len(s.Find("Contention", "server=redis")) != 2 || len(s.Find("Contention", "server=none")) != 0 {
		t.Fatalf("found %+v", found)
	}
	fair := found[0]
	if n, err := fair.Number("waiters"); n != 64 || err != nil || fair.Key("server") != "redis" || fair.Config["cpu"] != "x" {
		t.Errorf("waiters %v, %v; %+v", n, err, fair)
	}
	if f, ok := fair.Figure("sec/op"); !ok || math.Abs(f.Center-2e-6) > 1e-12 || f.Rounds != 3 || !math.IsInf(f.High, 1) {
		t.Errorf("sec/op is %+v, %v", f, ok)
	}
	if got := fair.Values("acq/s"); len(got) != 3 || got[0] != 3 || got[1] != 5 {
		t.Errorf("the rounds are not in order: %v", got)
	}
}

func TestZeroNanosecondsAreSecondsToo(t *testing.T) {
	s, err := figures.Read(write(t, "BenchmarkX 1 0 p50-ns\nBenchmarkX 1 7 p50-ns\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, units := s.Cells[0].Values("p50-sec"), s.Cells[0].Units(); len(got) != 2 || got[0] != 0 || len(units) != 1 {
		t.Errorf("%v of %v", got, units)
	}
}

// Wall time over the number of operations is the inverse of a throughput.
func TestTheTimeOfAllGoroutinesIsAThroughput(t *testing.T) {
	s, err := figures.Read(write(t, "BenchmarkAcquireRelease/goroutines=8 1 2000 ns/op\nBenchmarkVerb 1 2000 ns/op\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Cells[0].Values("acq/s"); len(got) != 1 || math.Abs(got[0]-500_000) > 1e-6 || s.Cells[1].Values("acq/s") != nil {
		t.Errorf("%v, %v", got, s.Cells[1].Values("acq/s"))
	}
}

func TestEverySettingOfEveryFileIsKept(t *testing.T) {
	other := strings.Replace(raw, "cpu: x", "cpu: y\ncommit: 17", 1)
	s, err := figures.Read(write(t, raw), write(t, other), write(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Setting("cpu"); !slices.Equal(got, []string{"x", "y"}) || len(s.Settings) != 2 || s.Setting("host") != nil {
		t.Errorf("cpu %q of %q", got, s.Settings)
	}
}

func TestWhatWouldMakeATableOfNothingIsRefused(t *testing.T) {
	for name, path := range map[string]string{
		"no such file": filepath.Join(t.TempDir(), "none.txt"),
		"no benchmark": write(t, "PASS\n"),
		"a torn line":  write(t, raw+"BenchmarkContention/server=redis/way=fair 10 100\n"),
	} {
		if _, err := figures.Read(path); err == nil || !strings.Contains(err.Error(), "figures: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
