package sim

import "time"

// An Action is what becomes of one command. Its zero value is [Pass].
// The functions below make the others; the fields are for another network that does the same.
type Action struct {
	Kind    ActionKind
	For     time.Duration   // of Late, Slow and Trickle
	Release <-chan struct{} // of LateUntil and Hold
	Text    string          // of Refuse and Answer
	N       int             // of Truncate and Stop; 1 of RefuseAndEnd
}

// ActionKind says which function has made an [Action].
type ActionKind int

// Their names are those of the functions.
const (
	Passes ActionKind = iota
	Cuts
	Drops
	Truncates
	Loses
	Swallows
	Stops
	IsLate
	IsSlow
	Holds
	Trickles
	Refuses
	Answers
)

// Pass carries the command out and answers.
func Pass() Action { return Action{} }

// Cut cuts the connection before the command is carried out.
func Cut() Action { return Action{Kind: Cuts} }

// Drop carries the command out, and cuts the connection instead of answering: the reply is lost.
func Drop() Action { return Action{Kind: Drops} }

// Truncate carries the command out, sends the first n bytes of the reply, and cuts the connection.
func Truncate(n int) Action { return Action{Kind: Truncates, N: n} }

// Lose loses the command on its way, and all that follows on the connection, which stays open: nothing is carried out, and
// nothing answered.
func Lose() Action { return Action{Kind: Loses} }

// Swallow carries the command out and never answers it, with the connection open. What follows on the connection is carried
// out and not answered either.
func Swallow() Action { return Action{Kind: Swallows} }

// Stop sends the first n bytes of the reply and then nothing more, with the connection open: it hangs in the middle of the
// reply. What follows on the connection is carried out.
func Stop(n int) Action { return Action{Kind: Stops, N: n} }

// Late carries the command out d later, also if its caller has gone meanwhile: it was still on its way. It holds back what
// follows on the connection.
func Late(d time.Duration) Action { return Action{Kind: IsLate, For: d} }

// LateUntil is Late until release is closed. nil: until the server ends, and then it is not carried out.
func LateUntil(release <-chan struct{}) Action { return Action{Kind: IsLate, Release: release} }

// Slow carries the command out at once, and its reply takes d longer than the link does. It holds back the replies that
// follow on the connection; the delays of a pipeline run side by side.
func Slow(d time.Duration) Action { return Action{Kind: IsSlow, For: d} }

// Hold carries the command out at once, and holds its reply and those that follow on the connection until release is closed.
// nil: until the connection ends.
func Hold(release <-chan struct{}) Action { return Action{Kind: Holds, Release: release} }

// Trickle carries the command out at once, and its reply comes one byte after another, d apart.
func Trickle(d time.Duration) Action { return Action{Kind: Trickles, For: d} }

// Refuse answers with an error, as in Refuse("LOADING Redis is loading the dataset in memory"), and does not carry the
// command out.
func Refuse(message string) Action { return Action{Kind: Refuses, Text: message} }

// Answer sends these bytes instead of carrying the command out. They should be one RESP value; that they may be anything is the
// point.
func Answer(raw string) Action { return Action{Kind: Answers, Text: raw} }

// RefuseAndEnd is Refuse, after which the server closes the connection, as it does at the door ("ERR max number of clients
// reached").
func RefuseAndEnd(message string) Action { return Action{Kind: Refuses, Text: message, N: 1} }
