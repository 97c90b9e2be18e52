package lockbench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redigolock/redigolock/bench"
)

// A nameList is a flag as fair,redsync.
type nameList struct {
	names *[]string
	all   func() []string    // that "all" means
	check func(string) error // says what is wrong with a name
}

func (l nameList) String() string { return "" }

func (l nameList) Set(s string) error {
	var list []string
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSpace(name)
		some := []string{name}
		if name == "all" {
			some = l.all()
		} else if err := l.check(name); err != nil {
			return err
		}
		for _, name := range some {
			if !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	*l.names = list
	return nil
}

func allWays() []string { return slices.Concat(bench.ContentionWays(), bench.WaitingRivals()) }

// wayOf is a Contention with the way of a name: fair through 2 connections of fair-mux2.
func wayOf(name string) (bench.Contention, error) {
	way, lanes, muxed := numbered(name, "-mux")
	switch {
	case slices.Contains(bench.WaitingRivals(), name):
		return bench.Contention{Way: name}, nil
	case slices.Contains(bench.Rivals(), name):
		return bench.Contention{}, fmt.Errorf("%s cannot wait for a lock; those that can are %s", name, join(allWays()))
	case !slices.Contains(bench.ContentionWays(), way):
		return bench.Contention{}, fmt.Errorf("there are %s, all, and fair-mux2 and the like", join(allWays()))
	case muxed && (lanes < 1 || lanes > bench.MaxLanes || way == "floor"):
		return bench.Contention{}, fmt.Errorf("a Mux has 1 to %d connections, and the floor goes through none",
			bench.MaxLanes)
	}
	return bench.Contention{Way: way, Lanes: lanes}, nil
}

func checkWay(name string) error {
	_, err := wayOf(name)
	return err
}

// ownApproaches are ours as -approaches calls them, the floor first, because ratios are to the first.
var ownApproaches = []string{"floor", "floor-pool16", "setnx", "setnx-verified", "setnx-get", "script", "locker", "locker-setnx",
	"locker-script", "locker-mux1", "locker-mux2", "locker-mux4"}

func allApproaches() []string { return slices.Concat(ownApproaches, bench.Rivals()) }

// approachOf is an Uncontended with the approach of a name: the floor with a pool of 16 of floor-pool16.
func approachOf(name string) (bench.Uncontended, error) {
	if slices.Contains(bench.Rivals(), name) {
		return bench.Uncontended{Approach: name}, nil
	}
	approach, lanes, muxed := numbered(name, "-mux")
	approach, size, bounded := numbered(approach, "-pool")
	locker := approach == "locker" || approach == "locker-setnx" || approach == "locker-script"
	switch {
	case !slices.Contains(ownApproaches, approach):
		return bench.Uncontended{}, fmt.Errorf("there are %s, all, and locker-pool16, locker-mux8 and the like",
			join(allApproaches()))
	case muxed && (lanes < 1 || lanes > bench.MaxLanes || !locker || bounded):
		return bench.Uncontended{}, fmt.Errorf("a Mux has 1 to %d connections, and is for a Locker without a pool",
			bench.MaxLanes)
	case bounded && (size < 1 || size > bench.MaxWorkers || !locker && approach != "floor"):
		return bench.Uncontended{}, fmt.Errorf("a pool has 1 to %d connections, and is for a Locker or the floor",
			bench.MaxWorkers)
	}
	return bench.Uncontended{Approach: approach, Lanes: lanes, PoolSize: size}, nil
}

func checkApproach(name string) error {
	_, err := approachOf(name)
	return err
}

func checkKeys(name string) error {
	if !slices.Contains(bench.LoadKeys(), name) {
		return fmt.Errorf("there are %s", join(bench.LoadKeys()))
	}
	return nil
}

func join(names []string) string { return strings.Join(names, ", ") }

// numbered is fair, 2 of fair-mux2; the number is 0 if it is none.
func numbered(name, mark string) (base string, n int, found bool) {
	base, digits, found := strings.Cut(name, mark)
	if n, err := strconv.Atoi(digits); found && err == nil {
		return base, n, true
	}
	return base, 0, found
}
