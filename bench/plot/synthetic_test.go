package main

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A synthetic way is invented: none of its numbers was measured, and none may leave the tests. They are near enough to
// real ones to look at a chart.
type synthetic struct {
	name, server  string
	handoff, tail float64 // seconds: median of a hand-off, and how much longer the tail is than the body
	jain          float64
	commands      float64 // for an acquisition by 64 waiters
	grows         bool    // commands with the waiters
	op            float64 // seconds of an uncontended acquire and release
	lanes         float64 // how often more throughput many goroutines have than one
}

var synthetics = []synthetic{
	{"floor", "redis", 63e-6, 0.2, 1, 1, false, 110e-6, 5},
	{"polling", "redis", 250e-6, 1.1, 0.72, 6.4, true, 120e-6, 5},
	{"fair", "redis", 66e-6, 0.25, 1, 1.1, false, 112e-6, 5},
	{"cohort", "redis", 4e-6, 0.6, 0.99, 0.05, false, 115e-6, 5},
	{"fair-mux1", "redis", 72e-6, 0.3, 1, 1.1, false, 111e-6, 19},
	{"cohort-mux1", "redis", 5e-6, 0.6, 0.99, 0.05, false, 113e-6, 20},
	{"redsync", "redis", 81e-6, 1.4, 0.59, 4.2, true, 130e-6, 4.6},
	{"redsync-goredis", "redis", 92e-6, 1.4, 0.57, 4.3, true, 150e-6, 4.5},
	{"redsync-default", "redis", 2e-3, 1.4, 0.3, 1.4, true, 130e-6, 4.6},
	{"redislock", "redis", 86e-6, 1.5, 0.34, 12, true, 140e-6, 4},
	{"redislock-linear100", "redis", 3e-3, 1.5, 0.2, 1.3, true, 140e-6, 4},
	{"redislock-exp", "redis", 310e-6, 1.6, 0.41, 3.2, true, 141e-6, 4},
	{"goredis-setnx", "redis", 105e-6, 1.3, 0.44, 9, true, 135e-6, 4.4},
	{"rueidislock", "redis", 179e-6, 0.7, 0.96, 3.1, false, 200e-6, 4.7},
	{"article-verified", "redis", 400e-6, 1.2, 0.6, 7, true, 160e-6, 4},
	{"etcd", "etcd", 2.2e-3, 0.4, 1, 3, false, 2.4e-3, 3},
	{"zookeeper", "zookeeper", 0.9e-3, 0.5, 1, 5, false, 1.1e-3, 3.5},
}

const syntheticRounds = 10

// writeSynthetic writes a campaign that has data for every chart, always the same.
func writeSynthetic(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	head := "cpu: Synthetic CPU\nredis-version: redis 7.0.15\ngo: go1.26.8\n"
	for name, lines := range map[string]func(int, synthetic) string{
		"approaches": acquireReleaseLines, "contention": contentionLines, "load": loadLines, "keepalive": keepAliveLines,
	} {
		var b strings.Builder
		b.WriteString(head)
		for round := range syntheticRounds {
			for _, w := range synthetics {
				b.WriteString(lines(round, w))
			}
		}
		write(t, filepath.Join(folder, name+".txt"), b.String())
	}
	writeLog(t, filepath.Join(folder, "contention.hlog"))
	return folder
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// noise is always the same for a name, and around 1.
func noise(name string, round int) float64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return math.Exp(0.06 * rand.New(rand.NewPCG(h.Sum64(), uint64(round))).NormFloat64())
}

func acquireReleaseLines(round int, w synthetic) string {
	name := map[string]string{"polling": "locker", "fair-mux1": "locker-mux1", "cohort-mux1": "locker-mux2"}[w.name]
	switch {
	case name == "" && (strings.HasPrefix(w.name, "fair") || strings.HasPrefix(w.name, "cohort")):
		return ""
	case name == "":
		name = w.name
	}
	var b strings.Builder
	for _, n := range []float64{1, 2, 16, 128, 1024} {
		full := fmt.Sprintf("AcquireRelease/server=%s/approach=%s/release=lua/goroutines=%.0f", w.server, name, n)
		op := w.op / (1 + (w.lanes-1)*(1-math.Exp(-(n-1)/20)))
		fmt.Fprintf(&b, "Benchmark%s-2 1000 %.1f ns/op\n", full, op*noise(full, round)*1e9)
	}
	return b.String()
}

// contentionCells are the waiters of each cell.
func contentionCells(w synthetic) map[string]float64 {
	cells := map[string]float64{}
	for _, waiters := range []float64{2, 8, 64, 512} {
		for _, processes := range []float64{1, 4} {
			for _, hold := range []string{"0s", "1ms"} {
				name := fmt.Sprintf("Contention/server=%s/way=%s/waiters=%.0f/processes=%.0f/hold=%s",
					w.server, w.name, waiters, processes, hold)
				cells[name] = waiters
			}
		}
	}
	return cells
}

func contentionLines(round int, w synthetic) string {
	var b strings.Builder
	cells := contentionCells(w)
	for _, name := range sortedKeys(cells) {
		waiters := cells[name]
		commands := w.commands
		if w.grows {
			commands *= math.Pow(waiters/64, 0.35)
		}
		wait := w.handoff * waiters * math.Pow(w.jain, -4) * 1.5
		n := noise(name, round)
		fmt.Fprintf(&b, "Benchmark%s-2 1000 %.1f ns/op %.4f jain %.0f wait-p99-ns %.4f cmds/acq %.1f server-cpu-ns/op\n",
			name, w.handoff*n*1e9, math.Pow(w.jain, n), wait*n*1e9, commands*n, (3e-6+9e-6*commands)*n*1e9)
	}
	return b.String()
}

func loadLines(round int, w synthetic) string {
	if strings.HasPrefix(w.name, "article") || w.server != "redis" {
		return ""
	}
	var b strings.Builder
	spreads := map[string]float64{"own": 1, "hot": 6, "zipf10000": 1.6}
	for _, keys := range sortedKeys(spreads) {
		slow := spreads[keys]
		for _, share := range []float64{0.2, 0.4, 0.6, 0.8, 0.95} {
			rate := math.Round(180000 / slow * share)
			name := fmt.Sprintf("Load/server=redis/keys=%s/approach=%s/rate=%.0f", keys, w.name, rate)
			busy := rate * w.op / w.lanes * slow
			wait := w.op * slow / max(1-busy, 0.002) * noise(name, round)
			fmt.Fprintf(&b, "Benchmark%s-2 1000 %.0f ns/op %.0f p50-ns %.0f p99-ns %.0f goodput/s\n",
				name, wait*1e9, wait*1e9, 5*wait*1e9, min(rate, rate/busy))
		}
	}
	return b.String()
}

func keepAliveLines(round int, w synthetic) string {
	name := map[string]string{"fair": "locker", "floor": "loop", "redsync": "redsync", "rueidislock": "rueidislock"}[w.name]
	if name == "" {
		return ""
	}
	full := fmt.Sprintf("KeepAlive/server=redis/way=%s/locks=10000/ttl=30s", name)
	cpu := map[string]float64{"locker": 2400, "loop": 14000, "redsync": 17000, "rueidislock": 12500}[name]
	cpu *= noise(full, round)
	return fmt.Sprintf("Benchmark%s-2 10000 500000 ns/op %.0f cpu-ns/renewal %.0f server-cpu-ns/renewal\n",
		full, cpu, 4000+cpu/3)
}

// writeLog writes the hand-offs of all ways, as contention does.
func writeLog(t *testing.T, path string) {
	t.Helper()
	var b strings.Builder
	w := hdrhistogram.NewHistogramLogWriter(&b)
	if err := w.OutputLogFormatVersion(); err != nil {
		t.Fatal(err)
	}
	if err := w.OutputLegend(); err != nil {
		t.Fatal(err)
	}
	for i, s := range synthetics {
		for _, name := range sortedKeys(contentionCells(s)) {
			if !strings.HasSuffix(name, "/processes=4/hold=0s") {
				continue
			}
			h := hdrhistogram.New(1, int64(1e11), 3)
			h.SetTag(name)
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range 5000 {
				v := s.handoff * math.Exp(0.15*r.NormFloat64()+s.tail*r.ExpFloat64()/2)
				if err := h.RecordValue(int64(v * 1e9)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.OutputIntervalHistogram(h); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(t, path, b.String())
}
