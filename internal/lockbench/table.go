package lockbench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/redigolock/redigolock/internal/figures"
)

// A table is lines of cells; text is aligned to the left, figures to the right. An empty line stands between groups. A
// column without any cell is left out.
type table struct {
	head  []string
	left  int // how many columns are text
	lines [][]string
}

func (t *table) add(cells ...string) { t.lines = append(t.lines, cells) }

func (t *table) gap() { t.lines = append(t.lines, nil) }

func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.head))
	for _, line := range t.lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for i, cell := range t.head {
		if widths[i] > 0 {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range append([][]string{t.head}, t.lines...) {
		var b strings.Builder
		for i, cell := range line {
			if widths[i] == 0 {
				continue
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < t.left {
				cell += pad
			} else {
				cell = pad + cell
			}
			b.WriteString("  " + cell)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// short is a time in three digits: 41.2 µs.
func short(d time.Duration) string { return figures.Format(d.Seconds(), "sec") }

// quantile is "" of nothing.
func quantile(h *hdrhistogram.Histogram, percent float64) string {
	if h.TotalCount() == 0 {
		return ""
	}
	return short(time.Duration(h.ValueAtPercentile(percent)))
}

// count is a number of things, all of its digits: 24,120.
func count(v float64) string { return figures.Thousands(strconv.FormatFloat(v, 'f', 0, 64)) }

// tilde marks a ratio that may as well be 1.
func tilde(ratio figures.Summary) string {
	if ratio.Includes1() {
		return "~"
	}
	return ""
}
