// Package figures reads measured figures, files in the Go benchmark format, for the tables, reports and charts that show
// them, and formats them for all of these alike. It sums up by golang.org/x/perf, and refuses what would silently make a
// table of nothing: a file that is missing or empty, a line that cannot be read.
package figures

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
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

// A Summary is a median with its interval at a confidence of 95 %, which is infinite for fewer than LeastRounds values.
type Summary struct {
	Center, Low, High float64
	Rounds            int
}

// LeastRounds are what an interval takes.
const LeastRounds = 6

func (s Summary) hasInterval() bool { return !math.IsInf(s.Low, 0) && !math.IsInf(s.High, 0) }

// Includes1 says of a ratio that it has an interval, which contains 1: no difference was found.
func (s Summary) Includes1() bool { return s.hasInterval() && s.Low <= 1 && 1 <= s.High }

// Read reads the files. A cell that is in several of them has the values of all.
func Read(paths ...string) (*Set, error) {
	s := &Set{byName: map[string]*Cell{}}
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
			s.add(line)
		case *benchfmt.SyntaxError:
			return fmt.Errorf("figures: %w", line)
		}
	}
}

func (s *Set) add(r *benchfmt.Result) {
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

// Arrived is how many arrivals each round of a Load has had, by its rate: Ops are what was served, also of what had arrived
// before. 0 where nothing was served, for the round's length is not told then; nil in files that do not tell the goodput.
func (c *Cell) Arrived() []float64 {
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

// Summary sums a unit up; false where the cell does not have it.
func (c *Cell) Summary(unit string) (Summary, bool) {
	values := c.values[unit]
	return Summarize(values), len(values) > 0
}

// Summarize sums values up; of none it is zero.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sample := benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds) // it sorts what it is given
	sum := benchmath.AssumeNothing.Summary(sample, 0.95)
	return Summary{sum.Center, sum.Lo, sum.Hi, len(values)}
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
