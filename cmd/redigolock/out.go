package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// printable is s for a terminal: as it is if it can be shown as one word, else quoted as in Go, with every control character,
// what changes the direction of text, and what is no UTF-8, escaped.
func printable(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || s == "" || strings.ContainsFunc(s, unicode.IsSpace) {
		return q
	}
	return s
}

// printableLine is a message of more than one word: what cannot be shown is escaped, and nothing is quoted.
func printableLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n': // between joined errors
			b.WriteString("; ")
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// printJSON prints v as one line of JSON in ASCII, so that no terminal takes any of it for a command.
func printJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	_, err = fmt.Fprintln(w, b.String())
	return err
}
