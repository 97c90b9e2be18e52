package redistest

import "time"

// Action is what a [Proxy] does with one request. Its zero value is [Pass].
type Action struct {
	kind    kind
	delay   time.Duration
	release <-chan struct{}
	raw     string
	n       int
}

type kind int

const (
	pass kind = iota
	drop
	cut
	swallow
	late
	delay
	hold
	reply
	truncate
)

// Pass forwards the request and its reply.
func Pass() Action { return Action{} }

// Drop forwards the request, swallows the reply and then closes the client's
// connection: the request was carried out, and its reply is lost.
func Drop() Action { return Action{kind: drop} }

// Cut closes the client's connection instead of forwarding the request: it is
// not carried out. The replies to those before it on the connection still come.
func Cut() Action { return Action{kind: cut} }

// Swallow forwards the request and never answers, with the client's connection
// open: it hangs. What follows on the connection is forwarded and not answered
// either.
func Swallow() Action { return Action{kind: swallow} }

// Late keeps the request, and forwards it when release is closed (nil: never),
// even if the client has gone meanwhile: a command that is still on its way. It
// holds back what follows on the connection. If the proxy is closed first, the
// request is never forwarded.
func Late(release <-chan struct{}) Action { return Action{kind: late, release: release} }

// Delay forwards the request at once and lets the reply come no sooner than d
// after that: a slow network. It holds back the replies that follow on the
// connection, but the delays of a pipeline run side by side.
func Delay(d time.Duration) Action { return Action{kind: delay, delay: d} }

// Hold forwards the request at once and holds its reply, and the replies that
// follow on the connection, until release is closed (nil: never).
func Hold(release <-chan struct{}) Action { return Action{kind: hold, release: release} }

// Reply answers with these bytes instead of forwarding the request. They should
// be one RESP value, as in Reply("-LOADING busy\r\n"); that they may be anything
// is the point.
func Reply(raw string) Action { return Action{kind: reply, raw: raw} }

// Truncate forwards the request, sends only the first n bytes of the reply and
// then closes the client's connection.
func Truncate(n int) Action { return Action{kind: truncate, n: n} }
