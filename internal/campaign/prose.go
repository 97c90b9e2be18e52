package campaign

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A figure is a number that no letter comes before in its word: those in p99, mux1 and zipf10000 are names.
var (
	word   = regexp.MustCompile(`[\p{L}\p{N}_.,/-]*\p{N}[\p{L}\p{N}_.,/-]*`)
	number = regexp.MustCompile(`\p{N}+(?:\.\p{N}+)?`)
)

// Naked are the figures in a text.
func Naked(text string) []string {
	var list []string
	for _, w := range word.FindAllString(text, -1) {
		for part := range strings.FieldsFuncSeq(w, func(r rune) bool { return strings.ContainsRune(",/", r) }) {
			if !startsWithLetter(part) {
				list = append(list, number.FindAllString(part, -1)...)
			}
		}
	}
	return list
}

func startsWithLetter(s string) bool { return regexp.MustCompile(`^\p{L}`).MatchString(s) }

var (
	action = regexp.MustCompile(`(?s)\{\{-?\s*(.*?)\s*-?\}\}`)
	// What an action may begin with: a function whose words are from the raw data, in parentheses if a method follows, or what
	// prints nothing.
	allowed = regexp.MustCompile(`^(\(?(cell|ratio|asked|table|losses|changes|setting|quoted|chart) [^|]*|(if|block|define|template) .*|else|end|/\*.*)$`)
)

// checkProse refuses a template with figures of its own: in its text, or as a constant that it prints. Those that it gives to
// functions say which cells are meant, and what was asked.
func checkProse(path, text string) error {
	for _, m := range action.FindAllStringSubmatch(text, -1) {
		if !allowed.MatchString(strings.ReplaceAll(m[1], "\n", " ")) {
			return fmt.Errorf("campaign: %s: %s prints what need not be from the raw data", path, m[0])
		}
	}
	if naked := slices.Compact(Naked(action.ReplaceAllString(text, ""))); len(naked) > 0 {
		return fmt.Errorf("campaign: %s: the text has figures of its own, %q: have them computed", path, naked)
	}
	return nil
}
