package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/internal/figures"
)

// A logged cell is the histogram of all of its rounds, of nanoseconds.
type logged struct {
	*figures.Cell // without values
	histogram     *hdrhistogram.Histogram
}

// readLogs reads the logs of a folder, in the order of their names. Histograms of one tag in a file, its rounds, are
// merged.
func readLogs(folder string) ([][]*logged, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.hlog"))
	if err != nil {
		return nil, err
	}
	var files [][]*logged
	for _, path := range paths {
		list, err := readLog(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, list)
	}
	return files, nil
}

func readLog(path string) (list []*logged, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := hdrhistogram.NewHistogramLogReader(f)
	for n := 0; ; n++ {
		h, err := r.NextIntervalHistogram()
		switch {
		case err != nil:
			return nil, err
		case h == nil && n == 0:
			return nil, fmt.Errorf("has no histogram")
		case h == nil:
			return list, nil
		case h.Tag() == "":
			return nil, fmt.Errorf("histogram %d has no tag, which is to be the benchmark's name", n+1)
		}
		if list, err = addLog(list, h); err != nil {
			return nil, err
		}
	}
}

func addLog(list []*logged, h *hdrhistogram.Histogram) ([]*logged, error) {
	for _, l := range list {
		if l.Name == h.Tag() {
			if dropped := l.histogram.Merge(h); dropped > 0 {
				return nil, fmt.Errorf("%d values of %s are out of the range of an earlier histogram", dropped, l.Name)
			}
			return list, nil
		}
	}
	return append(list, &logged{figures.NewCell(h.Tag()), h}), nil
}
