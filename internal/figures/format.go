package figures

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Format writes a measured value with its unit in three significant digits: "2.96 µs", "17,000", "4,610 B". Counts that
// are whole and below 1,000 are written as such. What a figure is per (s, op, acq…) is for the head above it to say.
func Format(v float64, unit string) string {
	switch {
	case strings.HasSuffix(unit, "ratio"):
		return Significant(v)
	case strings.HasSuffix(unit, "sec") || strings.Contains(unit, "sec/"):
		return duration(v)
	case strings.HasPrefix(unit, "B/") || strings.Contains(unit, "-B/"):
		return count(v) + " B"
	}
	return count(v)
}

// Short is Format without the zeros behind a decimal point, for what was not measured but chosen: "50 µs", "1.1".
func Short(v float64, unit string) string {
	number, of, _ := strings.Cut(Format(v, unit), " ")
	if strings.Contains(number, ".") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	return strings.TrimSpace(number + " " + of)
}

func duration(sec float64) string {
	scale, unit := 1e9, "ns"
	switch abs := math.Abs(sec); { // 999.7 ns are to become 1.00 µs, not 1,000 ns
	case abs >= 0.9995, abs == 0:
		scale, unit = 1, "s"
	case abs >= 0.9995e-3:
		scale, unit = 1e3, "ms"
	case abs >= 0.9995e-6:
		scale, unit = 1e6, "µs"
	}
	return Significant(sec*scale) + " " + unit
}

func count(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1000 {
		return strconv.Itoa(int(v))
	}
	return Significant(v)
}

// Significant writes three significant digits, with the thousands separated.
func Significant(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return fmt.Sprint(v)
	}
	exponent := math.Floor(math.Log10(math.Abs(v)))
	if step := math.Pow(10, exponent-2); exponent > 2 {
		v = math.Round(v/step) * step
	} else if math.Abs(v)/step >= 999.5 { // it is rounded up to the next power of ten
		exponent++
	}
	return Thousands(fmt.Sprintf("%.*f", int(max(0, 2-exponent)), v))
}

// Plural writes a number of things: "1 round", "1,200 rounds".
func Plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return Thousands(strconv.Itoa(n)) + " " + what
}

// Thousands puts commas into the whole part of a decimal number.
func Thousands(number string) string {
	whole, rest, dot := strings.Cut(number, ".")
	digits := strings.TrimPrefix(whole, "-")
	var groups []string
	for ; len(digits) > 3; digits = digits[:len(digits)-3] {
		groups = append(groups, digits[len(digits)-3:])
	}
	slices.Reverse(groups)
	text := strings.Join(append([]string{digits}, groups...), ",")
	if whole != strings.TrimPrefix(whole, "-") {
		text = "-" + text
	}
	if dot {
		text += "." + rest
	}
	return text
}
