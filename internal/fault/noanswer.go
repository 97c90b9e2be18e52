package fault

// A Silence is why one of several servers has not answered.
type Silence struct {
	From  string // its address
	Cause error
}

// NoAnswer is the error, which begins with text, when none of so many servers has answered. It names what was wrong with each; those
// that are missing in silences hang. It wraps one of the causes: one that another try may mend, if there is such.
func NoAnswer(text string, servers int, silences []Silence) error {
	e := &noAnswerError{text: text}
	for _, s := range silences {
		if re, ok := Reply(s.Cause); ok {
			s.Cause = WithoutArgs(re)
		}
		e.text += "; " + s.From + ": " + OneLine(s.Cause.Error())
		e.blame(s.Cause)
	}
	if len(silences) < servers {
		e.text += "; the others hang"
		e.blame(Hangs)
	}
	return e
}

type noAnswerError struct {
	text  string
	cause error
}

func (e *noAnswerError) Error() string { return e.text }
func (e *noAnswerError) Unwrap() error { return e.cause }

// blame has the error wrap a cause, unless it wraps one already that is as good.
func (e *noAnswerError) blame(cause error) {
	if e.cause == nil || forGood(e.cause) && !forGood(cause) {
		e.cause = cause
	}
}

// forGood reports whether a server will say the same again: a wrong password, that it does not know what it was asked for.
func forGood(err error) bool {
	re, isReply := Reply(err)
	return isReply && !TransientReply(re) || RefusedForGood(err)
}
