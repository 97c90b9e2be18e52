package lockbench

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/bench"
)

func fakeServer() *bench.Server {
	return &bench.Server{Name: "redis", Version: "redis 7.0.15", URL: "redis://127.0.0.1:6379", Native: true}
}

// filled are the sections of a server, with figures that were made up.
func filled(t *testing.T, rounds int, args ...string) []*section {
	t.Helper()
	few := []string{"-goroutines", "1,128", "-count", fmt.Sprint(rounds), "-pools", "4,16", "-loads", "50,90",
		"-hold", "0s,1ms", "-processes", "1,4", "-waiters", "64", "-ways", "floor,cohort,fair-mux2"}
	args = append(few, args...)
	o, err := parse(args, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	sections := plan(fakeServer(), &o)
	for _, sec := range sections {
		for i, c := range sec.cells() {
			for r := range rounds {
				c.add(madeUp(c, i, r))
			}
		}
	}
	return sections
}

// madeUp is the figure of the i-th cell in its r-th round.
func madeUp(c *cell, i, r int) bench.Result {
	hist := hdrhistogram.New(1, time.Hour.Nanoseconds(), 3)
	for n := range int64(100) {
		_ = hist.RecordValue(int64(30000+4000*i) + n*n*int64(10*(i+1)))
	}
	res := bench.Result{Ops: int64(2000 - 31*i + 7*r*(i%3)), Elapsed: 80 * time.Millisecond, Latency: hist}
	res.Allocs = float64(8 + i)
	ms := time.Millisecond
	res.CPU = &bench.CPU{Client: time.Duration(r+30-i%9) * ms, Server: time.Duration(50-i%7) * ms}
	if w, ok := c.workload.(bench.Contention); ok {
		res.Contest = &bench.Contest{Handoff: hist, Inside: hist, Across: hdrhistogram.New(1, time.Hour.Nanoseconds(), 3),
			Again: 0.5 - float64(i)/64, WaitP99: time.Duration(i+1) * ms, WaitBeyond: float64(i%2) / 50, Waiting: i, Round: 5 * ms, Jain: 1 - float64(i)/64, Sent: 3.04 + float64(i),
			Calls: 5.1 + float64(i), EvalSha: 1.0004 + float64(i), Censored: w.Waiters == 64,
			Longest: time.Duration(w.Waiters*(r+1)) * 7 * time.Millisecond}
		if w.Processes > 1 {
			res.Contest.Across = hist
		}
	}
	if _, ok := c.workload.(offered); ok {
		res.Loaded = &bench.Loaded{Arrived: res.Ops + int64(i), Unserved: int64(i), Late: hist}
	}
	if w, ok := c.workload.(bench.KeepAlive); ok {
		res.Kept = &bench.Kept{ClientCPU: time.Duration(r+3*i+1) * 7 * time.Millisecond, ServerCPU: 9 * time.Millisecond,
			Bytes: float64(401 + 5000*i), Goroutines: 2 + i%2*w.Locks}
		for range 60 { // early
			_ = hist.RecordValue(1)
		}
	}
	if _, ok := c.workload.(bench.Recovery); ok {
		gap := time.Duration(600+30*i+r) * ms
		res.Recovered = &bench.Recovered{Gaps: []time.Duration{gap}, Beyond: []time.Duration{gap/100 - 6100*time.Microsecond}}
	}
	return res
}

func TestTables(t *testing.T) {
	for _, rounds := range []int{1, 6} {
		for _, sec := range filled(t, rounds, "-workload", "all,overview,keepalive,mux,load,rivals,recovery") {
			var b bytes.Buffer
			sec.table(&b)
			golden(t, fmt.Sprintf("%s-%d", sec.name, rounds), b.String())
		}
	}
}

func TestTableOfSharedKeys(t *testing.T) {
	var b bytes.Buffer
	sections := filled(t, 6, "-workload", "load", "-keys", "hot,zipf10000", "-rates", "500,1000", "-ways", "fair,cohort-mux2")
	sections[0].table(&b)
	golden(t, "load-shared", b.String())
}

// After Ctrl-C in the first round some cells have a figure and some have none, perhaps not the first.
func TestTableOfWhatThereIs(t *testing.T) {
	for _, sec := range filled(t, 1, "-workload", "all,overview,keepalive,mux,load,rivals,recovery") {
		cells := sec.groups[0].cells
		for i, c := range cells {
			if i%2 == 0 {
				c.rounds = nil
			}
		}
		var b bytes.Buffer
		sec.table(&b)
		golden(t, sec.name+"-stopped", b.String())
		for _, c := range sec.measured() {
			c.rounds = nil
		}
		b.Reset()
		if sec.table(&b); b.Len() > 0 {
			t.Errorf("%s: a table of nothing: %s", sec.name, b.String())
		}
	}
}

func TestHead(t *testing.T) {
	h := host{name: "box", cpu: "Abacus 2", goVersion: "go1.26.8", goos: "linux", goarch: "amd64", commit: "abc"}
	h.cpus, h.procs = 4, 2
	var b bytes.Buffer
	plan := estimate{120, 12, 268 * time.Second}.String()
	writeHead(&b, fakeServer(), &options{url: "redis://x"}, h, plan)
	writeHead(&b, fakeServer(), &options{url: "redis://x", fromEnv: true}, h, plan)
	golden(t, "head", b.String())
}
