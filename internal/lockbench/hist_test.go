package lockbench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/internal/redistest"
)

func readHist(t *testing.T, path string) map[string]*hdrhistogram.Histogram {
	t.Helper()
	h := &histLog{path: path}
	if _, err := h.read(); err != nil {
		t.Fatal(err)
	}
	return h.past
}

func contentionAndLoad(t *testing.T, url string) *campaign {
	c := newCampaign(t, url, "-workload", "contention,load", "-ways", "fair", "-waiters", "2,3", "-processes", "1",
		"-approaches", "floor", "-rates", "1000", "-served", "4", "-count", "3",
		"-time", "100ms") // there is a hand-off, and one is served, also on a busy machine
	c.args = append(c.args, "-hist", c.hist)
	return c
}

func TestHistHasTheMergedLatenciesOfEachCell(t *testing.T) {
	c := contentionAndLoad(t, redistest.Start(t).URL())
	c.run()
	hists := readHist(t, c.hist)
	ops := map[string]int64{}
	for _, line := range c.lines() {
		var n int64
		fields := strings.Fields(line)
		if _, err := fmt.Sscan(fields[1], &n); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndex(name, "-"); i > 0 {
			name = name[:i]
		}
		ops[name] += n
	}
	for name, n := range ops {
		hist, wanted := hists[name], !strings.HasPrefix(name, "AcquireRelease/")
		switch {
		case (hist != nil) != wanted:
			t.Errorf("%s: a histogram %v, want %v", name, hist != nil, wanted)
		case strings.HasPrefix(name, "Load/") && hist.TotalCount() < n, hist != nil && hist.TotalCount() == 0:
			t.Errorf("%s: %d values of %d ops", name, hist.TotalCount(), n)
		case hist != nil && (hist.EndTimeMs() <= hist.StartTimeMs() || hist.StartTimeMs() == 0):
			t.Errorf("%s: from %d to %d", name, hist.StartTimeMs(), hist.EndTimeMs())
		}
	}
	if len(hists) != 3 {
		t.Errorf("%d histograms, want 3", len(hists))
	}
}

// The histograms are of as many rounds as the raw figures: if it was killed between the two, the last round goes.
func TestHistIsResumedWithTheRoundsOfOut(t *testing.T) {
	c := contentionAndLoad(t, redistest.Start(t).URL())
	c.run()
	all, whole, log := c.lines(), c.text(), readFile(t, c.hist)
	was := readHist(t, c.hist)
	c.run("-resume")
	for tag, hist := range readHist(t, c.hist) {
		if hist.TotalCount() != was[tag].TotalCount() {
			t.Errorf("%s had %d values, has %d", tag, was[tag].TotalCount(), hist.TotalCount())
		}
	}
	// As it was killed: the log of four lines and two cells, which is made of the whole one.
	var twoCells []string
	for line := range strings.Lines(string(log)) {
		if !strings.HasPrefix(line, "Tag=Load/") {
			twoCells = append(twoCells, line)
		}
	}
	logOf := func(n int) []byte {
		return bytes.Replace([]byte(strings.Join(twoCells, "")), fmt.Appendf(nil, linesComment, len(all)),
			fmt.Appendf(nil, linesComment, n), 1)
	}
	for _, lines := range []int{4, 5, 6} {
		c.write(upTo(whole, lines))
		if err := os.WriteFile(c.hist, logOf(4), 0o644); err != nil {
			t.Fatal(err)
		}
		c.run("-resume")
		if now := c.lines(); len(now) != len(all) || !slices.Equal(now[:4], all[:4]) || now[4] == all[4] {
			t.Errorf("%d lines and a log of 4: %d lines", lines, len(now))
		}
		for tag, hist := range readHist(t, c.hist) {
			if strings.HasPrefix(tag, "Contention/") && hist.TotalCount() <= was[tag].TotalCount() {
				t.Errorf("%s had %d values, has %d after another round", tag, was[tag].TotalCount(), hist.TotalCount())
			}
		}
	}
	for name, harm := range map[string]func(){
		"a log of fewer rounds": func() { os.WriteFile(c.hist, logOf(2), 0o644) },
		"a log of half a round": func() { os.WriteFile(c.hist, logOf(3), 0o644) },
		"a log of more rounds":  func() { os.WriteFile(c.hist, logOf(400), 0o644) },
		"no number":             func() { os.WriteFile(c.hist, []byte("#hello\n"), 0o644) },
		"no log":                func() { os.Remove(c.hist) },
	} {
		c.write(whole)
		harm()
		o := lockbench(context.Background(), nil, append(slices.Clone(c.args), "-resume")...)
		o.wantLine(t, exitFailed, "-resume: ")
		if c.text() != whole {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
