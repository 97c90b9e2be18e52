package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A campaign is what the raw files of a folder say.
type campaign struct {
	folder string
	sets   []*figures.Set // of each file
	logs   [][]*logged    // of each file
}

func readCampaign(folder string) (*campaign, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s has no *.txt", folder)
	}
	c := &campaign{folder: folder}
	for _, path := range paths {
		set, err := figures.Read(path)
		if err != nil {
			return nil, err
		}
		c.sets = append(c.sets, set)
	}
	c.logs, err = readLogs(folder)
	return c, err
}

// find are the cells of a kind, each from one file. The closed loop that an open loop's rates are shares of is told only
// where there is no other.
func (c *campaign) find(kind string) []*figures.Cell {
	var files, closed [][]*figures.Cell
	for _, set := range c.sets {
		if list := set.Find(kind); kind == "AcquireRelease" && len(set.Find("Load")) > 0 {
			closed = append(closed, list)
		} else if len(list) > 0 {
			files = append(files, list)
		}
	}
	if len(files) == 0 {
		files = closed
	}
	return slices.Concat(oneFile(files, func(c *figures.Cell) *figures.Cell { return c })...)
}

// oneFile keeps, of what differs in the way only, that of one file: of the one that has most of these ways; of equals, of
// the first. Rounds of different files are of different lengths, and were not interleaved: they are neither pooled nor
// compared.
func oneFile[T any](files [][]T, cellOf func(T) *figures.Cell) [][]T {
	ways := make([]map[string]int, len(files)) // of each file, by all but the way
	for i, file := range files {
		ways[i] = map[string]int{}
		for _, c := range file {
			ways[i][allButTheWay(cellOf(c))]++
		}
	}
	kept := make([][]T, len(files))
	for i, file := range files {
		for _, c := range file {
			group, best := allButTheWay(cellOf(c)), 0
			for j := range ways {
				if ways[j][group] > ways[best][group] {
					best = j
				}
			}
			if best == i {
				kept[i] = append(kept[i], c)
			}
		}
	}
	return kept
}

// allButTheWay is the name of a cell without its way, and without the server, of which a way may have one of its own.
func allButTheWay(c *figures.Cell) string {
	var name strings.Builder
	name.WriteString(c.Kind)
	for _, k := range c.Keys {
		if k.Name != "server" && k.Name != "way" && k.Name != "approach" {
			name.WriteString("/" + k.Name + "=" + k.Value)
		}
	}
	return name.String()
}

// A cell is a benchmark's name and, but for a logged one, its figures.
type cell struct {
	*figures.Cell
	way string // which of ways
}

// cellsOf are the cells of one server: Redis where there is one, else the first. A way that has a server of its own, as
// etcd has, belongs to them. The sentence, for the notes, says what was left out.
func cellsOf(list []*figures.Cell) (chosen []cell, leftOut string) {
	if len(list) == 0 {
		return nil, ""
	}
	server := list[0].Key("server")
	if slices.ContainsFunc(list, func(c *figures.Cell) bool { return c.Key("server") == "redis" }) {
		server = "redis"
	}
	others := map[string]bool{}
	for _, c := range list {
		way := nameOf(c)
		if s := c.Key("server"); s != server && s != way {
			others[s] = true
			continue
		}
		chosen = append(chosen, cell{c, way})
	}
	if len(others) > 0 {
		names := slices.Sorted(maps.Keys(others))
		leftOut = fmt.Sprintf("This is on %s; what was measured on %s is in the tables.", server, strings.Join(names, ", "))
	}
	return chosen, leftOut
}

// nameOf is a cell's way. Contention has other names for two of them: its floor is no lock, but a bare message, and
// older files call the polling Locker by its approach.
func nameOf(c *figures.Cell) string {
	name := cmp.Or(c.Key("way"), c.Key("approach"))
	if c.Kind == "Contention" {
		switch name {
		case "floor":
			return "notify"
		case "locker":
			return "polling"
		}
	}
	return name
}

// names are the ways of cells, in the order of importance.
func names(cells []cell) []string {
	var list []string
	for _, c := range cells {
		if !slices.Contains(list, c.way) {
			list = append(list, c.way)
		}
	}
	slices.SortFunc(list, byRank)
	return list
}

// common are the cells that agree in keys: of the group with the most ways; of those, the one that is preferred
// ("64/4/0s"), then the one with the most cells, then the one with the greatest numbers. So the chart shows as much as it
// can at once.
func common(cells []cell, preferred string, keys ...string) []cell {
	groups := map[string][]cell{}
	for _, c := range cells {
		groups[groupOf(c, keys)] = append(groups[groupOf(c, keys)], c)
	}
	best := slices.MaxFunc(slices.Sorted(maps.Keys(groups)), func(a, b string) int {
		if d := len(names(groups[a])) - len(names(groups[b])); d != 0 {
			return d
		}
		switch preferred {
		case a:
			return 1
		case b:
			return -1
		}
		if d := len(groups[a]) - len(groups[b]); d != 0 {
			return d
		}
		return slices.CompareFunc(strings.Split(a, "/"), strings.Split(b, "/"), byNumber)
	})
	return groups[best]
}

func groupOf(c cell, keys []string) string {
	values := make([]string, len(keys))
	for i, key := range keys {
		values[i] = c.Key(key)
	}
	return strings.Join(values, "/")
}

func byNumber(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX != nil || errY != nil {
		return strings.Compare(b, a) // hold=0s before hold=1ms: nothing hides the hand-off
	}
	return cmp.Compare(x, y)
}

// condition says what cells have in common, as a reader would: "64 waiters of one key in 4 processes, hold 0s".
func condition(c cell, waiters string) string {
	s := strings.TrimSpace(waiters + " waiters of one key")
	switch n := c.Key("processes"); n {
	case "":
	case "1":
		s += " in one process"
	default:
		s += " in " + n + " processes"
	}
	if hold := c.Key("hold"); hold != "" {
		s += ", hold " + hold
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// point is a unit of a cell at an x.
func (c cell) point(x float64, unit string) (point, bool) {
	s, ok := c.Summary(unit)
	return point{x: x, y: s.Center, low: s.Low, high: s.High, hollow: c.MedianCensored(unit)}, ok
}

// machine says on what cells were measured, as far as their files know it.
func machine(cells []cell) string {
	var parts []string
	for _, key := range []string{"cpu", "cpus"} {
		if v := configs(cells, key); v != "" {
			parts = append(parts, v+strings.Repeat(" CPUs", strings.Count(key, "cpus")))
		}
	}
	var versions []string
	for _, c := range cells {
		for key := range c.Config {
			if strings.HasSuffix(key, "-version") && !slices.Contains(versions, key) {
				versions = append(versions, key)
			}
		}
	}
	slices.Sort(versions)
	for _, key := range versions {
		v, product := configs(cells, key), strings.TrimSuffix(key, "-version")
		if !strings.Contains(v, product) {
			v = product + " " + v
		}
		parts = append(parts, v)
	}
	if len(versions) == 0 {
		parts = append(parts, "the raw data does not say the server's version")
	}
	if v := configs(cells, "go"); v != "" {
		parts = append(parts, v)
	}
	return strings.Join(parts, " · ")
}

// configs are the values that the files of cells have for a key.
func configs(cells []cell, key string) string {
	var values []string
	for _, c := range cells {
		if v := c.Config[key]; v != "" && !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return strings.Join(values, " and ")
}

// rounds says what dots and bars are.
func rounds(cells []cell, unit string) string {
	least, most := math.MaxInt, 0
	for _, c := range cells {
		if n := len(c.Values(unit)); n > 0 {
			least, most = min(least, n), max(most, n)
		}
	}
	s := fmt.Sprintf("Medians of %d rounds", most)
	if least < most {
		s = fmt.Sprintf("Medians of %d to %d rounds", least, most)
	}
	switch {
	case most < 6:
		return s + ", too few for an interval."
	case least < 6:
		return s + ", with intervals at 95 % where there are 6 or more."
	}
	return s + ", with intervals at 95 %."
}
