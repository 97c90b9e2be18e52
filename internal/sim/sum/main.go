// Sum adds up what runs of TestSeeds have written with -sum, and prints one text for people.
//
//	go run ./internal/sim/sum FILE...
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/redigolock/redigolock/internal/sim"
)

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sum:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, files []string) error {
	all := sim.NewSum()
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var s sim.Sum
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all.Add(s)
	}
	return print(out, all)
}

func print(out io.Writer, s sim.Sum) error {
	w := &writer{out: out}
	const row = "%-11s %8d %10d %10d %10d %10d %8d %8d %8d %6d %6d\n"
	w.printf("%-11s %8s %10s %10s %10s %10s %8s %8s %8s %6s %6s\n",
		"mode", "seeds", "holds", "calls", "commands", "updates", "faults", "lost", "overlaps", "ghosts", "broken")
	var total sim.Figures
	line := func(name string, f sim.Figures) {
		w.printf(row, name, f.Seeds, f.Holds, f.Calls, f.Commands, f.Updates, f.Faults, f.Lost, f.Overlaps, f.Ghosts, f.Violations)
	}
	for _, mode := range slices.Sorted(maps.Keys(s.Modes)) {
		line(mode, s.Modes[mode])
		total.Add(s.Modes[mode])
	}
	line("all", total)
	w.printf("\n%d kinds of faults:\n", len(s.Kinds))
	for _, kind := range slices.Sorted(maps.Keys(s.Kinds)) {
		w.printf("  %-24s %8d\n", kind, s.Kinds[kind])
	}
	if len(s.OverlapsBy) > 0 {
		w.printf("\noverlaps of Quorums, by the servers that may have lost the token of one of the two:\n")
	}
	for _, servers := range slices.Sorted(maps.Keys(s.OverlapsBy)) {
		w.printf("  %-24s %8d\n", servers, s.OverlapsBy[servers])
	}
	if len(s.Redirects) > 0 {
		w.printf("\nwhat the nodes of clusters have answered instead of a reply:\n")
	}
	for _, word := range slices.Sorted(maps.Keys(s.Redirects)) {
		w.printf("  %-24s %8d\n", word, s.Redirects[word])
	}
	w.printf("\n%d promises broken:\n", total.Violations)
	for _, what := range slices.Sorted(maps.Keys(s.Violations)) {
		w.printf("  %-24s %8d\n", what, s.Violations[what])
	}
	return w.err
}

// A writer keeps the first error.
type writer struct {
	out io.Writer
	err error
}

func (w *writer) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format, args...)
	}
}
