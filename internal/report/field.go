package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A field is a figure of a row.
type field struct {
	figures.Figure
	Missing bool
	Below   string // the interval, or how many rounds there are, if they are too few
	Versus  string // as a multiple of the baseline
	Same    bool   // no difference to the baseline was found; of a ratio: to 1
	Best    bool
	Perhaps bool // it has the best median, of too few rounds
	Bar     bar
}

// Value is the median with what it is per.
func (f *field) Value() string {
	if f.Missing {
		return ""
	}
	if strings.HasSuffix(f.Unit, "/s") {
		return f.Median() + "/s"
	}
	return f.Median()
}

// fields are the figures of a column, without bars; a baseline below 0 is none.
func (l layout) fields(rows []string, c column, baseline int) []*field {
	list := make([]*field, len(c.cells))
	for i, cell := range c.cells {
		f := &field{Missing: true}
		if cell != nil {
			var ok bool
			f.Figure, ok = cell.Figure(c.word.Unit)
			f.Missing = !ok
		}
		switch {
		case f.Missing:
		case f.Bound == figures.Unknown:
			f.Below = "of too few"
		case f.Bound != figures.Exact:
			f.Below = "had not all ended"
		case f.Rounds < figures.LeastRounds:
			f.Below = figures.Plural(f.Rounds, "round")
		default:
			f.Below, f.Same = f.Interval(f.Unit), l.around1 && f.Includes1()
		}
		list[i] = f
	}
	for i, f := range list {
		if baseline >= 0 && i != baseline && !f.Missing && !list[baseline].Missing {
			f.compare(list[baseline])
		}
	}
	for _, i := range l.best(rows, c.word, list) {
		list[i].Perhaps = list[i].Rounds < figures.LeastRounds
		list[i].Best = !list[i].Perhaps
	}
	return list
}

// compare says how the figure differs from the baseline, if it does.
func (f *field) compare(base *field) {
	differs, ok := f.Differs(base.Figure)
	if ratio := f.Center / base.Center; differs && f.Center >= 0 && base.Center > 0 && !math.IsInf(ratio, 0) {
		f.Versus = figures.Significant(ratio) + "×"
	}
	f.Same = ok && !differs
}

// best are the rows with the best median, and those that differ from it by nothing that was found. They are none where
// that is all, and where nobody can say what is best. In a Contention the floor locks nothing, and so cannot be the best.
func (l layout) best(rows []string, w figures.Word, list []*field) (best []int) {
	if l.apart || w.Better == figures.Neither {
		return nil
	}
	var in []int
	for i, f := range list {
		if !f.Missing && (l.Name != "Contention" || !isFloor(rows[i])) {
			in = append(in, i)
		}
	}
	if len(in) < 2 {
		return nil
	}
	better := func(a, b int) int {
		if w.Better == figures.More {
			a, b = b, a
		}
		return cmp.Compare(list[a].Center, list[b].Center)
	}
	first := slices.MinFunc(in, better)
	if list[first].Bound != figures.Exact {
		return nil
	}
	for _, i := range in {
		differs, ok := list[i].Differs(list[first].Figure)
		if list[i].Bound == figures.Exact && (better(i, first) == 0 || ok && !differs) {
			best = append(best, i)
		}
	}
	if len(best) == len(in) {
		return nil
	}
	return best
}

// A bar shows a figure's size, and its interval as a line. All of it is percent of the field's width; without a width
// there is no bar.
type bar struct {
	X, Width  string
	Low, High string // "" without an interval
	Axis      string // where 1 is, "" if the bar begins at 0
	Above     bool   // above 1
}

// drawBars draws bars that compare with each other.
func (l layout) drawBars(list []*field) {
	at := from0(list)
	if l.around1 {
		at = around1(list)
	}
	for _, f := range list {
		b := &f.Bar
		if !f.drawable() {
			continue
		}
		from, to := at(0), at(f.Center)
		if l.around1 {
			from, b.Axis, b.Above = at(1), percent(at(1)), f.Center > 1
		}
		b.X, b.Width = percent(min(from, to)), percent(math.Abs(to-from))
		if f.Rounds >= figures.LeastRounds {
			b.Low, b.High = percent(at(f.Low)), percent(at(f.High))
		}
	}
}

// drawable says whether the figure is something to draw: finite, and above 0.
func (f *field) drawable() bool {
	return !f.Missing && f.Center > 0 && !math.IsInf(f.Center, 0)
}

// from0 is where a figure is on a linear scale. One interval that is far longer than all bars does not make them small:
// it is cut off.
func from0(list []*field) func(float64) float64 {
	longest, reach := 0.0, 0.0
	for _, f := range list {
		if !f.drawable() {
			continue
		}
		longest, reach = max(longest, f.Center), max(reach, f.Center)
		if f.Rounds >= figures.LeastRounds && !math.IsNaN(f.High) {
			reach = max(reach, f.High)
		}
	}
	reach = min(reach, 1.5*longest)
	return func(v float64) float64 { return clamp(100 * v / reach) }
}

// around1 is where a ratio is on a logarithmic scale with 1 in its middle, which reaches to 2 at least.
func around1(list []*field) func(float64) float64 {
	reach := 1.0
	for _, f := range list {
		if f.drawable() {
			reach = max(reach, math.Abs(math.Log2(f.Center)))
		}
	}
	reach *= 1.1
	return func(v float64) float64 { return clamp(50 + 50*math.Log2(v)/reach) }
}

func clamp(v float64) float64 { return min(max(v, 0), 100) }

func percent(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + "%" }
