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

// An intList is a flag as 1,16,128.
type intList []int

func (l *intList) String() string { return "" }

func (l *intList) Set(s string) error {
	var list []int
	for field := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil {
			return errors.New("allowed are numbers, separated by commas")
		}
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	*l = list
	return nil
}

// A duration is a flag as 80ms, whose error says how one looks.
type duration time.Duration

func (d *duration) String() string { return "" }

func (d *duration) Set(s string) error {
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("a duration has a unit, as 80ms")
	}
	*d = duration(parsed)
	return nil
}

// A durationList is a flag as 0s,1ms.
type durationList []time.Duration

func (l *durationList) String() string { return "" }

func (l *durationList) Set(s string) error {
	var list []time.Duration
	for field := range strings.SplitSeq(s, ",") {
		var d duration
		if err := d.Set(strings.TrimSpace(field)); err != nil {
			return err
		}
		if !slices.Contains(list, time.Duration(d)) {
			list = append(list, time.Duration(d))
		}
	}
	*l = list
	return nil
}

// A wayList is a flag as fair,fair-mux2.
type wayList []string

func (l *wayList) String() string { return "" }

func (l *wayList) Set(s string) error {
	var list []string
	for field := range strings.SplitSeq(s, ",") {
		field = strings.TrimSpace(field)
		way, lanes := wayOf(field)
		switch {
		case !slices.Contains(bench.ContentionWays(), way):
			return fmt.Errorf("allowed are %s, and fair-mux2 and the like", strings.Join(bench.ContentionWays(), ", "))
		case lanes < 0 || lanes > bench.MaxLanes || way == "floor" && lanes > 0:
			return fmt.Errorf("a Mux has 1 to %d connections, and the floor goes through none", bench.MaxLanes)
		case !slices.Contains(list, field):
			list = append(list, field)
		}
	}
	*l = list
	return nil
}

// wayOf is fair, 2 of fair-mux2; the lanes are negative if they are no number above zero.
func wayOf(name string) (way string, lanes int) {
	way, number, ok := strings.Cut(name, "-mux")
	if !ok {
		return way, 0
	}
	lanes, err := strconv.Atoi(number)
	if err != nil || lanes < 1 {
		return way, -1
	}
	return way, lanes
}
