package figures

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// Natural orders names as people do: 2 before 16, 5s before 1m, locker-mux2 before locker-mux16.
func Natural(a, b string) int {
	if x, ok := quantity(a); ok {
		if y, ok := quantity(b); ok && x != y {
			return cmp.Compare(x, y)
		}
	}
	for x, y := a, b; x != "" && y != ""; {
		var p, q string
		p, x = part(x)
		q, y = part(y)
		m, errM := strconv.ParseUint(p, 10, 64)
		n, errN := strconv.ParseUint(q, 10, 64)
		if errM == nil && errN == nil && m != n {
			return cmp.Compare(m, n)
		}
		if p != q && (errM != nil || errN != nil) {
			return cmp.Compare(p, q)
		}
	}
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// quantity is the value of a number or of a duration.
func quantity(s string) (float64, bool) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f, true
	}
	d, err := time.ParseDuration(s)
	return d.Seconds(), err == nil
}

// part cuts off the digits, or what is no digit, that s begins with.
func part(s string) (head, rest string) {
	isDigit := func(r rune) bool { return '0' <= r && r <= '9' }
	end := strings.IndexFunc(s, func(r rune) bool { return isDigit(r) != isDigit(rune(s[0])) })
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}
