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
	_, err := bench.WayCalled(name)
	return []string{name}, err
}

func isLock(way string) bool { return way != "floor" }

func recovers(name string) bool { return isLock(name) && wayOf(name).Lanes == 0 }

// wayOf is the way of a name that was checked.
func wayOf(name string) bench.Contention {
	w, _ := bench.WayCalled(name)
	return w
}

// ownApproaches are ours, and one over a Mux.
func ownApproaches() []string { return append(bench.OwnApproaches(), "locker-mux1") }

func approachNames(name string) ([]string, error) {
	if name == "all" {
		return slices.Concat(ownApproaches(), bench.Rivals()), nil
	}
	_, err := bench.ApproachCalled(name)
	return []string{name}, err
}
