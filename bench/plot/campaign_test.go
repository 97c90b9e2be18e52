package main

import (
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
