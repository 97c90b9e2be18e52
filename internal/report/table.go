package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A table has a row for each way to lock.
type table struct {
	Caption, About string
	label          []string // tells it from the other tables of the page
	Corner         string
	Heads          []head
	Rows           []row
}

// Label is what a reader that does not see the headings above the table is told.
func (t table) Label() string { return strings.Join(t.label, ", ") }

type head struct{ Name, About string }

type row struct {
	Name     string
	Words    string // what the way is, "" if the name says it
	Baseline bool
	Fields   []*field
}

// A column is a figure of all rows; a cell may be nil.
type column struct {
	head  head
	word  figures.Word
	cells []*figures.Cell
}

// rowNames are those of the cells, the floor first.
func (l layout) rowNames(cells []*figures.Cell) []string {
	names := map[string][]string{}
	for _, c := range cells {
		names[l.rowName(c)] = l.row(c)
	}
	return slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		switch {
		case isFloor(a) != isFloor(b) && isFloor(a):
			return -1
		case isFloor(a) != isFloor(b):
			return 1
		}
		return cmp.Or(slices.CompareFunc(names[a], names[b], figures.Natural), cmp.Compare(a, b))
	})
}

// isFloor says whether a row is what others are compared with.
func isFloor(row string) bool {
	first, _, _ := strings.Cut(row, between)
	return first == "floor"
}

// place puts the cells into the order of the rows. Two of them in one place would be a figure lost.
func (l layout) place(rows []string, cells []*figures.Cell) ([]*figures.Cell, error) {
	list := make([]*figures.Cell, len(rows))
	for _, c := range cells {
		i := slices.Index(rows, l.rowName(c))
		if list[i] != nil {
			return nil, fmt.Errorf("report: %s and %s are the same but for the order of their parts",
				list[i].Name, c.Name)
		}
		list[i] = c
	}
	return list, nil
}

// byWord has the units as its columns.
func (l layout) byWord(cells []*figures.Cell, words []figures.Word) (table, error) {
	rows := l.rowNames(cells)
	placed, err := l.place(rows, cells)
	if err != nil {
		return table{}, err
	}
	var columns []column
	for _, w := range words {
		h := head{Name: w.Name}
		if !l.apart {
			h.About = string(w.Better)
		}
		columns = append(columns, column{h, w, placed})
	}
	t := l.table(rows, columns)
	t.Caption, t.About = "more figures", roundsText(cells, words[0].Unit)
	if words[0].Main {
		t.Caption = "main figures"
	}
	return t, nil
}

// byColumn has the values of a part of the name as its columns, and shows one unit.
func (l layout) byColumn(cells []*figures.Cell, w figures.Word) (table, error) {
	cells = slices.DeleteFunc(slices.Clone(cells), func(c *figures.Cell) bool { return len(c.Values(w.Unit)) == 0 })
	byValue := map[string][]*figures.Cell{}
	for _, c := range cells {
		value := c.Key(l.column)
		byValue[value] = append(byValue[value], c)
	}
	rows := l.rowNames(cells)
	var columns []column
	for _, value := range slices.SortedFunc(maps.Keys(byValue), figures.Natural) {
		placed, err := l.place(rows, byValue[value])
		if err != nil {
			return table{}, err
		}
		key := figures.Key{Name: l.column, Value: cmp.Or(value, "any")} // a benchmark of another make may do without
		columns = append(columns, column{head{Name: key.String()}, w, placed})
	}
	t := l.table(rows, columns)
	t.Caption = w.Name
	about := []string{string(w.Better), roundsText(cells, w.Unit)}
	t.About = strings.Join(slices.DeleteFunc(about, func(s string) bool { return s == "" }), between)
	return t, nil
}

func (l layout) table(rows []string, columns []column) table {
	t := table{Corner: l.corner(columns)}
	baseline := -1
	if !l.apart && !l.around1 && len(rows) > 1 {
		baseline = 0
	}
	for i, name := range rows {
		r := row{Name: name, Baseline: i == baseline}
		if way, _, _ := strings.Cut(name, between); l.rows != nil && figures.Way(l.Name, way) != way {
			r.Words = strings.ReplaceAll(figures.Way(l.Name, way), "`", "")
		}
		t.Rows = append(t.Rows, r)
	}
	var all []*field
	for _, c := range columns {
		t.Heads = append(t.Heads, c.head)
		fields := l.fields(rows, c, baseline)
		for i, f := range fields {
			t.Rows[i].Fields = append(t.Rows[i].Fields, f)
		}
		if len(rows) > 1 { // a single bar compares with nothing
			l.drawBars(fields)
		}
		all = append(all, fields...)
	}
	if l.around1 { // ratios compare across columns too
		l.drawBars(all)
	}
	return t
}

// corner names what the rows are.
func (l layout) corner(columns []column) string {
	var names []string
	for _, name := range l.rows {
		if slices.ContainsFunc(columns[0].cells, func(c *figures.Cell) bool { return c != nil && c.Key(name) != "" }) {
			names = append(names, name)
		}
	}
	return cmp.Or(strings.Join(names, between), "benchmark")
}

// roundsText is "11 rounds", or "2 to 60 rounds".
func roundsText(cells []*figures.Cell, unit string) string {
	var list []int
	for _, c := range cells {
		if n := len(c.Values(unit)); n > 0 {
			list = append(list, n)
		}
	}
	if len(list) == 0 {
		return ""
	}
	least, most := slices.Min(list), slices.Max(list)
	text := figures.Plural(most, "round")
	if least < most {
		text = fmt.Sprintf("%d to %s", least, text)
	}
	if most < figures.LeastRounds {
		text += fmt.Sprintf(": no interval and no comparison, which take %d", figures.LeastRounds)
	}
	return text
}
