package report_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/report"
)

// rounds are lines of a benchmark; each has its value and a little more than the one before.
func rounds(name, unit string, n int, value float64) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Benchmark%s-2 1 %v %s\n", name, value*(1+float64(i)/100), unit)
	}
	return b.String()
}

// texts are the rows of a section's table as text: the name, and of each field the value and its marks.
func texts(t *testing.T, text string, section, group, index int) []string {
	t.Helper()
	list, err := report.SectionsOf(read(t, text))
	if err != nil {
		t.Fatal(err)
	}
	g := list[section].Groups[group]
	var rows []string
	for _, r := range slices.Concat(g.Main, g.Other)[index].Rows {
		var line strings.Builder
		line.WriteString(r.Name)
		if r.Baseline {
			line.WriteString(" (base)")
		}
		for _, f := range r.Fields {
			line.WriteString(" | " + f.Value())
			for _, mark := range []struct {
				is   bool
				text string
			}{{f.Missing, "–"}, {f.Best, " best"}, {f.Perhaps, " perhaps"}, {f.Same, " ~"}, {f.Versus != "", " " + f.Versus}} {
				if mark.is {
					line.WriteString(mark.text)
				}
			}
		}
		rows = append(rows, line.String())
	}
	return rows
}

func TestRowsAreComparedWithTheFloorAndTheBestIsMarked(t *testing.T) {
	at := func(approach string, goroutines, n int, ns float64) string {
		name := fmt.Sprintf("AcquireRelease/server=redis/approach=%s/goroutines=%d", approach, goroutines)
		return rounds(name, "p50-ns", n, ns)
	}
	six := at("setnx", 8, 6, 100) + at("floor", 8, 6, 101) + at("mux", 8, 6, 25) + at("mux2", 8, 6, 25.1)
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"found and not found", six, []string{
			"floor (base) | 104 ns", "mux | 25.6 ns best 0.248×", "mux2 | 25.7 ns best 0.249×", "setnx | 102 ns ~",
		}},
		{"columns in order", six + at("floor", 16, 6, 50) + at("floor", 1, 6, 70), []string{
			"floor (base) | 71.8 ns | 104 ns | 51.2 ns", "mux | – | 25.6 ns best 0.248× | –",
			"mux2 | – | 25.7 ns best 0.249× | –", "setnx | – | 102 ns ~ | –",
		}},
		{"too few rounds", at("floor", 8, 5, 100) + at("mux", 8, 5, 25), []string{
			"floor (base) | 102 ns", "mux | 25.5 ns perhaps",
		}},
		{"too few rounds of one", at("floor", 8, 6, 100) + at("mux", 8, 1, 25) + at("setnx", 8, 6, 200), []string{
			"floor (base) | 102 ns", "mux | 25.0 ns perhaps", "setnx | 205 ns 2.00×",
		}},
		{"no floor", at("b", 8, 6, 10) + at("a", 8, 6, 20), []string{"a (base) | 20.5 ns", "b | 10.2 ns best 0.500×"}},
		{"all the same", at("b", 8, 6, 10) + at("a", 8, 6, 10), []string{"a (base) | 10.2 ns", "b | 10.2 ns ~"}},
		{"below zero", at("b", 8, 6, 10) + at("a", 8, 6, -5), []string{"a (base) | -5.12 ns best", "b | 10.2 ns"}},
		{"of nothing", at("b", 8, 6, 10) + at("a", 8, 6, 0), []string{"a (base) | 0 s best", "b | 10.2 ns"}},
		{"nothing", at("b", 8, 6, 0) + at("a", 8, 6, 10), []string{"a (base) | 10.2 ns", "b | 0 s best 0×"}},
		{"alone", at("a", 8, 6, 10), []string{"a | 10.2 ns"}},
	} {
		if got := texts(t, c.text, 0, 0, 0); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMoreAcquisitionsAreBetterAndAFloorThatLocksNothingIsNoneOfThem(t *testing.T) {
	const kind = "Contention/server=redis/way=%s/waiters=8/processes=1/hold=0s"
	var text strings.Builder
	for way, speed := range map[string]float64{"floor": 900, "polling": 100, "fair": 500} {
		text.WriteString(rounds(fmt.Sprintf(kind, way), "acq/s", 6, speed))
	}
	want := []string{"floor (base) | 922/s", "fair | 512/s best 0.556×", "polling | 102/s 0.111×"}
	if got := texts(t, text.String(), 0, 0, 0); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestARatioWhoseIntervalContains1IsNoDifference(t *testing.T) {
	const kind = "Ratio/server=redis/to=floor/goroutines=1/of="
	text := rounds(kind+"copy", "ratio", 6, 0.98) + rounds(kind+"mux", "ratio", 6, 0.3) +
		rounds(kind+"few", "ratio", 5, 0.98)
	want := []string{"copy | 1.00 ~", "few | 1.00", "mux | 0.307"}
	if got := texts(t, text, 0, 0, 0); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestVerbsAndUnknownKindsAreShownButNotCompared(t *testing.T) {
	verbs := rounds("Verb/server=redis/verb=SetNX", "p50-ns", 6, 100) +
		rounds("Verb/server=redis/verb=NewToken", "p50-ns", 6, 1)
	odd := rounds("Odd/server=redis/client=x/pipeline=16", "odd/s", 6, 100) +
		rounds("Odd/server=redis/client=x/pipeline=2", "odd/s", 6, 1) + rounds("Odd/server=redis/plain", "odd/s", 6, 7)
	for _, c := range []struct {
		text string
		want []string
	}{
		{verbs, []string{"NewToken | 1.03 ns", "SetNX | 102 ns"}},
		{odd, []string{"client x · pipeline 2 | 1.02/s", "client x · pipeline 16 | 102/s", "plain | 7.18/s"}},
		{rounds("Odd", "odd", 6, 100), []string{"Odd | 102"}},
	} {
		if got := texts(t, c.text, 0, 0, 0); !slices.Equal(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestEachCircumstanceHasItsTableInOrder(t *testing.T) {
	list, err := report.SectionsOf(read(t, sampleText(t)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		for _, g := range s.Groups {
			got = append(got, s.Title+": "+g.Title)
		}
	}
	want := []string{
		"Uncontended: release lua · server redis",
		"Contention: 8 waiters · 1 process · hold 0s · server redis",
		"Contention: 64 waiters · 4 processes · hold 0s · server redis",
		"Open loop: keys hot · server redis", "Open loop: keys own · server redis",
		"Keeping locks alive: 1,000 locks · ttl 5s · server redis", "A holder killed: ttl 1s · server redis",
		"Verbs: server redis", "Ratios: against floor · server redis", "Limit: server redis",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A rival with a server of its own stands beside the others; the same way on two servers does not.
func TestServersPartTheTablesOnlyWhereARowHasSeveral(t *testing.T) {
	onRedis := rounds("Contention/server=redis/way=fair/waiters=8", "acq/s", 6, 100) +
		rounds("Contention/server=redis/way=polling/waiters=8", "acq/s", 6, 80)
	for more, want := range map[string][]string{
		rounds("Contention/server=etcd/way=etcd/waiters=8", "acq/s", 6, 1): {"8 waiters"},
		rounds("Contention/server=valkey/way=fair/waiters=8", "acq/s", 6, 90): {
			"8 waiters · server redis", "8 waiters · server valkey"},
	} {
		list, err := report.SectionsOf(read(t, onRedis+more))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, g := range list[0].Groups {
			got = append(got, g.Title)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Nothing that has been measured may be missing.
func TestEveryUnitOfEveryBenchmarkIsInOneTable(t *testing.T) {
	const one = "AcquireRelease/server=redis/approach=floor/release=lua/goroutines=1"
	set := read(t, sampleText(t)+rounds(one, "new-ns", 6, 5))
	list, err := report.SectionsOf(set)
	if err != nil {
		t.Fatal(err)
	}
	want, got := 0, 0
	for _, c := range set.Cells {
		want += len(c.Units())
	}
	for _, s := range list {
		for _, g := range s.Groups {
			for _, table := range slices.Concat(g.Main, g.Other) {
				for _, r := range table.Rows {
					for _, f := range r.Fields {
						if !f.Missing {
							got++
						}
					}
				}
			}
		}
	}
	if got != want {
		t.Errorf("%d figures, want %d", got, want)
	}
}

// loaded are six rounds of a way at 1000 arrivals a second, of which some are not served.
func loaded(way string, p99 float64, unserved int) string {
	return strings.Repeat(fmt.Sprintf("BenchmarkLoad/server=redis/keys=hot/approach=%s/rate=1000-2 %d 1 ns/op %v p99-ns %d unserved %d goodput/s\n",
		way, 1000-unserved, p99, unserved, 1000-unserved), 6)
}

// What was not served in time may have taken for ever: it is no better than what was.
func TestALowerBoundIsShownAsSuchAndIsNeverTheBest(t *testing.T) {
	const exact, worse = "fair", "polling"
	for _, tt := range []struct {
		bound float64
		want  [2]string
	}{
		{9e6, [2]string{"fair (base) | 2.00 ms best", "polling | ≥ 9.00 ms"}},
		{1e6, [2]string{"fair (base) | 2.00 ms", "polling | ≥ 1.00 ms"}}, // nobody can say which is better
	} {
		var got strings.Builder
		for i := range 3 {
			got.WriteString(strings.Join(texts(t, loaded(exact, 2e6, 0)+loaded(worse, tt.bound, 500), 0, 0, i), "\n") + "\n")
		}
		for _, want := range tt.want {
			if !strings.Contains(got.String(), want+"\n") {
				t.Errorf("the tables have no %q:\n%s", want, got.String())
			}
		}
	}
}

// What is HTML for one is Markdown for the other.
func TestMarkdownHasTheSameTables(t *testing.T) {
	const kind = "Contention/server=redis/way=%s/waiters=8/processes=1/hold=0s"
	set := read(t, rounds(fmt.Sprintf(kind, "fair"), "acq/s", 6, 500)+rounds(fmt.Sprintf(kind, "polling"), "acq/s", 6, 100)+
		rounds(fmt.Sprintf(kind, "fair"), "odd", 6, 3))
	got, err := report.Markdown(set)
	want := `Contention, 8 waiters · 1 process · hold 0s · server redis, main figures:

| way | locks/s |
| --- | --: |
| ¸fair¸ | 512 ± 2 % ★ |
| ¸polling¸ | 102 ± 2 % |

Contention, 8 waiters · 1 process · hold 0s · server redis, more figures:

| way | odd |
| --- | --: |
| ¸fair¸ | 3.08 ± 2 % |
| ¸polling¸ | – |

`
	if got != strings.ReplaceAll(want, "¸", "`") || err != nil {
		t.Errorf("%v\n%s", err, got)
	}
}
