package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/redigolock/redigolock/internal/figures"
)

// A TextStyle says how Text shows a set.
type TextStyle struct {
	Rounds string                       // behind each title
	Units  []string                     // the columns; nil: the main ones
	Note   func(c *figures.Cell) string // says what a row is, below the tables; "": nothing
}

// Text writes the tables for a terminal. Below those of a section it says what their words mean.
func Text(w io.Writer, set *figures.Set, style TextStyle) error {
	sections, err := sectionsOf(set, style.Units)
	if err != nil {
		return err
	}
	for _, s := range sections {
		fmt.Fprintf(w, "%s, %s\n\n%s\n\n", s.Title, style.Rounds, Wrap(s.About, 110))
		var below []string
		for _, g := range s.Groups {
			if len(g.Tables) == 0 { // it has none of the units
				continue
			}
			t := g.Tables[0]
			if g.Title != "" {
				fmt.Fprintln(w, g.Title)
			}
			t.text(w)
			fmt.Fprintln(w)
			for _, head := range t.Heads {
				if m, ok := figures.MeaningOf(head.Name); ok {
					below = append(below, m.Words+": "+m.Says)
				}
			}
			for _, r := range t.Rows {
				if slices.ContainsFunc(r.Fields, func(f *field) bool { return f.Best }) {
					below = append(below, "★: the best of a column, with those from which no difference was found")
				}
				if note := style.Note(r.cell); note != "" {
					below = append(below, r.Name+": "+note)
				}
			}
		}
		for i, line := range below {
			if !slices.Contains(below[:i], line) {
				fmt.Fprintf(w, "  %s\n", line)
			}
		}
		fmt.Fprintln(w)
	}
	return nil
}

// text writes the table with heads on two lines where they are wider than their columns.
func (t table) text(w io.Writer) {
	lines := [][]string{{""}, {t.Corner}}
	for _, r := range t.Rows {
		lines = append(lines, []string{r.Name})
	}
	for j, head := range t.Heads {
		width := 0
		star := slices.ContainsFunc(t.Rows, func(r row) bool { return r.Fields[j].Best })
		for i, r := range t.Rows {
			text := r.Fields[j].text()
			if r.Fields[j].Best {
				text += " ★"
			} else if star {
				text += "  "
			}
			lines[i+2], width = append(lines[i+2], text), max(width, utf8.RuneCountInString(text))
		}
		above, below := inTwo(head.Name, width)
		lines[0], lines[1] = append(lines[0], above), append(lines[1], below)
	}
	if strings.Join(lines[0], "") == "" {
		lines = lines[1:]
	}
	widths := make([]int, len(t.Heads)+1)
	for _, line := range lines {
		for j, text := range line {
			widths[j] = max(widths[j], utf8.RuneCountInString(text))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		for j, text := range line {
			pad := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(text))
			if j == 0 {
				text, pad = pad, text // its text is on the left
			}
			b.WriteString("  " + pad + text)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// text is the median; of a throughput and a ratio with its interval; the largest of what is the longest of a round.
func (f *field) text() string {
	switch {
	case f.Missing:
		return figures.Absent
	case strings.HasSuffix(f.Unit, "/s") || strings.HasSuffix(f.Unit, "ratio"):
		return f.String()
	case strings.HasSuffix(f.Unit, "-max-sec"):
		return f.Worst().Median()
	}
	return f.Median()
}

// inTwo is a head on two lines where it is wider than its column, and else on the second.
func inTwo(head string, width int) (above, below string) {
	words := strings.Fields(head)
	half := 0
	for half < len(words) && utf8.RuneCountInString(strings.Join(words[half:], " ")) > width {
		half++
	}
	half = min(half, len(words)/2) // no line is much longer than the other
	return strings.Join(words[:half], " "), strings.Join(words[half:], " ")
}

// Wrap breaks a text into lines.
func Wrap(text string, width int) string {
	var b strings.Builder
	n := 0
	for word := range strings.FieldsSeq(text) {
		if n > 0 && n+1+len(word) > width {
			b.WriteString("\n")
			n = 0
		} else if n > 0 {
			b.WriteString(" ")
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}
