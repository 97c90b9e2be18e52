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

// budget is how long a mutant may live in the worlds. It is processor time, which means the same on a machine that is busy.
const budget = 10 * time.Second

var (
	firstViolation = regexp.MustCompile(`seeds_test\.go:\d+: ([a-z ]+) at [0-9a-zµ.]+: `)
	ofSeed         = regexp.MustCompile(`seed (\d+), mode`)
)

// runInSim runs the chosen mutants in simulated worlds, and writes a table in Markdown.
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
	seen := 0
	fmt.Fprint(out, "| planted fault | mode | promise seen broken | seed | processor time |\n|---|---|---|---:|---:|\n")
	for _, m := range mutants {
		if m.sim == "" || !match.MatchString(m.name) {
			continue
		}
		if seen++; short && seen%4 != 1 {
			continue
		}
		took, output, err := m.simulate(ctx, root)
		if ctx.Err() != nil {
			return survived, ctx.Err()
		}
		promise, seed := broken(output)
		switch {
		case err != nil:
			promise = "**" + err.Error() + "**"
			survived++
		case promise == "":
			promise = "**none**"
			survived++
		default:
			times = append(times, took)
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %.1f s |\n", m.name, m.sim, promise, seed, took.Seconds())
	}
	fmt.Fprintf(out, "\n%s.\n", summary(times, survived))
	return survived, nil
}

// broken is the first promise that worlds have seen broken, and at which seed; "" if they have seen none.
func broken(output string) (promise, seed string) {
	violation, at := firstViolation.FindStringSubmatch(output), ofSeed.FindStringSubmatch(output)
	if violation == nil || at == nil {
		return "", ""
	}
	return violation[1], at[1]
}

func summary(times []time.Duration, survived int) string {
	if len(times) == 0 {
		return fmt.Sprintf("none caught, %d not", survived)
	}
	slices.Sort(times)
	return fmt.Sprintf("%d caught, %d not; processor time to detection: median %.1f s, at most %.1f s", len(times), survived,
		times[len(times)/2].Seconds(), times[len(times)-1].Seconds())
}

// simulate runs the mutated library in worlds of its mode until a promise is broken, or the budget is used up.
func (m mutant) simulate(ctx context.Context, root string) (took time.Duration, output string, err error) {
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
		"-shrink=0", "-mode="+m.sim)
	test.Dir = worlds
	var buf bytes.Buffer
	test.Stdout, test.Stderr = &buf, &buf
	_ = test.Run() // what it has printed tells
	return test.ProcessState.UserTime() + test.ProcessState.SystemTime(), buf.String(), nil
}
