package main

import (
	"math"

	"gonum.org/v1/plot"

	"github.com/redigolock/redigolock/internal/figures"
)

// An axis is the scale of a panel in one direction.
type axis struct {
	label    string
	log      bool
	format   func(float64) string
	from, to float64     // the range; both zero: that of the data
	ticks    []plot.Tick // nil: found
	noLabels bool        // the panel beside it has them
}

// fit makes an axis of the plot hold values from low to high.
func (a axis) fit(p *plot.Axis, low, high float64) {
	switch {
	case a.from != a.to:
		low, high = a.from, a.to
	case a.log:
		// A factor of 4 at least: what is nearly the same shall look so.
		pad := max(1.15, math.Sqrt(4/(high/low)))
		low, high = low/pad, high*pad
	default: // a length is compared from zero
		low, high = 0, high*1.05
	}
	p.Min, p.Max = low, high
	ticks := a.ticks
	switch {
	case a.log:
		p.Scale = plot.LogScale{}
		if ticks == nil {
			ticks = logTicks(low, high, a.format)
		}
	case ticks == nil:
		ticks = linearTicks(low, high, a.format)
	}
	p.Tick.Marker = plot.ConstantTicks(ticks)
	if a.noLabels {
		p.Tick.Marker = plot.ConstantTicks(unlabelled(ticks))
	}
}

// unlabelled ticks keep their grid lines, for which gonum asks for a label that is not empty.
func unlabelled(ticks []plot.Tick) []plot.Tick {
	list := make([]plot.Tick, len(ticks))
	for i, tick := range ticks {
		if list[i] = tick; tick.Label != "" {
			list[i].Label = " "
		}
	}
	return list
}

// logTicks have labels at powers of ten, and also at 2 and 5, or at all digits, where there are few of those.
func logTicks(low, high float64, format func(float64) string) []plot.Tick {
	var list []plot.Tick
	decades := math.Log10(high / low)
	labelled := map[float64]bool{1: true, 2: decades < 2.2, 5: decades < 2.2, 3: decades < 0.9, 7: decades < 0.9}
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for digit := 1.0; digit < 10; digit++ {
			v := digit * math.Pow(10, e)
			if v < low || v > high {
				continue
			}
			tick := plot.Tick{Value: v}
			if labelled[digit] {
				tick.Label = format(v)
			}
			list = append(list, tick)
		}
	}
	return list
}

// linearTicks are at round numbers, about five of them.
func linearTicks(low, high float64, format func(float64) string) []plot.Tick {
	rough := (high - low) / 5
	unit := math.Pow(10, math.Floor(math.Log10(rough)))
	step := 10 * unit
	for _, s := range []float64{1, 2, 2.5, 5} {
		if s*unit >= rough*0.99 {
			step = s * unit
			break
		}
	}
	var list []plot.Tick
	for i := math.Ceil(low / step); i*step <= high*(1+1e-9); i++ {
		list = append(list, plot.Tick{Value: i * step, Label: format(i * step)})
	}
	return list
}

// number is short: 150k, 2.5M.
func number(v float64) string {
	switch {
	case math.Abs(v) >= 1e6:
		return digits(v/1e6) + "M"
	case math.Abs(v) >= 1e3:
		return digits(v/1e3) + "k"
	}
	return digits(v)
}

// duration is seconds with a unit: 50 µs.
func duration(sec float64) string {
	if sec == 0 {
		return "0"
	}
	return figures.Short(sec, "sec")
}

// digits are at most three that matter.
func digits(v float64) string { return figures.Short(v, "") }
