package fault

import (
	"errors"
	"strconv"
	"strings"
)

// A lineError is an error as a part of a message: in one line, and without the name of the package, with which the message
// begins.
type lineError struct{ error }

func (e lineError) Error() string { return strings.TrimPrefix(OneLine(e.error.Error()), prefix) }
func (e lineError) Unwrap() error { return e.error }

// InLine is err as a part of a message.
func InLine(err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); !strings.ContainsAny(text, "\r\n") && !strings.HasPrefix(text, prefix) {
		return err
	}
	return lineError{err}
}

// prefix is what the package's own errors begin with.
const prefix = "redigolock: "

// OneLine joins the lines of a text.
func OneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

// Quote shows a key in a message, whatever bytes it has and however long it is.
func Quote(key string) string {
	if len(key) > 80 {
		return strconv.Quote(key[:80]) + "… (" + strconv.Itoa(len(key)) + " bytes)"
	}
	return strconv.Quote(key)
}

// Join is errors.Join in one line, and without what is in it already. It leaves a lone error as it is.
func Join(errs ...error) (all error) {
	for _, err := range errs {
		switch {
		case all == nil:
			all = err
		case err != nil && !errors.Is(all, err):
			all = Followed(all, "", err)
		}
	}
	return all
}

// Said is an error with this text, in which errors.Is finds all of errs.
func Said(text string, errs ...error) error { return &longError{text, errs} }

// A longError is several errors in one line, which names each cause once. errors.Is finds all that is in it.
type longError struct {
	text string
	errs []error
}

func (e *longError) Error() string   { return e.text }
func (e *longError) Unwrap() []error { return e.errs }

// Followed is err with what came later, and where. What both texts begin with is said once.
func Followed(err error, where string, later error) error {
	text, more := OneLine(err.Error()), OneLine(later.Error())
	if text == more {
		return &longError{text, []error{err, later}}
	}
	common := 0
	for i := 0; i < min(len(text), len(more)) && text[i] == more[i]; i++ {
		if strings.HasSuffix(more[:i+1], ": ") {
			common = i + 1
		}
	}
	more = withoutCause(more[common:], text)
	return &longError{text + "; " + where + more, []error{err, later}}
}

// withoutCause is text without the cause in brackets at its end where said has it already.
func withoutCause(text, said string) string {
	for i := range text {
		if cause, ok := strings.CutPrefix(text[i:], " ("); ok && strings.HasSuffix(cause, ")") && strings.Contains(said, strings.TrimSuffix(cause, ")")) {
			return text[:i]
		}
	}
	return text
}
