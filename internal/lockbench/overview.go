package lockbench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// overviewNames are how the overview calls the ways, and what they send, or how they wait.
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
	"polling/":           {"Locker", "waiters try again after pauses"},
	"fair/":              {"Locker, Fair", "waiters queue on the server"},
	"cohort/":            {"Locker, Fair and Cohort", "as Fair; hand-offs inside a process send nothing"},
}

func overviewName(i int) func(c, _ *figures.Cell) string {
	return func(c, _ *figures.Cell) string {
		return overviewNames[c.Key("approach")+c.Key("way")+"/"+c.Key("release")][i]
	}
}

// overviewViews have fewer columns than those of approaches and contention.
var overviewViews = []view{
	{"AcquireRelease", fmt.Sprintf("Uncontended: %d goroutines, each of which acquires and releases a lock of its own", overviewGoroutines), nil, nil,
		slices.Concat([]column{{"way", true, overviewName(0)}, {"what it sends", true, overviewName(1)}},
			columns("AcquireRelease", "acq/s", "p50-sec", "p99-sec", byHand))},
	{"Contention", fmt.Sprintf("Contention: %d waiters in %d processes, each of which acquires one lock, holds it for %v, and releases it\n"+
		"(the holds alone allow no more than %.0f locks/s)", overviewWaiters, overviewProcesses, overviewHold, 1/overviewHold.Seconds()), nil, nil,
		slices.Concat([]column{{"way", true, overviewName(0)}, {howTheyWait, true, overviewName(1)}},
			columns("Contention", "acq/s", "wait-p99-sec", "jain"))},
}

func (s *section) printOverview(w io.Writer) {
	if len(s.set.Cells) == 0 {
		return
	}
	for _, v := range overviewViews {
		if cells := s.set.Find(v.kind); len(cells) > 0 {
			fmt.Fprintf(w, "%s\n\n", v.title)
			v.print(w, cells)
			fmt.Fprintln(w)
		}
	}
	if text := s.meaning(); text != "" {
		fmt.Fprintf(w, "%s\n\n", wrap(text, 100))
	}
	fmt.Fprintf(w, "These are %s. More: -workload approaches, contention, …; lockbench -h lists them.\n", s.rounds())
}

// meaning says in two or three sentences what the figures mean for this server, as far as there are some.
func (s *section) meaning() string {
	var text []string
	if f, ok := s.byHand("locker"); ok {
		text = append(text, fmt.Sprintf("Without contention, a Locker does %s redigo by hand, and besides knows its lease, "+
			"recognises its lock after a lost reply, and cleans up.", asMany(f)))
	}
	if f, ok := s.byHand("locker-mux1"); ok {
		text = append(text, fmt.Sprintf("Over a Mux, %d goroutines do %s redigo by hand.", overviewGoroutines, asMany(f)))
	}
	polling, fair := s.set.Find("Contention", "way=polling"), s.set.Find("Contention", "way=fair")
	if len(polling) > 0 && len(fair) > 0 {
		say := func(c *figures.Cell, unit string) string {
			f, _ := c.Figure(unit)
			return f.Median()
		}
		text = append(text, fmt.Sprintf("Where all want one lock, the 99th percentile of the waits is %s with Fair and %s without, and the "+
			"fairness is %s and %s.", say(fair[0], "wait-p99-sec"), say(polling[0], "wait-p99-sec"), say(fair[0], "jain"), say(polling[0], "jain")))
	}
	return strings.Join(text, " ")
}

// byHand is the time of an approach as a multiple of redigo by hand; false where there is no pair, as after Ctrl-C.
func (s *section) byHand(approach string) (figures.Figure, bool) {
	c, floor := s.set.Find("AcquireRelease", "approach="+approach), s.set.Find("AcquireRelease", "approach=floor")
	if len(c) == 0 || len(floor) == 0 {
		return figures.Figure{}, false
	}
	return timeOver(c[0], floor[0])
}

// asMany says a ratio of times in words, as one of numbers of locks.
func asMany(time figures.Figure) string {
	if time.Includes1() {
		return "about as many locks a second as"
	}
	return figures.Significant(1/time.Center) + " times as many locks a second as"
}

// wrap breaks a text into lines.
func wrap(text string, width int) string {
	var b strings.Builder
	n := 0
	for word := range strings.FieldsSeq(text) {
		if n > 0 && n+1+len(word) > width {
			b.WriteString("\n")
			n = 0
		} else if n > 0 {
			b.WriteString(" ")
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}
