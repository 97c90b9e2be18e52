// Package figures reads measured figures, files in the Go benchmark format, for the tables, reports and charts that show
// them, and formats them for all of these alike. It sums up by golang.org/x/perf, and refuses what would silently make a
// table of nothing: a file that is missing or empty, a line that cannot be read.
package figures

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchunit"
)

// A Set is the cells of some files, in the order in which they first come.
type Set struct {
	Cells    []*Cell
	Settings []Setting // of all files, in the order in which they first come
	byName   map[string]*Cell
}

// A Cell is one benchmark with the values of its rounds.
type Cell struct {
	Name   string            // "Contention/server=redis/way=fair", without "Benchmark" and GOMAXPROCS
	Kind   string            // "Contention"
	Keys   []Key             // server=redis, way=fair
	Config map[string]string // of the file: cpu, commit, redis-version…
	Rounds int               // a unit may have fewer: a round in which nothing was handed over has no such time
	Ops    []float64         // of each round
	values map[string][]float64
}

// A Key is a part of a benchmark's name.
type Key struct{ Name, Value string }

// String is "64 waiters", "1 process", "hold 1ms", "at 9,000/s", "against redsync".
func (k Key) String() string {
	value := k.Value
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		value = Thousands(value)
		single, plural := strings.CutSuffix(k.Name, "s")
		switch {
		case k.Name == "rate":
			return "at " + value + "/s"
		case plural && value == "1" && k.Name == "processes":
			return "1 process"
		case plural && value == "1":
			return "1 " + single
		case plural:
			return value + " " + k.Name
		}
	}
	switch {
	case value == "":
		return k.Name
	case k.Name == "to":
		return "against " + value
	case k.Name == "delay":
		return value + " round trip"
	}
	return k.Name + " " + value
}

// A Setting is a configuration line of the files, as cpu or commit, with each value that one of them has. A Cell that is
// in several files has the last one's only.
type Setting struct {
	Name   string
	Values []string
}

// New is a Set without cells.
func New() *Set { return &Set{byName: map[string]*Cell{}} }

// Read reads the files. A cell that is in several of them has the values of all.
func Read(paths ...string) (*Set, error) {
	s := New()
	for _, path := range paths {
		if err := s.read(path); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Set) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("figures: %w", err)
	}
	defer f.Close()
	found := false
	for r := benchfmt.NewReader(f, path); ; {
		if !r.Scan() {
			if r.Err() == nil && !found {
				return fmt.Errorf("figures: %s has no benchmark", path)
			}
			return r.Err()
		}
		switch line := r.Result().(type) {
		case *benchfmt.Result:
			found = true
			s.Add(line)
		case *benchfmt.SyntaxError:
			return fmt.Errorf("figures: %w", line)
		}
	}
}

// Add adds a round of a cell.
func (s *Set) Add(r *benchfmt.Result) {
	name := r.Name.String()
	if _, parts := r.Name.Parts(); len(parts) > 0 {
		if last := string(parts[len(parts)-1]); last[0] == '-' { // GOMAXPROCS
			name = strings.TrimSuffix(name, last)
		}
	}
	c := s.byName[name]
	if c == nil {
		c = NewCell(name)
		s.byName[name], s.Cells = c, append(s.Cells, c)
	}
	c.Rounds++
	c.Ops = append(c.Ops, float64(r.Iters))
	for _, config := range r.Config {
		c.Config[config.Key] = string(config.Value)
		s.set(config.Key, string(config.Value))
	}
	for _, v := range r.Values {
		value, unit := benchunit.Tidy(v.Value, v.Unit) // benchfmt leaves 0 ns as it is
		c.values[unit] = append(c.values[unit], value)
		if unit == "sec/op" && c.Kind == "AcquireRelease" { // the time that passes is a throughput, and no latency
			c.values["acq/s"] = append(c.values["acq/s"], 1/value)
		}
	}
}

// Setting are the values of a configuration line; nil if no file has it.
func (s *Set) Setting(name string) []string {
	for _, known := range s.Settings {
		if known.Name == name {
			return known.Values
		}
	}
	return nil
}

func (s *Set) set(name, value string) {
	i := slices.IndexFunc(s.Settings, func(known Setting) bool { return known.Name == name })
	if i < 0 {
		s.Settings = append(s.Settings, Setting{name, []string{value}})
	} else if known := &s.Settings[i]; !slices.Contains(known.Values, value) {
		known.Values = append(known.Values, value)
	}
}

// NewCell is a cell of a name, which has no rounds yet.
func NewCell(name string) *Cell {
	parts := strings.Split(name, "/")
	c := &Cell{Name: name, Kind: parts[0], Config: map[string]string{}, values: map[string][]float64{}}
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(part, "=")
		c.Keys = append(c.Keys, Key{key, value})
	}
	return c
}

// Key is the value of a part of the name, "" if it has none of that name.
func (c *Cell) Key(name string) string {
	for _, k := range c.Keys {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

// Number is the value of a part of the name that is a number.
func (c *Cell) Number(name string) (float64, error) {
	n, err := strconv.ParseFloat(c.Key(name), 64)
	if err != nil {
		return 0, fmt.Errorf("figures: %s: %s is no number", c.Name, name)
	}
	return n, nil
}

// arrived is how many arrivals each round of a Load has had, by its rate: Ops are what was served, also of what had arrived
// before. 0 where nothing was served, for the round's length is not told then; nil in files that do not tell the goodput.
func (c *Cell) arrived() []float64 {
	rate, err := c.Number("rate")
	goodput := c.Values("goodput/s")
	if err != nil || len(goodput) != len(c.Ops) {
		return nil
	}
	list := make([]float64, len(c.Ops))
	for i, served := range c.Ops {
		if goodput[i] > 0 {
			list[i] = rate * served / goodput[i]
		}
	}
	return list
}

// Values are those of all rounds, in their order. The units are those of benchfmt, which turns ns into seconds: sec/op,
// p99-sec, acq/s.
func (c *Cell) Values(unit string) []float64 { return c.values[unit] }

// Units are those that the cell has, sorted.
func (c *Cell) Units() []string {
	var list []string
	for unit := range c.values {
		list = append(list, unit)
	}
	slices.Sort(list)
	return list
}

// Find are the cells of a kind whose names have all of where, each "key=value".
func (s *Set) Find(kind string, where ...string) []*Cell {
	var list []*Cell
	for _, c := range s.Cells {
		if c.Kind == kind && c.matches(where) {
			list = append(list, c)
		}
	}
	return list
}

func (c *Cell) matches(where []string) bool {
	for _, w := range where {
		name, value, _ := strings.Cut(w, "=")
		if c.Key(name) != value {
			return false
		}
	}
	return true
}
