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
	// Run ends early with the context's cause when ctx ends, within a second, or at a server that hangs, when the commands on
	// their way have timed out.
	Run(ctx context.Context) (Result, error)
}

// A Result is what one Run has measured.
type Result struct {
	Ops     int64                   // acquire and release together are one; or a renewal, or a recovery
	Elapsed time.Duration           // of all Ops, which run side by side where there are several goroutines
	Latency *hdrhistogram.Histogram // ns of each op; of a Contention, of each hand-off; of a KeepAlive, its lateness
	Allocs  float64                 // allocations of each op; negative where it is not known
	CPU     *CPU                    // of all Ops together; nil of a Verb and a Recovery
	Cost    *Cost                   // likewise, and nil of a KeepAlive
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

// metrics are figures that are collected.
type metrics []Metric

func (m *metrics) add(value float64, unit string) { *m = append(*m, Metric{value, unit}) }

// addKnown leaves out what is below zero, and so not known.
func (m *metrics) addKnown(value float64, unit string) {
	if value >= 0 {
		m.add(value, unit)
	}
}

// addPercentile leaves out what has none.
func (m *metrics) addPercentile(h *hdrhistogram.Histogram, p float64, unit string) {
	if h != nil && h.TotalCount() > 0 {
		m.add(float64(h.ValueAtPercentile(p)), unit)
	}
}

// Metrics are the figures of a result beside the time per op.
func (r Result) Metrics() []Metric {
	var m metrics
	if r.Recovered == nil {
		m.addPercentile(r.Latency, 50, "p50-ns")
		m.addPercentile(r.Latency, 99, "p99-ns")
	}
	n, cpuOf, costOf := float64(r.Ops), "op", "op"
	switch {
	case r.Contest != nil:
		costOf = "acq"
		r.addContest(&m)
	case r.Kept != nil:
		cpuOf = "renewal"
		r.addKept(&m)
	case r.Loaded != nil:
		r.addLoaded(&m)
	case r.Recovered != nil:
		r.Recovered.addTo(&m)
	}
	if c := r.CPU; c != nil {
		m.addKnown(float64(c.Client)/n, "cpu-ns/"+cpuOf)
		m.addKnown(float64(c.Server)/n, "server-cpu-ns/"+cpuOf)
	}
	if c := r.Cost; c != nil {
		m.addKnown(float64(c.Calls)/n, "cmds/"+costOf)
		if r.Contest != nil {
			m.addKnown(float64(c.EvalSha)/n, "evalsha/"+costOf)
		}
		m.addKnown(float64(c.Reads)/n, "reads/"+costOf)
		m.addKnown(float64(c.Bytes)/n, "net-B/"+costOf)
	}
	m.addKnown(r.Allocs, "allocs/op")
	return m
}

func (r Result) addContest(m *metrics) {
	c := r.Contest
	m.add(float64(r.Ops)/r.Elapsed.Seconds(), "acq/s")
	m.add(c.Jain, "jain")
	m.add(c.Again, "again")
	m.addPercentile(c.Handoff, 100, "max-ns")
	m.addPercentile(c.Inside, 50, "inside-p50-ns")
	m.addPercentile(c.Across, 50, "across-p50-ns")
	m.add(float64(c.WaitP50), "wait-p50-ns")
	m.add(float64(c.WaitP99), "wait-p99-ns")
	m.add(float64(c.WaitP99)/float64(c.Round), "wait-p99-rounds")
	m.add(c.WaitBeyond, "wait-beyond")
	m.add(float64(c.Longest), "longest-ns")
	m.add(float64(c.Longest)/float64(c.Round), "longest-rounds")
	m.add(float64(c.Waiting), "waiting")
}

func (r Result) addLoaded(m *metrics) {
	m.addPercentile(r.Latency, 99.9, "p99.9-ns")
	m.add(float64(r.Ops)/r.Elapsed.Seconds(), "goodput/s")
	m.add(float64(r.Loaded.Unserved), "unserved")
	m.add(float64(r.Loaded.Failed), "failed")
	m.addPercentile(r.Loaded.Late, 50, "generator-p50-ns")
	m.addPercentile(r.Loaded.Late, 99, "generator-p99-ns")
}

func (r Result) addKept(m *metrics) {
	m.add(float64(r.Ops)/r.Elapsed.Seconds(), "renewals/s")
	m.addKnown(r.CPU.Client.Seconds()/r.Elapsed.Seconds(), "cores")
	m.addKnown(r.CPU.Server.Seconds()/r.Elapsed.Seconds(), "server-cores")
	m.add(r.Kept.Bytes, "B/lock")
	m.add(float64(r.Kept.Goroutines), "goroutines")
	m.add(float64(r.Kept.Lost), "lost")
}
