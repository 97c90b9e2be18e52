package report

import (
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A layout says how a kind of benchmark is shown. Each part of a benchmark's name says which row, which column, or, if
// it is neither, which table it belongs to.
type layout struct {
	kind, title, about string
	rows               []string // the parts of a name that are a row; nil: all but the server
	column             string   // the part that is a column; "": the units are the columns
	metrics            []metric // in this order; what else has been measured comes behind
	noLock             bool     // the floor locks nothing, and so cannot be the best
	apart              bool     // the rows do different work, and are not compared
	around1            bool     // the figures are ratios
	together           bool     // the servers do not part the tables
}

// A metric is a unit that has been measured, what it is called, and which figures of it are good.
type metric struct {
	unit, name string
	better     direction
	main       bool // it is shown at once, the others behind a click
}

type direction string

const (
	less    direction = "less is better"
	more    direction = "more is better"
	neither direction = ""
)

// layoutOf is that of a kind. Of a kind that is not known nobody can say what is good, or whether rows do the same work.
func layoutOf(kind string) layout {
	i := slices.IndexFunc(layouts, func(l layout) bool { return l.kind == kind })
	if i >= 0 {
		return layouts[i]
	}
	return layout{kind: kind, title: kind, apart: true}
}

// metricsOf are those that the cells have: first as the layout orders them, then the common ones, then others by name.
func (l layout) metricsOf(cells []*figures.Cell) []metric {
	has := map[string]bool{}
	for _, c := range cells {
		for _, unit := range c.Units() {
			has[unit] = true
		}
	}
	var list []metric
	for _, m := range append(slices.Clone(l.metrics), commonMetrics...) {
		if has[m.unit] {
			list = append(list, m)
			delete(has, m.unit)
		}
	}
	var others []metric
	for unit := range has {
		others = append(others, metric{unit: unit, name: unit})
	}
	slices.SortFunc(others, func(a, b metric) int { return strings.Compare(a.unit, b.unit) })
	list = append(list, others...)
	if !slices.ContainsFunc(list, func(m metric) bool { return m.main }) {
		for i := range list {
			list[i].main = true
		}
	}
	return list
}
