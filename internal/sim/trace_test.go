package sim_test

import (
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

// around is the part of the trace about a moment, the last lines if there is none.
func (tr *trace) around(at time.Duration, before, after int) string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	slices.SortStableFunc(tr.lines, func(a, b line) int { return int(a.at - b.at) })
	i, _ := slices.BinarySearchFunc(tr.lines, at, func(l line, at time.Duration) int { return int(l.at - at) })
	var b strings.Builder
	for _, l := range tr.lines[max(0, i-before):min(len(tr.lines), i+after)] {
		fmt.Fprintf(&b, "%12.6f  %-6s %s\n", l.at.Seconds(), l.who, l.what)
	}
	return b.String()
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

// scriptNames are the names of the library's scripts, by their hashes.
func scriptNames() map[string]string { return nil }
