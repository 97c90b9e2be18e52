package sim

import "time"

// An Action is what becomes of one command. Its zero value is [Pass].
type Action struct {
	kind    kind
	delay   time.Duration
	release <-chan struct{}
	text    string
	n       int
}

type kind int

const (
	pass kind = iota
	cutBefore
	cutAfter
	cutInside
	lose
	swallow
	swallowInside
	late
	slow
	hold
	trickle
	refuse
	say
)

// Pass carries the command out and answers.
func Pass() Action { return Action{} }

// Cut cuts the connection before the command is carried out.
func Cut() Action { return Action{kind: cutBefore} }

// Drop carries the command out, and cuts the connection instead of answering: the reply is lost.
func Drop() Action { return Action{kind: cutAfter} }

// Truncate carries the command out, sends the first n bytes of the reply, and cuts the connection.
func Truncate(n int) Action { return Action{kind: cutInside, n: n} }

// Lose loses the command on its way, and all that follows on the connection, which stays open: nothing is carried out, and
// nothing answered.
func Lose() Action { return Action{kind: lose} }

// Swallow carries the command out and never answers it, with the connection open. What follows on the connection is carried
// out and not answered either.
func Swallow() Action { return Action{kind: swallow} }

// Stop sends the first n bytes of the reply and then nothing more, with the connection open: it hangs in the middle of the
// reply. What follows on the connection is carried out.
func Stop(n int) Action { return Action{kind: swallowInside, n: n} }

// Late carries the command out d later, also if its caller has gone meanwhile: it was still on its way. It holds back what
// follows on the connection.
func Late(d time.Duration) Action { return Action{kind: late, delay: d} }

// LateUntil is Late until release is closed. nil: until the server ends, and then it is not carried out.
func LateUntil(release <-chan struct{}) Action { return Action{kind: late, release: release} }

// Slow carries the command out at once, and its reply takes d longer than the link does. It holds back the replies that
// follow on the connection; the delays of a pipeline run side by side.
func Slow(d time.Duration) Action { return Action{kind: slow, delay: d} }

// Hold carries the command out at once, and holds its reply and those that follow on the connection until release is closed.
// nil: until the connection ends.
func Hold(release <-chan struct{}) Action { return Action{kind: hold, release: release} }

// Trickle carries the command out at once, and its reply comes one byte after another, d apart.
func Trickle(d time.Duration) Action { return Action{kind: trickle, delay: d} }

// Refuse answers with an error, as in Refuse("LOADING Redis is loading the dataset in memory"), and does not carry the
// command out.
func Refuse(message string) Action { return Action{kind: refuse, text: message} }

// Answer sends these bytes instead of carrying the command out. They should be one RESP value; that they may be anything is the
// point.
func Answer(raw string) Action { return Action{kind: say, text: raw} }

// RefuseAndEnd is Refuse, after which the server closes the connection, as it does at the door ("ERR max number of clients
// reached").
func RefuseAndEnd(message string) Action { return Action{kind: refuse, text: message, n: 1} }
