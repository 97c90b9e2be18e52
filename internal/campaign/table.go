package campaign

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A column of a table is a unit of cells that have all of where, with its interval; plain: without; worst: the largest round.
type column struct {
	how, unit string
	where     []string
}

// columns reads "UNIT WHERE…; plain UNIT; worst UNIT". In a WHERE "KEY=*" makes a column for each value that was measured.
func (c *Campaign) columns(selection, text string) (list []column, err error) {
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		var col column
		if len(words) > 1 && (words[0] == "plain" || words[0] == "worst") {
			col.how, words = words[0], words[1:]
		}
		if len(words) == 0 {
			return nil, fmt.Errorf("campaign: a column of %q has no unit", text)
		}
		col.unit, col.where = words[0], words[1:]
		i := slices.IndexFunc(col.where, func(w string) bool { return strings.HasSuffix(w, "=*") })
		if i < 0 {
			list = append(list, col)
			continue
		}
		key := strings.TrimSuffix(col.where[i], "=*")
		values, err := c.each(key, selection)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			col.where = slices.Clone(col.where)
			col.where[i] = key + "=" + v
			list = append(list, col)
		}
	}
	return list, nil
}

// head is the column's word, and what is special of its cells.
func (col column) head(kind string) string {
	var head strings.Builder
	head.WriteString(figures.KindOf(kind).Word(col.unit).Name)
	for _, w := range col.where {
		if key, value, ok := strings.Cut(w, "="); ok && key != "file" {
			head.WriteString(", " + figures.Key{Name: key, Value: value}.String())
		}
	}
	return head.String()
}

// A row is the cells whose names have all of where.
type row struct {
	label string
	where string
	must  bool // its first column must be there
}

// What is ours, the floors, and their copies.
var ours = regexp.MustCompile(`^(setnx|script|locker|floor|polling|fair|cohort|loop)(-.*)?$`)

// rows reads "KEY: VALUE… *": the rows with these values of a part of the cells' names, which must be there; "*": after them all
// others that were measured, by name; "rivals": the same without ours. KEY and VALUE may have several parts: "of/to: a/b".
func (c *Campaign) rows(selection, text string) (list []row, err error) {
	head, values, ok := strings.Cut(text, ":")
	if !ok {
		return nil, fmt.Errorf("campaign: rows %q are no KEY: VALUE…", text)
	}
	kind, _, _ := strings.Cut(selection, " ")
	keys := strings.Split(head, "/")
	for v := range strings.FieldsSeq(values) {
		if v != "*" && v != "rivals" {
			list = append(list, newRow(kind, keys, strings.Split(v, "/"), true))
			continue
		}
		measured, err := c.each(keys[0], selection)
		if err != nil {
			return nil, err
		}
		for _, m := range measured {
			r := newRow(kind, keys, []string{m}, false)
			known := slices.ContainsFunc(list, func(other row) bool { return other.where == r.where })
			if !known && (v == "*" || !ours.MatchString(m)) {
				list = append(list, r)
			}
		}
	}
	return list, nil
}

func newRow(kind string, keys, values []string, must bool) row {
	var labels, where []string
	for i, v := range values {
		label := v
		if k := keys[i]; k == "way" || k == "approach" || k == "of" || k == "to" {
			label = figures.Way(kind, v)
		}
		if label == v && startsWithLetter(v) {
			label = "`" + v + "`"
		}
		labels, where = append(labels, label), append(where, keys[i]+"="+v)
	}
	between := ", "
	if keys[0] == "of" {
		between = " ÷ "
	}
	return row{strings.Join(labels, between), strings.Join(where, " "), must}
}

// table is a Markdown table.
func (c *Campaign) table(selection, rowText, columnText string) (string, error) {
	cols, err := c.columns(selection, columnText)
	if err != nil {
		return "", err
	}
	rows, err := c.rows(selection, rowText)
	if err != nil {
		return "", err
	}
	kind, _, _ := strings.Cut(selection, " ")
	head, _, _ := strings.Cut(rowText, ":")
	lines := [][]string{{strings.ReplaceAll(head, "/", ", ")}, {"---"}}
	for _, col := range cols {
		lines[0], lines[1] = append(lines[0], col.head(kind)), append(lines[1], "--:")
	}
	shown := make([]bool, len(cols))
	for _, r := range rows {
		line, some := []string{r.label}, false
		for i, col := range cols {
			text, err := c.entry(selection, r, col)
			if err != nil && i == 0 && r.must {
				return "", err
			}
			if err == nil {
				shown[i], some = true, true
			} else if text = figures.Absent; !absent(err, &text) {
				return "", err
			}
			some = some || text != figures.Absent
			line = append(line, text)
		}
		if some {
			lines = append(lines, line)
		}
	}
	if i := slices.Index(shown, false); i >= 0 {
		return "", fmt.Errorf("campaign: %s: no row of %s has %s %s", c.dir, selection, cols[i].unit, strings.Join(cols[i].where, " "))
	}
	return markdown(lines), nil
}

func markdown(lines [][]string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("| " + strings.Join(line, " | ") + " |\n")
	}
	return b.String()
}

// absent says that a row may lack a figure, and what stands in its place.
func absent(err error, text *string) bool {
	var missing *missingError
	var partial *partialError
	if errors.As(err, &partial) {
		*text = fmt.Sprintf("in %d of %d rounds", partial.have, partial.of)
		return true
	}
	return errors.As(err, &missing)
}

// entry is what stands in a row's column.
func (c *Campaign) entry(selection string, r row, col column) (string, error) {
	f, err := c.Cell(selection+" "+strings.Join(col.where, " ")+" "+r.where, col.unit)
	switch {
	case err != nil:
		return "", err
	case col.how == "plain":
		return f.Median(), nil
	case col.how == "worst":
		return f.Worst().String(), nil
	}
	return f.String(), nil
}

// gain is how many times better ours is than another.
func (c *Campaign) gain(selection, unit, our, other string) (figures.Figure, error) {
	kind, _, _ := strings.Cut(selection, " ")
	if figures.KindOf(kind).Word(unit).Better == figures.More {
		return c.Ratio(selection, unit, our, other)
	}
	return c.Ratio(selection, unit, other, our)
}

// losses are the rows of a table of all figures in which ours, "way=fair", is worse than a rival, by an interval that
// does not include 1, or by a bound below 1: where, ours, the rival, the figure, and how many times better ours is.
func (c *Campaign) losses(selection, our, columnText string) (string, error) {
	cols, err := c.columns(selection, columnText)
	if err != nil {
		return "", err
	}
	key, _, _ := strings.Cut(our, "=")
	rows, err := c.rows(selection, key+": rivals")
	if err != nil {
		return "", err
	}
	kind, _, _ := strings.Cut(selection, " ")
	var lines [][]string
	for _, r := range rows {
		for _, col := range cols {
			f, err := c.gain(selection+" "+strings.Join(col.where, " "), col.unit, our, r.where)
			var text string
			if err != nil && !absent(err, &text) {
				return "", err
			}
			if _, high := f.Ends(); err == nil && f.Rounds >= figures.LeastRounds && high < 1 {
				lines = append(lines, []string{figures.KindOf(kind).Title + circumstances(selection), newRow(kind, []string{key}, []string{our[len(key)+1:]}, true).label,
					r.label, col.head(kind), f.String()})
			}
		}
	}
	return markdown(lines), nil
}

func circumstances(selection string) (text string) {
	for _, w := range strings.Fields(selection)[1:] {
		if key, value, ok := strings.Cut(w, "="); ok && key != "file" && value != "" {
			text += ", " + figures.Key{Name: key, Value: value}.String()
		}
	}
	return text
}

// changes are the rows of a table of what an earlier campaign's raw file, beside this one's folder, has of the units: before, now, and
// the ratio of the medians if the rounds differ.
func (c *Campaign) changes(path, units string) (string, error) {
	before, err := figures.Read(filepath.Join(c.dir, path))
	if err != nil {
		return "", err
	}
	var lines [][]string
	for _, old := range before.Cells {
		var selection strings.Builder
		selection.WriteString(old.Kind)
		for _, k := range old.Keys {
			if k.Name != "ttl" { // a renewal costs what it costs
				selection.WriteString(" " + k.Name + "=" + k.Value)
			}
		}
		for unit := range strings.FieldsSeq(units) {
			was, ok := old.Figure(unit)
			if !ok {
				continue
			}
			is, err := c.Cell(selection.String()+" delay= file~rivals file~contention-rivals", unit)
			now, change := is.String(), figures.Absent
			if err != nil && !absent(err, &now) {
				return "", err
			} else if err != nil {
				now = figures.Absent
			}
			if differs, ok := is.Differs(was); err == nil && ok && !differs {
				change = "~"
			} else if err == nil && ok {
				change = figures.Significant(is.Center/was.Center) + "×"
			}
			lines = append(lines, []string{"`" + old.Name + "`", figures.KindOf(old.Kind).Word(unit).Name, was.String(), now, change})
		}
	}
	return markdown(lines), nil
}

// asked says what was asked of a figure, the figure, and whether it came out: three columns of a table.
func asked(op string, bound float64, f figures.Figure) (string, error) {
	if op != "at least" && op != "at most" {
		return "", fmt.Errorf("campaign: asked %q: it is at least, or at most", op)
	}
	limit := figures.Short(bound, f.Unit)
	low, high := f.Ends()
	if op == "at most" {
		bound, low, high = -bound, -high, -low
	}
	shown := f.String()
	if f.Ratio { // with its median also where the interval includes 1
		shown = f.Full()
	}
	verdict := "open: the interval contains what was asked"
	switch {
	case low >= bound:
		verdict = "yes"
	case high < bound:
		verdict = "no"
	case f.Bound != figures.Exact:
		verdict = "open: it is only a bound"
	case f.Rounds < figures.LeastRounds:
		verdict = "open: too few rounds"
	}
	return fmt.Sprintf("%s %s | %s | %s", op, limit, shown, verdict), nil
}
