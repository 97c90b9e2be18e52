package bench

import (
	"context"
	"math/rand/v2"
	"time"
)

// Rounds runs each workload once a round, in an order that is shuffled anew for each round, so that neither a slow
// moment of the machine nor what ran before favours one of them. It calls begin before and done after each Run, with
// the workload's index; nil: not. It ends at the first error.
func Rounds(
	ctx context.Context, rounds int, list []Workload, begin func(round, i int), done func(i int, r Result) error,
) error {
	for round := range rounds {
		for _, i := range rand.Perm(len(list)) {
			if begin != nil {
				begin(round, i)
			}
			r, err := list[i].Run(ctx)
			if err == nil && done != nil {
				err = done(i, r)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// RatioMetrics compare one round with a round of base: the time of an op, and the processor time of an op where both
// know it.
func RatioMetrics(r, base Result) []Metric {
	list := []Metric{{r.PerOp() / base.PerOp(), "ratio"}}
	if r.CPU == nil || base.CPU == nil {
		return list
	}
	add := func(unit string, used, baseUsed time.Duration) {
		if used > 0 && baseUsed > 0 {
			list = append(list, Metric{float64(used) / float64(r.Ops) / (float64(baseUsed) / float64(base.Ops)), unit})
		}
	}
	add("cpu-ratio", r.CPU.Client, base.CPU.Client)
	add("server-cpu-ratio", r.CPU.Server, base.CPU.Server)
	return list
}
