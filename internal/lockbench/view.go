package lockbench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// A view is the table of benchmarks of one kind, as the terminal shows it.
type view struct {
	kind    string
	title   string   // "": that of the kind, and what is said about it
	parts   []string // of the names, the columns on the left
	blocks  []string // an empty line stands where one of these parts changes
	columns []column
}

// A column shows something of a benchmark; first is the first row of its block. One without anything is left out.
type column struct {
	head string
	text bool // which is aligned to the left
	show func(c, first *figures.Cell) string
}

var views = []view{
	{"AcquireRelease", "", []string{"goroutines", "approach", "release", "delay"}, []string{"goroutines"},
		columns("AcquireRelease", "acq/s", "p50-sec", "p99-sec", toFirst, "allocs/op", "cpu-sec/op", "server-cpu-sec/op")},
	{"Verb", "", []string{"verb", "delay"}, nil, columns("Verb", "p50-sec", "p99-sec")},
	{"Contention", "", []string{"hold", "waiters", "processes", "way", "delay"}, []string{"hold", "waiters", "processes"},
		columns("Contention", "acq/s", "wait-p50-sec", "wait-p99-sec", "jain", "again", "p50-sec", "cmds/acq", "reads/acq", "cpu-sec/op",
			"server-cpu-sec/op")},
	{"Load", "", []string{"keys", "hold", "rate", "approach", "delay"}, []string{"keys", "hold", "rate"},
		columns("Load", "goodput/s", "p50-sec", "p99-sec", "p99.9-sec", "unserved", "generator-p99-sec", "cpu-sec/op", "server-cpu-sec/op")},
	{"Ratio", "", []string{"goroutines", "of", "to"}, []string{"goroutines"}, columns("Ratio", "ratio", "cpu-ratio", "server-cpu-ratio")},
	{"KeepAlive", "", []string{"locks", "ttl", "way", "delay"}, []string{"locks"},
		columns("KeepAlive", "renewals/s", "cpu-sec/renewal", "server-cpu-sec/renewal", "p50-sec", "p99-sec", "B/lock", "goroutines", "lost")},
	{"Recovery", "", []string{"ttl", "way", "delay"}, nil,
		columns("Recovery", "gap-p50-sec", "gap-max-sec", "beyond-p50-sec", "beyond-max-sec")},
}

// Heads of columns that are no units.
const (
	toFirst     = "time × first row’s"
	byHand      = "time × by hand"
	howTheyWait = "how they wait"
)

// columns are those of some units, by their words.
func columns(kind string, units ...string) (list []column) {
	for _, unit := range units {
		if unit == toFirst || unit == byHand {
			list = append(list, column{unit, false, timesFirst})
			continue
		}
		list = append(list, column{figures.KindOf(kind).Word(unit).Name, false, func(c, _ *figures.Cell) string {
			f, ok := c.Figure(unit)
			switch {
			case !ok:
				return ""
			case strings.HasSuffix(unit, "/s") || unit == "ratio": // with its interval
				return f.String()
			case strings.HasSuffix(unit, "-max-sec"):
				return f.Worst().Median()
			}
			return f.Median()
		}})
	}
	return list
}

// timesFirst is the time of an op as a multiple of the first row's.
func timesFirst(c, first *figures.Cell) string {
	f, ok := timeOver(c, first)
	switch {
	case c == first:
		return "1"
	case !ok: // as after Ctrl-C
		return ""
	}
	return f.String()
}

func timeOver(c, first *figures.Cell) (figures.Figure, bool) {
	f, _ := c.Figure("sec/op")
	base, _ := first.Figure("sec/op")
	return f.Over(base)
}

// waitOf is where and how the waiters of a way wait: of a rival, the first words of its settings.
func waitOf(way string) string {
	if words := map[string]string{
		"floor":   "no lock: an EVALSHA tells the next",
		"polling": "in the client, tries again after pauses",
		"fair":    "in a queue on the server",
		"cohort":  "in its process, else in a queue on the server",
	}[way]; words != "" {
		return words
	}
	for _, k := range bench.RivalKinds() {
		if k.Name == way {
			words, _, _ := strings.Cut(k.Settings, ";")
			words, _, _ = strings.Cut(words, ",")
			return words
		}
	}
	return ""
}

// A meaning is what a column, or several, say.
type meaning struct{ words, says string }

// meanings are as docs/benchmarks.md has them.
var meanings = []meaning{
	{"locks/s", "acquires with their releases in a second, of all together"},
	{"latency p50, latency p99, latency p99.9", "of an acquire with its release, or a verb; in the open loop from the arrival"},
	{toFirst + ", " + byHand, "of an operation, paired by round; ~: no difference found, the interval contains 1"},
	{howTheyWait, "where a waiter is, and how it learns that the lock is free; of a rival: the first words of its settings"},
	{"wait p50, wait p99", "from the beginning of an acquire until it returns; ≥: too many had not ended"},
	{"fairness", "Jain's index, how evenly the waiters were served: 1 is even; 1/n: one of n got everything"},
	{"taken again", "share of the acquires that the last holder got before any waiter"},
	{"hand-off p50", "from the release of one holder until another waiter has the lock"},
	{"commands", "what the server executed for one acquire and its release, with those that scripts call"},
	{"reads", "how often the server read from a socket for that: a measure of round trips"},
	{"allocations", "for an acquire and its release"},
	{"client’s CPU, server’s CPU", "processor time for an acquire with its release, or for a renewal"},
	{"served/s, unserved", "of the arrivals: in a second; when the time was up"},
	{"arrivals late p99", "how late lockbench itself was with an arrival"},
	{"late p50, late p99", "how long after its time, which is when half of the ttl was left, a renewal came"},
	{"memory of a lock", "heap and stacks of this process"},
	{"gap p50, longest gap", "from the kill, in the first half of the lease, until the next one holds"},
	{"beyond the lease p50, longest beyond the lease", "what of a gap is not the rest of the ttl; not of those that renew"},
}

// of are the words that are among the heads of columns.
func (m meaning) of(heads []string) string {
	words := slices.DeleteFunc(strings.Split(m.words, ", "), func(word string) bool { return !slices.Contains(heads, word) })
	return strings.Join(words, ", ")
}

// print prints the tables of what there is.
func (s *section) print(w io.Writer) {
	if s.name == "overview" {
		s.printOverview(w)
		return
	}
	for _, v := range views {
		if cells := s.set.Find(v.kind); len(cells) > 0 {
			kind := figures.KindOf(v.kind)
			fmt.Fprintf(w, "%s, %s\n\n%s\n\n", kind.Title, s.rounds(), wrap(kind.About, 110))
			v.print(w, cells)
			fmt.Fprintln(w)
		}
	}
}

// rounds says how many there were.
func (s *section) rounds() string {
	text := figures.Plural(s.plan.count, "round")
	if s.name != "overview" { // whose tables differ in that
		text += fmt.Sprintf(" of %v", s.plan.time)
	}
	text = "medians of " + text + ", interleaved"
	if len(s.set.Cells) < s.lines() || slices.ContainsFunc(s.set.Cells, func(c *figures.Cell) bool { return c.Rounds < s.plan.count }) {
		text = "stopped early in " + text
	}
	return text
}

// lines is how many lines of figures a round of all groups has.
func (s *section) lines() (n int) {
	for _, g := range s.groups {
		if len(g.pairs) > 0 {
			n += len(g.pairs)
		} else {
			n += len(g.cells)
		}
	}
	return n
}

// print prints the table, and below it what its columns mean.
func (v view) print(w io.Writer, cells []*figures.Cell) {
	var all []column
	for _, key := range v.parts {
		all = append(all, column{key, true, func(c, _ *figures.Cell) string { return c.Key(key) }})
	}
	all = append(all, v.columns...)
	rows, starts := make([][]string, len(cells)), make([]bool, len(cells)) // of a block
	first := cells[0]
	for i, c := range cells {
		if slices.ContainsFunc(v.blocks, func(key string) bool { return c.Key(key) != first.Key(key) }) {
			first, starts[i] = c, true
		}
		for _, col := range all {
			rows[i] = append(rows[i], col.show(c, first))
		}
	}
	heads, widths := make([]string, len(all)), make([]int, len(all))
	var above, below []string
	for j, col := range all {
		for _, row := range rows {
			widths[j] = max(widths[j], utf8.RuneCountInString(row[j]))
		}
		var two [2]string
		if widths[j] > 0 {
			heads[j], two = col.head, inTwo(col.head, widths[j])
			widths[j] = max(widths[j], utf8.RuneCountInString(two[0]), utf8.RuneCountInString(two[1]))
		}
		above, below = append(above, two[0]), append(below, two[1])
	}
	if strings.Join(above, "") != "" {
		printRow(w, all, above, widths)
	}
	printRow(w, all, below, widths)
	for i, row := range rows {
		if starts[i] {
			fmt.Fprintln(w)
		}
		printRow(w, all, row, widths)
	}
	fmt.Fprintln(w)
	for _, m := range meanings {
		if words := m.of(heads); words != "" {
			fmt.Fprintf(w, "  %s: %s\n", words, m.says)
		}
	}
	if v.kind == "Contention" && !slices.Contains(heads, howTheyWait) { // the overview has it as a column
		printWaits(w, cells)
	}
}

// printWaits says of each way where and how its waiters wait.
func printWaits(w io.Writer, cells []*figures.Cell) {
	fmt.Fprintln(w, "  Where a waiter is, and how it learns that the lock is free:")
	said := map[string]bool{}
	for _, c := range cells {
		way, _, _ := strings.Cut(c.Key("way"), "-mux")
		if words := waitOf(way); words != "" && !said[way] {
			fmt.Fprintf(w, "    %s: %s\n", way, words)
		}
		said[way] = true
	}
}

// inTwo is a head on two lines where it is wider than its column, and else on the second.
func inTwo(head string, width int) (two [2]string) {
	words := strings.Fields(head)
	half := 0
	for half < len(words) && utf8.RuneCountInString(strings.Join(words[half:], " ")) > width {
		half++
	}
	half = min(half, len(words)/2) // no line is much longer than the other
	return [2]string{strings.Join(words[:half], " "), strings.Join(words[half:], " ")}
}

func printRow(w io.Writer, columns []column, row []string, widths []int) {
	var b strings.Builder
	for j, text := range row {
		pad := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(text))
		switch {
		case widths[j] == 0:
		case columns[j].text:
			b.WriteString("  " + text + pad)
		default:
			b.WriteString("  " + pad + text)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}
