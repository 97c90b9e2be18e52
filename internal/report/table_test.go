package report_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
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

// tables are the rows of those of texts, as a terminal shows them.
func tables(t *testing.T, texts ...string) string {
	t.Helper()
	var b, rows strings.Builder
	if err := report.Text(&b, read(t, texts...), report.TextStyle{Note: func(*figures.Cell) string { return "" }}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		rows.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return rows.String()
}

// labels are those of the first tables of each circumstance.
func labels(t *testing.T, texts ...string) (list []string) {
	t.Helper()
	sections, err := report.SectionsOf(read(t, texts...), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		for _, g := range s.Groups {
			list = append(list, g.Tables[0].Label)
		}
	}
	return list
}

func TestTheBestIsMarkedWhereItCanBeTold(t *testing.T) {
	at := func(approach string, n int, ns float64) string {
		return rounds("AcquireRelease/approach="+approach+"/goroutines=8", "p50-ns", n, ns)
	}
	way := func(name string, n int, perSec float64) string {
		return rounds("Contention/way="+name+"/waiters=8", "acq/s", n, perSec)
	}
	loaded := func(way string, p99 float64, unserved int) string {
		return strings.Repeat(fmt.Sprintf("BenchmarkLoad/way=%s/rate=1000-2 %d 1 ns/op %v p99-ns %d unserved %[2]d goodput/s\n",
			way, 1000-unserved, p99, unserved), 6)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"the floor first": {at("setnx", 6, 100) + at("mux", 6, 25) + at("floor", 6, 101) + at("mux2", 6, 25.1),
			"floor 104 ns\nmux 25.6 ns ★\nmux2 25.7 ns ★\nsetnx 102 ns\n"},
		"too few rounds":   {at("floor", 5, 100) + at("mux", 5, 25), "floor 102 ns\nmux 25.5 ns\n"},
		"all the same":     {at("a", 6, 10) + at("b", 6, 10), "a 10.2 ns\nb 10.2 ns\n"},
		"alone":            {at("a", 6, 10), "a 10.2 ns\n"},
		"zero is best":     {at("a", 6, 10) + at("b", 6, 0), "a 10.2 ns\nb 0 s ★\n"},
		"no lock is not":   {way("floor", 6, 900) + way("fair", 6, 500) + way("polling", 6, 100), "floor 922 ± 2 %\nfair 512 ± 2 % ★\npolling 102 ± 2 %\n"},
		"a bound is worse": {loaded("fair", 2e6, 0) + loaded("polling", 9e6, 500), "fair 1,000 ★ 2.00 ms ★ 0 ★\npolling 500 ≥ 9.00 ms 500\n"},
		"a bound may be":   {loaded("fair", 2e6, 0) + loaded("polling", 1e6, 500), "fair 1,000 ★ 2.00 ms 0 ★\npolling 500 ≥ 1.00 ms 500\n"},
		"verbs differ":     {rounds("Verb/verb=A", "p50-ns", 6, 1) + rounds("Verb/verb=B", "p50-ns", 6, 9), "A 1.03 ns\nB 9.22 ns\n"},
		"a new kind": {rounds("Odd/client=x/pipeline=16", "odd/s", 6, 100) + rounds("Odd/client=x/pipeline=2", "odd/s", 6, 1),
			"client x · pipeline 16 102 ± 2 %\nclient x · pipeline 2 1.02 ± 2 %\n"},
	} {
		if got := tables(t, tt.text); !strings.Contains(got, tt.want) {
			t.Errorf("%s: it has no\n%s, but\n%s", name, tt.want, got)
		}
	}
}

func TestEachCircumstanceHasItsTableInOrder(t *testing.T) {
	got := labels(t, sampleText(t))
	want := []string{
		"Uncontended, 1 goroutine", "Uncontended, 16 goroutines",
		"Uncontended, 128 goroutines",
		"Contention, 8 waiters · 1 process · hold 0s", "Contention, 64 waiters · 4 processes · hold 0s",
		"Open loop, keys hot · at 2,000/s", "Open loop, keys hot · at 10,000/s",
		"Open loop, keys own · at 2,000/s", "Open loop, keys own · at 10,000/s",
		"Keeping locks alive, 1,000 locks · ttl 5s", "A holder killed, ttl 1s", "Verbs",
		"Ratios, against floor · 1 goroutine", "Ratios, against floor · 128 goroutines", "Limit",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want\n%q", got, want)
	}
}

// A rival with a server of its own stands beside the others; the same way on two servers does not.
func TestServersPartTheTablesOnlyWhereARowHasSeveral(t *testing.T) {
	const kind = "Contention/server=%s/way=%s/waiters=8"
	onRedis := rounds(fmt.Sprintf(kind, "redis", "fair"), "acq/s", 6, 100)
	for more, want := range map[string]int{rounds(fmt.Sprintf(kind, "etcd", "etcd"), "acq/s", 6, 1): 1, rounds(fmt.Sprintf(kind, "valkey", "fair"), "acq/s", 6, 90): 2} {
		if got := labels(t, onRedis+more); len(got) != want {
			t.Errorf("%q, want %d", got, want)
		}
	}
}

// Nothing that has been measured may be missing.
func TestEveryUnitOfEveryBenchmarkIsInOneTable(t *testing.T) {
	set := read(t, sampleText(t)+rounds("AcquireRelease/server=redis/approach=floor/release=lua/goroutines=1", "new-ns", 6, 5))
	list, err := report.SectionsOf(set, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, shown := 0, 0
	for _, c := range set.Cells {
		want += len(c.Units())
	}
	for _, s := range list {
		for _, g := range s.Groups {
			for _, table := range g.Tables {
				for _, r := range table.Rows {
					shown += len(slices.DeleteFunc(r.Fields, report.IsMissing))
				}
			}
		}
	}
	if shown != want {
		t.Errorf("%d figures, want %d", shown, want)
	}
}
