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

// What the explorations see a slot do is the table in internal/fairqueue, and nothing else: each row was seen, and what was seen
// has a row.
func TestSlotsMoveAsTheTableSays(t *testing.T) {
	t.Parallel()
	seen := map[string]map[string]bool{}
	see := func(cfg fairmodel.Config) {
		r := fairmodel.Explore(cfg)
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
	for _, fault := range faults() {
		see(fairmodel.Config{TTLs: twoSingles, Budget: budgetOf(0, fault)})
		see(fairmodel.Config{TTLs: oneProcess, Budget: budgetOf(1, fault, "GiveUp"), Warm: true})
	}
	var got []string
	for _, row := range slices.Sorted(maps.Keys(seen)) {
		got = append(got, row+" → "+strings.Join(slices.Sorted(maps.Keys(seen[row])), ", "))
	}
	src, err := os.ReadFile(filepath.Join("..", "fairqueue", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(src), "// # Moves\n")
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^//\t(.+ → .+)$`).FindAllStringSubmatch(table, -1) {
		want = append(want, m[1])
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("seen:\n//\t%s\n\nin the table:\n%s", strings.Join(got, "\n//\t"), strings.Join(want, "\n"))
	}
}
