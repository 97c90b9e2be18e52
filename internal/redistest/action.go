package redistest

import "time"

// Action is what a [Proxy] does with one request. Its zero value is [Pass].
// The functions below make the others; the fields are for a network that is not
// a Proxy and does the same.
type Action struct {
	Kind     ActionKind
	For      time.Duration   // of Delay
	Released <-chan struct{} // of Late and Hold
	Raw      string          // of Reply
	N        int             // of Truncate
}

// ActionKind says which function has made an [Action].
type ActionKind int

// Their names are those of the functions.
const (
	Passes ActionKind = iota
	Drops
	Cuts
	Swallows
	IsLate
	Delays
	Holds
	Replies
	Truncates
)

// Pass forwards the request and its reply.
func Pass() Action { return Action{} }

// Drop forwards the request, swallows the reply and then closes the client's
// connection: the request was carried out, and its reply is lost.
func Drop() Action { return Action{Kind: Drops} }

// Cut closes the client's connection instead of forwarding the request: it is
// not carried out. The replies to those before it on the connection still come.
func Cut() Action { return Action{Kind: Cuts} }

// Swallow forwards the request and never answers, with the client's connection
// open: it hangs. What follows on the connection is forwarded and not answered
// either.
func Swallow() Action { return Action{Kind: Swallows} }

// Late keeps the request, and forwards it when release is closed (nil: never),
// even if the client has gone meanwhile: a command that is still on its way. It
// holds back what follows on the connection. If the proxy is closed first, the
// request is never forwarded.
func Late(release <-chan struct{}) Action { return Action{Kind: IsLate, Released: release} }

// Delay forwards the request at once and lets the reply come no sooner than d
// after that: a slow network. It holds back the replies that follow on the
// connection, but the delays of a pipeline run side by side.
func Delay(d time.Duration) Action { return Action{Kind: Delays, For: d} }

// Hold forwards the request at once and holds its reply, and the replies that
// follow on the connection, until release is closed (nil: never).
func Hold(release <-chan struct{}) Action { return Action{Kind: Holds, Released: release} }

// Reply answers with these bytes instead of forwarding the request. They should
// be one RESP value, as in Reply("-LOADING busy\r\n"); that they may be anything
// is the point.
func Reply(raw string) Action { return Action{Kind: Replies, Raw: raw} }

// Truncate forwards the request, sends only the first n bytes of the reply and
// then closes the client's connection.
func Truncate(n int) Action { return Action{Kind: Truncates, N: n} }
