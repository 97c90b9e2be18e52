package campaign

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Row of a table is the cells whose names have all of its where.
type Row struct {
	label  string
	where  []string
	strict bool // all columns must be there, but those that may lack; else the first
}

// A Column of a table is a unit.
type Column struct {
	label, unit string
	where       []string
	base        []string // not nil: how many times better than the row the cell with base is
	maybe       bool     // rows may lack it
	show        func(c *Campaign, kind, unit string, where []string) (string, error)
}

// Rows are some rows, or those that have a key, found when the table is made.
type Rows struct {
	list []Row
	key  string
	more func(value string) bool // not nil: those that the data have besides
}

func newRow(label string, where ...string) (Row, error) {
	return Row{label, where, true}, labelled(label, where)
}

func newColumn(label, unit string, where ...string) (Column, error) {
	show := func(c *Campaign, kind, unit string, where []string) (string, error) {
		q, err := c.Cell(kind, unit, where...)
		return q.String(), err
	}
	return Column{label: label, unit: unit, where: where, show: show}, labelled(label, append(where, unit))
}

// plain shows the median without its interval.
func plain(col Column) Column {
	col.show = func(c *Campaign, kind, unit string, where []string) (string, error) {
		return c.Median(kind, unit, where...)
	}
	return col
}

// worst shows the largest of the rounds.
func worst(col Column) Column {
	col.show = func(c *Campaign, kind, unit string, where []string) (string, error) {
		q, err := c.Worst(kind, unit, where...)
		return q.String(), err
	}
	return col
}

// better shows how many times better than the row base, "way=fair", is.
func better(base string, col Column) Column {
	col.base = strings.Fields(base)
	return col
}

// maybe is a column that rows may lack.
func maybe(col Column) Column {
	col.maybe = true
	return col
}

func newRows(list ...Row) Rows { return Rows{list: list} }

// only are the rows with these values of a key.
func only(key string, values ...string) Rows {
	r := Rows{key: key}
	for _, v := range values {
		r.list = append(r.list, Row{called(v), []string{key + "=" + v}, true})
	}
	return r
}

// called is how a row shows a value: a name as code.
func called(value string) string {
	if startsWithLetter(value) {
		return "`" + value + "`"
	}
	return value
}

// valueRows are the rows with the values that list has found.
func valueRows(key string, values []string) Rows { return only(key, values...) }

// every is the rows with these values of a key, which must be there, and after them all others that the data have: what
// was measured is not left out.
func every(key string, values ...string) Rows {
	r := only(key, values...)
	for i := range r.list {
		r.list[i].strict = false
	}
	r.more = func(string) bool { return true }
	return r
}

// rivals are as every, but for what is ours.
func rivals(key string, values ...string) Rows {
	r := every(key, values...)
	r.more = func(value string) bool { return !ours.MatchString(value) }
	return r
}

// What is ours, and the floors.
var ours = regexp.MustCompile(`^(setnx|setnx-verified|script|(locker|floor|polling|fair|cohort|loop)(-.*)?)$`)

func columns(list ...Column) []Column { return list }

// by are columns of one unit, one for each value of a key. A value with a "?" behind it is one that rows may lack.
func by(key, unit string, values ...string) []Column {
	var list []Column
	for _, v := range values {
		name, optional := strings.CutSuffix(v, "?")
		col, _ := newColumn(name, unit, key+"="+name) // the label is the value
		col.maybe = optional
		list = append(list, col)
	}
	return list
}

// Table is a Markdown table.
func (c *Campaign) Table(head, kind string, rows Rows, cols []Column, where ...string) (string, error) {
	if err := labelled(head, where); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("| " + head)
	for _, col := range cols {
		b.WriteString(" | " + col.label)
	}
	b.WriteString(" |\n| ---" + strings.Repeat(" | --:", len(cols)) + " |\n")
	shown := make([]bool, len(cols))
	for _, row := range c.resolve(rows, kind, cols[0], where) {
		b.WriteString("| " + row.label)
		for i, col := range cols {
			text, found, err := c.entry(kind, row, col, i == 0, where)
			if err != nil {
				return "", err
			}
			shown[i] = shown[i] || found
			b.WriteString(" | " + text)
		}
		b.WriteString(" |\n")
	}
	if i := slices.Index(shown, false); i >= 0 {
		return "", fmt.Errorf("campaign: %s: no row of %s with %q has anything in the column %q, %s with %q",
			c.where(), kind, where, cols[i].label, cols[i].unit, cols[i].where)
	}
	return b.String(), nil
}

const absent = "–"

// entry is what stands in a row's column, and whether its cell was found: of one that was, nothing may be known.
func (c *Campaign) entry(kind string, row Row, col Column, first bool, where []string) (text string, found bool, err error) {
	where = slices.Concat(where, col.where)
	if col.base != nil && slices.Equal(col.base, row.where) {
		return absent, false, nil
	}
	if col.base != nil {
		var q Quantity
		q, err = c.gain(kind, col.unit, col.base, row.where, where)
		text = q.String()
	} else {
		text, err = col.show(c, kind, col.unit, slices.Concat(where, row.where))
	}
	var missing *missingError
	if errors.As(err, &missing) && (col.maybe || !row.strict && !first) {
		return absent, false, nil
	}
	var partial *partialError
	if errors.As(err, &partial) && !row.strict {
		return fmt.Sprintf("in %d of %d rounds", partial.have, partial.of), true, nil
	}
	return text, err == nil, err
}

// resolve finds more rows: those that have the first column and are not in the list yet, by their names, for the order of
// the files is that of a shuffled round.
func (c *Campaign) resolve(rows Rows, kind string, first Column, where []string) []Row {
	list := slices.Clone(rows.list)
	if rows.more == nil {
		return list
	}
	must := slices.DeleteFunc(slices.Concat(where, first.where), func(w string) bool { return strings.Contains(w, "~") })
	for _, f := range c.find(kind, must) {
		row := Row{label: called(f.Key(rows.key)), where: []string{rows.key + "=" + f.Key(rows.key)}}
		known := slices.ContainsFunc(list, func(r Row) bool { return slices.Equal(r.where, row.where) })
		if !known && rows.more(f.Key(rows.key)) && len(f.Values(first.unit)) > 0 {
			list = append(list, row)
		}
	}
	slices.SortFunc(list[len(rows.list):], func(a, b Row) int { return cmp.Compare(a.where[0], b.where[0]) })
	return list
}
