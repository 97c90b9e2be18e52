package lockbench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/perf/benchfmt"

	"github.com/redigolock/redigolock/bench"
)

// A record is the files of -out and -hist.
type record struct {
	config    []benchfmt.Config
	suffix    string   // GOMAXPROCS, as package testing appends it
	file      *os.File // nil: no -out
	w         *benchfmt.Writer
	hist      string                             // "": no -hist
	latency   map[string]*hdrhistogram.Histogram // of -hist, all rounds of a cell together, by its name
	latencies []string                           // their names, in order
}

func newRecord(o *options, s *bench.Server, h host) (*record, error) {
	r := &record{hist: o.hist, latency: map[string]*hdrhistogram.Histogram{}}
	if h.procs > 1 {
		r.suffix = "-" + strconv.Itoa(h.procs)
	}
	for _, c := range [][2]string{
		{"goos", h.goos}, {"goarch", h.goarch}, {"cpu", h.cpu}, {"server", s.Name}, {"redis-version", s.Version},
		{"host", h.name}, {"go", h.goVersion}, {"commit", h.commit},
		{"kernel", h.kernel}, {"load-average", h.load}, {"settings", o.settings},
	} {
		if c[1] != "" {
			r.config = append(r.config, benchfmt.Config{Key: c[0], Value: []byte(c[1]), File: true})
		}
	}
	if o.out != "" {
		var err error
		if r.file, err = os.Create(o.out); err != nil {
			return nil, fmt.Errorf("-out: %w", err)
		}
		r.w = benchfmt.NewWriter(r.file)
	}
	return r, r.writeHist() // of no round yet, so that a path that is wrong is told at once
}

// line is what one round has measured, in the Go benchmark format.
func (r *record) line(name string, ops int, metrics []bench.Metric) *benchfmt.Result {
	values := make([]benchfmt.Value, len(metrics))
	for i, m := range metrics {
		values[i].Unit = m.Unit
		values[i].Value, _ = strconv.ParseFloat(strconv.FormatFloat(m.Value, 'g', 6, 64), 64)
	}
	return &benchfmt.Result{Config: r.config, Name: benchfmt.Name(name + r.suffix), Iters: ops, Values: values}
}

func (r *record) write(line *benchfmt.Result) error {
	if r.file == nil {
		return nil
	}
	if err := r.w.Write(line); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return nil
}

// addLatency adds the latencies of a Load, or the hand-offs of a Contention, to those of its earlier rounds.
func (r *record) addLatency(w bench.Workload, res bench.Result) {
	if r.hist == "" || res.Latency == nil || res.Contest == nil && res.Loaded == nil {
		return
	}
	name, now := w.Name(), time.Now()
	all := r.latency[name]
	if all == nil {
		all = hdrhistogram.New(res.Latency.LowestTrackableValue(), res.Latency.HighestTrackableValue(), int(res.Latency.SignificantFigures()))
		all.SetTag(strings.ReplaceAll(name, ",", "_")) // which the format does not allow
		all.SetStartTimeMs(now.Add(-res.Elapsed).UnixMilli())
		r.latency[name], r.latencies = all, append(r.latencies, name)
	}
	all.Merge(res.Latency)
	all.SetEndTimeMs(now.UnixMilli())
}

func (r *record) writeHist() error {
	if r.hist == "" {
		return nil
	}
	var b bytes.Buffer
	w := hdrhistogram.NewHistogramLogWriter(&b)
	err := errors.Join(w.OutputLogFormatVersion(), w.OutputLegend())
	for _, name := range r.latencies {
		err = errors.Join(err, w.OutputIntervalHistogram(r.latency[name]))
	}
	if err = errors.Join(err, os.WriteFile(r.hist, b.Bytes(), 0o666)); err != nil {
		return fmt.Errorf("-hist: %w", err)
	}
	return nil
}

// close is called also when it was stopped.
func (r *record) close() error {
	err := r.writeHist()
	if r.file != nil {
		if closeErr := r.file.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("-out: %w", closeErr))
		}
	}
	return err
}
