package lockbench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A campaign is one that is run, harmed, and resumed.
type campaign struct {
	t         *testing.T
	args      []string
	out, hist string // files
}

func newCampaign(t *testing.T, url string, args ...string) *campaign {
	dir := t.TempDir()
	c := &campaign{t: t, out: filepath.Join(dir, "out.txt"), hist: filepath.Join(dir, "out.hlog")}
	c.args = append([]string{"-url", url, "-time", "5ms", "-out", c.out}, args...)
	return c
}

func (c *campaign) run(args ...string) outcome {
	c.t.Helper()
	o := lockbench(context.Background(), nil, append(slices.Clone(c.args), args...)...)
	if o.code != exitDone || o.stderr != "" {
		c.t.Fatalf("exit code %d, stderr %q", o.code, o.stderr)
	}
	return o
}

// lines are those of benchmarks.
func (c *campaign) lines() (list []string) {
	for line := range strings.Lines(c.text()) {
		if strings.HasPrefix(line, "Benchmark") {
			list = append(list, line)
		}
	}
	return list
}

func (c *campaign) text() string {
	c.t.Helper()
	text, err := os.ReadFile(c.out)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

func (c *campaign) write(text string) {
	c.t.Helper()
	if err := os.WriteFile(c.out, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// upTo is the text up to and with the n-th line of a benchmark.
func upTo(text string, n int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if b.WriteString(line); strings.HasPrefix(line, "Benchmark") {
			if n--; n == 0 {
				break
			}
		}
	}
	return b.String()
}

func firstFields(lines []string) (list []string) {
	for _, line := range lines {
		list = append(list, strings.Fields(line)[0])
	}
	return list
}

// The whole rounds stay as they are, a torn one is run anew, and in the end there are as many as without interruption.
func TestResumeGoesOnBehindTheLastWholeRound(t *testing.T) {
	c := newCampaign(t, redistest.Start(t).URL(), "-workload", "approaches,contention", "-goroutines", "1", "-count", "2",
		"-approaches", "floor,locker,locker-setnx", "-ways", "fair,polling", "-waiters", "2", "-processes", "1",
		"-time", "20ms")
	c.run()
	whole, all := c.text(), c.lines() // rounds end behind 3, 6, 8 and 10 lines
	for text, kept := range map[string]int{
		"Benchmark": 0, upTo(whole, 2): 0, upTo(whole, 3): 3, upTo(whole, 4) + "Benchmark": 3, upTo(whole, 5): 3,
		upTo(whole, 7) + "BenchmarkContention/server=redis 12 3 ns/op 5": 6, upTo(whole, 9): 8, whole: 10,
		upTo(whole, 3) + all[4] + all[5]: 3, // it was stopped before the first of the round was run
	} {
		c.write(text)
		c.run("-resume")
		now := c.lines()
		switch {
		case !slices.Equal(firstFields(now), firstFields(all)):
			t.Fatalf("%d lines kept: then there are %d\n%s", kept, len(now), c.text())
		case !slices.Equal(now[:kept], all[:kept]):
			t.Errorf("%d lines were not kept", kept)
		case kept < len(all) && now[kept] == all[kept]:
			t.Errorf("%d lines kept: the next was not run anew", kept)
		}
	}
}

// What a later group is made of is found in the file: here the best pool, and the most that the fastest can do.
func TestResumeKnowsWhatWasChosen(t *testing.T) {
	args := []string{"-workload", "mux,load", "-goroutines", "16", "-pools", "4,8", "-loads", "50", "-count", "8"}
	path := filepath.Join(t.TempDir(), "out.txt")
	fast := map[string]int{"floor-pool8": 2, "locker-mux2": 4} // others take longer
	sections := planned(t, args)
	out, err := newOutput(&options{out: path}, fakeServer(), host{}, sections)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range sections {
		for _, g := range s.groups {
			for round := range s.countOf(g) {
				for i, c := range g.cells {
					r := madeUp(c, i, round)
					if u, ok := c.workload.(bench.Uncontended); ok && fast[u.Called()] > 0 {
						r.Ops *= int64(fast[u.Called()])
					}
					c.add(r)
				}
				if err := s.write(out, g, round+1); err != nil {
					t.Fatal(err)
				}
			}
			for _, l := range s.linesOf(g) {
				names = append(names, l.name())
			}
		}
	}
	if err := out.close(); err != nil {
		t.Fatal(err)
	}
	sections = planned(t, args)
	out, err = newOutput(&options{out: path, resume: true}, fakeServer(), host{}, sections)
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	var again []string
	for _, s := range sections {
		for _, g := range s.groups {
			if g.past != s.countOf(g) {
				t.Errorf("%s: %d rounds of %d", s.name, g.past, s.countOf(g))
			}
			for _, l := range s.linesOf(g) {
				again = append(again, l.name())
			}
		}
	}
	if !slices.Equal(again, names) {
		t.Errorf("got %q, want %q", again, names)
	}
	for _, want := range []string{"of=floor-pool8/to=floor/", "approach=floor-pool8/rate="} {
		if !slices.ContainsFunc(again, func(name string) bool { return strings.Contains(name, want) }) {
			t.Errorf("%s is not in %q", want, again)
		}
	}
}

func planned(t *testing.T, args []string) []*section {
	t.Helper()
	o, err := parse(args, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return plan(fakeServer(), &o)
}

func TestResumeOfWhatIsDoneRunsNothing(t *testing.T) {
	c := newCampaign(t, redistest.Start(t).URL(), "-workload", "verbs", "-count", "2")
	if o := c.run("-resume"); !strings.Contains(o.stdout, "2 rounds of") { // of a file that does not exist
		t.Errorf("got %s", o.stdout)
	}
	before := c.lines()
	o := c.run("-resume")
	if !slices.Equal(c.lines(), before) || !strings.Contains(o.stdout, "; all are done") ||
		strings.Contains(o.stdout, "rounds of") {
		t.Errorf("got %s", o.stdout)
	}
	c.write(upTo(c.text(), len(before)/2))
	if o = c.run("-resume"); !strings.Contains(o.stdout, "resumed, the last 1 or more of 2 rounds") ||
		!strings.Contains(o.stdout, fmt.Sprintf("; %d runs left, about ", len(before)/2)) {
		t.Errorf("got %s", o.stdout)
	}
}

func TestWithoutResumeTheFileIsWrittenAnew(t *testing.T) {
	c := newCampaign(t, redistest.Start(t).URL(), "-workload", "verbs", "-count", "2")
	c.run()
	before := c.lines()
	c.write(upTo(c.text(), 1))
	c.run()
	if now := c.lines(); len(now) != len(before) || now[0] == before[0] {
		t.Errorf("%d lines, want %d others", len(now), len(before))
	}
}

// What is not of this plan and this machine must neither be mixed nor overwritten.
func TestResumeRefusesWhatIsNotOfThisPlan(t *testing.T) {
	c := newCampaign(t, redistest.Start(t).URL(), "-workload", "approaches", "-approaches", "floor,locker",
		"-goroutines", "1")
	c.run("-count", "2")
	good := c.text()
	for _, tt := range []struct {
		what, text string
		args       []string
		texts      []string
	}{
		{"settings", good, []string{"-count", "3"}, []string{"another settings", "-count 3"}},
		{"commit", strings.Replace(good, "commit: ", "commit: 0", 1), nil, []string{"another commit"}},
		{"server", strings.Replace(good, "redis-version: ", "redis-version: 0", 1), nil, []string{"another redis-version"}},
		{"more configuration", "note: x\n" + good, nil, []string{"other configuration lines"}},
		{"less configuration", good[strings.Index(good, "\n")+1:], nil, []string{"another goos"}},
		{"another cell", strings.Replace(good, "approach=locker", "approach=script", 1), nil,
			[]string{"another plan: line", "script"}},
		{"another order", swapped(good), nil, []string{"another plan: line"}},
		{"more rounds", good + lastLine(good), nil, []string{"it has more"}},
		{"a bad line", strings.Replace(good, "ns/op", "", 1), nil, []string{"out.txt:"}},
	} {
		c.write(tt.text)
		args := tt.args
		if args == nil {
			args = []string{"-count", "2"}
		}
		o := lockbench(context.Background(), nil, append(slices.Concat(c.args, args), "-resume")...)
		o.wantLine(t, exitFailed, append(tt.texts, "-resume: ")...)
		if o.stdout != "" || c.text() != tt.text {
			t.Errorf("%s: stdout %q, and the file is now\n%s", tt.what, o.stdout, c.text())
		}
	}
}

func lastLine(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return lines[len(lines)-2]
}

// swapped has the first two benchmarks in the other order.
func swapped(text string) string {
	i := strings.Index(text, "Benchmark")
	lines := strings.SplitAfter(text[i:], "\n")
	lines[0], lines[1] = lines[1], lines[0]
	return text[:i] + strings.Join(lines, "")
}

// One table of benchstat's, though the load average is another.
func TestResumedFileHasOneConfiguration(t *testing.T) {
	c := newCampaign(t, redistest.Start(t).URL(), "-workload", "verbs", "-count", "2")
	c.run()
	text := c.text()
	i := strings.Index(text, loadKey+": ")
	if i < 0 {
		t.Skip("this machine does not tell its load average")
	}
	end := i + strings.Index(text[i:], "\n")
	c.write(upTo(text[:i]+loadKey+": 77.7 77.7 77.7"+text[end:], len(c.lines())/2))
	c.run("-resume")
	if text := c.text(); strings.Count(text, loadKey+": 77.7 77.7 77.7\n") != strings.Count(text, loadKey+": ") ||
		!strings.Contains(text, "\n# resumed, load average ") {
		t.Errorf("got\n%s", text)
	}
	if _, last := readOut(t, c.out); last.GetConfig(loadKey) != "77.7 77.7 77.7" {
		t.Errorf("the last round has a load average of %q", last.GetConfig(loadKey))
	}
}
