// Plot draws the charts of a campaign from its raw files: each in two forms, NAME-light.svg and NAME-dark.svg, for a
// <picture> whose source asks for prefers-color-scheme.
//
//	cd bench/plot && go run . -out ../../results/DATE/charts ../../results/DATE/raw
//
// It reads all *.txt of the folder, which are in the Go benchmark format, and all *.hlog, which are HdrHistogram logs.
//
//   - throughput: acquires and releases per second by goroutines (AcquireRelease)
//   - handoff: percentiles of the time from a release until another waiter has the lock (*.hlog of Contention)
//   - load-own, load-hot, load-zipf10000: p50 and p99 by offered load, on a key for each worker, on one key, and on a
//     Zipf spread of 10,000 (Load)
//   - fairness: Jain's index and the longest waits (Contention)
//   - cost: commands and processor time of the server for each acquisition, by waiters (Contention)
//   - keepalive: processor time of a renewal (KeepAlive)
//
// What differs in the way only is from one file, the one with most of these ways: rounds of different files are of
// different lengths. A dot is the median of the rounds, and has its interval at 95 % where there are 6 rounds or more. A chart for which
// the folder has no data is said with the reason. What a chart leaves out to stay readable is written under it. The
// program fails if it can make no chart, or if a file cannot be read.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
