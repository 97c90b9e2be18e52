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

// moves is the table of moves in internal/fairqueue, and text what stands before it.
func moves(t *testing.T) (text string, table []string) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("..", "fairqueue", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	text, rest, _ := strings.Cut(string(src), "// # Moves\n")
	for _, m := range regexp.MustCompile(`(?m)^//\t(.+ → .+)$`).FindAllStringSubmatch(rest, -1) {
		table = append(table, m[1])
	}
	return text, table
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
	see(fairmodel.Config{TTLs: oneProcess, Budget: budgetOf(0, "Try", "Unknown")})
	for _, fault := range faults() {
		see(fairmodel.Config{TTLs: twoSingles, Budget: budgetOf(0, fault)})
		see(fairmodel.Config{TTLs: oneProcess, Budget: budgetOf(1, fault, "GiveUp"), Warm: true})
	}
	var got []string
	for _, row := range slices.Sorted(maps.Keys(seen)) {
		got = append(got, row+" → "+strings.Join(slices.Sorted(maps.Keys(seen[row])), ", "))
	}
	_, want := moves(t)
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

// The table of events says in which states each may come as the moves do: whatever changes the state comes in a state that its
// row names, and in each of these it has come.
func TestEventsComeInTheStatesThatTheirRowsName(t *testing.T) {
	text, table := moves(t)
	came, changed := map[string][]string{}, map[string][]string{}
	for _, row := range table {
		event, move, _ := strings.Cut(row, ": ")
		from, to, _ := strings.Cut(move, " → ")
		if event == "QUIT answered" {
			event = "done"
		}
		came[event] = append(came[event], from)
		if from != to {
			changed[event] = append(changed[event], from)
		}
	}
	_, text, _ = strings.Cut(text, "// # Events\n")
	text, _, _ = strings.Cut(text, "// # What is due\n")
	named, event := map[string][]string{}, ""
	state := `(?:any|idle|entering|queued|quitting)`
	for _, m := range regexp.MustCompile(`(?m)^//\t(\w*) +(`+state+`(?:, `+state+`)*)  `).FindAllStringSubmatch(text, -1) {
		if m[1] != "" { // else it goes on
			event = m[1]
		}
		named[event] = append(named[event], strings.Split(m[2], ", ")...)
	}
	for event, from := range changed {
		for _, state := range from {
			if _, isEvent := named[event]; isEvent && !slices.Contains(named[event], state) && !slices.Contains(named[event], "any") {
				t.Errorf("%s changes %s, of which its row says nothing: %v", event, state, named[event])
			}
		}
	}
	for event, states := range named {
		switch event {
		case "Deserted", "Refused", "unread", "mute": // the model has none of them
			continue
		}
		if len(came[event]) == 0 {
			t.Errorf("%s has no move", event)
		}
		for _, state := range states {
			if state != "any" && !slices.Contains(came[event], state) {
				t.Errorf("%s has no move from %s", event, state)
			}
		}
	}
}
