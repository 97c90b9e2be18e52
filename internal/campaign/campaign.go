// Package campaign writes what a campaign has measured, as Markdown from templates: each figure in it comes out of the
// raw data by a function, and what stands between the functions has no figures of its own. It fails, naming the file
// and the cell, where a cell is missing or in two files.
package campaign

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/redigolock/redigolock/internal/figures"
)

// A Campaign is a folder of results/: raw/*.txt, raw/newer/*.txt (the same cells on newer servers), environment.txt,
// charts/.
type Campaign struct {
	dir   string
	files []file
}

type file struct {
	name string // contention, newer/redis8-verbs
	set  *figures.Set
}

// Open reads a campaign's raw data.
func Open(dir string) (*Campaign, error) {
	c := &Campaign{dir: dir}
	for _, folder := range []string{"", "newer/"} {
		paths, err := filepath.Glob(filepath.Join(dir, "raw", folder, "*.txt"))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			set, err := figures.Read(path)
			if err != nil {
				return nil, err
			}
			c.files = append(c.files, file{folder + strings.TrimSuffix(filepath.Base(path), ".txt"), set})
		}
	}
	if len(c.files) == 0 {
		return nil, fmt.Errorf("campaign: %s has no raw/*.txt", dir)
	}
	return c, nil
}

// Render reads the templates of a file and executes one of them, which is called as the file or as it is defined.
func (c *Campaign) Render(name, path string) (string, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"cell": c.Cell, "ratio": c.Ratio, "asked": asked, "table": c.table, "losses": c.losses, "changes": c.changes,
		"setting": c.Setting, "quoted": c.quoted, "chart": c.chart, "has": c.Has,
	}).ParseFiles(path)
	if err != nil {
		return "", fmt.Errorf("campaign: %w", err)
	}
	text, err := os.ReadFile(path)
	if err == nil {
		err = checkProse(path, string(text))
	}
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name, nil); err != nil {
		return "", fmt.Errorf("campaign: for %s: %w", c.dir, err)
	}
	return b.String(), nil
}

// A found cell knows the file that it is from.
type found struct {
	*figures.Cell
	file string
}

// find finds the cells of a selection, "KIND WHERE…": each WHERE is KEY=VALUE, a part of the cell's name ("KEY=": it has none),
// or file=NAME, a file of raw/; or the same with "~", which only chooses where there is a choice. Files of newer servers
// must be named.
func (c *Campaign) find(selection string) []found {
	words := strings.Fields(selection)
	var must, prefer []string
	for _, w := range words[1:] {
		if key, value, ok := strings.Cut(w, "~"); ok {
			prefer = append(prefer, key+"="+value)
		} else {
			must = append(must, w)
		}
	}
	var list []found
	for _, f := range c.files {
		if strings.HasPrefix(f.name, "newer/") && !slices.Contains(words, "file="+f.name) {
			continue
		}
		for _, cell := range f.set.Find(words[0]) {
			if x := (found{cell, f.name}); !slices.ContainsFunc(must, func(w string) bool { return !x.is(w) }) {
				list = append(list, x)
			}
		}
	}
	for _, p := range prefer {
		other := func(x found) bool { return !x.is(p) }
		if preferred := slices.DeleteFunc(slices.Clone(list), other); len(preferred) > 0 {
			list = preferred
		}
	}
	return list
}

func (x found) is(where string) bool {
	key, value, _ := strings.Cut(where, "=")
	if key == "file" {
		return x.file == value
	}
	return x.Key(key) == value
}

// one is the only cell of a selection.
func (c *Campaign) one(selection string) (found, error) {
	list := c.find(selection)
	switch len(list) {
	case 0:
		return found{}, &missingError{c.dir, selection, ""}
	case 1:
		return list[0], nil
	}
	return found{}, fmt.Errorf("campaign: %s: several cells are %s: %s in %s, %s in %s; say more, or file=NAME",
		c.dir, selection, list[0].Name, list[0].file, list[1].Name, list[1].file)
}

// A missingError is a cell that is not there, or has no such unit.
type missingError struct{ dir, selection, unit string }

func (e *missingError) Error() string {
	if e.unit != "" {
		return fmt.Sprintf("campaign: %s: %s has no %s", e.dir, e.selection, e.unit)
	}
	return fmt.Sprintf("campaign: %s: no cell is %s", e.dir, e.selection)
}

// A partialError is a unit that some rounds of a cell have, as the time of a hand-off where in some there was none.
type partialError struct {
	dir, cell, unit string
	have, of        int
}

func (e *partialError) Error() string {
	return fmt.Sprintf("campaign: %s: %s has %s in %d of its %d rounds", e.dir, e.cell, e.unit, e.have, e.of)
}

// Cell is a unit of the only cell of a selection.
func (c *Campaign) Cell(selection, unit string) (figures.Figure, error) {
	f, _, err := c.figure(selection, unit)
	return f, err
}

func (c *Campaign) figure(selection, unit string) (figures.Figure, found, error) {
	x, err := c.one(selection)
	if err != nil {
		return figures.Figure{}, x, err
	}
	f, ok := x.Figure(unit)
	if !ok {
		return f, x, &missingError{c.dir, x.Name + " in " + x.file, unit}
	}
	if f.Rounds < x.Rounds {
		return f, x, &partialError{c.dir, x.Name, unit, f.Rounds, x.Rounds}
	}
	return f, x, nil
}

// Ratio is how many times a unit of the cell with a that of the cell with b is; both have all of the selection. They are
// paired by round, so they must be of one file, whose rounds were interleaved.
func (c *Campaign) Ratio(selection, unit, a, b string) (figures.Figure, error) {
	of, ofCell, err := c.figure(selection+" "+a, unit)
	if err != nil {
		return of, err
	}
	to, toCell, err := c.figure(selection+" "+b, unit)
	if err != nil {
		return to, err
	}
	if ofCell.file != toCell.file {
		return of, fmt.Errorf("campaign: %s: rounds of %s in %s cannot be paired with those of %s in %s",
			c.dir, ofCell.Name, ofCell.file, toCell.Name, toCell.file)
	}
	ratio, ok := of.Over(to)
	if !ok {
		return ratio, &partialError{c.dir, toCell.Name, unit + " to divide by", 0, max(of.Rounds, to.Rounds)}
	}
	return ratio, nil
}

// Has is whether there are such cells.
func (c *Campaign) Has(selection string) bool { return len(c.find(selection)) > 0 }

// each are the values that a part of the cells' names has, numbers in their order, others in that of the files.
func (c *Campaign) each(key, selection string) (list []string, err error) {
	for _, x := range c.find(selection) {
		if v := x.Key(key); v != "" && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return nil, &missingError{c.dir, selection + " " + key + "=…", ""}
	}
	slices.SortStableFunc(list, figures.Natural)
	return list, nil
}

// Setting is a line of environment.txt, or the campaign's name ("campaign"); with a selection what all its cells have in
// common: the values of a part of their names, a configuration line of their files, how many "rounds" there are, and
// how many "ops" each round has.
func (c *Campaign) Setting(name string, selection ...string) (string, error) {
	if len(selection) == 0 {
		return c.environment(name)
	}
	list := c.find(selection[0])
	var values []string
	for _, x := range list {
		v := cmp.Or(x.Key(name), x.Config[name])
		switch name {
		case "rounds":
			v = strconv.Itoa(x.Rounds)
		case "ops":
			v = strconv.FormatFloat(x.Ops[0], 'f', 0, 64)
		}
		if v == "" {
			return "", &missingError{c.dir, x.Name + " in " + x.file, name}
		}
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return "", &missingError{c.dir, selection[0], ""}
	}
	if len(values) > 1 && list[0].Key(name) == "" && name != "rounds" {
		return "", fmt.Errorf("campaign: %s: %s of %s is %q", c.dir, name, selection[0], values)
	}
	slices.SortStableFunc(values, figures.Natural)
	if name == "rounds" && len(values) > 1 {
		return values[0] + " to " + values[len(values)-1], nil
	}
	for i, v := range values {
		if _, err := strconv.ParseUint(v, 10, 64); err == nil {
			values[i] = figures.Thousands(v)
		}
	}
	return strings.Join(values, ", "), nil
}

// environment is a line of environment.txt, "kernel: …".
func (c *Campaign) environment(name string) (string, error) {
	if name == "campaign" {
		return filepath.Base(c.dir), nil
	}
	path := filepath.Join(c.dir, "environment.txt")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("campaign: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("campaign: %s has no line %q", path, name+":")
}

// quoted is a figure of a text that a test has written: in the table below a heading, what stands in the column of the row whose
// first words are row.
func (c *Campaign) quoted(path, heading, row, column string) (string, error) {
	path = filepath.Join(c.dir, path)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("campaign: %w", err)
	}
	_, below, _ := strings.Cut(string(text), heading+"\n")
	table, _, _ := strings.Cut(below, "\n\n")
	head, rows, _ := strings.Cut(table, "\n")
	i := slices.Index(strings.Fields(head), column)
	for line := range strings.Lines(rows) {
		fields := strings.Fields(line)
		if strings.HasPrefix(strings.Join(fields, " "), row+" ") && i >= 0 && i < len(fields) {
			if d, err := time.ParseDuration(fields[i]); err == nil {
				return figures.Format(d.Seconds(), "sec"), nil
			}
			return fields[i], nil
		}
	}
	return "", fmt.Errorf("campaign: %s has no %s of %q below %q", path, column, row, heading)
}

// chart is a picture of charts/, NAME-light.svg and NAME-dark.svg, as a page in the campaign's folder shows it.
func (c *Campaign) chart(name, alt string) (string, error) {
	for _, page := range []string{"light", "dark"} {
		if _, err := os.Stat(filepath.Join(c.dir, "charts", name+"-"+page+".svg")); err != nil {
			return "", fmt.Errorf("campaign: %w", err)
		}
	}
	if naked := Naked(alt); len(naked) > 0 {
		return "", fmt.Errorf("campaign: the text %q has figures of its own, %q", alt, naked)
	}
	return fmt.Sprintf("<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"charts/%s-dark.svg\">\n"+
		"  <img alt=\"%s\" src=\"charts/%[1]s-light.svg\">\n</picture>\n", name, alt), nil
}
