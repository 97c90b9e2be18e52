// Plot draws the charts of a campaign from its raw files, in the Go benchmark format: each in two forms, NAME-light.svg and
// NAME-dark.svg, for a <picture> whose source asks for prefers-color-scheme. They are as wide as a phone.
//
//		cd bench/plot && go run . ../../results/DATE/raw ../../results/DATE/charts
//
//	  - throughput, of rivals.txt: acquires and releases per second by goroutines
//	  - fairness, of contention-rivals.txt: Jain's index and the longest waits of 64 waiters in 4 processes
//	  - load-hot, of hot.txt: the 99th percentile of the latency on one key, by arrivals per second
//	  - keepalive, of keepalive.txt: processor time of a renewal
//
// A dot is the median of the rounds, and has its interval at 95 % where there are 6 rounds or more. The charts show the
// ways of the table in ways.go, the tables of a report show all. A chart for which the folder has no data is said with
// the reason. The program fails if it can make no chart, or if a file cannot be read.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/redigolock/redigolock/internal/figures"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plot RAW-FOLDER CHARTS-FOLDER")
		os.Exit(2)
	}
	if err := makeCharts(os.Args[1], os.Args[2], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "plot: %v\n", err)
		os.Exit(1)
	}
}

// makeCharts makes the charts that the raw files have data for, and says on w which those are.
func makeCharts(raw, out string, w io.Writer) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	made := 0
	for _, ch := range charts {
		path := filepath.Join(raw, ch.file)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(w, "no %s: there is no %s\n", ch.name, ch.file)
			continue
		}
		set, err := figures.Read(path)
		if err != nil {
			return err
		}
		cells := chosen(set.Find(ch.kind, ch.where...), ch.units)
		if len(cells) == 0 {
			fmt.Fprintf(w, "no %s: %s has no %s with %q of a way that is drawn\n", ch.name, ch.file, ch.kind, ch.units)
			continue
		}
		for _, t := range []theme{light, dark} {
			svg, err := ch.svg(cells, t)
			if err != nil {
				return fmt.Errorf("%s: %w", ch.name, err)
			}
			if err := os.WriteFile(filepath.Join(out, ch.name+"-"+t.name+".svg"), svg, 0o644); err != nil {
				return err
			}
		}
		fmt.Fprintf(w, "made %s\n", ch.name)
		made++
	}
	if made == 0 {
		return fmt.Errorf("%s has data for no chart", raw)
	}
	return nil
}
