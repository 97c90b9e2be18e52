package main

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
)

func cellsNamed(names ...string) []*figures.Cell {
	var list []*figures.Cell
	for _, name := range names {
		list = append(list, figures.NewCell(name))
	}
	return list
}

func TestChartIsOfTheCellThatMostWaysHave(t *testing.T) {
	const redis = "Contention/server=redis/way="
	keys := []string{"waiters", "processes", "hold"}
	for name, c := range map[string]struct {
		cells []string
		want  string
	}{
		"most ways": {[]string{redis + "fair/waiters=64/processes=4/hold=0s", redis + "fair/waiters=8/processes=1/hold=0s",
			redis + "redsync/waiters=8/processes=1/hold=0s"}, "8/1/0s"},
		"the usual one, though another has more cells": {[]string{redis + "fair/waiters=8/processes=1/hold=0s/x=1",
			redis + "fair/waiters=8/processes=1/hold=0s/x=2", redis + "fair/waiters=64/processes=4/hold=0s"}, "64/4/0s"},
		"else more cells": {[]string{redis + "fair/waiters=8/processes=1/hold=0s/x=1",
			redis + "fair/waiters=8/processes=1/hold=0s/x=2", redis + "fair/waiters=64/processes=2/hold=0s"}, "8/1/0s"},
		"the usual one of equals": {[]string{redis + "fair/waiters=512/processes=8/hold=0s",
			redis + "fair/waiters=64/processes=4/hold=0s"}, "64/4/0s"},
		"else the largest": {[]string{redis + "fair/waiters=8/processes=4/hold=0s", redis + "fair/waiters=32/processes=2/hold=0s",
			redis + "fair/waiters=16/processes=4/hold=0s"}, "32/2/0s"},
		"and the shortest hold": {[]string{redis + "fair/waiters=8/processes=4/hold=1ms",
			redis + "fair/waiters=8/processes=4/hold=0s"}, "8/4/0s"},
	} {
		cells, _ := cellsOf(cellsNamed(c.cells...))
		if got := groupOf(common(cells, "64/4/0s", keys...)[0], keys); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestRivalsOnServersOfTheirOwnAreComparedWithRedis(t *testing.T) {
	cells, leftOut := cellsOf(cellsNamed("Contention/server=valkey/way=fair", "Contention/server=redis/way=floor",
		"Contention/server=etcd/way=etcd", "Contention/server=zookeeper/way=zookeeper", "Contention/server=redis/way=fair"))
	if got, want := names(cells), []string{"fair", "notify", "etcd", "zookeeper"}; !slices.Equal(got, want) {
		t.Errorf("ways are %q, want %q", got, want)
	}
	if leftOut != "This is on redis; what was measured on valkey is in the tables." {
		t.Error(leftOut)
	}
	if cells, leftOut := cellsOf(cellsNamed("Load/server=valkey/approach=floor")); len(cells) != 1 || leftOut != "" {
		t.Errorf("without Redis: %d cells, %q", len(cells), leftOut)
	}
	if cells, _ := cellsOf(cellsNamed("Load/server=redis/approach=floor")); cells[0].way != "floor" {
		t.Errorf("only the floor of Contention is no lock: %s", cells[0].way)
	}
}

func TestVersionsOfAllServersAreNamed(t *testing.T) {
	list := cellsNamed("Load/server=redis/approach=redsync", "Load/server=etcd/approach=etcd")
	list[0].Config = map[string]string{"cpu": "X", "redis-version": "redis 7.0.15", "go": "go1.26.8"}
	list[1].Config = map[string]string{"cpu": "X", "etcd-version": "3.4.23"}
	cells, _ := cellsOf(list)
	if got := machine(cells); got != "X · etcd 3.4.23 · redis 7.0.15 · go1.26.8" {
		t.Error(got)
	}
}

// Two files have a way in common, in rounds of different lengths.
func TestWhatIsComparedIsOfOneFile(t *testing.T) {
	folder := t.TempDir()
	const at64, at8 = "/waiters=64/processes=4/hold=0s", "/waiters=8/processes=4/hold=0s"
	line := func(way, at, value string) string {
		return "BenchmarkContention/server=redis/way=" + way + at + "-2 10 " + value + " ns/op\n"
	}
	write(t, filepath.Join(folder, "a.txt"), line("fair", at64, "1")+line("polling", at64, "1")+line("fair", at8, "1"))
	write(t, filepath.Join(folder, "b.txt"), line("fair", at64, "2")+line("redsync", at64, "2")+line("redislock", at64, "2"))
	write(t, filepath.Join(folder, "c.txt"), line("cohort", at8, "3")) // as many as a.txt
	log := func(way string, values ...int64) string {
		return histogramLine(t, "Contention/server=redis/way="+way+at64, values...)
	}
	write(t, filepath.Join(folder, "a.hlog"), log("fair", 1))
	write(t, filepath.Join(folder, "b.hlog"), log("fair", 2, 2)+log("redsync", 2, 2))
	c, err := readCampaign(folder)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, cell := range c.find("Contention") {
		got[cell.Key("way")+cell.Key("waiters")] = 1e9 * cell.Values("sec/op")[0]
		if cell.Rounds != 1 {
			t.Errorf("%s has rounds of several files", cell.Name)
		}
	}
	if want := map[string]float64{"fair64": 2, "redsync64": 2, "redislock64": 2, "fair8": 1}; !maps.EqualFunc(got, want,
		func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }) {
		t.Errorf("cells are %v, want %v", got, want)
	}
	ch, err := handoff(c)
	if err != nil || !slices.Contains(ch.notes, "All rounds together; at least 2 hand-offs in each line.") {
		t.Errorf("%v, %+v", err, ch)
	}
}
