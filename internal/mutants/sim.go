package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	"no clean-up after a release":                       "verified",
	"clean-up with the ended ctx":                       "verified",
	"Fence by plain INCR":                               "verified",
	"Guard lax":                                         "verified",
	"one error ends the renewals":                       "renew",
	"basis taken after the replies":                     "renew",
	"renewal outlives release: Release does not end it": "verified",
	"no drift":                                           "verified",
	"won too late kept":                                  "verified",
	"a reply judged for the wrong lock":                  "renew",
	"fair: Acquire returns what is over":                 "fair",
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

// runInSim runs the chosen mutants in simulated worlds and reports how many survived.
func runInSim(ctx context.Context, out io.Writer, short bool, only string) (survived int, err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return 0, err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return 0, err
	}
	var times []time.Duration
	for _, m := range mutants {
		mode, ok := simMutants[m.name]
		if !ok || !match.MatchString(m.name) || short && len(times)%4 != 0 {
			continue
		}
		took, output, err := m.simulate(ctx, root, mode)
		violation, seed := firstViolation.FindStringSubmatch(output), ofSeed.FindStringSubmatch(output)
		switch {
		case ctx.Err() != nil:
			return survived, ctx.Err()
		case err != nil:
			survived++
			fmt.Fprintf(out, "BROKEN    %-50s %v\n", m.name, err)
		case violation != nil && seed != nil:
			times = append(times, took)
			fmt.Fprintf(out, "caught    %-50s %-9s %-18s at seed %-4s after %4.1f s\n", m.name, mode, violation[1], seed[1], took.Seconds())
		default:
			survived++
			fmt.Fprintf(out, "SURVIVED  %-50s %-9s %v\n", m.name, mode, budget)
		}
	}
	if len(times) > 0 {
		slices.Sort(times)
		fmt.Fprintf(out, "%d caught, %d not; processor time to detection: median %.1f s, at most %.1f s\n", len(times), survived,
			times[len(times)/2].Seconds(), times[len(times)-1].Seconds())
	}
	return survived, nil
}

// simulate runs the mutated library in worlds of a mode until a promise is broken, or the budget is used up.
func (m mutant) simulate(ctx context.Context, root, mode string) (took time.Duration, output string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return 0, "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(root, dir)
	if err != nil {
		return 0, "", err
	}
	bin := filepath.Join(dir, "sim.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-o", bin, "-overlay", overlay, "./internal/sim")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return 0, "", fmt.Errorf("does not compile: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(ctx, 12*budget) // a mutant may hang its world
	defer cancel()
	test := exec.CommandContext(ctx, bin, "-test.run=^TestSeeds$", "-test.failfast", "-seeds=1000000", "-for="+budget.String(),
		"-shrink=0", "-mode="+mode)
	test.Dir = filepath.Join(root, "internal", "sim")
	var buf bytes.Buffer
	test.Stdout, test.Stderr = &buf, &buf
	_ = test.Run() // what it has printed tells
	return test.ProcessState.UserTime() + test.ProcessState.SystemTime(), buf.String(), nil
}
