package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A layout says how a kind of benchmark is shown. Each part of a benchmark's name says which row, which column, or, if
// it is neither, which table it belongs to.
type layout struct {
	figures.Kind
	rows     []string // the parts of a name that are a row; nil: all but the server
	column   string   // the part that is a column; "": the units are the columns
	apart    bool     // the rows do different work, and are not compared
	around1  bool     // the figures are ratios
	together bool     // the servers do not part the tables
}

// layoutOf is that of a kind. Of a kind that is not known nobody can say whether rows do the same work.
func layoutOf(kind string) layout {
	l := layout{Kind: figures.KindOf(kind), rows: []string{"approach", "way", "release"}}
	switch kind {
	case "AcquireRelease":
		l.column = "goroutines"
	case "Load":
		l.column = "rate"
	case "Contention", "KeepAlive", "Recovery", "Held", "Stale", "Crowd":
	case "Fault":
		l.rows, l.apart = []string{"case"}, true
	case "Verb":
		l.rows, l.apart = []string{"verb"}, true
	case "Ratio":
		l.rows, l.column, l.around1 = []string{"of"}, "goroutines", true
	default:
		l.rows, l.apart = nil, true
	}
	return l
}

// A section is all about one kind of benchmark.
type section struct {
	ID, Title, About string
	Groups           []group
}

// A group is what was measured in the same circumstances.
type group struct {
	Title       string
	Main, Other []table
	OtherNames  string
}

func sectionsOf(set *figures.Set) ([]section, error) {
	byKind := map[string][]*figures.Cell{}
	for _, c := range set.Cells {
		byKind[c.Kind] = append(byKind[c.Kind], c)
	}
	rank := func(kind string) int {
		i := slices.IndexFunc(figures.Kinds, func(k figures.Kind) bool { return k.Name == kind })
		return cmp.Or(i+1, len(figures.Kinds)+1) // those that are not known come last
	}
	kinds := slices.SortedFunc(maps.Keys(byKind), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), figures.Natural(a, b))
	})
	var list []section
	for i, kind := range kinds {
		l := layoutOf(kind)
		l.rows = varying(l.rows, byKind[kind])
		l.together = l.isTable("server") && l.oneServerEach(byKind[kind])
		groups, err := l.groups(byKind[kind])
		if err != nil {
			return nil, err
		}
		list = append(list, section{ID: fmt.Sprintf("s%d", i+1), Title: l.Title, About: l.About, Groups: groups})
	}
	return list, nil
}

// varying leaves out a part of the rows' names that all have in common, as release=lua; it is said above the table then.
func varying(rows []string, cells []*figures.Cell) []string {
	return slices.DeleteFunc(slices.Clone(rows), func(name string) bool {
		first := cells[0].Key(name)
		return name != rows[0] && first != "" &&
			!slices.ContainsFunc(cells, func(c *figures.Cell) bool { return c.Key(name) != first })
	})
}

// oneServerEach says that there are several servers, but no row was measured on two of them, as where etcd is beside
// locks on Redis. Then they are compared in one table.
func (l layout) oneServerEach(cells []*figures.Cell) bool {
	servers, several := map[string]string{}, false
	for _, c := range cells {
		row, server := l.rowName(c), c.Key("server")
		if known, ok := servers[row]; ok && known != server {
			return false
		}
		servers[row] = server
		several = several || server != cells[0].Key("server")
	}
	return l.rows != nil && several
}

func (l layout) groups(cells []*figures.Cell) (list []group, err error) {
	byTitle, order := map[string][]*figures.Cell{}, map[string][]string{}
	for _, c := range cells {
		title, values := l.circumstances(c)
		byTitle[title], order[title] = append(byTitle[title], c), values
	}
	titles := slices.SortedFunc(maps.Keys(byTitle), func(a, b string) int {
		return cmp.Or(slices.CompareFunc(order[a], order[b], figures.Natural), strings.Compare(a, b))
	})
	for _, title := range titles {
		g, err := l.group(title, byTitle[title])
		if err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, nil
}

// circumstances are the parts of a name that are neither row nor column, the server last.
func (l layout) circumstances(c *figures.Cell) (title string, values []string) {
	var parts []string
	for _, server := range []bool{false, true} {
		for _, k := range c.Keys {
			if l.isTable(k.Name) && server == (k.Name == "server") {
				parts, values = append(parts, k.String()), append(values, k.Value)
			}
		}
	}
	return strings.Join(parts, between), values
}

const between = " · " // no part of a benchmark's name has a space

func (l layout) isTable(key string) bool {
	switch {
	case key == "server" && l.together:
		return false
	case l.rows == nil:
		return key == "server"
	}
	return key != l.column && !slices.Contains(l.rows, key)
}

// row is the name of a cell's row, in parts. Where the kind is not known it is all of the benchmark's name.
func (l layout) row(c *figures.Cell) (row []string) {
	for _, k := range c.Keys {
		switch {
		case l.rows == nil && !l.isTable(k.Name):
			row = append(row, k.String())
		case slices.Contains(l.rows, k.Name):
			row = append(row, k.Value)
		}
	}
	if row == nil {
		return []string{c.Kind}
	}
	return row
}

func (l layout) rowName(c *figures.Cell) string { return strings.Join(l.row(c), between) }

func (l layout) group(title string, cells []*figures.Cell) (group, error) {
	g := group{Title: title}
	var names []string
	var mains, others []figures.Word
	for _, w := range l.WordsOf(cells) {
		if w.Main {
			mains = append(mains, w)
		} else {
			others, names = append(others, w), append(names, w.Name)
		}
	}
	g.OtherNames = strings.Join(names, ", ")
	for _, part := range []struct {
		words  []figures.Word
		tables *[]table
	}{{mains, &g.Main}, {others, &g.Other}} {
		tables, err := l.tables(cells, part.words)
		if err != nil {
			return g, err
		}
		for i := range tables {
			label := []string{l.Title, title, tables[i].Caption}
			tables[i].label = slices.DeleteFunc(label, func(s string) bool { return s == "" })
		}
		*part.tables = tables
	}
	return g, nil
}

// tables are one for each word if there is a part of the name for the columns, else one for all words.
func (l layout) tables(cells []*figures.Cell, words []figures.Word) (list []table, err error) {
	if len(words) == 0 {
		return nil, nil
	}
	if l.column == "" {
		t, err := l.byWord(cells, words)
		return []table{t}, err
	}
	for _, w := range words {
		t, err := l.byColumn(cells, w)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}
