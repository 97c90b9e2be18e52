package lockbench

import (
	"fmt"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// An estimate is what a plan asks for. It leaves out what comes before the clock of a run starts, such as dialling.
type estimate struct {
	runs, cells int
	length      time.Duration
}

// estimateOf leaves out the rounds that there are.
func estimateOf(sections []*section) (e estimate) {
	for _, s := range sections {
		for _, g := range s.groups {
			count := s.countOf(g) - g.past
			e.cells += len(g.cells)
			e.runs += count * len(g.cells)
			for _, c := range g.cells {
				e.length += time.Duration(count) * lengthOf(c.workload)
			}
		}
	}
	return e
}

// lengthOf is how long a run takes.
func lengthOf(w bench.Workload) time.Duration {
	switch w := w.(type) {
	case bench.Uncontended:
		return w.Time
	case bestOf:
		return w.pick().Time
	case bench.Verb:
		return w.Time
	case bench.Contention:
		return w.Time + w.Time/5 // its lead
	case bench.KeepAlive:
		return w.Time
	case bench.Recovery:
		return time.Duration(w.Times) * w.TTL // a lease of a holder that is killed early in it
	case offered:
		return lengthOf(w.of)
	}
	panic(fmt.Sprintf("lockbench: nobody knows how long a %T takes", w))
}

func (e estimate) String() string {
	return fmt.Sprintf("%s of %s, about %s", figures.Plural(e.runs, "run"), figures.Plural(e.cells, "cell"), about(e.length))
}

// leaving tells of all, and of what is left of it after -resume.
func (e estimate) leaving(left estimate) string {
	switch left.runs {
	case e.runs:
		return e.String()
	case 0:
		return e.String() + "; all are done"
	}
	return fmt.Sprintf("%v; %s left, about %s", e, figures.Plural(left.runs, "run"), about(left.length))
}

// about is a duration as one says it: 40 s, 4 min 30 s, 2 h 10 min.
func about(d time.Duration) string {
	switch d = max(d, time.Second); {
	case d < 59500*time.Millisecond:
		return fmt.Sprintf("%d s", (d+time.Second/2)/time.Second)
	case d < 59*time.Minute+55*time.Second:
		d = d.Round(10 * time.Second)
		return twoUnits(int(d/time.Minute), "min", int(d%time.Minute/time.Second), "s")
	}
	d = d.Round(10 * time.Minute)
	return twoUnits(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
}

func twoUnits(n int, unit string, m int, smaller string) string {
	if m == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, m, smaller)
}
