package lockbench

import (
	"fmt"
	"io"
	"strings"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// overviewNames are how the overview calls the ways, and what they send.
var overviewNames = map[string][2]string{
	"floor/lua":          {"redigo by hand", "SET NX; EVALSHA to compare and delete"},
	"locker/lua":         {"Locker", "SET NX GET, the double check; EVALSHA or DELIFEQ, DELEX"},
	"locker-mux1/lua":    {"Locker over a Mux", "the same, those of many goroutines together"},
	"setnx/lua":          {"SetNX, Release", "SET NX; EVALSHA"},
	"setnx-verified/lua": {"SetNXVerified, Release", "SET NX and GET in one pipeline; EVALSHA"},
	"script/lua":         {"SetNXScript, Release", "EVALSHA of SETNX and PEXPIRE; EVALSHA"},
	"setnx-get/lua":      {"SetNXGet, Release", "SET NX GET; EVALSHA"},
	"setnx/tx":           {"SetNX, ReleaseTx", "SET NX; WATCH, GET, MULTI; DEL, EXEC"},
	"setnx/native":       {"SetNX, ReleaseNative", "SET NX; DELEX and DELIFEQ"},
	"polling":            {"Locker", "waiters try again after pauses"},
	"fair":               {"Locker, Fair", "waiters queue on the server"},
	"cohort":             {"Locker, Fair and Cohort", "as Fair; hand-offs inside a process send nothing"},
}

func (s *section) writeOverview(w io.Writer, cells []*cell) {
	var apart, one []*cell
	for _, c := range cells {
		if _, ok := c.workload.(bench.Uncontended); ok {
			apart = append(apart, c)
		} else {
			one = append(one, c)
		}
	}
	if len(apart) > 0 {
		writeApart(w, apart)
	}
	if len(one) > 0 {
		writeOneKey(w, one)
	}
	fmt.Fprintf(w, "Medians of %s, interleaved; ± and ~: by their 95 %% interval, which takes %d rounds.\n",
		figures.Plural(s.least(cells), "round"), figures.LeastRounds)
	if text := meaning(apart, one); text != "" {
		fmt.Fprintf(w, "\n%s\n", wrap(text, 100))
	}
	fmt.Fprintf(w, "\nMore: -workload approaches (all ways and numbers of goroutines), contention, …; lockbench -h lists them.\n")
}

// least is how many rounds all cells have.
func (s *section) least(cells []*cell) int {
	least := len(cells[0].rounds)
	for _, c := range cells {
		least = min(least, len(c.rounds))
	}
	return least
}

func writeApart(w io.Writer, cells []*cell) {
	fmt.Fprintf(w, "Apart: %d goroutines, each of which acquires and releases a lock of its own\n\n", overviewGoroutines)
	t := table{left: 2, head: []string{"way", "what it sends", "locks/s", "±", "median", "99 % within", "× by hand"}}
	for _, c := range cells {
		u := c.workload.(bench.Uncontended)
		names, speed := nameOf(c), c.summary(perSecond)
		t.add(names[0], names[1], figures.Significant(speed.Center), speed.PlusMinus(),
			quantile(c.latency, 50), quantile(c.latency, 99), timesByHand(c, u))
	}
	t.write(w)
	fmt.Fprintf(w, "\n  median, 99 %% within: the time of an acquire and a release; × by hand: as a multiple of redigo by hand, in\n  pairs of rounds; ~: no difference was found\n\n")
}

// timesByHand is "" where there is no pair, as after Ctrl-C.
func timesByHand(c *cell, u bench.Uncontended) string {
	if u.Approach == "floor" {
		return "1"
	}
	r, ok := c.ratio()
	if !ok {
		return ""
	}
	return figures.Significant(r.Center) + tilde(r)
}

// ratio is the time of an op as a multiple of that of the first cell.
func (c *cell) ratio() (figures.Summary, bool) {
	if len(c.bases) == 0 || len(c.bases[0].rounds) == 0 {
		return figures.Summary{}, false
	}
	return figures.Summarize(bench.Ratios(c.bases[0].perOp(), c.perOp())), true
}

func writeOneKey(w io.Writer, cells []*cell) {
	fmt.Fprintf(w, "One key: %d waiters in %d processes, each of which acquires it, holds it for %v, and releases it\n\n",
		overviewWaiters, overviewProcesses, overviewHold)
	t := table{left: 2, head: []string{"way", "how they wait", "locks/s", "±", "99 % of waits", "fairness"}}
	for _, c := range cells {
		names, speed := nameOf(c), c.summary(perSecond)
		t.add(names[0], names[1], figures.Significant(speed.Center), speed.PlusMinus(), c.waitP99(),
			figures.Format(c.jain(), "jain"))
	}
	t.write(w)
	fmt.Fprintf(w, "\n  99 %% of waits: are shorter; >: some had not ended. fairness: Jain's index of how often each got the lock; 1: all as\n"+
		"  often. The holds alone allow no more than %d locks/s.\n\n",
		int(1/overviewHold.Seconds()))
}

func (c *cell) jain() float64 {
	return c.summary(func(r bench.Result) float64 { return r.Contest.Jain }).Center
}

// nameOf is what the overview calls the way of a cell, and what it sends.
func nameOf(c *cell) [2]string {
	switch w := c.workload.(type) {
	case bench.Uncontended:
		release := w.Release
		if release == "" {
			release = "lua"
		}
		return overviewNames[w.Called()+"/"+release]
	case bench.Contention:
		return overviewNames[w.Called()]
	}
	return [2]string{}
}

// meaning says in two or three sentences what the figures mean for this server, as far as there are some.
func meaning(apart, one []*cell) string {
	by := map[string]*cell{}
	for _, c := range append(apart, one...) {
		switch w := c.workload.(type) {
		case bench.Uncontended:
			by[w.Called()+"/"+w.Release] = c
		case bench.Contention:
			by[w.Called()] = c
		}
	}
	var text []string
	if c := by["locker/"]; c != nil {
		if r, ok := c.ratio(); ok {
			text = append(text, fmt.Sprintf("Without contention, a Locker does %s redigo by hand, and besides knows its lease, "+
				"recognises its lock after a lost reply, and cleans up.", asMany(r)))
		}
	}
	if c := by["locker-mux1/"]; c != nil {
		if r, ok := c.ratio(); ok {
			text = append(text, fmt.Sprintf("Over a Mux, %d goroutines do %s redigo by hand.", overviewGoroutines, asMany(r)))
		}
	}
	if polling, fair := by["polling"], by["fair"]; polling != nil && fair != nil {
		text = append(text, fmt.Sprintf("Where all want one lock, the 99th percentile of the waits is %s with Fair and %s without, and the "+
			"fairness is %s and %s.", fair.waitP99(), polling.waitP99(),
			figures.Format(fair.jain(), "jain"), figures.Format(polling.jain(), "jain")))
	}
	return strings.Join(text, " ")
}

// asMany says a ratio of times in words, as one of numbers of locks.
func asMany(time figures.Summary) string {
	if time.Includes1() {
		return "about as many locks a second as"
	}
	return figures.Significant(1/time.Center) + " times as many locks a second as"
}

// wrap breaks a text into lines.
func wrap(text string, width int) string {
	var b strings.Builder
	n := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case n+1+len(word) > width:
			b.WriteString("\n")
			n = 0
		default:
			b.WriteString(" ")
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}
