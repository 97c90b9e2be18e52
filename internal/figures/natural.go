package figures

import (
	"cmp"
	"strconv"
	"time"
)

// Natural orders values as people do: numbers before names, 2 before 16, 5s before 1m.
func Natural(a, b string) int {
	x, okX := quantity(a)
	y, okY := quantity(b)
	switch {
	case okX && okY:
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
	case okX:
		return -1
	case okY:
		return 1
	}
	return cmp.Compare(a, b)
}

// quantity is the value of a number or of a duration.
func quantity(s string) (float64, bool) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f, true
	}
	d, err := time.ParseDuration(s)
	return d.Seconds(), err == nil
}
