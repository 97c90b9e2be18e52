package lockbench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/perf/benchmath"
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

// short has three digits and a unit: 41.2 µs.
func short(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	return scaled(float64(d.Nanoseconds()), []string{"ns", "µs", "ms", "s"})
}

func scaled(v float64, units []string) string {
	unit := units[0]
	for _, u := range units[1:] {
		if v < 999.5 {
			break
		}
		v, unit = v/1000, u
	}
	digits := 0
	if unit != "ns" {
		digits = max(0, 2-int(math.Floor(math.Log10(max(v, 1)))))
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
}

// count has a comma at the thousands: 24,120.
func count(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// interval is "0.98 – 1.03", or "" where there are too few rounds for one.
func interval(s benchmath.Summary, format string) string {
	if math.IsInf(s.Lo, 0) || math.IsInf(s.Hi, 0) {
		return ""
	}
	return fmt.Sprintf(format+" – "+format, s.Lo, s.Hi)
}

// tilde marks a ratio that may as well be 1.
func tilde(s benchmath.Summary) string {
	if interval(s, "%v") != "" && s.Lo <= 1 && 1 <= s.Hi {
		return "~"
	}
	return ""
}
