package sim

import (
	"regexp"
	"runtime"
	"strings"
)

var bubbleOf = regexp.MustCompile(`^goroutine \d+ \[.*synctest bubble (\d+)`)

// Bubble identifies the caller's bubble; "": there is none.
func Bubble() string {
	buf := make([]byte, 200)
	mine := bubbleOf.FindStringSubmatch(string(buf[:runtime.Stack(buf, false)]))
	if mine == nil {
		return ""
	}
	return mine[1]
}

// Goroutines are the stacks of the caller's bubble, but for the caller's own, that contain text: a package's path, a func's
// name.
func Goroutines(text string) []string {
	buf := make([]byte, 1<<20)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	stacks := strings.Split(string(buf[:n]), "\n\n")
	mine := bubbleOf.FindStringSubmatch(stacks[0]) // the caller's comes first
	var found []string
	for _, stack := range stacks[1:] {
		its := bubbleOf.FindStringSubmatch(stack)
		if mine != nil && its != nil && mine[1] == its[1] && strings.Contains(stack, text) {
			found = append(found, stack)
		}
	}
	return found
}
