package results

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
)

// A claim is what a document says in words of something that was measured. The median of the cell, or of its ratio to
// that of over, must be within bounds, in the newest campaign that has the cell.
type claim struct {
	page, says  string
	file        string // of raw/
	kind, unit  string
	of, over    string // "way=fair"; over "": no ratio
	where       []string
	least, most float64
}

const unbounded = 1e18

var claims = []claim{
	{"doc.go", "From about ten goroutines at a time on, it is faster than any pool",
		"mux.txt", "Ratio", "ratio", "of=locker-mux1", "", []string{"to=floor", "goroutines=16", "server=redis"}, 0, 0.9},
	{"doc.go", "From about ten goroutines at a time on, it is faster than any pool",
		"mux.txt", "Ratio", "ratio", "of=locker-mux1", "", []string{"to=locker", "goroutines=128", "server=redis"}, 0, 0.9},
	{"doc.go", "a lone goroutine pays nothing for it",
		"mux.txt", "Ratio", "ratio", "of=locker-mux1", "", []string{"to=locker", "goroutines=1", "server=redis"}, 0, 1.05},
	{"doc.go", "two pay a seventh to two fifths for sharing one connection",
		"mux.txt", "Ratio", "ratio", "of=locker-mux1", "", []string{"to=locker", "goroutines=2", "server=redis"}, 1.05, 1.5},
	{"doc.go", "which Conns: 2 spares them",
		"mux.txt", "Ratio", "ratio", "of=locker-mux2", "", []string{"to=locker", "goroutines=2", "server=redis"}, 0, 1.05},
	{"doc.go", "a hundred thousand of them cost two goroutines",
		"keepalive-100k.txt", "KeepAlive", "goroutines", "way=locker", "", []string{"locks=100000"}, 0, 2},
	{"README.md", "which is several times faster than a pool",
		"mux.txt", "Ratio", "ratio", "of=locker-mux1", "", []string{"to=locker", "goroutines=128", "server=redis"}, 0, 0.4},
	{"README.md", "and no slower for a lone goroutine",
		"mux.txt", "Ratio", "ratio", "of=locker-mux1", "", []string{"to=locker", "goroutines=1", "server=redis"}, 0, 1.05},

	{"doc.go", "waiters poll, in no order among processes",
		"contention.txt", "Contention", "jain", "way=polling", "", atMost64, 0, 0.95},
	{"doc.go", "waits are even", "contention.txt", "Contention", "jain", "way=fair", "", atMost64, 0.97, 1},
	{"doc.go", "A contended cycle costs one script, however many wait",
		"contention.txt", "Contention", "evalsha/acq", "way=fair", "", []string{"waiters=512", "processes=4", "hold=0s"}, 0.95, 1.05},
	{"doc.go", "It costs two where the Locker that releases has no other waiter for the key",
		"turns.txt", "Contention", "evalsha/acq", "way=fair", "", []string{"waiters=2", "processes=2", "hold=0s"}, 1.9, 2.1},
	{"doc.go", "the server's work for an acquisition does not grow with the waiters",
		"contention.txt", "Contention", "cmds/acq", "waiters=512", "waiters=8",
		[]string{"way=fair", "processes=4", "hold=0s", "server=redis"}, 0, 1.1},
	{"doc.go", "most hand-offs need no command at all",
		"contention.txt", "Contention", "evalsha/acq", "way=cohort", "", atMost64, 0, 0.5},
	{"doc.go", "other processes still get their share", "contention.txt", "Contention", "jain", "way=cohort", "", atMost64, 0.95, 1},
	{"doc.go", "take many times as long",
		"contention-rivals.txt", "Contention", "acq/s", "way=fair", "way=etcd", atMost64, 5, unbounded},
	{"doc.go", "take many times as long",
		"contention-rivals.txt", "Contention", "acq/s", "way=fair", "way=zookeeper", atMost64, 5, unbounded},
}

var atMost64 = []string{"waiters=64", "processes=4", "hold=0s", "server~redis"}

func TestWhatTheManualClaimsWasMeasured(t *testing.T) {
	folders := campaigns(t)
	open, date := map[string]*campaign.Campaign{}, map[string]string{}
	for _, dir := range folders {
		c, err := campaign.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if date[dir], err = c.Environment("date"); err != nil {
			t.Fatal(err)
		}
		open[dir] = c
	}
	slices.SortFunc(folders, func(a, b string) int { return strings.Compare(date[b], date[a]) }) // the newest first
	for _, c := range claims {
		t.Run(c.says+", "+c.unit, func(t *testing.T) {
			if text, err := words("../" + c.page); err != nil || !strings.Contains(text, c.says) {
				t.Errorf("%s does not say it, %v: mend the claim", c.page, err)
			}
			where := append(slices.Clone(c.where), c.of)
			at := slices.IndexFunc(folders, func(dir string) bool {
				return open[dir].Use(c.file) == nil && open[dir].Has(c.kind, where...)
			})
			if at < 0 {
				t.Fatalf("no campaign has raw/%s with %s of %q", c.file, c.kind, where)
			}
			c.check(t, open[folders[at]], folders[at])
		})
	}
}

// words are a text without its line breaks.
func words(path string) (string, error) {
	text, err := os.ReadFile(path)
	return strings.Join(strings.Fields(string(text)), " "), err
}

// check checks a claim. One round will do: the pages say how many there are.
func (c claim) check(t *testing.T, m *campaign.Campaign, dir string) {
	t.Helper()
	m.Least(1)
	v, err := m.Center(c.kind, c.unit, append(slices.Clone(c.where), c.of)...)
	if c.over != "" {
		var q campaign.Quantity
		q, err = m.CellRatio(c.kind, c.unit, c.of, c.over, c.where...)
		v = q.Center
	}
	if err != nil {
		t.Fatal(err)
	}
	if v < c.least || v > c.most {
		t.Errorf("%s says %q: in %s/raw/%s, %s of %s %s is %v, not from %v to %v",
			c.page, c.says, dir, c.file, c.unit, c.of, c.over, v, c.least, c.most)
	}
}

func TestTheManualsChoiceOfLocksHasNoFigures(t *testing.T) {
	text, err := os.ReadFile("../doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "# Which lock for what\n")
	section, _, ended := strings.Cut(rest, "\n# ")
	if naked := campaign.Naked(section); !found || !ended || len(naked) > 0 {
		t.Errorf("section found: %v; figures %q", found && ended, naked)
	}
}
