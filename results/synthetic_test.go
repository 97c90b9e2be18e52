package results

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
)

// A synthetic campaign has all cells that the template of all campaigns wants, with drawn values. It tells whether the
// template fails where it must, and is written into the folder of the test only: nothing of it was measured.
type synthetic struct {
	dir   string
	files map[string][]string // lines of each raw file
	rng   *rand.Rand
}

func newSynthetic(t *testing.T) *synthetic {
	t.Helper()
	s := &synthetic{filepath.Join(t.TempDir(), "synthetic"), map[string][]string{}, rand.New(rand.NewPCG(1, 2))}
	for range campaign.MinRounds {
		s.uncontended()
		s.contended()
		s.loaded()
		s.others()
		s.newer()
		s.ratios()
	}
	return s
}

// rivals are those that the template wants.
var (
	waitingRivals = []string{"redsync", "redsync-default", "redislock-linear100", "redsync-pool16", "redsync-goredis", "redislock", "redislock-exp", "goredis-setnx",
		"rueidislock", "etcd", "zookeeper"}
	rawClients = []string{"go-redis", "rueidis"}
	ourWays    = []string{"floor", "polling", "fair", "cohort"}
)

// add adds a round of a cell. A unit is drawn about 1000, but for an index and the like.
func (s *synthetic) add(file, name, way string, units ...string) {
	server := "redis"
	if way == "etcd" || way == "zookeeper" {
		server = way
	}
	var line strings.Builder
	line.WriteString("Benchmark" + strings.Replace(name, "/", "/server="+server+"/", 1) + "-2 100")
	for _, unit := range units {
		about := 1000.0
		switch unit {
		case "jain", "evalsha/acq", "reads/acq", "wait-p99-rounds", "again":
			about = 1
		case "goodput/s":
			about = 11_000
		}
		fmt.Fprintf(&line, " %.4g %s", about*(0.9+0.2*s.rng.Float64()), unit)
	}
	s.files[file] = append(s.files[file], line.String())
}

func (s *synthetic) uncontended() {
	units := []string{"ns/op", "cpu-ns/op", "server-cpu-ns/op", "cmds/op", "reads/op", "net-B/op", "allocs/op"}
	for _, goroutines := range []int{1, 2, 16, 128, 1024} {
		cell := func(file, approach string) {
			name := fmt.Sprintf("AcquireRelease/approach=%s/release=lua/goroutines=%d", approach, goroutines)
			s.add(file, name, approach, units...)
		}
		for _, a := range []string{"setnx", "setnx-verified", "script", "locker", "locker-setnx", "floor", "locker-mux1",
			"locker-mux2", "locker-mux4"} {
			cell("approaches.txt", a)
		}
		s.add("approaches.txt", fmt.Sprintf("AcquireRelease/approach=setnx/release=tx/goroutines=%d", goroutines), "setnx", units...)
		if goroutines < 1024 {
			ours := []string{"floor", "floor-pool16", "locker", "locker-mux1"}
			for _, a := range slices.Concat(ours, []string{"locker-setnx-mux1"}, waitingRivals, rawClients) {
				cell("rivals.txt", a)
			}
		}
	}
}

func (s *synthetic) contended() {
	units := []string{"ns/op", "acq/s", "p50-ns", "p99-ns", "max-ns", "across-p50-ns", "inside-p50-ns", "wait-p99-ns",
		"wait-p99-rounds", "longest-ns", "jain", "again", "cpu-ns/op"}
	onRedis := []string{"cmds/acq", "reads/acq", "evalsha/acq", "net-B/acq", "server-cpu-ns/op"}
	for _, w := range []int{2, 64, 8, 512} {
		for _, p := range []int{1, 4} {
			for _, hold := range []string{"0s", "1ms"} {
				for _, way := range ourWays {
					name := fmt.Sprintf("Contention/way=%s/waiters=%d/processes=%d/hold=%s", way, w, p, hold)
					s.add("contention.txt", name, way, slices.Concat(units, onRedis)...)
				}
			}
		}
	}
	for _, p := range []int{1, 4} {
		s.add("turns.txt", fmt.Sprintf("Contention/way=fair/waiters=512/processes=%d/hold=0s", p), "fair", units...)
		s.add("turns.txt", fmt.Sprintf("Contention/way=fair/waiters=2/processes=%d/hold=0s", min(p, 2)), "fair", units...)
	}
	for _, way := range slices.Concat(ourWays, waitingRivals) {
		has := units
		if way != "etcd" && way != "zookeeper" {
			has = slices.Concat(units, onRedis)
		}
		name := "Contention/way=" + way + "/waiters=64/processes=4/hold="
		s.add("contention-rivals.txt", name+"0s", way, has...)
		s.add("held.txt", name+"1ms", way, has...)
	}
}

func (s *synthetic) loaded() {
	units := []string{"ns/op", "p50-ns", "p99-ns", "p99.9-ns", "goodput/s", "unserved", "generator-p99-ns"}
	for _, rate := range []int{9000, 900, 12000} {
		part := ".txt"
		if rate == 9000 {
			part = "-share.txt"
		}
		for _, a := range slices.Concat([]string{"floor", "locker", "locker-mux1"}, rawClients) {
			s.add("load"+part, fmt.Sprintf("Load/keys=own/approach=%s/rate=%d", a, rate), a, units...)
		}
		for _, k := range [][2]string{{"hot", "hot"}, {"zipf10000", "zipf"}} {
			keys, file := k[0], k[1]
			if rate == 900 {
				for _, a := range []string{"fair", "etcd", "zookeeper"} {
					s.add("sessions.txt", fmt.Sprintf("Load/keys=%s/approach=%s/rate=200", keys, a), a, units...)
				}
			}
			for _, a := range slices.Concat([]string{"fair", "cohort", "polling"}, waitingRivals) {
				s.add(file+part, fmt.Sprintf("Load/keys=%s/approach=%s/rate=%d", keys, a, rate), a, units...)
			}
		}
	}
}

func (s *synthetic) others() {
	for _, way := range []string{"locker", "loop", "redsync", "rueidislock"} {
		s.add("keepalive.txt", "KeepAlive/way="+way+"/locks=10000/ttl=10s", way,
			"ns/op", "p50-ns", "p99-ns", "cpu-ns/renewal", "server-cpu-ns/renewal", "B/lock", "goroutines", "lost")
	}
	units := []string{"ns/op", "gap-p50-ns", "gap-max-ns", "beyond-p50-ns", "beyond-max-ns"}
	for _, way := range []string{"fair", "polling", "redsync", "redislock", "rueidislock"} {
		s.add("recovery.txt", "Recovery/way="+way+"/ttl=1s", way, units...)
	}
	if len(s.files["faults.txt"]) == 0 { // all repetitions are one round
		for _, fault := range []string{"waiting-process-killed", "waiting-process-killed-at-the-release", "holding-process-killed",
			"waiting-process-stopped"} {
			s.add("faults.txt", "Fault/case="+fault, "fair", "p50-ns", "worst-ns", "worst-beyond-lease-ns", "asked-ns")
		}
		for _, hold := range []string{"0s", "5ms"} {
			s.add("faults.txt", "Fault/case=in-contention/hold="+hold, "fair", "p50-ns", "worst-ns", "over-20ms")
		}
		for _, way := range []string{"plain", "verified", "guarded"} {
			s.add("faults.txt", "Stale/way="+way, "fair", "stale-writes", "refused")
		}
		for _, lockers := range []string{"1", "2"} {
			name := "/waiters=4/lockers=" + lockers + "/hold=1.2s/ttl="
			s.add("faults.txt", "Held/way=fair/keepalive=off"+name+"10s", "fair", "evalsha/acq", "renewals/acq", "asks/acq")
			s.add("faults.txt", "Held/way=fair/keepalive=on"+name+"1s", "fair",
				"evalsha/acq", "renewals/acq", "asks/acq", "renewals/half-ttl")
		}
	}
	for _, way := range []string{"fair", "etcd", "zookeeper"} {
		s.add("recovery-sessions.txt", "Recovery/way="+way+"/ttl=3s", way, units...)
	}
}

// ratios are those that were measured as such.
func (s *synthetic) ratios() {
	for _, goroutines := range []int{1, 2, 16, 128, 1024} {
		for _, r := range [][3]string{{"ratios.txt", "locker", "floor"}, {"ratios.txt", "locker-setnx", "floor"},
			{"ratios.txt", "setnx-verified", "setnx"}, {"ratios.txt", "floor-copy", "floor"}, {"mux.txt", "locker-mux1", "floor"},
			{"mux.txt", "locker-mux1", "locker"}, {"mux.txt", "locker-mux2", "locker"}} {
			s.add(r[0], fmt.Sprintf("Ratio/of=%s/to=%s/goroutines=%d", r[1], r[2], goroutines), r[1], "ratio")
		}
	}
}

// newer has the same cells on other servers.
func (s *synthetic) newer() {
	for _, server := range []string{"valkey", "redis8"} {
		for _, a := range []string{"floor", "locker", "locker-mux1"} {
			for _, goroutines := range []int{1, 128} {
				name := fmt.Sprintf("AcquireRelease/approach=%s/release=lua/goroutines=%d", a, goroutines)
				s.add("newer/"+server+"-approaches.txt", name, a, "ns/op")
			}
		}
		for _, verb := range []string{"SetNX", "SetNXVerified", "SetNXScript", "Verify", "Extend", "Release", "ReleaseTx", "Fence"} {
			s.add("newer/"+server+"-verbs.txt", "Verb/verb="+verb, verb, "ns/op", "p50-ns", "p99-ns")
			s.add("verbs.txt", "Verb/verb="+verb, verb, "ns/op", "p50-ns", "p99-ns")
		}
		for _, way := range append(ourWays, "redsync", "redislock", "rueidislock") {
			s.add("newer/"+server+"-contention.txt", "Contention/way="+way+"/waiters=64/processes=4/hold=0s", way,
				"ns/op", "acq/s", "p50-ns", "wait-p99-ns", "jain", "server-cpu-ns/op")
		}
	}
}

// render writes the campaign and renders its page.
func (s *synthetic) render(t *testing.T) (map[string]string, error) {
	t.Helper()
	head := "cpu: drawn\nredis-version: redis of nowhere\ngo: go1.24\ncommit: none\n\n"
	for name, lines := range s.files {
		write(t, filepath.Join(s.dir, "raw", name), head+strings.Join(lines, "\n")+"\n")
	}
	for _, chart := range []string{"throughput", "handoff", "fairness", "load-own", "load-hot", "load-zipf10000", "cost", "keepalive"} {
		for _, page := range []string{"light", "dark"} {
			write(t, filepath.Join(s.dir, "charts", chart+"-"+page+".svg"), "<svg/>")
		}
	}
	write(t, filepath.Join(s.dir, "environment.txt"), "kernel: none\ncpus: 2\ndate: begin\nend: end\n")
	return report(s.dir)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// drop takes the lines of a file away in which a pattern matches; not the first of them where keep says so.
func (s *synthetic) drop(file, pattern string, keep int) {
	re, list := regexp.MustCompile(pattern), []string(nil)
	for _, line := range s.files[file] {
		if re.MatchString(line) {
			if keep--; keep < 0 {
				continue
			}
		}
		list = append(list, line)
	}
	s.files[file] = list
}

func TestThePageOfACampaignShowsWhatItsCellsSay(t *testing.T) {
	s := newSynthetic(t)
	pages, err := s.render(t)
	if err != nil {
		t.Fatal(err)
	}
	for name, wants := range map[string][]string{
		"report.md": {"| `etcd` |", "| `go-redis` |", "9,000 arrivals a second", "One hot key", "| `guarded` |", "100 times each"},
		"tables.md": {"| `etcd` |", "9,000 arrivals a second", "held for 1ms", "| `Fence` |"},
	} {
		if testing.Verbose() {
			t.Log(pages[name])
		}
		for _, want := range wants {
			if !strings.Contains(pages[name], want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		checkMarkdown(t, pages[name])
	}
}

func TestACampaignHasItsOwnWordsOnThePageOfAll(t *testing.T) {
	s := newSynthetic(t)
	write(t, filepath.Join(s.dir, "words.md.tmpl"), `{{define "lose"}}{{is "KeepAlive" "way=redsync"}} is better at drawing.

{{end}}`)
	pages, err := s.render(t)
	if want := "\n\nredsync is better at drawing.\n\n## What this machine"; err != nil || !strings.Contains(pages["report.md"], want) {
		t.Errorf("%v, the page does not have %q", err, want)
	}
	write(t, filepath.Join(s.dir, "words.md.tmpl"), `{{define "lose"}}It loses by 17 %.{{end}}`)
	if _, err := s.render(t); err == nil || !strings.Contains(err.Error(), `figures of its own, ["17"]`) {
		t.Errorf("words with a figure: %v", err)
	}
	write(t, filepath.Join(s.dir, "report.md.tmpl"), "another page\n")
	if pages, err := s.render(t); err != nil || len(pages) != 1 || pages["report.md"] != "another page\n" {
		t.Errorf("with a template of its own it is %q, %v", pages, err)
	}
}

func TestThePageFailsWhereTheCampaignLacksSomething(t *testing.T) {
	for name, tt := range map[string]struct {
		lose func(s *synthetic)
		want []string // of the message
	}{
		"a file": {func(s *synthetic) { delete(s.files, "load.txt") }, []string{"raw/load.txt is missing"}},
		"our cell": {func(s *synthetic) { s.drop("contention.txt", "way=fair/waiters=512/processes=4", 0) },
			[]string{"raw/contention.txt", "way=fair", "waiters=512"}},
		"a rival": {func(s *synthetic) { s.drop("contention-rivals.txt", "way=redislock/waiters=64", 0) },
			[]string{"raw/contention-rivals.txt", "way=redislock"}},
		"a rival's number of goroutines": {func(s *synthetic) { s.drop("rivals.txt", "approach=redsync/.*goroutines=128", 0) },
			[]string{"raw/rivals.txt", "approach=redsync", "goroutines=128"}},
		"rounds": {func(s *synthetic) { s.drop("contention.txt", "way=cohort/waiters=64/processes=4/hold=0s", 9) },
			[]string{"raw/contention.txt", "way=cohort/waiters=64/processes=4/hold=0s has 9 rounds of"}},
		"a unit of all": {func(s *synthetic) {
			for i, line := range s.files["load.txt"] {
				s.files["load.txt"][i] = strings.Replace(line, " p99.9-ns", " p98-ns", 1)
			}
		}, []string{"raw/load.txt", "p99.9-sec"}},
		"a rate": {func(s *synthetic) { s.drop("hot-share.txt", "keys=hot/approach=fair/rate=9000", 0) },
			[]string{"raw/load.txt", "keys=hot"}},
		"all of a kind": {func(s *synthetic) { s.drop("recovery.txt", "Recovery", 0) }, []string{"raw/recovery.txt"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSynthetic(t)
			tt.lose(s)
			pages, err := s.render(t)
			if err == nil {
				t.Fatalf("it shows\n%s", pages)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message has no %q: %v", want, err)
				}
			}
		})
	}
}

func TestTheReadmesTablesCanAllBeMade(t *testing.T) {
	s := newSynthetic(t)
	if _, err := s.render(t); err != nil {
		t.Fatal(err)
	}
	c, err := campaign.Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"uncontended": " over a Mux,", "contended": "| Locker, `Fair` |", "handoff": `src="results/synthetic/charts/handoff-light.svg"`,
	} {
		if got, err := c.Render(name, "readme.md.tmpl"); err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
