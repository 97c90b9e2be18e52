package lockbench

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
)

func fakeServer() *bench.Server {
	return &bench.Server{Name: "redis", Version: "redis 7.0.15", URL: "redis://127.0.0.1:6379", Native: true}
}

// planned are the sections of the flags on a server that is not there.
func planned(t *testing.T, args ...string) []*section {
	t.Helper()
	o, err := parse(args, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	var sections []*section
	for _, name := range o.workloads {
		sections = append(sections, newSection(fakeServer(), o, name))
	}
	return sections
}

// names are those of the lines of a round, without the part that all have.
func names(s *section) (list []string) {
	for _, g := range s.groups {
		for _, pair := range g.pairs {
			list = append(list, ratioName(g.cells[pair[0]], g.cells[pair[1]]))
		}
		for _, c := range g.cells {
			if len(g.pairs) == 0 {
				list = append(list, c.Name())
			}
		}
	}
	for i, name := range list {
		list[i] = strings.Replace(name, "server=redis/", "", 1)
	}
	return list
}

func TestPlansHaveTheCellsThatMakeSense(t *testing.T) {
	for args, want := range map[string][]string{
		// The floor does not hold, and there are not more processes than waiters.
		"contention -waiters 2,64 -processes 1,4 -ways floor,cohort-mux2 -hold 0,1ms": {
			"Contention/way=floor/waiters=2/processes=1/hold=0s", "Contention/way=cohort-mux2/waiters=2/processes=1/hold=0s",
			"Contention/way=floor/waiters=2/processes=2/hold=0s", "Contention/way=cohort-mux2/waiters=2/processes=2/hold=0s",
			"Contention/way=floor/waiters=64/processes=1/hold=0s", "Contention/way=cohort-mux2/waiters=64/processes=1/hold=0s",
			"Contention/way=floor/waiters=64/processes=4/hold=0s", "Contention/way=cohort-mux2/waiters=64/processes=4/hold=0s",
			"Contention/way=cohort-mux2/waiters=2/processes=1/hold=1ms", "Contention/way=cohort-mux2/waiters=2/processes=2/hold=1ms",
			"Contention/way=cohort-mux2/waiters=64/processes=1/hold=1ms", "Contention/way=cohort-mux2/waiters=64/processes=4/hold=1ms",
		},
		"ratios -goroutines 2": {
			"Ratio/of=floor-copy/to=floor/goroutines=2", "Ratio/of=locker/to=floor/goroutines=2", "Ratio/of=locker-setnx/to=floor/goroutines=2",
			"Ratio/of=locker-mux1/to=floor/goroutines=2",
			"Ratio/of=setnx-copy/to=setnx/goroutines=2", "Ratio/of=setnx-get/to=setnx/goroutines=2", "Ratio/of=setnx-verified/to=setnx/goroutines=2",
			"Ratio/of=locker-copy/to=locker/goroutines=2", "Ratio/of=locker-mux1/to=locker/goroutines=2",
			"Ratio/of=locker-mux2/to=locker/goroutines=2", "Ratio/of=fair/to=locker/goroutines=2",
		},
		"approaches -approaches toy,toy-client,setnx,floor-pool2 -goroutines 3": {
			"AcquireRelease/approach=toy/release=lua/goroutines=3", "AcquireRelease/server=toyd/approach=toy-client/release=lua/goroutines=3", "AcquireRelease/approach=setnx/release=lua/goroutines=3",
			"AcquireRelease/approach=setnx/release=tx/goroutines=3", "AcquireRelease/approach=setnx/release=native/goroutines=3",
			"AcquireRelease/approach=floor-pool2/release=lua/goroutines=3",
		},
		"load -keys own,hot -rates 700,900 -approaches locker -ways floor,fair,toy -hold 0,1ms": {
			"Load/keys=own/approach=locker/rate=700", "Load/keys=own/approach=locker/rate=900",
			"Load/keys=hot/approach=fair/rate=700", "Load/keys=hot/approach=toy/rate=700",
			"Load/keys=hot/approach=fair/rate=900", "Load/keys=hot/approach=toy/rate=900",
			"Load/keys=hot/approach=fair/rate=700/hold=1ms", "Load/keys=hot/approach=toy/rate=700/hold=1ms",
			"Load/keys=hot/approach=fair/rate=900/hold=1ms", "Load/keys=hot/approach=toy/rate=900/hold=1ms",
		},
		"keepalive -locks 1,10 -ttl 20s": {"KeepAlive/way=locker/locks=1/ttl=20s", "KeepAlive/way=loop/locks=1/ttl=20s",
			"KeepAlive/way=locker/locks=10/ttl=20s", "KeepAlive/way=loop/locks=10/ttl=20s"},
		"recovery -ways floor,fair,fair-mux1,toy": {"Recovery/way=fair/ttl=1s", "Recovery/way=toy/ttl=1s"},
	} {
		if got := names(planned(t, append([]string{"-workload"}, strings.Fields(args)...)...)[0]); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", args, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// All workloads have a length, and count with it for each round of each cell.
func TestPlanSaysHowLongItTakes(t *testing.T) {
	for args, want := range map[string]string{
		"contention -ways fair,cohort -waiters 2,8 -processes 1 -time 10s -count 3": "12 runs of 4 cells, about 2m24s", // with its lead
		"contention -ways fair -waiters 100 -processes 1 -hold 100ms -count 1":      "1 run of 1 cell, about 36s",      // three turns of each
		"ratios -goroutines 1 -time 1s -count 10":                                   "140 runs of 14 cells, about 2m20s",
		"keepalive -locks 1,10 -ttl 20s":                                            "4 runs of 4 cells, about 1m20s",
		"keepalive":                                                                 "6 runs of 6 cells, about 3m0s",
		"keepalive -locks 1 -time 90s":                                              "2 runs of 2 cells, about 3m0s",
		"load -rates 10 -time 2s -count 10":                                         "30 runs of 3 cells, about 1m0s",
		"recovery -ways floor,fair,fair-mux1,polling -ttl 10s -count 3":             "6 runs of 2 cells, about 1m0s",
		"verbs -time 1ms -count 1":                                                  "13 runs of 13 cells, about 1s",
	} {
		if got := newProgress(nil, planned(t, append([]string{"-workload"}, strings.Fields(args)...)...)).String(); got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
	// The default run must be over in 40 s from go run, which compiles first.
	if p := newProgress(nil, planned(t)); p.all < 10*time.Second || p.all > 25*time.Second || p.cells > 12 {
		t.Errorf("the overview: %v", p)
	}
}

func TestOurWaysHaveWords(t *testing.T) {
	for kind, names := range map[string][]string{"AcquireRelease": ownApproaches(), "Contention": bench.ContentionWays(), "KeepAlive": bench.KeepingWays()} {
		for _, name := range names {
			if figures.Way(kind, name) == name {
				t.Errorf("figures has no words for %s, of %s", name, kind)
			}
		}
	}
}
