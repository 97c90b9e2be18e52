// Plot draws the charts of a campaign from its raw files, in the Go benchmark format: each in two forms, NAME-light.svg and
// NAME-dark.svg, for a <picture> whose source asks for prefers-color-scheme. They are as wide as a phone.
//
//		cd bench/plot && go run . -out ../../results/DATE/charts ../../results/DATE/raw
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
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/redigolock/redigolock/internal/figures"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process: it returns the exit code, 2 where the arguments are wrong.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("plot", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "", "`folder` of the charts; default: charts, beside the folder of the raw files")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: plot [-out FOLDER] RAW-FOLDER")
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() != 1:
		flags.Usage()
		return 2
	}
	raw := filepath.Clean(flags.Arg(0))
	if *out == "" {
		*out = filepath.Join(filepath.Dir(raw), "charts")
	}
	if err := makeCharts(raw, *out, stdout); err != nil {
		fmt.Fprintf(stderr, "plot: %v\n", err)
		return 1
	}
	return 0
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
