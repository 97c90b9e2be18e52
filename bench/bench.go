// Package bench holds the workloads that measure the locks of this project: configurations with a Run.
//
//   - [Uncontended]: acquire and release of distinct keys, over approach, release, kind of pool and number of
//     goroutines; with the processor time of client and server.
//   - [Load]: the same in an open loop: its latency at a rate of arrivals that does not depend on the server; also of
//     arrivals that share one key, or a Zipf spread of 10,000.
//   - [Verb]: one verb alone, on one connection.
//   - [Contention]: waiters of one key, in one process or in several; how a lock goes from one holder to the next.
//   - [Recovery]: how long the lock stands still after its holder was killed.
//   - [KeepAlive]: many locks that are kept alive; what a renewal costs, and how late it is.
//   - [Rounds] interleaves two or more of them, round by round; [RatioMetrics] compare two of the same round.
//
// [Server.Behind] puts a link with a delay before a server: a service and its Redis are seldom on one machine.
//
// go test -bench . ./bench/ runs them inside package testing, cmd/lockbench outside. Each Run makes keys of its own,
// "lockbench:<random>:…", and removes them, also when its context is cancelled. Each first does everything once
// before its clock starts, so that neither dialling nor loading a script is measured.
//
// REDIGOLOCK_LONG=1 go test -run Fault -v -parallel 8 ./bench/ shows how long a fair lock stands still when a process
// is killed or stopped, a connection cut, scripts flushed, or the server restarted.
//
// Figures of miniredis compare the approaches with each other; they say nothing about Redis.
package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ErrConfig is in the error of a Run whose configuration is bad; nothing was sent then.
var ErrConfig = errors.New("bench: bad configuration")

func badConfig(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...))
}

// What zero means in a configuration.
const (
	DefaultTTL  = 10 * time.Second
	DefaultTime = 100 * time.Millisecond
)

// What a configuration may have.
const (
	MaxWorkers   = 4096 // goroutines, or waiters, or connections of a pool
	MaxLanes     = 64   // connections of a Mux
	MaxProcesses = 64
	MinTTL       = 10 * time.Millisecond
	MaxTTL       = 24 * time.Hour
)

// A Workload can be run any number of times. Each Run is one round of about its Time.
type Workload interface {
	// Name is the benchmark's name in the Go benchmark format, without "Benchmark" and without GOMAXPROCS.
	Name() string
	// Run ends early with the context's cause when ctx ends, and then stops within a second, whatever the server does; but
	// for a fair Locker, whose Close waits for up to 3 s at a server that hangs.
	Run(ctx context.Context) (Result, error)
}

// A Result is what one Run has measured.
type Result struct {
	Ops     int64                   // acquire and release together are one; or a renewal, or a recovery
	Elapsed time.Duration           // of all Ops, which run side by side where there are several goroutines
	Latency *hdrhistogram.Histogram // ns of each op; of a Contention, of each hand-off; of a KeepAlive, its lateness
	Allocs  float64                 // allocations of each op; negative where it is not known
	CPU     *CPU                    // of all Ops together; of an Uncontended, a Contention and a Load, else nil
	Cost    *Cost                   // likewise
	Contest *Contest                // of a Contention only, else nil
	Kept    *Kept                   // of a KeepAlive only, else nil
	Loaded  *Loaded                 // of a Load only, else nil

	Recovered *Recovered // of a Recovery only, else nil
}

// PerOp is the time per op in ns, as go test -bench shows it: the elapsed time over the number of ops.
func (r Result) PerOp() float64 { return float64(r.Elapsed.Nanoseconds()) / float64(r.Ops) }

// checkCommon checks what all configurations have.
func checkCommon(s *Server, ttl, length time.Duration) error {
	switch {
	case s == nil:
		return badConfig("Server is nil")
	case ttl < MinTTL || ttl > MaxTTL || ttl%time.Millisecond != 0:
		return badConfig("the ttl is %v, allowed are whole milliseconds from %v to %v", ttl, MinTTL, MaxTTL)
	case length < 0:
		return badConfig("the time is %v, below zero", length)
	}
	return nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// A Metric is a figure with its unit, as in the Go benchmark format.
type Metric struct {
	Value float64
	Unit  string
}

// Metrics are the figures of a result beside the time per op.
func (r Result) Metrics() []Metric {
	var list []Metric
	if r.Latency != nil && r.Latency.TotalCount() > 0 && r.Recovered == nil {
		list = append(list,
			Metric{float64(r.Latency.ValueAtPercentile(50)), "p50-ns"},
			Metric{float64(r.Latency.ValueAtPercentile(99)), "p99-ns"})
	}
	list = append(list, r.contestMetrics()...)
	list = append(list, r.keptMetrics()...)
	list = append(list, r.loadedMetrics()...)
	list = append(list, r.recoveredMetrics()...)
	list = append(list, r.CPU.metrics(r.Ops)...)
	if r.Contest == nil {
		list = append(list, r.Cost.metrics(r.Ops, "op")...)
	}
	if r.Allocs >= 0 {
		list = append(list, Metric{r.Allocs, "allocs/op"})
	}
	return list
}

func (r Result) contestMetrics() []Metric {
	c := r.Contest
	if c == nil {
		return nil
	}
	list := []Metric{{float64(r.Ops) / r.Elapsed.Seconds(), "acq/s"}, {c.Jain, "jain"}, {c.Again, "again"}}
	for _, m := range []Metric{{c.Calls, "cmds/acq"}, {c.EvalSha, "evalsha/acq"}} {
		if m.Value >= 0 {
			list = append(list, m)
		}
	}
	list = append(list, r.Cost.network(r.Ops, "acq")...)
	if c.Handoff.TotalCount() > 0 {
		list = append(list, Metric{float64(c.Handoff.Max()), "max-ns"})
	}
	for _, part := range []struct {
		unit string
		hist *hdrhistogram.Histogram
	}{{"inside-p50-ns", c.Inside}, {"across-p50-ns", c.Across}} {
		if part.hist.TotalCount() > 0 {
			list = append(list, Metric{float64(part.hist.ValueAtPercentile(50)), part.unit})
		}
	}
	p99, round := float64(c.WaitP99), float64(c.Round)
	return append(list, Metric{float64(c.WaitP50), "wait-p50-ns"}, Metric{p99, "wait-p99-ns"}, Metric{p99 / round, "wait-p99-rounds"},
		Metric{c.WaitBeyond, "wait-beyond"},
		Metric{float64(c.Longest), "longest-ns"}, Metric{float64(c.Longest) / round, "longest-rounds"},
		Metric{float64(c.Waiting), "waiting"})
}

func (r Result) loadedMetrics() []Metric {
	l := r.Loaded
	if l == nil {
		return nil
	}
	return []Metric{
		{float64(r.Latency.ValueAtPercentile(99.9)), "p99.9-ns"},
		{float64(r.Ops) / r.Elapsed.Seconds(), "goodput/s"},
		{float64(l.Unserved), "unserved"},
		{float64(l.Failed), "failed"},
		{float64(l.Late.ValueAtPercentile(50)), "generator-p50-ns"},
		{float64(l.Late.ValueAtPercentile(99)), "generator-p99-ns"},
	}
}

func (r Result) keptMetrics() []Metric {
	k := r.Kept
	if k == nil {
		return nil
	}
	list := []Metric{{float64(r.Ops) / r.Elapsed.Seconds(), "renewals/s"}}
	if k.ClientCPU >= 0 {
		list = append(list,
			Metric{float64(k.ClientCPU.Nanoseconds()) / float64(r.Ops), "cpu-ns/renewal"},
			Metric{k.ClientCPU.Seconds() / r.Elapsed.Seconds(), "cores"})
	}
	if k.ServerCPU >= 0 {
		list = append(list,
			Metric{float64(k.ServerCPU.Nanoseconds()) / float64(r.Ops), "server-cpu-ns/renewal"},
			Metric{k.ServerCPU.Seconds() / r.Elapsed.Seconds(), "server-cores"})
	}
	return append(list,
		Metric{k.Bytes, "B/lock"},
		Metric{float64(k.Goroutines), "goroutines"},
		Metric{float64(k.Lost), "lost"})
}
