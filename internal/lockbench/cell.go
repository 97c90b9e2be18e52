package lockbench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// A cell is a line of a table, with what its rounds have measured.
type cell struct {
	workload bench.Workload
	bases    []*cell // that its ratios are of
	rounds   []round
	past     []bench.Result // rounds of before this run, of which only PerOp is known
	// Those of all rounds together. A contention has all, others the first only.
	latency, inside, across *hdrhistogram.Histogram
}

// A round is what one Run has measured, but for its histograms, which are large: those of a campaign together would be
// gigabytes.
type round struct {
	bench.Result
	metrics []bench.Metric
}

// all are the metrics with the time of an op, if there was one.
func (r round) all() []bench.Metric {
	if r.Ops == 0 {
		return r.metrics
	}
	return append([]bench.Metric{{Value: r.PerOp(), Unit: "ns/op"}}, r.metrics...)
}

// add takes a round.
func (c *cell) add(r bench.Result) {
	metrics, now := r.Metrics(), time.Now().UnixMilli()
	first := c.latency == nil
	if merge(&c.latency, &r.Latency); c.latency != nil {
		c.latency.SetEndTimeMs(now)
		if first {
			c.latency.SetStartTimeMs(now - r.Elapsed.Milliseconds())
		}
	}
	if r.Contest != nil {
		con := *r.Contest
		con.Handoff = nil // the same as Latency
		merge(&c.inside, &con.Inside)
		merge(&c.across, &con.Across)
		r.Contest = &con
	}
	if r.Loaded != nil {
		loaded := *r.Loaded
		loaded.Late = nil
		r.Loaded = &loaded
	}
	c.rounds = append(c.rounds, round{r, metrics})
}

// merge moves what one has to the other.
func merge(into, from **hdrhistogram.Histogram) {
	if *into == nil && *from != nil {
		*into = (*from).Clone()
	} else if *from != nil {
		(*into).Merge(*from)
	}
	*from = nil
}

// uncontended is the workload of a cell that has such a one, or will have.
func (c *cell) uncontended() bench.Uncontended {
	if best, ok := c.workload.(bestOf); ok {
		return best.pick()
	}
	return c.workload.(bench.Uncontended)
}

// figures are the values of one figure, round by round.
func (c *cell) figures(f func(bench.Result) float64) []float64 {
	list := make([]float64, len(c.rounds))
	for i, r := range c.rounds {
		list[i] = f(r.Result)
	}
	return list
}

func (c *cell) summary(f func(bench.Result) float64) figures.Summary {
	return figures.Summarize(c.figures(f))
}

// metric is one that all rounds have.
func (c *cell) metric(unit string) []float64 {
	var list []float64
	for _, r := range c.rounds {
		for _, m := range r.metrics {
			if m.Unit == unit {
				list = append(list, m.Value)
			}
		}
	}
	return list
}

func (c *cell) perOp() []float64 { return c.figures(bench.Result.PerOp) }

// everPerOp is that of the past too.
func (c *cell) everPerOp() []float64 {
	var list []float64
	for _, r := range c.past {
		list = append(list, r.PerOp())
	}
	return append(list, c.perOp()...)
}

func perSecond(r bench.Result) float64 { return float64(r.Ops) / r.Elapsed.Seconds() }
