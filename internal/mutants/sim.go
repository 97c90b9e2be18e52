package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// simMutants are those that break a promise which the worlds of internal/sim watch, and the mode in which they do.
var simMutants = map[string]string{
	"plain DEL":                                         "verified",
	"validity from after the reply":                     "verified",
	"adoption with a full ttl":                          "verified",
	"an unknown outcome taken as success":               "verified",
	"renew without compare":                             "verified",
	"extend that re-creates":                            "verified",
	"extend that lowers":                                "verified",
	"ErrLost after Deadline":                            "verified",
	"clean-up gives up at the first failure":            "verified",
	"no clean-up after a release":                       "servers",
	"clean-up with the ended ctx":                       "verified",
	"Fence by plain INCR":                               "script",
	"Guard lax":                                         "verified",
	"one error ends the renewals":                       "renew",
	"basis taken after the replies":                     "renew",
	"renewal outlives release: Release does not end it": "verified",
	"no drift":                                           "verified",
	"won too late kept":                                  "servers",
	"a reply judged for the wrong lock":                  "renew",
	"double check ignored":                               "verified",
	"ReleaseTx without WATCH":                            "plain",
	"MinHold: the value stays":                           "minhold",
	"a reply skipped when its caller has left":           "mux",
	"fair: a full ttl from the send":                     "fair",
	"fair: validity from the message":                    "fair",
	"fair: release without compare":                      "fair",
	"fair: pass past the Deadline":                       "cohort",
	"wall clock ignored":                                 "verified",
	"clean-up confirmed once only":                       "verified",
	"fair: TRY barges":                                   "fair",
	"fair: the local FIFO is a stack":                    "fair",
	"fair: queued counts from its reply":                 "fair",
	"fair: a hand-off's extension counts from its reply": "cohort",
}

// budget is how long a mutant may live in the worlds. It is processor time, which means the same on a machine that is busy.
const budget = 10 * time.Second

var (
	firstViolation = regexp.MustCompile(`seeds_test\.go:\d+: ([a-z ]+) at [0-9a-zµ.]+: `)
	ofSeed         = regexp.MustCompile(`seed (\d+), mode`)
)

// A detection says what became of a mutant in the worlds.
type detection struct {
	name, mode    string
	promise, seed string // promise is "" if it survived
	took          time.Duration
}

type detections []detection

// runInSim runs the chosen mutants in simulated worlds.
func runInSim(ctx context.Context, out io.Writer, short bool, only string) (all detections, err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	seen := 0
	for _, m := range mutants {
		mode, ok := simMutants[m.name]
		if !ok || !match.MatchString(m.name) {
			continue
		}
		if seen++; short && seen%4 != 1 {
			continue
		}
		d := detection{name: m.name, mode: mode}
		var output string
		d.took, output, err = m.simulate(ctx, root, mode)
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		violation, seed := firstViolation.FindStringSubmatch(output), ofSeed.FindStringSubmatch(output)
		switch {
		case err != nil:
			fmt.Fprintf(out, "BROKEN    %-50s %v\n", m.name, err)
		case violation != nil && seed != nil:
			d.promise, d.seed = violation[1], seed[1]
			fmt.Fprintf(out, "caught    %-50s %-9s %-18s at seed %-4s after %4.1f s\n", m.name, mode, d.promise, d.seed, d.took.Seconds())
		default:
			fmt.Fprintf(out, "SURVIVED  %-50s %-9s %v\n", m.name, mode, budget)
		}
		all = append(all, d)
	}
	fmt.Fprintln(out, all.summary())
	return all, nil
}

// survivors is how many mutants were not caught.
func (all detections) survivors() (n int) {
	for _, d := range all {
		if d.promise == "" {
			n++
		}
	}
	return n
}

func (all detections) summary() string {
	var times []time.Duration
	for _, d := range all {
		if d.promise != "" {
			times = append(times, d.took)
		}
	}
	if len(times) == 0 {
		return fmt.Sprintf("none caught, %d not", len(all))
	}
	slices.Sort(times)
	return fmt.Sprintf("%d caught, %d not; processor time to detection: median %.1f s, at most %.1f s", len(times), all.survivors(),
		times[len(times)/2].Seconds(), times[len(times)-1].Seconds())
}

// markdown is the table, the slowest last.
func (all detections) markdown() string {
	var b strings.Builder
	b.WriteString("| planted fault | mode | promise seen broken | seed | processor time |\n|---|---|---|---:|---:|\n")
	sorted := slices.SortedStableFunc(slices.Values(all), func(a, b detection) int { return cmp.Compare(a.took, b.took) })
	for _, d := range sorted {
		promise := cmp.Or(d.promise, "**none**")
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.1f s |\n", d.name, d.mode, promise, d.seed, d.took.Seconds())
	}
	fmt.Fprintf(&b, "\n%s.\n", all.summary())
	return b.String()
}

// simulate runs the mutated library in worlds of a mode until a promise is broken, or the budget is used up.
func (m mutant) simulate(ctx context.Context, root, mode string) (took time.Duration, output string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return 0, "", err
	}
	defer os.RemoveAll(dir)
	worlds := filepath.Join(root, "internal", "sim")
	bin, err := m.build(ctx, root, dir, worlds)
	if err != nil {
		return 0, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 12*budget) // a mutant may hang its world
	defer cancel()
	test := exec.CommandContext(ctx, bin, "-test.run=^TestSeeds$", "-test.failfast", "-seeds=1000000", "-for="+budget.String(),
		"-shrink=0", "-mode="+mode)
	test.Dir = worlds
	var buf bytes.Buffer
	test.Stdout, test.Stderr = &buf, &buf
	_ = test.Run() // what it has printed tells
	return test.ProcessState.UserTime() + test.ProcessState.SystemTime(), buf.String(), nil
}
