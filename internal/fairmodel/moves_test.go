//go:build !race

package fairmodel_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/fairmodel"
)

// moves is the table of moves in internal/fairqueue.
func moves(t *testing.T) (table []string) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("..", "fairqueue", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(src), "// # Moves\n")
	for _, m := range regexp.MustCompile(`(?m)^//\t(.+ → .+)$`).FindAllStringSubmatch(rest, -1) {
		table = append(table, m[1])
	}
	return table
}

// What the explorations see a slot do is the table in internal/fairqueue, and nothing else: each row was seen, and what was seen
// has a row. Short explorations need not see all of it.
func TestSlotsMoveAsTheTableSays(t *testing.T) {
	t.Parallel()
	seen := map[string]map[string]bool{}
	see := func(cfg fairmodel.Config) {
		if testing.Short() {
			cfg.MaxStates = most()
		}
		r := explore(cfg)
		if r.Violation != "" {
			t.Fatalf("%+v: %s", cfg, r.Violation)
		}
		for x := range r.Moves {
			row := fmt.Sprintf("%s: %v", x.Event, x.From)
			if seen[row] == nil {
				seen[row] = map[string]bool{}
			}
			seen[row][x.To.String()] = true
		}
	}
	see(fairmodel.Config{TTLs: twoAndOne})
	see(fairmodel.Config{TTLs: muchLonger, Cohort: true, Budget: budgetOf(1, "Unknown")})
	see(fairmodel.Config{TTLs: muchLonger, Cohort: true, Budget: budgetOf(1, "Refused")})
	see(fairmodel.Config{TTLs: oneProcess, Budget: budgetOf(0, "Try", "Unknown")})
	for _, fault := range faults() {
		see(fairmodel.Config{TTLs: twoSingles, Budget: budgetOf(0, fault)})
		see(fairmodel.Config{TTLs: oneProcess, Budget: budgetOf(1, fault, "GiveUp"), Warm: true})
	}
	var got []string
	for _, row := range slices.Sorted(maps.Keys(seen)) {
		got = append(got, row+" → "+strings.Join(slices.Sorted(maps.Keys(seen[row])), ", "))
	}
	want := moves(t)
	if testing.Short() {
		listed := map[string]string{}
		for _, row := range want {
			from, to, _ := strings.Cut(row, " → ")
			listed[from] = to
		}
		for from, to := range seen {
			for state := range to {
				if !slices.Contains(strings.Split(listed[from], ", "), state) {
					t.Errorf("%s → %s is not in the table", from, state)
				}
			}
		}
		return
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("seen:\n//\t%s\n\nin the table:\n%s", strings.Join(got, "\n//\t"), strings.Join(want, "\n"))
	}
}
