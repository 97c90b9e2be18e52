package sim_test

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"
)

// A trace is what happened in a world, for people: time, who, what.
type trace struct {
	begin time.Time

	mu    sync.Mutex // protects what follows
	lines []line
}

type line struct {
	at        time.Duration
	who, what string
}

func (tr *trace) add(who, format string, args ...any) {
	l := line{time.Since(tr.begin), who, fmt.Sprintf(format, args...)}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, l)
}

// sorted is the trace by time. What happens at the same moment may have come in any order.
func (tr *trace) sorted() []line {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	lines := slices.Clone(tr.lines)
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.who, b.who))
	})
	return lines
}

func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%15.9f  %-6s %s\n", l.at.Seconds(), l.who, l.what)
	}
	return b.String()
}

// around is the part of the trace about a moment, the last lines if there is none.
func (tr *trace) around(at time.Duration, before, after int) string {
	lines := tr.sorted()
	i, _ := slices.BinarySearchFunc(lines, at, func(l line, at time.Duration) int { return cmp.Compare(l.at, at) })
	return text(lines[max(0, i-before):min(len(lines), i+after)])
}

// sum is the same for the same run. Lines of the same moment may have come in any order.
func (tr *trace) sum() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	lines := make([]string, len(tr.lines))
	for i, l := range tr.lines {
		lines[i] = fmt.Sprintf("%d %s %s\n", l.at, l.who, l.what)
	}
	slices.Sort(lines)
	h := fnv.New64a()
	for _, l := range lines {
		h.Write([]byte(l))
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// short is a token that a person can tell from others.
func short(token string) string {
	if len(token) > 12 {
		if owner, id, ok := strings.Cut(token, "|"); ok && len(id) >= 8 {
			return owner + "#" + id[:8]
		}
		return token[:8]
	}
	return token
}
