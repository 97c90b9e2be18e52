package lockbench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/bench"
)

// A histLog is the file of -hist: an HdrHistogram log with an interval for each cell that has one. It is written anew
// after each round, and so that there is always a whole one.
type histLog struct {
	path     string
	sections []*section
	past     map[string]*hdrhistogram.Histogram // those of before this run, by their tags
}

// linesComment is what the log has of its own: how many lines of -out it is of.
const linesComment = "[Lines: %d]"

func (h *histLog) write(lines int) error {
	text, err := h.text(lines)
	if err != nil {
		return err
	}
	whole := h.path + ".tmp"
	if err := os.WriteFile(whole, text, 0o666); err != nil {
		return err
	}
	return os.Rename(whole, h.path)
}

func (h *histLog) text(lines int) ([]byte, error) {
	var b bytes.Buffer
	w := hdrhistogram.NewHistogramLogWriter(&b)
	err := errors.Join(w.OutputLogFormatVersion(), w.OutputComment(fmt.Sprintf(linesComment, lines)), w.OutputLegend())
	for _, s := range h.sections {
		for _, c := range s.cells() {
			if hist := h.of(c); hist != nil {
				err = errors.Join(err, w.OutputIntervalHistogram(hist))
			}
		}
	}
	return b.Bytes(), err
}

// of is that of all rounds of a cell; nil if it has none.
func (h *histLog) of(c *cell) *hdrhistogram.Histogram {
	if !logged(c.workload) {
		return nil
	}
	tag := tagOf(c.workload)
	hist := h.past[tag]
	switch {
	case hist == nil && c.latency == nil:
		return nil
	case hist == nil:
		hist = c.latency
	case c.latency != nil:
		hist = hdrhistogram.Import(hist.Export())
		hist.Merge(c.latency)
		hist.SetStartTimeMs(h.past[tag].StartTimeMs())
		hist.SetEndTimeMs(c.latency.EndTimeMs())
	}
	hist.SetTag(tag)
	return hist
}

// logged says of which workloads there are histograms.
func logged(w bench.Workload) bool {
	switch w.(type) {
	case bench.Contention, offered:
		return true
	}
	return false
}

// tagOf is the benchmark's name. The log does not allow commas, blanks and line breaks in it.
func tagOf(w bench.Workload) string {
	return strings.NewReplacer(",", "_", " ", "_", "\r", "_", "\n", "_").Replace(w.Name())
}

// read takes the histograms of before, and returns how many lines they are of.
func (h *histLog) read() (lines int, err error) {
	text, err := os.ReadFile(h.path)
	if err != nil {
		return 0, err
	}
	lines = -1
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan() && strings.HasPrefix(sc.Text(), "#"); {
		if _, err := fmt.Sscanf(sc.Text(), "#"+linesComment, &lines); err == nil {
			break
		}
	}
	if lines < 0 {
		return 0, fmt.Errorf("%s does not say how many lines it is of", h.path)
	}
	h.past = map[string]*hdrhistogram.Histogram{}
	for r := hdrhistogram.NewHistogramLogReader(bytes.NewReader(text)); ; {
		hist, err := r.NextIntervalHistogram()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", h.path, err)
		}
		if hist == nil {
			return lines, nil
		}
		h.past[hist.Tag()] = hist
	}
}
