package lockbench

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

func (s *section) writeKeepAlive(w io.Writer, cells []*cell) {
	first := cells[0].workload.(bench.KeepAlive)
	fmt.Fprintf(w, "Locks of %v kept alive, %s\n\n", first.TTL, s.rounds(cells))
	t := table{left: 2}
	t.head = []string{"locks", "way", "renewals/s", "CPU/renewal", "core", "server CPU", "core", "bytes/lock",
		"goroutines", "late p50", "p99", "lost"}
	before := first.Locks
	for _, c := range cells {
		k := c.workload.(bench.KeepAlive)
		if k.Locks != before {
			t.gap()
			before = k.Locks
		}
		t.add(keepAliveLine(c, k)...)
	}
	t.write(w)
	fmt.Fprintf(w, "\n  locker: one Locker; loop: by hand, a goroutine, a ticker and round trips for each lock\n")
	fmt.Fprintf(w, "  each way has a pool of at most 64 connections\n")
	if !first.Server.Embedded() {
		fmt.Fprintf(w, "  CPU: of this process, of the server; for each renewal, and as a share of one core\n")
	}
	fmt.Fprintf(w, "  bytes: heap and stacks beyond the handle; with goroutines: beyond those before\n")
	fmt.Fprintf(w, "  late: from when half of the ttl was left until the renewal was confirmed\n")
	if s.pace.count > 1 {
		fmt.Fprintf(w, "  figures are medians of the rounds\n")
	}
}

func keepAliveLine(c *cell, k bench.KeepAlive) []string {
	median := func(f func(bench.Result) float64) float64 { return c.summary(f).Center }
	cpu := func(of func(*bench.Kept) time.Duration) (each, share string) { // "", "" where it is not known
		ns := median(func(r bench.Result) float64 { return float64(of(r.Kept)) / float64(r.Ops) })
		if ns < 0 {
			return "", ""
		}
		cores := median(func(r bench.Result) float64 { return of(r.Kept).Seconds() / r.Elapsed.Seconds() })
		return short(time.Duration(ns)), fmt.Sprintf("%.1f %%", 100*cores)
	}
	lat := c.latency
	client, clientShare := cpu(func(k *bench.Kept) time.Duration { return k.ClientCPU })
	server, serverShare := cpu(func(k *bench.Kept) time.Duration { return k.ServerCPU })
	return []string{count(float64(k.Locks)), k.Way, figures.Significant(median(perSecond)), client, clientShare, server, serverShare,
		figures.Significant(median(func(r bench.Result) float64 { return r.Kept.Bytes })),
		count(median(func(r bench.Result) float64 { return float64(r.Kept.Goroutines) })),
		late(lat.ValueAtPercentile(50)), late(lat.ValueAtPercentile(99)),
		strconv.Itoa(c.rounds[len(c.rounds)-1].Kept.Lost)}
}

// late is 0 s for a renewal that was early, which histograms have as 1 ns.
func late(ns int64) string {
	if ns <= 1 {
		ns = 0
	}
	return short(time.Duration(ns))
}
