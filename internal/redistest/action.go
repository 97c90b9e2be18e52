package redistest

import "github.com/redigolock/redigolock/internal/sim"

// An Action is what a [Proxy] does with one request: one of those below, which do what they do in a simulated network. Those of
// package sim that are not here a Proxy does not know.
type Action = sim.Action

// A Request is one command that came to a [Proxy]: its connection, counted from 1, its name in upper case, and its arguments.
type Request = sim.Request

// A Proxy closes the client's connection where package sim resets it. The replies to what came before a Cut still come. Late, without a
// release, is for ever: if the Proxy is closed first, the request is never forwarded.
var (
	Pass     = sim.Pass
	Cut      = sim.Cut
	Drop     = sim.Drop
	Truncate = sim.Truncate
	Swallow  = sim.Swallow
	Late     = sim.LateUntil
	Delay    = sim.Slow
	Hold     = sim.Hold
	Reply    = sim.Answer
)

// known are the kinds of the actions above.
var known = map[sim.ActionKind]bool{sim.Passes: true, sim.Cuts: true, sim.Drops: true, sim.Truncates: true, sim.Swallows: true,
	sim.IsLate: true, sim.IsSlow: true, sim.Holds: true, sim.Answers: true}
