// Package campaign writes what a campaign has measured, as Markdown from templates: each figure in it comes out of the
// raw data by a function, and what stands between the functions has no figures of its own. It fails, naming the file
// and the cell, where a cell is missing, has too few rounds for an interval, or is in two files.
package campaign

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A Campaign is a folder of results/: raw/*.txt, raw/newer/*.txt (the same cells on newer servers), environment.txt,
// charts/.
type Campaign struct {
	dir   string
	files []file
	use   []string // names of the files that are looked at; empty: all
	least int      // rounds that a cell must have
}

type file struct {
	name string // raw/contention.txt
	set  *figures.Set
}

// MinRounds are wanted of each cell, unless the template says that there are fewer.
const MinRounds = 10

// Open reads a campaign's raw data.
func Open(dir string) (*Campaign, error) {
	c := &Campaign{dir: dir, least: MinRounds}
	for _, folder := range []string{"raw/", "raw/newer/"} {
		paths, err := filepath.Glob(filepath.Join(dir, folder, "*.txt"))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			set, err := figures.Read(path)
			if err != nil {
				return nil, err
			}
			c.files = append(c.files, file{folder + filepath.Base(path), set})
		}
	}
	if len(c.files) == 0 {
		return nil, fmt.Errorf("campaign: %s has no raw/*.txt", dir)
	}
	return c, nil
}

// Use limits what is looked at to some files of raw/, where a cell is in several; none: all.
func (c *Campaign) Use(names ...string) error {
	c.use = nil
	for _, name := range names {
		name = "raw/" + name
		if !slices.ContainsFunc(c.files, func(f file) bool { return f.name == name }) {
			return fmt.Errorf("campaign: %s/%s is missing", c.dir, name)
		}
		c.use = append(c.use, name)
	}
	return nil
}

// Least says how many rounds are enough from here on. It returns "": templates call it.
func (c *Campaign) Least(rounds int) string {
	c.least = rounds
	return ""
}

// A found cell knows the file that it is from.
type found struct {
	*figures.Cell
	file string
}

// find finds the cells whose names have all of where: "key=value", or "key~value", which only chooses where there is a
// choice.
func (c *Campaign) find(kind string, where []string) []found {
	var must, prefer []string
	for _, w := range where {
		if name, value, ok := strings.Cut(w, "~"); ok {
			prefer = append(prefer, name+"="+value)
		} else {
			must = append(must, w)
		}
	}
	var list []found
	for _, f := range c.files {
		if len(c.use) > 0 && !slices.Contains(c.use, f.name) {
			continue
		}
		for _, cell := range f.set.Find(kind, must...) {
			list = append(list, found{cell, f.name})
		}
	}
	for _, p := range prefer {
		if preferred := having(list, p); len(preferred) > 0 {
			list = preferred
		}
	}
	return list
}

func having(list []found, where string) []found {
	name, value, _ := strings.Cut(where, "=")
	return slices.DeleteFunc(slices.Clone(list), func(f found) bool { return f.Key(name) != value })
}

// one is the only cell that find finds.
func (c *Campaign) one(kind string, where []string) (found, error) {
	list := c.find(kind, where)
	if len(list) == 1 {
		return list[0], nil
	}
	if len(list) == 0 {
		return found{}, &missingError{c.where(), kind, where, ""}
	}
	return found{}, fmt.Errorf("campaign: %s: several cells are %s with %q: %s in %s, %s in %s; say more, or which file",
		c.where(), kind, where, list[0].Name, list[0].file, list[1].Name, list[1].file)
}

// where is what was looked at, for messages.
func (c *Campaign) where() string {
	if len(c.use) == 0 {
		return c.dir + "/raw/*.txt"
	}
	return c.dir + "/" + strings.Join(c.use, ", ")
}

// A missingError is a cell that is not there, or has no such unit.
type missingError struct {
	place, kind string
	where       []string
	unit        string
}

func (e *missingError) Error() string {
	if e.unit != "" {
		return fmt.Sprintf("campaign: %s: %s has no %s", e.place, e.kind, e.unit)
	}
	return fmt.Sprintf("campaign: %s: no cell is %s with %q", e.place, e.kind, e.where)
}

// A partialError is a unit that some rounds of a cell have, as the time of a hand-off where in some there was none.
type partialError struct {
	place, cell, unit string
	have, of          int
}

func (e *partialError) Error() string {
	return fmt.Sprintf("campaign: %s: %s has %s in %d of its %d rounds", e.place, e.cell, e.unit, e.have, e.of)
}

// Environment is a line of environment.txt, "kernel: …".
func (c *Campaign) Environment(key string) (string, error) {
	path := filepath.Join(c.dir, "environment.txt")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("campaign: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && name == key {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("campaign: %s has no line %q", path, key+":")
}

// Config is what the files say of themselves above the cells of a kind: cpu, go, redis-version…
func (c *Campaign) Config(key, kind string, where ...string) (string, error) {
	list := c.find(kind, where)
	if len(list) == 0 {
		return "", &missingError{c.where(), kind, where, ""}
	}
	value := list[0].Cell.Config[key]
	for _, f := range list {
		if other := f.Cell.Config[key]; other != value || other == "" {
			return "", fmt.Errorf("campaign: %s/%s: %s is %q in %s, %q before", c.dir, f.file, key, other, f.Name, value)
		}
	}
	return value, nil
}
