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

	"github.com/redigolock/redigolock/internal/figures"
)

// Render reads the templates of some files and executes one of them, which is called as its file or as it is defined.
// The files may define what others use; of two definitions the later counts.
func (c *Campaign) Render(name string, paths ...string) (string, error) {
	t, err := template.New("").Funcs(c.functions()).Option("missingkey=error").ParseFiles(paths...)
	if err != nil {
		return "", fmt.Errorf("campaign: %w", err)
	}
	for _, each := range t.Templates() {
		if each.Tree == nil {
			continue
		}
		if err := checkProse(each.Tree); err != nil {
			return "", fmt.Errorf("campaign: for %s: %w", c.dir, err)
		}
	}
	var b strings.Builder
	c.use, c.least = nil, MinRounds
	if err := t.ExecuteTemplate(&b, name, nil); err != nil {
		return "", fmt.Errorf("campaign: for %s: %w", c.dir, err)
	}
	return b.String(), nil
}

// functions are what the templates call; results/README.md is their manual.
func (c *Campaign) functions() template.FuncMap {
	return template.FuncMap{
		// what is looked at, and where; these print nothing
		"use":   func(names ...string) (string, error) { return "", c.Use(names...) },
		"least": c.Least,
		"where": func(key, value string) string { return key + "=" + value },
		// figures
		"cell": c.Cell, "median": c.Median, "worst": c.Worst, "perSecond": c.PerSecond, "ratio": c.CellRatio,
		"within": c.within, "after": c.after, "asked": asked, "rounds": c.rounds, "share": c.share, "losses": c.Losses, "ops": c.ops,
		// tables
		"table": c.Table, "rows": newRows, "row": newRow, "only": only, "values": valueRows, "every": every, "rivals": rivals,
		"columns": columns, "by": by,
		"col": newColumn, "plain": plain, "largest": worst, "better": better, "maybe": maybe,
		// settings
		"join": func(list []string) string { return strings.Join(list, ", ") },
		"is":   c.is, "list": c.list, "number": printNumber, "has": c.Has, "name": func() string { return filepath.Base(c.dir) },
		"config": c.Config, "environment": c.Environment, "confidence": func() string { return "95 %" },
		"minRounds": func() int { return MinRounds },
		"shareOf":   c.shareOf,
		"chart":     c.chart, "rootChart": c.rootChart,
	}
}

// rounds are the fewest and the most rounds of the cells of a kind.
func (c *Campaign) rounds(kind, unit string, where ...string) (string, error) {
	var counts []int
	for _, f := range c.find(kind, where) {
		if n := len(f.Values(unit)); n > 0 {
			counts = append(counts, n)
		}
	}
	if len(counts) == 0 {
		return "", &missingError{c.where(), kind, where, ""}
	}
	if low, high := slices.Min(counts), slices.Max(counts); low != high {
		return fmt.Sprintf("%d to %d", low, high), nil
	}
	return strconv.Itoa(counts[0]), nil
}

// ops is how many ops each round of the cells of a kind had, which must be the same for all.
func (c *Campaign) ops(kind string, where ...string) (string, error) {
	list := c.find(kind, where)
	if len(list) == 0 {
		return "", &missingError{c.where(), kind, where, ""}
	}
	n := list[0].Ops[0]
	for _, f := range list {
		if i := slices.IndexFunc(f.Ops, func(other float64) bool { return other != n }); i >= 0 {
			return "", fmt.Errorf("campaign: %s: %s has %v ops, others %v", c.where(), f.Name, f.Ops[i], n)
		}
	}
	return figures.Format(n, "ops"), nil
}

// is prints the value of "key=value" after it has seen that there are such cells.
func (c *Campaign) is(kind, where string) (string, error) {
	_, value, _ := strings.Cut(where, "=")
	if !c.Has(kind, where) {
		return "", &missingError{c.where(), kind, []string{where}, ""}
	}
	return value, nil
}

// Has is whether there are such cells.
func (c *Campaign) Has(kind string, where ...string) bool { return len(c.find(kind, where)) > 0 }

// list are the values that a key has in the names of the cells, numbers in their order, others in that of the files.
func (c *Campaign) list(kind, key string, where ...string) ([]string, error) {
	var list []string
	for _, f := range c.find(kind, where) {
		if v := f.Key(key); v != "" && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return nil, &missingError{c.where(), kind, append([]string{key + "=…"}, where...), ""}
	}
	numbers := make(map[string]float64)
	for _, v := range list {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return list, nil
		}
		numbers[v] = n
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Compare(numbers[a], numbers[b]) })
	return list, nil
}

// printNumber writes what list or is gives with its thousands separated.
func printNumber(value string) (string, error) {
	if _, err := strconv.ParseUint(value, 10, 64); err != nil {
		return "", fmt.Errorf("campaign: %q is no number", value)
	}
	return figures.Thousands(value), nil
}

// chart is a picture of charts/, NAME-light.svg and NAME-dark.svg, as a page in the campaign's folder shows it.
func (c *Campaign) chart(name, alt string) (string, error) { return c.picture("", name, alt) }

// rootChart is the same for a page in the repository's root.
func (c *Campaign) rootChart(name, alt string) (string, error) {
	return c.picture("results/"+filepath.Base(c.dir)+"/", name, alt)
}

func (c *Campaign) picture(folder, name, alt string) (string, error) {
	for _, page := range []string{"light", "dark"} {
		if _, err := os.Stat(filepath.Join(c.dir, "charts", name+"-"+page+".svg")); err != nil {
			return "", fmt.Errorf("campaign: %w", err)
		}
	}
	path := folder + "charts/" + name
	return fmt.Sprintf("<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"%s-dark.svg\">\n"+
		"  <img alt=\"%s\" src=\"%s-light.svg\">\n</picture>\n", path, alt, path), labelled(alt, nil)
}
