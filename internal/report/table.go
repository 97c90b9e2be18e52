package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A section is all about one kind of benchmark.
type section struct {
	Title, About string
	Groups       []group
}

// A group is what was measured in the same circumstances: a table of what is shown at once, and one of the rest.
type group struct {
	Title  string
	Tables []table
}

// A table has a row for each way to lock, and a column for each unit.
type table struct {
	Label  string // tells it from the other tables of the page
	Rounds string
	Corner string
	Heads  []figures.Word
	Rows   []row
}

type row struct {
	Name   string
	Words  string // what the way is, "" if the name says it
	Fields []*field
	cell   *figures.Cell
}

// A field is a figure of a row, with a bar that shows its size beside those of the other rows, and its interval as a line.
type field struct {
	figures.Figure
	Missing       bool
	Best          bool
	Same          bool   // of a ratio: no difference to 1 was found
	Bar, From, To string // the bar and its interval, in percent; "" without
}

// rowKeys are the parts of a benchmark's name that tell its row; the others tell its table. Of a kind that is not known all but
// the server tell the row: nobody can say whether rows do the same work.
func rowKeys(kind string) []string {
	switch kind {
	case "Fault":
		return []string{"case"}
	case "Verb":
		return []string{"verb"}
	case "Ratio":
		return []string{"of"}
	}
	if figures.KindOf(kind).Words == nil {
		return nil
	}
	return []string{"approach", "way", "release"}
}

// A layout is that of the cells of one kind.
type layout struct {
	figures.Kind
	rows     []string
	units    []string // the columns; nil: all
	together bool     // the servers do not part the tables
}

// sectionsOf has tables of all units, or of some.
func sectionsOf(set *figures.Set, units []string) (list []section, err error) {
	byKind := map[string][]*figures.Cell{}
	for _, c := range set.Cells {
		byKind[c.Kind] = append(byKind[c.Kind], c)
	}
	rank := func(kind string) int {
		i := slices.IndexFunc(figures.Kinds, func(k figures.Kind) bool { return k.Name == kind })
		return cmp.Or(i+1, len(figures.Kinds)+1) // those that are not known come last
	}
	for _, kind := range slices.SortedFunc(maps.Keys(byKind), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), figures.Natural(a, b))
	}) {
		cells := byKind[kind]
		l := layout{Kind: figures.KindOf(kind), rows: rowKeys(kind), units: units}
		l.together = l.oneServerEach(cells)
		groups, err := l.groups(cells)
		if err != nil {
			return nil, err
		}
		list = append(list, section{l.Title, l.About, groups})
	}
	return list, nil
}

// oneServerEach says that no row was measured on two servers, as where etcd is beside locks on Redis. Then they are compared
// in one table.
func (l layout) oneServerEach(cells []*figures.Cell) bool {
	servers := map[string]string{}
	for _, c := range cells {
		name, server := l.rowName(c), c.Key("server")
		if known, ok := servers[name]; ok && known != server {
			return false
		}
		servers[name] = server
	}
	return true
}

func (l layout) groups(cells []*figures.Cell) (list []group, err error) {
	byTitle, order := map[string][]*figures.Cell{}, map[string][]string{}
	for _, c := range cells {
		var parts, values []string
		for _, server := range []bool{false, true} { // the server last
			for _, k := range c.Keys {
				if server == (k.Name == "server") && l.isCircumstance(k.Name) {
					parts, values = append(parts, k.String()), append(values, k.Value)
				}
			}
		}
		title := strings.Join(parts, between)
		byTitle[title], order[title] = append(byTitle[title], c), values
	}
	for _, title := range slices.SortedFunc(maps.Keys(byTitle), func(a, b string) int {
		return cmp.Or(slices.CompareFunc(order[a], order[b], figures.Natural), strings.Compare(a, b))
	}) {
		g := group{Title: title}
		words := l.WordsOf(byTitle[title])
		for _, main := range []bool{true, false} {
			others := func(w figures.Word) bool {
				return w.Main != main || l.units != nil && !slices.Contains(l.units, w.Unit)
			}
			if some := slices.DeleteFunc(slices.Clone(words), others); len(some) > 0 {
				t, err := l.table(byTitle[title], some)
				if err != nil {
					return nil, err
				}
				t.Label = strings.TrimSuffix(l.Title+", "+title, ", ") + map[bool]string{true: "", false: ", more"}[main]
				g.Tables = append(g.Tables, t)
			}
		}
		list = append(list, g)
	}
	return list, nil
}

const between = " · " // no part of a benchmark's name has a space

func (l layout) isCircumstance(key string) bool {
	if key == "server" {
		return !l.together
	}
	return l.rows != nil && !slices.Contains(l.rows, key)
}

// defaultRelease is not said of a row.
var defaultRelease = figures.Key{Name: "release", Value: "lua"}

// row is the name of a cell's row, in parts. Where the kind is not known it is all of the benchmark's name.
func (l layout) row(c *figures.Cell) (parts []string) {
	for _, k := range c.Keys {
		switch {
		case l.rows == nil && k.Name != "server":
			parts = append(parts, k.String())
		case slices.Contains(l.rows, k.Name) && k != defaultRelease:
			parts = append(parts, k.Value)
		}
	}
	if parts == nil {
		return []string{c.Kind}
	}
	return parts
}

func (l layout) rowName(c *figures.Cell) string { return strings.Join(l.row(c), between) }

// table has a row for each cell, the floor first, which is what others are compared with.
func (l layout) table(cells []*figures.Cell, words []figures.Word) (table, error) {
	cells = slices.SortedFunc(slices.Values(cells), func(a, b *figures.Cell) int {
		x, y := l.row(a), l.row(b)
		if (x[0] == "floor") != (y[0] == "floor") {
			return map[bool]int{true: -1, false: 1}[x[0] == "floor"]
		}
		return slices.CompareFunc(x, y, figures.Natural)
	})
	t := table{Heads: words, Rounds: roundsText(cells)}
	var corner []string
	for _, name := range l.rows {
		if slices.ContainsFunc(cells, func(c *figures.Cell) bool { v := c.Key(name); return v != "" && v != defaultRelease.Value }) {
			corner = append(corner, name)
		}
	}
	t.Corner = cmp.Or(strings.Join(corner, between), "benchmark")
	for i, c := range cells {
		r := row{Name: l.rowName(c), cell: c}
		if i > 0 && t.Rows[i-1].Name == r.Name {
			return t, fmt.Errorf("report: %s and %s are the same but for the order of their parts", cells[i-1].Name, c.Name)
		}
		if way := l.row(c)[0]; l.rows != nil && figures.Way(l.Name, way) != way {
			r.Words = strings.ReplaceAll(figures.Way(l.Name, way), "`", "")
		}
		for _, w := range words {
			f, ok := c.Figure(w.Unit)
			r.Fields = append(r.Fields, &field{Figure: f, Missing: !ok, Same: ok && l.Name == "Ratio" && f.Includes1()})
		}
		t.Rows = append(t.Rows, r)
	}
	for i, w := range words {
		l.mark(t.Rows, i, w)
		drawBars(t.Rows, i)
	}
	return t, nil
}

// mark marks the best median of a column, and those that differ from it by nothing that was found: none where that is all,
// where there are too few rounds, and where rows do different work. In a Contention the floor locks nothing, and so cannot be
// the best.
func (l layout) mark(rows []row, column int, w figures.Word) {
	if w.Better == figures.Neither || !slices.Contains(rowKeys(l.Name), "way") {
		return
	}
	var in []*field
	for _, r := range rows {
		if f := r.Fields[column]; !f.Missing && (l.Name != "Contention" || !strings.HasPrefix(r.Name, "floor")) {
			in = append(in, f)
		}
	}
	if len(in) < 2 {
		return
	}
	first := slices.MinFunc(in, func(a, b *field) int {
		if w.Better == figures.More {
			a, b = b, a
		}
		return cmp.Compare(a.Center, b.Center)
	})
	var best []*field
	for _, f := range in {
		if differs, ok := f.Differs(first.Figure); ok && !differs {
			best = append(best, f)
		}
	}
	for _, f := range best {
		f.Best = len(best) < len(in)
	}
}

// drawBars draws bars from 0 that compare within a column. One interval that is far longer than all bars does not make them
// small: it is cut off. A single bar compares with nothing.
func drawBars(rows []row, column int) {
	longest, reach := 0.0, 0.0
	for _, r := range rows {
		if f := r.Fields[column]; f.drawable() {
			longest, reach = max(longest, f.Center), max(reach, f.Center)
			if f.Rounds >= figures.LeastRounds {
				reach = max(reach, f.High)
			}
		}
	}
	at := func(v float64) string { return fmt.Sprintf("%.2f%%", 100*min(max(v/min(reach, 1.5*longest), 0), 1)) }
	for _, r := range rows {
		if f := r.Fields[column]; f.drawable() && len(rows) > 1 {
			f.Bar = at(f.Center)
			if f.Rounds >= figures.LeastRounds {
				f.From, f.To = at(f.Low), at(f.High)
			}
		}
	}
}

func (f *field) drawable() bool { return !f.Missing && f.Center > 0 && !math.IsInf(f.Center, 0) }

// Value is the median; a throughput names what it is per.
func (f *field) Value() string {
	if f.Missing || f.Bound == figures.Unknown {
		return figures.Absent
	}
	if strings.HasSuffix(f.Unit, "/s") {
		return f.Median() + "/s"
	}
	return f.Median()
}

// Below is the interval, or why there is none.
func (f *field) Below() string {
	switch {
	case f.Missing:
		return ""
	case f.Bound == figures.Unknown:
		return "of too few"
	case f.Bound != figures.Exact:
		return "had not all ended"
	case f.Rounds < figures.LeastRounds:
		return figures.Plural(f.Rounds, "round")
	}
	return f.Interval(f.Unit)
}

// roundsText is "11 rounds", or "2 to 60 rounds".
func roundsText(cells []*figures.Cell) string {
	least, most := cells[0].Rounds, 0
	for _, c := range cells {
		least, most = min(least, c.Rounds), max(most, c.Rounds)
	}
	text := figures.Plural(most, "round")
	if least < most {
		text = fmt.Sprintf("%d to %s", least, text)
	}
	if most < figures.LeastRounds {
		text += fmt.Sprintf(": no interval and no comparison, which take %d", figures.LeastRounds)
	}
	return text
}
