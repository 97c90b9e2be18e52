package lockbench

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/perf/benchfmt"

	"github.com/redigolock/redigolock/bench"
)

// An output is the files of -out and -hist.
type output struct {
	file   *os.File // nil: no -out
	w      *benchfmt.Writer
	config []benchfmt.Config
	suffix string // GOMAXPROCS, as package testing appends it
	lines  int    // that the file has, but for configuration
	hist   *histLog
}

// newOutput opens what the options say. With -resume the sections take what is there, and it goes on behind that.
func newOutput(o *options, s *bench.Server, h host, sections []*section) (*output, error) {
	out := &output{config: configLines(o, s, h)}
	if h.procs > 1 {
		out.suffix = "-" + strconv.Itoa(h.procs)
	}
	if o.hist != "" {
		out.hist = &histLog{path: o.hist, sections: sections}
	}
	var kept int64
	if o.resume {
		var err error
		if kept, err = out.resume(o, sections); err != nil {
			return nil, fmt.Errorf("-resume: %w", err)
		}
	}
	if err := out.open(o.out, kept, h); err != nil {
		return nil, err
	}
	return out, out.logHistograms() // of no round yet, so that -resume finds it
}

// open opens the file to write behind the bytes that are kept of it.
func (o *output) open(path string, kept int64, h host) (err error) {
	switch {
	case path == "":
		return nil
	case kept == 0:
		o.file, err = os.Create(path)
	default:
		o.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			err = o.file.Truncate(kept)
		}
		if err == nil { // a configuration line would make another table of what follows
			_, err = fmt.Fprintf(o.file, "# resumed, load average %s\n", h.load)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("-out: %w", err), o.close())
	}
	o.w = benchfmt.NewWriter(o.file)
	return nil
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

// write writes what one round has measured.
func (o *output) write(name string, ops int, metrics []bench.Metric) error {
	if o.file == nil {
		return nil
	}
	values := make([]benchfmt.Value, len(metrics))
	for i, m := range metrics {
		values[i].Unit = m.Unit
		values[i].Value, _ = strconv.ParseFloat(strconv.FormatFloat(m.Value, 'g', 6, 64), 64)
	}
	err := o.w.Write(&benchfmt.Result{Config: o.config, Name: benchfmt.Name(name + o.suffix), Iters: ops, Values: values})
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	o.lines++
	return nil
}

// logHistograms comes after each whole round, when its lines are written.
func (o *output) logHistograms() error {
	if o.hist == nil {
		return nil
	}
	if err := o.hist.write(o.lines); err != nil {
		return fmt.Errorf("-hist: %w", err)
	}
	return nil
}

func (o *output) close() error {
	if o.file == nil {
		return nil
	}
	if err := o.file.Close(); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return nil
}
