package lockbench

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
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
