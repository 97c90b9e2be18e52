package lockbench

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/bench"
)

// madeUp is the figure of the i-th cell in its r-th round.
func madeUp(w bench.Workload, i, r int) bench.Result {
	hist := hdrhistogram.New(1, time.Hour.Nanoseconds(), 3)
	for n := range int64(100) {
		_ = hist.RecordValue(int64(30000+4000*i) + n*n*int64(10*(i+1)))
	}
	ms := time.Millisecond
	res := bench.Result{Ops: int64(2000 - 31*i + 7*r*(i%3)), Elapsed: 80 * ms, Latency: hist, Allocs: float64(8 + i)}
	res.CPU = &bench.CPU{Client: time.Duration(r+30-i%9) * ms, Server: time.Duration(50-i%7) * ms}
	switch w := w.(type) {
	case bench.Contention:
		res.Contest = &bench.Contest{Handoff: hist, Inside: hist, Across: hist, Again: 0.5 - float64(i)/64, WaitP50: time.Duration(i+1) * ms / 4,
			WaitP99:    time.Duration(i+1) * ms,
			WaitBeyond: float64(i%2) / 50, Round: 5 * ms, Jain: 1 - float64(i)/64}
		res.Cost = &bench.Cost{Calls: int64((5.1 + float64(i)) * float64(res.Ops)), EvalSha: int64(1.0004 * float64(res.Ops)), Reads: -1, Bytes: -1}
	case bench.Load:
		res.Loaded = &bench.Loaded{Arrived: res.Ops + int64(i), Unserved: int64(100 * i), Late: hist}
	case bench.KeepAlive:
		res.CPU = &bench.CPU{Client: time.Duration(r+3*i+1) * 7 * ms, Server: 9 * ms}
		res.Kept = &bench.Kept{Bytes: float64(401 + 5000*i), Goroutines: 2 + i%2*w.Locks}
	case bench.Recovery:
		gap := time.Duration(600+30*i+r) * ms
		res.Recovered = &bench.Recovered{Gap: gap, Beyond: gap/100 - 6100*time.Microsecond, Known: true}
	}
	return res
}

// fill has so many rounds of all cells but those that lack says, as after Ctrl-C.
func fill(t *testing.T, s *section, rounds int, lacks func(i int) bool) {
	t.Helper()
	rec, err := newRecord(&options{}, fakeServer(), host{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range s.groups {
		for r := range rounds {
			round := make([]*bench.Result, len(g.cells))
			for i, c := range g.cells {
				if res := madeUp(c.Workload, n+i, r); !lacks(i) {
					round[i] = &res
				}
			}
			if err := s.write(rec, g, round); err != nil {
				t.Fatal(err)
			}
		}
		n += len(g.cells)
	}
}

func TestTables(t *testing.T) {
	all := []string{"-workload", "all,overview,keepalive,load,recovery", "-goroutines", "1,128", "-rates", "500,1000", "-keys", "own,hot",
		"-hold", "0s,1ms", "-processes", "1,4", "-waiters", "64", "-ways", "floor,fair-mux2,toy"}
	for name, tt := range map[string]struct {
		rounds int
		lacks  func(i int) bool
	}{
		"tables":  {6, func(int) bool { return false }},
		"stopped": {1, func(i int) bool { return i%2 == 0 }}, // after Ctrl-C in the first round, perhaps without the first cell
	} {
		var b bytes.Buffer
		for _, s := range planned(t, append(all, "-count", "6")...) {
			fill(t, s, tt.rounds, tt.lacks)
			fmt.Fprintf(&b, "== %s\n", s.name)
			if err := s.print(&b); err != nil {
				t.Fatal(err)
			}
		}
		golden(t, name, b.String())
	}
}

func TestNothingMeasuredIsNoTable(t *testing.T) {
	for _, s := range planned(t, "-workload", "all") {
		var b bytes.Buffer
		if err := s.print(&b); err != nil || b.Len() > 0 {
			t.Errorf("%s: %v, %s", s.name, err, b.String())
		}
	}
}

func TestHeadSaysWhereTheServerIs(t *testing.T) {
	h := host{name: "box", cpu: "Abacus 2", goVersion: "go1.26.8", goos: "linux", goarch: "amd64", commit: "abc", cpus: 4, procs: 2}
	var b bytes.Buffer
	writeHead(&b, fakeServer(), &options{url: "redis://x", fromEnv: true}, h)
	want := "lockbench: locks on Redis by redigolock\n\n  server  redis 7.0.15 at redis://127.0.0.1:6379 (from REDIS_URL)\n" +
		"  host    box, 4 CPUs, Abacus 2\n  go      go1.26.8 linux/amd64, GOMAXPROCS 2\n  commit  abc\n"
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
