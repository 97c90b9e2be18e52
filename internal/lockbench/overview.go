package lockbench

import (
	"fmt"
	"io"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
	"github.com/redigolock/redigolock/internal/report"
)

// printMeaning says what the tables of the overview mean.
func (s *section) printMeaning(w io.Writer) {
	if text := s.meaning(); text != "" {
		fmt.Fprintf(w, "%s\n\n", report.Wrap(text, 100))
	}
	fmt.Fprintln(w, "More: -workload approaches, contention, …; lockbench -h lists them.")
}

// meaning says in two or three sentences what the figures mean for this server, as far as there are some.
func (s *section) meaning() string {
	var text []string
	if f, ok := s.byHand("locker"); ok {
		text = append(text, fmt.Sprintf("Without contention, a Locker does %s redigo by hand, and besides knows its lease, "+
			"recognises its lock after a lost reply, and cleans up.", asMany(f)))
	}
	if f, ok := s.byHand("locker-mux1"); ok {
		text = append(text, fmt.Sprintf("Over a Mux, %d goroutines do %s redigo by hand.", overviewGoroutines, asMany(f)))
	}
	polling, fair := s.set.Find("Contention", "way=polling"), s.set.Find("Contention", "way=fair")
	if len(polling) > 0 && len(fair) > 0 {
		say := func(c *figures.Cell, unit string) string {
			f, _ := c.Figure(unit)
			return f.Median()
		}
		text = append(text, fmt.Sprintf("Where all want one lock, the 99th percentile of the waits is %s with Fair and %s without, and the "+
			"fairness is %s and %s; holds of %v allow no more than %.0f locks/s.", say(fair[0], "wait-p99-sec"), say(polling[0], "wait-p99-sec"), say(fair[0], "jain"), say(polling[0], "jain"),
			overviewHold, 1/overviewHold.Seconds()))
	}
	return strings.Join(text, " ")
}

// byHand is the time of an approach as a multiple of redigo by hand; false where there is no pair, as after Ctrl-C.
func (s *section) byHand(approach string) (figures.Figure, bool) {
	c, floor := s.set.Find("AcquireRelease", "approach="+approach), s.set.Find("AcquireRelease", "approach=floor")
	if len(c) == 0 || len(floor) == 0 {
		return figures.Figure{}, false
	}
	f, _ := c[0].Figure("sec/op")
	base, _ := floor[0].Figure("sec/op")
	return f.Over(base)
}

// asMany says a ratio of times in words, as one of numbers of locks.
func asMany(time figures.Figure) string {
	if time.Includes1() {
		return "about as many locks a second as"
	}
	return figures.Significant(1/time.Center) + " times as many locks a second as"
}
