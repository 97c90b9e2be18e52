package fairqueue_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table of events says in which states each may come as the moves do: whatever changes the state comes in a state that its
// row names, and in each of these it has come. That the moves are what the code does is a test of internal/fairmodel.
func TestEventsComeInTheStatesThatTheirRowsName(t *testing.T) {
	src, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	text, moves, ok := strings.Cut(string(src), "// # Moves\n")
	table := regexp.MustCompile(`(?m)^//\t(.+ → .+)$`).FindAllStringSubmatch(moves, -1)
	if !ok || len(table) == 0 {
		t.Fatal("there is no table of moves")
	}
	came, changed := map[string][]string{}, map[string][]string{}
	for _, row := range table {
		event, move, _ := strings.Cut(row[1], ": ")
		from, to, _ := strings.Cut(move, " → ")
		if event == "QUIT answered" {
			event = "Quit"
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
		case "Deserted", "Refused", "unread", "mute", "Elsewhere": // the model has none of them
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
