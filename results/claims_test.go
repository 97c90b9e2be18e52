package results

import (
	"strings"
	"testing"
)

// A claim is what a document says in words of something that was measured. The median of the cell, or of its ratio to
// that of over, must be within bounds, in the newest campaign, or in what is kept of the one before.
type claim struct {
	page, says  string
	cell        string // "KIND WHERE…"
	unit        string
	of, over    string // "way=fair"; over "": no ratio
	least, most float64
}

const (
	unbounded  = 1e18
	contended  = "Contention file=contention waiters=64 processes=4 hold=0s server~redis"
	withRivals = "Contention file=contention-rivals waiters=64 processes=4 hold=0s server~redis"
)

var claims = []claim{
	{"doc.go", "From about ten goroutines at a time on, it is faster than any pool",
		"Ratio file~mux to=floor goroutines=16 server=redis", "ratio", "of=locker-mux1", "", 0, 0.9},
	{"doc.go", "From about ten goroutines at a time on, it is faster than any pool",
		"Ratio file~mux to=locker goroutines=128 server=redis", "ratio", "of=locker-mux1", "", 0, 0.9},
	{"doc.go", "a lone goroutine pays nothing for it",
		"Ratio file~mux to=locker goroutines=1 server=redis", "ratio", "of=locker-mux1", "", 0, 1.05},
	{"doc.go", "two may pay a little for sharing one connection",
		"Ratio file~mux to=locker goroutines=2 server=redis", "ratio", "of=locker-mux1", "", 0.95, 1.5},
	{"doc.go", "which Conns: 2 spares them",
		"Ratio file~mux to=locker goroutines=2 server=redis", "ratio", "of=locker-mux2", "", 0, 1.05},
	{"doc.go", "a hundred thousand of them cost two goroutines",
		"KeepAlive locks=100000", "goroutines", "way=locker", "", 0, 2},
	{"README.md", "which is several times faster than a pool",
		"Ratio file~mux to=locker goroutines=128 server=redis", "ratio", "of=locker-mux1", "", 0, 0.4},
	{"README.md", "and no slower for a lone goroutine",
		"Ratio file~mux to=locker goroutines=1 server=redis", "ratio", "of=locker-mux1", "", 0, 1.05},

	{"doc.go", "waiters poll, in no order among processes", withRivals, "wait-p99-sec", "way=polling", "way=fair", 1.5, unbounded},
	{"doc.go", "waits are even", contended, "jain", "way=fair", "", 0.97, 1},
	{"doc.go", "A contended cycle costs one script, however many wait",
		"Contention file=contention waiters=512 processes=4 hold=0s", "evalsha/acq", "way=fair", "", 0.95, 1.05},
	{"doc.go", "It costs two where the Locker that releases has no other waiter for the key",
		"Contention file=contention waiters=2 processes=2 hold=0s", "evalsha/acq", "way=fair", "", 1.9, 2.1},
	{"doc.go", "the server's work for an acquisition does not grow with the waiters",
		"Contention file=contention way=fair processes=4 hold=0s server=redis", "cmds/acq", "waiters=512", "waiters=8", 0, 1.1},
	{"doc.go", "most hand-offs need no command at all", contended, "evalsha/acq", "way=cohort", "", 0, 0.5},
	{"doc.go", "other processes still get their share", contended, "jain", "way=cohort", "", 0.95, 1},
	{"doc.go", "take many times as long", withRivals, "acq/s", "way=fair", "way=etcd", 5, unbounded},
	{"doc.go", "take many times as long", withRivals, "acq/s", "way=fair", "way=zookeeper", 5, unbounded},
}

// What no longer holds is told with the sentence that says it, and with what was measured.
func TestWhatTheDocumentsClaimWasMeasured(t *testing.T) {
	folder := newest(t)
	now, before := openCampaign(t, folder), openCampaign(t, "before")
	for _, c := range claims {
		t.Run(c.says+", "+c.unit, func(t *testing.T) {
			if words := strings.Join(strings.Fields(read(t, "../"+c.page)), " "); !strings.Contains(words, c.says) {
				t.Errorf("%s does not say it: mend the claim", c.page)
			}
			m, dir := now, folder
			if !m.Has(c.cell + " " + c.of) {
				m, dir = before, "before"
			}
			f, err := m.Cell(c.cell+" "+c.of, c.unit)
			if c.over != "" {
				f, err = m.Ratio(c.cell, c.unit, c.of, c.over)
			}
			if err != nil {
				t.Fatal(err)
			}
			if v := f.Center; v < c.least || v > c.most {
				t.Errorf("%s says %q: in %s, %s of %s %s %s is %v, not from %v to %v",
					c.page, c.says, dir, c.unit, c.cell, c.of, c.over, v, c.least, c.most)
			}
		})
	}
}
