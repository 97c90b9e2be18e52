package lockbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// A section is one workload with its figures.
type section struct {
	name   string
	plan   *plan
	groups []group
	set    *figures.Set // of the rounds so far, as -out has them
}

func newSection(s *bench.Server, o *options, name string) *section {
	w := workloadOf(name)
	p := planOf(s, o, w)
	return &section{name: name, plan: p, groups: w.groups(p), set: figures.New()}
}

// run measures all groups. What a round has brought is written in the order of the table, whatever the order of the runs
// was, and also if it was stopped in the midst of it.
func (s *section) run(ctx context.Context, rec *record, p *progress) error {
	for _, g := range s.groups {
		workloads := make([]bench.Workload, len(g.cells))
		for i, c := range g.cells {
			workloads[i] = c.Workload
		}
		round := make([]*bench.Result, len(g.cells))
		runs := 0
		begin := func(n, i int) {
			p.show(fmt.Sprintf("round %d of %d: %s", n+1, s.plan.count, workloads[i].Name()), g.cells[i].takes)
		}
		done := func(i int, r bench.Result) error {
			round[i] = &r
			if runs++; runs%len(round) != 0 {
				return nil
			}
			defer clear(round)
			return s.write(rec, g, round)
		}
		if err := bench.Rounds(ctx, s.plan.count, workloads, begin, done); err != nil {
			return errors.Join(err, s.write(rec, g, round))
		}
	}
	return nil
}

// write writes what there is of a round.
func (s *section) write(rec *record, g group, round []*bench.Result) error {
	add := func(name string, r *bench.Result, metrics []bench.Metric) error {
		line := rec.line(name, max(int(r.Ops), 1), metrics)
		s.set.Add(line)
		return rec.write(line)
	}
	for _, pair := range g.pairs {
		r, base := round[pair[0]], round[pair[1]]
		if r == nil || base == nil {
			continue
		}
		if err := add(ratioName(g.cells[pair[0]], g.cells[pair[1]]), r, bench.RatioMetrics(*r, *base)); err != nil {
			return err
		}
	}
	for i, r := range round {
		if r == nil || len(g.pairs) > 0 {
			continue
		}
		metrics := r.Metrics()
		if r.Ops > 0 {
			metrics = slices.Insert(metrics, 0, bench.Metric{Value: r.PerOp(), Unit: "ns/op"})
		}
		if err := add(g.cells[i].Name(), r, metrics); err != nil {
			return err
		}
	}
	return nil
}

func ratioName(c, base cell) string {
	u, b := c.Workload.(bench.Uncontended), base.Workload.(bench.Uncontended)
	return fmt.Sprintf("Ratio/server=%s/of=%s/to=%s/goroutines=%d", u.Server.Name, u.Called(), b.Called(), u.Goroutines)
}

// A progress is one line on a terminal that says where it is.
type progress struct {
	w           io.Writer // nil: no terminal
	runs, cells int
	all, done   time.Duration // by what has begun
	began       time.Time
}

func newProgress(w io.Writer, sections []*section) *progress {
	p := &progress{began: time.Now()}
	if isTerminal(w) {
		p.w = w
	}
	for _, s := range sections {
		for _, g := range s.groups {
			p.cells += len(g.cells)
			p.runs += s.plan.count * len(g.cells)
			for _, c := range g.cells {
				p.all += time.Duration(s.plan.count) * c.takes
			}
		}
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// String leaves out what comes before the clock of a run starts, such as dialling.
func (p *progress) String() string {
	return fmt.Sprintf("%s of %s, about %v", figures.Plural(p.runs, "run"), figures.Plural(p.cells, "cell"),
		max(p.all, time.Second).Round(time.Second))
}

// show is called when a run begins that takes so long.
func (p *progress) show(what string, takes time.Duration) {
	if p.w == nil {
		return
	}
	left := p.all - p.done
	if p.done > 0 { // at the pace of what is done
		left = time.Duration(float64(time.Since(p.began)) / float64(p.done) * float64(left))
	}
	fmt.Fprintf(p.w, "\r\x1b[K%3d %%  %v left  %s", 100*p.done/max(p.all, 1), left.Round(time.Second), what)
	p.done += takes
}

// clear takes the line away, before something else is printed.
func (p *progress) clear() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
