package lockbench

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/perf/benchfmt"

	"github.com/redigolock/redigolock/bench"
)

// An output is the file of -out; nil: none.
type output struct {
	file   *os.File
	w      *benchfmt.Writer
	config []benchfmt.Config
	suffix string // GOMAXPROCS, as package testing appends it
}

func newOutput(o *options, s *bench.Server, h host) (*output, error) {
	if o.out == "" {
		return nil, nil
	}
	file, err := os.Create(o.out)
	if err != nil {
		return nil, fmt.Errorf("-out: %w", err)
	}
	out := &output{file: file, w: benchfmt.NewWriter(file), config: configLines(o, s, h)}
	if h.procs > 1 {
		out.suffix = "-" + strconv.Itoa(h.procs)
	}
	return out, nil
}

// configLines are what the figures depend on.
func configLines(o *options, s *bench.Server, h host) []benchfmt.Config {
	var list []benchfmt.Config
	for _, c := range [][2]string{
		{"goos", h.goos}, {"goarch", h.goarch}, {"cpu", h.cpu}, {"server", s.Name}, {"redis-version", s.Version},
		{"host", h.name}, {"go", h.goVersion}, {"commit", h.commit},
		{"kernel", h.kernel}, {loadKey, h.load}, {"settings", o.settings},
	} {
		if c[1] != "" {
			list = append(list, benchfmt.Config{Key: c[0], Value: []byte(c[1]), File: true})
		}
	}
	return list
}

const loadKey = "load-average" // at the start

// write writes one round of a workload.
func (o *output) write(name string, r round) error {
	if o == nil {
		return nil
	}
	values := []benchfmt.Value{{Value: r.PerOp(), Unit: "ns/op"}}
	for _, m := range r.metrics {
		values = append(values, benchfmt.Value{Value: m.Value, Unit: m.Unit})
	}
	return o.line(name, int(r.Ops), values)
}

// writeRatio writes one round of a pair.
func (o *output) writeRatio(name string, r, base bench.Result) error {
	if o == nil {
		return nil
	}
	var values []benchfmt.Value
	for _, m := range bench.RatioMetrics(r, base) {
		values = append(values, benchfmt.Value{Value: m.Value, Unit: m.Unit})
	}
	return o.line(name, int(r.Ops), values)
}

func (o *output) line(name string, ops int, values []benchfmt.Value) error {
	for i, v := range values {
		values[i].Value, _ = strconv.ParseFloat(strconv.FormatFloat(v.Value, 'g', 6, 64), 64)
	}
	err := o.w.Write(&benchfmt.Result{Config: o.config, Name: benchfmt.Name(name + o.suffix), Iters: ops, Values: values})
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return nil
}

func (o *output) close() error {
	if o == nil {
		return nil
	}
	if err := o.file.Close(); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return nil
}
