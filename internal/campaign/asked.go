package campaign

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// asked says what was asked of a figure, the figure, and whether it came out: three columns of a table.
func asked(op string, bound float64, q Quantity) (string, error) {
	if op != "at least" && op != "at most" {
		return "", fmt.Errorf("campaign: asked %q: it is at least, or at most", op)
	}
	limit := shortest(Format(bound, q.Unit))
	low, high := q.Low, q.High
	if op == "at most" {
		bound, low, high = -bound, -q.High, -q.Low
	}
	verdict := "open: the interval contains what was asked"
	switch {
	case low >= bound:
		verdict = "yes"
	case high < bound:
		verdict = "no"
	}
	return fmt.Sprintf("%s %s | %s | %s", op, limit, full(q), verdict), nil
}

// shortest takes the zeros behind a decimal point away: what was asked is exact.
func shortest(figure string) string {
	number, unit, _ := strings.Cut(figure, " ")
	if strings.Contains(number, ".") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	return strings.TrimSpace(number + " " + unit)
}

// full shows a ratio with its center also where its interval includes 1.
func full(q Quantity) string {
	if !q.Ratio {
		return q.String()
	}
	return fmt.Sprintf("%s (%s–%s)", significant(q.Center), significant(q.Low), significant(q.High))
}

// Units of which more is better; of all others less is.
var moreIsBetter = []string{"acq/s", "goodput/s", "renewals/s", "jain"}

// Losses are the rows of a table of all figures in which ours, "way=fair", is worse than a rival, by an interval that
// does not include 1: where, ours, the rival, the figure, and how many times its figure ours is.
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
			q, err := c.ratio(kind, col.unit, strings.Fields(base), row.where, slices.Concat(where, col.where))
			var missing *missingError
			if errors.As(err, &missing) {
				continue // Table says which must be there
			}
			if err != nil {
				return "", err
			}
			if worse := q.Low > 1; worse && !slices.Contains(moreIsBetter, col.unit) ||
				q.High < 1 && slices.Contains(moreIsBetter, col.unit) {
				fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", what, our, row.label, col.label, q)
			}
		}
	}
	return b.String(), nil
}

// share is the rate of a Load that is so many percent of what the fastest did in a closed loop. The names tell rates
// only; the settings of the file, as "-loads 20,50,80", tell which is which: the rates rise as they do.
func (c *Campaign) share(percent string, where ...string) (string, error) {
	rates, err := c.list("Load", "rate", where...)
	if err != nil {
		return "", err
	}
	settings, err := c.Config("settings", "Load", where...)
	if err != nil {
		return "", err
	}
	fields := strings.Fields(settings)
	i := slices.Index(fields, "-loads")
	if i < 0 || i+1 == len(fields) {
		return "", fmt.Errorf("campaign: %s: the settings %q of Load with %q have no -loads", c.where(), settings, where)
	}
	loads := strings.Split(fields[i+1], ",")
	at := slices.Index(loads, percent)
	if at < 0 || len(loads) != len(rates) {
		return "", fmt.Errorf("campaign: %s: Load with %q has the rates %q; which of them is %s %% of -loads %s?",
			c.where(), where, rates, percent, fields[i+1])
	}
	return rates[at], nil
}
