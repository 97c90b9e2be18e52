package lockbench

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

func (s *section) writeContention(w io.Writer, cells []*cell) {
	first := cells[0].workload.(bench.Contention)
	fmt.Fprintf(w, "One key, acquire + release in a loop, %s\n\n", s.rounds(cells))
	t := table{left: 4}
	t.head = []string{"hold", "waiters", "processes", "way", "acq/s", "handoff p50", "p99", "max", "inside p50",
		"across p50", "again", "Jain", "wait p99", "rounds", "longest", "evalsha", "commands", "CPU", "server CPU"}
	before := first
	for _, c := range cells {
		n := c.workload.(bench.Contention)
		if n.Waiters != before.Waiters || n.Processes != before.Processes || n.Hold != before.Hold {
			t.gap()
		}
		before = n
		t.add(contentionLine(c, n)...)
	}
	t.write(w)
	fmt.Fprint(w, contentionLegend)
	if !first.Server.Embedded() {
		fmt.Fprint(w, contentionServerLegend)
	}
}

const (
	contentionLegend = `
  floor: no lock, an EVALSHA that publishes to the next; cohort: fair, and 64 times or 5 ms inside a process
  handoff: from just before a release until another waiter has the lock; inside a process, across processes
  again: share of the acquisitions by who has just released; Jain: index of fairness, 1: all got the same
  wait p99: with what is known of waits that had not ended, and in rounds: the time in which all have one turn on
  average; longest: wait; with >, it had not ended when the time was up
  commands: by the server for each acquisition, with those in scripts; where it does not tell, sent to it
`
	contentionServerLegend = `  evalsha: by the server for each acquisition; CPU: for each acquisition, of all processes, and of the server
`
)

func contentionLine(c *cell, w bench.Contention) []string {
	figure := func(f func(*bench.Contest) float64) float64 {
		return c.summary(func(r bench.Result) float64 { return f(r.Contest) }).Center
	}
	half := func(h *hdrhistogram.Histogram) string { return quantile(h, 50) }
	client, server := c.cpu()
	line := []string{w.Hold.String(), strconv.Itoa(w.Waiters), strconv.Itoa(w.Processes), w.Called(),
		figures.Significant(c.summary(perSecond).Center), half(c.latency), quantile(c.latency, 99), quantile(c.latency, 100),
		half(c.inside), half(c.across),
		fmt.Sprintf("%.0f %%", 100*figure(func(c *bench.Contest) float64 { return c.Again })),
		figures.Format(figure(func(c *bench.Contest) float64 { return c.Jain }), "jain"),
		c.waitP99(), figures.Significant(figures.Summarize(c.metric("wait-p99-rounds")).Center), c.longest(), "",
		"", client, server}
	if calls := figure(func(c *bench.Contest) float64 { return c.Calls }); calls >= 0 {
		line[16] = figures.Format(calls, "cmds/acq")
	}
	if evalsha := figure(func(c *bench.Contest) float64 { return c.EvalSha }); evalsha >= 0 {
		line[15] = figures.Format(evalsha, "evalsha/acq")
	}
	return line
}

// waitP99 is the median of the rounds; with >, it is a lower bound in half of them.
func (c *cell) waitP99() string {
	p99 := short(time.Duration(figures.Summarize(c.metric("wait-p99-ns")).Center))
	if c.summary(func(r bench.Result) float64 { return r.Contest.WaitBeyond }).Center > 0.01 {
		return "> " + p99
	}
	return p99
}

// longest is the longest wait of all rounds.
func (c *cell) longest() string {
	var longest time.Duration
	censored := false
	for _, r := range c.rounds {
		if r.Contest.Longest > longest {
			longest, censored = r.Contest.Longest, r.Contest.Censored
		}
	}
	if censored {
		return "> " + short(longest)
	}
	return short(longest)
}
