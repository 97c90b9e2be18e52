package lockbench

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/perf/benchfmt"

	"github.com/redigolock/redigolock/bench"
)

// A record is the file of -out.
type record struct {
	config []benchfmt.Config
	suffix string   // GOMAXPROCS, as package testing appends it
	file   *os.File // nil: no -out
	w      *benchfmt.Writer
}

func newRecord(o *options, s *bench.Server, h host) (*record, error) {
	r := &record{}
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
	return r, nil
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

// close is called also when it was stopped.
func (r *record) close() error {
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return nil
}
