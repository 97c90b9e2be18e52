package lockbench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
	"github.com/redigolock/redigolock/internal/report"
)

// overviewUnits are those of the overview, which has fewer columns than approaches and contention.
var overviewUnits = []string{"acq/s", "p50-sec", "p99-sec", "wait-p99-sec", "jain"}

// print prints the tables of what there is.
func (s *section) print(w io.Writer) error {
	if len(s.set.Cells) == 0 {
		return nil
	}
	style := report.TextStyle{Rounds: s.rounds(), Note: note}
	if s.name == "overview" {
		style.Units = overviewUnits
	}
	if err := report.Text(w, s.set, style); err != nil {
		return err
	}
	if s.name == "overview" {
		s.printMeaning(w)
	}
	return nil
}

// rounds says how many there were.
func (s *section) rounds() string {
	text := figures.Plural(s.plan.count, "round")
	if s.name != "overview" { // whose tables differ in that
		text += fmt.Sprintf(" of %v", s.plan.time)
	}
	text = "medians of " + text + ", interleaved"
	if len(s.set.Cells) < s.lines() || slices.ContainsFunc(s.set.Cells, func(c *figures.Cell) bool { return c.Rounds < s.plan.count }) {
		text = "stopped early in " + text
	}
	return text
}

// lines is how many lines of figures a round of all groups has.
func (s *section) lines() (n int) {
	for _, g := range s.groups {
		if len(g.pairs) > 0 {
			n += len(g.pairs)
		} else {
			n += len(g.cells)
		}
	}
	return n
}

// releases are what they send.
var releases = map[string]string{"lua": "EVALSHA", "tx": "WATCH, GET, MULTI; DEL, EXEC", "native": "DELEX and DELIFEQ"}

// note says of a cell's way what it is, and does; of a rival the first words of its settings.
func note(c *figures.Cell) string {
	name := c.Key("approach") + c.Key("way")
	way := figures.WayOf(c.Kind, name)
	if send := releases[c.Key("release")]; send != "" && way.Does != "" && !strings.Contains(way.Does, ";") {
		way.Does += "; " + send
	}
	for _, k := range bench.RivalKinds() {
		if k.Name == name {
			way.Does, _, _ = strings.Cut(k.Settings, ";")
			way.Does, _, _ = strings.Cut(way.Does, ",")
		}
	}
	if way.Words == "" || way.Does == "" {
		return strings.ReplaceAll(way.Words+way.Does, "`", "")
	}
	return strings.ReplaceAll(way.Words+": "+way.Does, "`", "")
}
