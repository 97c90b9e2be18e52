package campaign

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// asked says what was asked of a figure, the figure, and whether it came out: three columns of a table.
func asked(op string, bound float64, q Quantity) (string, error) {
	if op != "at least" && op != "at most" {
		return "", fmt.Errorf("campaign: asked %q: it is at least, or at most", op)
	}
	limit := figures.Short(bound, q.Unit)
	low, high := q.ends()
	if op == "at most" {
		bound, low, high = -bound, -high, -low
	}
	shown := q.String()
	if q.Ratio { // with its median also where the interval includes 1
		shown = q.full()
	}
	verdict := "open: the interval contains what was asked"
	if q.Bound != Exact {
		verdict = "open: it is only a bound"
	}
	switch {
	case low >= bound:
		verdict = "yes"
	case high < bound:
		verdict = "no"
	}
	return fmt.Sprintf("%s %s | %s | %s", op, limit, shown, verdict), nil
}

// Units of which more is better; of all others less is.
var moreIsBetter = []string{"acq/s", "goodput/s", "renewals/s", "jain"}

// gain is how many times better ours is than another.
func (c *Campaign) gain(kind, unit string, our, other, where []string) (Quantity, error) {
	if slices.Contains(moreIsBetter, unit) {
		return c.ratio(kind, unit, our, other, where)
	}
	return c.ratio(kind, unit, other, our, where)
}

// Losses are the rows of a table of all figures in which ours, "way=fair", is worse than a rival, by an interval that
// does not include 1, or by a bound below 1: where, ours, the rival, the figure, and how many times better ours is.
func (c *Campaign) Losses(what, kind, base string, rows Rows, cols []Column, where ...string) (string, error) {
	var b strings.Builder
	if err := labelled(what, where); err != nil {
		return "", err
	}
	_, our, _ := strings.Cut(base, "=")
	for _, col := range cols {
		if _, _, err := c.values(kind, col.unit, slices.Concat(where, col.where, strings.Fields(base))); err != nil {
			return "", err
		}
	}
	for _, row := range c.resolve(rows, kind, cols[0], where) {
		for _, col := range cols {
			q, err := c.gain(kind, col.unit, strings.Fields(base), row.where, slices.Concat(where, col.where))
			var missing *missingError
			var partial *partialError
			if errors.As(err, &missing) || errors.As(err, &partial) {
				continue // Table says which must be there
			}
			if err != nil {
				return "", err
			}
			if _, high := q.ends(); high < 1 {
				fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", what, our, row.label, col.label, q)
			}
		}
	}
	return b.String(), nil
}

// share is that of the rates of a Load which is the nearest to a share of what ours, "approach=fair", can serve: the most
// that it served in a second at any of the rates. If it is not saturated at the highest, it is a share of what it served
// there, and shareOf says so. It fails if the nearest is another share.
func (c *Campaign) share(share float64, our string, where ...string) (string, error) {
	rates, most, err := c.served(our, where)
	if err != nil {
		return "", err
	}
	away := func(rate string) float64 { return math.Abs(rates[rate] - share*most) }
	closer := func(a, b string) int { return cmp.Compare(away(a), away(b)) }
	rate := slices.MinFunc(slices.Sorted(maps.Keys(rates)), closer)
	if away(rate) > another*most {
		return "", fmt.Errorf("campaign: %s: Load with %q was offered no rate near %.0f %% of the %.0f/s that %s served at most",
			c.where(), where, 100*share, most, our)
	}
	return rate, nil
}

// another share differs by more than this.
const another = 0.15

// saturated is what serves less than this share of the highest rate that was offered.
const saturated = 0.95

// shareOf says how much a rate is of what ours can serve, in percent; or of the highest rate that was offered, if ours
// served nearly all of it: then its saturation is not known.
func (c *Campaign) shareOf(rate, our string, where ...string) (string, error) {
	rates, most, err := c.served(our, where)
	if err != nil {
		return "", err
	}
	if rates[rate] == 0 {
		return "", fmt.Errorf("campaign: %s: Load with %q has no rate of %s", c.where(), where, rate)
	}
	of := "what ours served at most"
	if highest := slices.Max(slices.Collect(maps.Values(rates))); most >= saturated*highest {
		of, most = "the highest rate offered, at which ours was not saturated", highest
	}
	return fmt.Sprintf("%.0f %% of %s", 100*rates[rate]/most, of), nil
}

// served are the rates of ours, and the most that it served.
func (c *Campaign) served(our string, where []string) (rates map[string]float64, most float64, err error) {
	rates = map[string]float64{}
	for _, f := range c.find("Load", append(slices.Clone(where), our)) {
		rate, err := f.Number("rate")
		if err != nil {
			return nil, 0, err
		}
		goodput, err := c.Center("Load", "goodput/s", append(slices.Clone(where), our, "rate="+f.Key("rate"))...)
		if err != nil {
			return nil, 0, err
		}
		rates[f.Key("rate")], most = rate, max(most, goodput)
	}
	if len(rates) == 0 {
		err = &missingError{c.where(), "Load", append(slices.Clone(where), our), ""}
	}
	return rates, most, err
}
