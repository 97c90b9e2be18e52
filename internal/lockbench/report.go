package lockbench

import (
	"fmt"
	"io"
	"slices"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

// writeHead says what the figures depend on.
func writeHead(w io.Writer, s *bench.Server, o *options, h host, plan string) {
	server := s.Version
	switch {
	case s.Embedded():
		server += ", embedded in this process"
	case s.Started():
		server += ", started for this run on a Unix socket"
	case o.fromEnv:
		server += " at " + s.URL + " (from REDIS_URL)"
	default:
		server += " at " + s.URL
	}
	fmt.Fprintf(w, "lockbench: locks on Redis by redigolock\n\n")
	for _, line := range [][2]string{
		{"server", server},
		{"host", h.String()},
		{"go", fmt.Sprintf("%s %s/%s, GOMAXPROCS %d", h.goVersion, h.goos, h.goarch, h.procs)},
		{"commit", h.commit},
		{"pool", "unbounded; an op borrows one connection to acquire and one to release"},
		{"plan", plan},
	} {
		fmt.Fprintf(w, "  %-8s%s\n", line[0], line[1])
	}
	if s.Embedded() {
		fmt.Fprint(w, noRedis)
	}
	fmt.Fprintln(w)
}

const noRedis = `
These figures compare the approaches with each other. They are no Redis figures: miniredis is several
times slower, at scripts above all, and works in this process. For Redis, install redis-server or give -url.
`

// table prints the table of what has been measured; nothing if there is nothing.
func (s *section) table(w io.Writer) {
	cells := s.measured()
	if len(cells) == 0 {
		return
	}
	switch s.name {
	case "overview":
		s.writeOverview(w, cells)
	case "approaches", "rivals":
		s.writeApproaches(w, cells)
	case "verbs":
		s.writeVerbs(w, cells)
	case "contention":
		s.writeContention(w, cells)
	case "ratios":
		s.writeRatios(w, cells)
	case "keepalive":
		s.writeKeepAlive(w, cells)
	case "mux":
		s.writeMux(w, cells)
	case "load":
		s.writeLoad(w, cells)
	case "recovery":
		s.writeRecovery(w, cells)
	}
	fmt.Fprintln(w)
}

// measured are the cells that have a round.
func (s *section) measured() []*cell {
	return slices.DeleteFunc(s.cells(), func(c *cell) bool { return len(c.rounds) == 0 })
}

func (s *section) cells() []*cell {
	var all []*cell
	for _, g := range s.groups {
		all = append(all, g.cells...)
	}
	return all
}

// rounds describes the rounds; after Ctrl-C there are fewer.
func (s *section) rounds(cells []*cell) string {
	least := len(cells[0].rounds)
	for _, c := range cells {
		least = min(least, len(c.rounds))
	}
	what := "rounds"
	if s.pace.count == 1 {
		what = "round"
	}
	text := fmt.Sprintf("%d %s of %v a cell in shuffled order", s.pace.count, what, s.pace.time)
	if s.name == "recovery" {
		text = fmt.Sprintf("%d %s a cell in shuffled order", s.pace.count, what)
	}
	switch resumed := slices.ContainsFunc(s.groups, func(g group) bool { return g.past > 0 }); {
	case resumed && s.stopped():
		text = fmt.Sprintf("resumed and stopped early, at least %d of ", least) + text
	case resumed:
		text = fmt.Sprintf("resumed, the last %d or more of ", least) + text
	case s.stopped():
		text = fmt.Sprintf("stopped early, at least %d of ", least) + text
	}
	return text
}

// stopped says that there are fewer rounds than there were to be.
func (s *section) stopped() bool {
	return slices.ContainsFunc(s.groups, func(g group) bool {
		return slices.ContainsFunc(g.cells, func(c *cell) bool { return g.past+len(c.rounds) < s.countOf(g) })
	})
}

func (s *section) writeVerbs(w io.Writer, cells []*cell) {
	fmt.Fprintf(w, "Each verb alone, one goroutine on one connection, %s\n\n", s.rounds(cells))
	t := table{head: []string{"verb", "ops/s", "±", "p50", "p99"}, left: 1}
	for _, c := range cells {
		speed, lat := c.summary(perSecond), c.latency
		t.add(c.workload.(bench.Verb).Verb, figures.Significant(speed.Center), speed.PlusMinus(),
			quantile(lat, 50), quantile(lat, 99))
	}
	t.write(w)
	fmt.Fprintln(w)
	s.writeIntervals(w)
}

// writeIntervals explains medians.
func (s *section) writeIntervals(w io.Writer) {
	if s.pace.count < figures.LeastRounds {
		fmt.Fprintf(w, "  figures are medians; an interval takes %d rounds (-count)\n", figures.LeastRounds)
		return
	}
	fmt.Fprintf(w, "  figures are medians of the rounds; ± and 95 %%: their 95 %% intervals\n")
	if s.name != "verbs" {
		fmt.Fprintf(w, "  ~: the interval contains 1: no difference was found\n")
	}
}
