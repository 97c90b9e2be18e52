package lockbench

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redigolock/redigolock/bench"
)

// A list is a flag with values between commas. One that comes twice counts once.
type list[T comparable] struct {
	values *[]T
	parse  func(string) ([]T, error) // of what is between two commas: one value, or all that it means
}

func (l *list[T]) Set(s string) error {
	var values []T
	for field := range strings.SplitSeq(s, ",") {
		some, err := l.parse(strings.TrimSpace(field))
		if err != nil {
			return err
		}
		for _, v := range some {
			if !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
	}
	*l.values = values
	return nil
}

func (l *list[T]) String() string {
	if l.values == nil { // package flag asks a zero value
		return ""
	}
	var texts []string
	for _, v := range *l.values {
		texts = append(texts, fmt.Sprint(v))
	}
	return strings.Join(texts, ",")
}

func between(least, most int) func(string) ([]int, error) {
	return func(s string) ([]int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return nil, fmt.Errorf("allowed are numbers from %d to %d, separated by commas", least, most)
		}
		return []int{n}, nil
	}
}

func lasting(least, most time.Duration) func(string) ([]time.Duration, error) {
	return func(s string) ([]time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return nil, errors.New("a duration has a unit, as 80ms")
		}
		if d < least || d > most {
			return nil, fmt.Errorf("allowed are %v to %v", least, most)
		}
		return []time.Duration{d}, nil
	}
}

func oneOf(names func() []string) func(string) ([]string, error) {
	return func(s string) ([]string, error) {
		if !slices.Contains(names(), s) {
			return nil, fmt.Errorf("there are %s", strings.Join(names(), ", "))
		}
		return []string{s}, nil
	}
}

func workloadNames(name string) ([]string, error) {
	if name == "all" {
		return allWorkloads, nil
	}
	if workloadOf(name) == nil {
		var names []string
		for _, w := range workloads {
			names = append(names, w.name)
		}
		return nil, fmt.Errorf("there are %s and all", strings.Join(names, ", "))
	}
	return []string{name}, nil
}

func allWays() []string { return slices.Concat(bench.ContentionWays(), bench.WaitingRivals()) }

func wayNames(name string) ([]string, error) {
	if name == "all" {
		return allWays(), nil
	}
	_, err := wayOf(name)
	return []string{name}, err
}

// wayOf is a Contention with the way of a name: fair through 2 connections of fair-mux2.
func wayOf(name string) (bench.Contention, error) {
	way, lanes, muxed := numbered(name, "-mux")
	switch {
	case slices.Contains(bench.WaitingRivals(), name):
		return bench.Contention{Way: name}, nil
	case slices.Contains(bench.Rivals(), name):
		return bench.Contention{}, fmt.Errorf("%s cannot wait for a lock; those that can are %s", name, strings.Join(allWays(), ", "))
	case !slices.Contains(bench.ContentionWays(), way):
		return bench.Contention{}, fmt.Errorf("there are %s, all, and fair-mux2 and the like", strings.Join(allWays(), ", "))
	case muxed && (lanes < 1 || lanes > bench.MaxLanes || way == "floor"):
		return bench.Contention{}, fmt.Errorf("a Mux has 1 to %d connections, and the floor goes through none", bench.MaxLanes)
	}
	return bench.Contention{Way: way, Lanes: lanes}, nil
}

func isLock(way string) bool { return way != "floor" }

func recovers(name string) bool {
	w, _ := wayOf(name) // which was checked
	return w.Way != "floor" && w.Lanes == 0
}

// ownApproaches are ours, the floor first, because ratios are to the first.
var ownApproaches = []string{"floor", "setnx", "setnx-verified", "setnx-get", "script", "locker", "locker-setnx", "locker-script",
	"locker-mux1"}

func approachNames(name string) ([]string, error) {
	if name == "all" {
		return slices.Concat(ownApproaches, bench.Rivals()), nil
	}
	_, err := approachOf(name)
	return []string{name}, err
}

// approachOf is an Uncontended with the approach of a name: the floor with a pool of 16 of floor-pool16.
func approachOf(name string) (bench.Uncontended, error) {
	if slices.Contains(bench.Rivals(), name) {
		return bench.Uncontended{Approach: name, Release: "lua"}, nil
	}
	approach, lanes, muxed := numbered(name, "-mux")
	approach, size, bounded := numbered(approach, "-pool")
	locker := strings.HasPrefix(approach, "locker")
	switch {
	case !slices.Contains(ownApproaches, approach) || approach == "locker-mux1":
		return bench.Uncontended{}, fmt.Errorf("there are %s, all, and locker-pool16, locker-mux8 and the like",
			strings.Join(slices.Concat(ownApproaches, bench.Rivals()), ", "))
	case muxed && (lanes < 1 || lanes > bench.MaxLanes || !locker || bounded):
		return bench.Uncontended{}, fmt.Errorf("a Mux has 1 to %d connections, and is for a Locker without a pool", bench.MaxLanes)
	case bounded && (size < 1 || size > bench.MaxWorkers || !locker && approach != "floor"):
		return bench.Uncontended{}, fmt.Errorf("a pool has 1 to %d connections, and is for a Locker or the floor", bench.MaxWorkers)
	}
	return bench.Uncontended{Approach: approach, Release: "lua", Lanes: lanes, PoolSize: size}, nil
}

// numbered is fair, 2 of fair-mux2; the number is 0 if it is none.
func numbered(name, mark string) (base string, n int, found bool) {
	base, digits, found := strings.Cut(name, mark)
	if n, err := strconv.Atoi(digits); found && err == nil {
		return base, n, true
	}
	return base, 0, found
}
