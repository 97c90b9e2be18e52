package report

import (
	"github.com/redigolock/redigolock/internal/figures"
)

var (
	Natural    = natural
	SectionsOf = sectionsOf
)

// Show is how the median and the interval of a unit look.
func Show(unit string, center, low, high float64) (value, interval string) {
	s := scaleOf(center, unit)
	sum := figures.Summary{Center: center, Low: low, High: high}
	return s.value(sum), s.interval(sum)
}
