package report

import (
	"math"
	"strconv"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// A scale shows figures that belong together in the same unit and with the same decimals.
type scale struct {
	factor   float64
	decimals int
	suffix   string
}

var prefixes = []struct {
	factor float64
	name   string
}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}, {1e-3, "m"}, {1e-6, "µ"}, {1e-9, "n"}}

// scaleOf shows v in three digits: 20.6 µs, 37.0 k/s. Only times go below the unit: 0.27 stays 0.270.
func scaleOf(v float64, unit string) scale {
	base := baseOf(unit)
	size := math.Abs(v)
	s := scale{factor: 1}
	for _, p := range prefixes {
		if p.factor < 1 && base != "s" || size == 0 || math.IsInf(size, 0) {
			break
		}
		s.factor = p.factor
		s.suffix = p.name
		if size >= 0.9995*p.factor {
			break
		}
	}
	s.decimals = decimalsOf(size / s.factor)
	if s.suffix += base; s.suffix != "" && s.suffix != "/s" {
		s.suffix = "\u00a0" + s.suffix
	}
	return s
}

// decimalsOf are those that give three digits, and one where nothing is in front of the point.
func decimalsOf(size float64) int {
	switch {
	case size == 0 || size >= 99.95 || math.IsNaN(size):
		return 0
	case size >= 9.995:
		return 1
	case size >= 0.9995:
		return 2
	}
	return min(3-int(math.Ceil(math.Log10(size))), 9)
}

func (s scale) number(v float64) string {
	return strconv.FormatFloat(v/s.factor, 'f', s.decimals, 64)
}

// value is the median: 20.6 µs.
func (s scale) value(sum figures.Summary) string { return s.number(sum.Center) + s.suffix }

// interval is what is under it: 20.1 – 21.3.
func (s scale) interval(sum figures.Summary) string {
	return s.number(sum.Low) + " – " + s.number(sum.High)
}

// baseOf is what a unit counts: s for p50-sec and cpu-sec/op, B for net-B/op, /s for acq/s, nothing for allocs/op.
func baseOf(unit string) string {
	counted, per, _ := strings.Cut(unit, "/")
	base := ""
	switch counted[strings.LastIndex(counted, "-")+1:] {
	case "sec":
		base = "s"
	case "B":
		base = "B"
	}
	if per == "s" {
		base += "/s"
	}
	return base
}
