package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

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
	var kinds []string
	for _, c := range set.Cells {
		if byKind[c.Kind] == nil {
			kinds = append(kinds, c.Kind)
		}
		byKind[c.Kind] = append(byKind[c.Kind], c)
	}
	rank := func(kind string) int {
		i := slices.IndexFunc(layouts, func(l layout) bool { return l.kind == kind })
		return cmp.Or(i+1, len(layouts)+1) // those that are not known come last
	}
	slices.SortFunc(kinds, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), natural(a, b))
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
		list = append(list, section{ID: fmt.Sprintf("s%d", i+1), Title: l.title, About: l.about, Groups: groups})
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

func (l layout) groups(cells []*figures.Cell) ([]group, error) {
	byTitle := map[string][]*figures.Cell{}
	order := map[string][]string{}
	for _, c := range cells {
		title, values := l.circumstances(c)
		byTitle[title], order[title] = append(byTitle[title], c), values
	}
	titles := slices.Collect(maps.Keys(byTitle))
	slices.SortFunc(titles, func(a, b string) int {
		return cmp.Or(naturally(order[a], order[b]), strings.Compare(a, b))
	})
	var list []group
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
				parts, values = append(parts, keyText(k)), append(values, k.Value)
			}
		}
	}
	return strings.Join(parts, between), values
}

func (l layout) isTable(key string) bool {
	switch {
	case key == "server" && l.together:
		return false
	case l.rows == nil:
		return key == "server"
	}
	return key != l.column && !slices.Contains(l.rows, key)
}

func keyText(k figures.Key) string {
	switch {
	case k.Value == "":
		return k.Name
	case k.Name == "to":
		return "against " + k.Value
	}
	return withValue(k.Name, k.Value)
}

// withValue is "64 waiters", "1 process", "hold 1ms".
func withValue(name, value string) string {
	_, err := strconv.ParseFloat(value, 64)
	single, plural := strings.CutSuffix(name, "s")
	switch {
	case err == nil && name == "rate":
		return value + "/s"
	case err != nil || !plural:
		return name + " " + value
	case value == "1" && name == "processes":
		return "1 process"
	case value == "1":
		return "1 " + single
	}
	return value + " " + name
}

// row is the name of a cell's row, in parts. Where the kind is not known it is all of the benchmark's name.
func (l layout) row(c *figures.Cell) []string {
	var row []string
	for _, k := range c.Keys {
		switch {
		case l.rows == nil && !l.isTable(k.Name):
			row = append(row, keyText(k))
		case slices.Contains(l.rows, k.Name):
			row = append(row, k.Value)
		}
	}
	if row == nil {
		return []string{c.Kind}
	}
	return row
}

func (l layout) group(title string, cells []*figures.Cell) (group, error) {
	g := group{Title: title}
	var names []string
	var mains, others []metric
	for _, m := range l.metricsOf(cells) {
		if m.main {
			mains = append(mains, m)
		} else {
			others, names = append(others, m), append(names, m.name)
		}
	}
	for _, part := range []struct {
		metrics []metric
		tables  *[]table
	}{{mains, &g.Main}, {others, &g.Other}} {
		tables, err := l.tables(cells, part.metrics)
		if err != nil {
			return g, err
		}
		for i := range tables {
			tables[i].Label = strings.Join([]string{l.title, title, tables[i].Caption}, ", ")
		}
		*part.tables = tables
	}
	g.OtherNames = strings.Join(names, ", ")
	return g, nil
}

// tables are one for each metric if there is a part of the name for the columns, else one for all metrics.
func (l layout) tables(cells []*figures.Cell, metrics []metric) ([]table, error) {
	if len(metrics) == 0 {
		return nil, nil
	}
	if l.column == "" {
		t, err := l.byMetric(cells, metrics)
		return []table{t}, err
	}
	var list []table
	for _, m := range metrics {
		t, err := l.byColumn(cells, m)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}
