package lockbench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

func (s *section) writeRecovery(w io.Writer, cells []*cell) {
	ttl := cells[0].workload.(bench.Recovery).TTL
	fmt.Fprintf(w, "A process that holds a lock of %v is killed, four wait in another, %s\n\n", ttl, s.rounds(cells))
	t := table{head: []string{"way", "kills", "gap p50", "max", "beyond p50", "max"}, left: 1}
	for _, c := range cells {
		gaps := c.times(func(r *bench.Recovered) []time.Duration { return r.Gaps })
		p50, most := "", ""
		if beyond := c.times(func(r *bench.Recovered) []time.Duration { return r.Beyond }); len(beyond) > 0 {
			p50, most = middle(beyond), short(slices.Max(beyond))
		}
		way := c.workload.(bench.Recovery).Way
		t.add(way, strconv.Itoa(len(gaps)), middle(gaps), short(slices.Max(gaps)), p50, most)
	}
	t.write(w)
	fmt.Fprint(w, `
  gap: from the kill, in the first half of the lease, until the next holds
  beyond: what of it was after the end of the lease; not known of who renews by itself
`)
}

// times are those of all rounds.
func (c *cell) times(of func(*bench.Recovered) []time.Duration) []time.Duration {
	var list []time.Duration
	for _, r := range c.rounds {
		list = append(list, of(r.Recovered)...)
	}
	return list
}

// middle is the median.
func middle(list []time.Duration) string {
	values := make([]float64, len(list))
	for i, d := range list {
		values[i] = float64(d)
	}
	return short(time.Duration(figures.Summarize(values).Center))
}
