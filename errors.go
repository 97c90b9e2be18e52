package redigolock

import (
	"strings"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
)

// The errors of this package, to be asked for with [errors.Is]. The server's or the network's own error stays
// wrapped inside; the manual at the top of this package says what to do about each.
var (
	// ErrHeld: somebody else's token is in the key. The error is a *[HeldError].
	ErrHeld = fault.Held
	// ErrNotHeld: the key does not carry this token; the lock expired, was deleted, or was taken by another.
	ErrNotHeld = fault.NotHeld
	// ErrLost is the cause of a [Lock.KeepAlive] context that ended because holding could no longer be proven,
	// or because Locker.MaxHold was reached.
	ErrLost = fault.Lost
	// ErrUnknown: a command left and no reply came, so it may or may not have been carried out.
	ErrUnknown = fault.Unknown
	// ErrInvalid: an argument is bad; nothing was sent.
	ErrInvalid = fault.Invalid
	// ErrConflict: the key holds something that is no lock, that is another type or a string without a TTL.
	ErrConflict = fault.Conflict
	// ErrUnsupported: the server, or the state of the connection, cannot do this.
	ErrUnsupported = fault.Unsupported
	// ErrFenced: [Guard] has seen a higher fencing number.
	ErrFenced = fault.Fenced
	// ErrExpired: an acquire was won, but no validity was left when its reply came, or, with Fair, when its caller went on.
	// It has been undone, or with Fair is being undone in the background.
	ErrExpired = fault.Expired
	// ErrUnavailable: nothing was carried out, because no connection could be had (refused, not dialled or not lent
	// within OpTimeout, pool exhausted, Mux full), or because the server refused the connection (max clients). Calls that
	// wait try again. An error that is [ErrUnknown] too is about an earlier try. What a server, TLS or a name refuses for
	// good (WRONGPASS, NOAUTH, DENIED, a certificate, no such host) is not ErrUnavailable, and ends a wait at once.
	ErrUnavailable = fault.Unavailable
	// ErrClosed: the Locker or the Quorum was closed, or the Mux that it works over.
	ErrClosed = fault.Closed
	// ErrNoQuorum: too few nodes of a [Quorum] did what they were asked, and not because somebody else has the lock, which is
	// ErrHeld: nodes are down or too slow, or too little of the ttl was left. The errors of the nodes are inside, so
	// errors.Is may find [ErrUnknown] or [ErrUnavailable] as well. What an acquire may have left is removed.
	ErrNoQuorum = fault.NoQuorum
	// ErrNotReplicated: fewer replicas than Locker.Replicas acknowledged the command in time. An acquire has been undone; after
	// an Extend the lock counts until its earlier Deadline.
	ErrNotReplicated = fault.NotReplicated
)

// A HeldError says who holds a key. [errors.Is] finds [ErrHeld] in it. A Holder that ends in |left has released the lock, and
// its Locker.MinHold keeps others out.
type HeldError struct {
	Key    string
	Holder string        // the holder's Owner and a short hash of its token; never the whole token; "" if not known
	TTL    time.Duration // what was left of the holder's TTL when the server answered; 0 if not known
}

// Error names the key and what is known of its holder.
func (e *HeldError) Error() string {
	s := ErrHeld.Error() + ": key " + fault.Quote(e.Key)
	if holder, left := strings.CutSuffix(e.Holder, names.LeftSuffix); left {
		s += ", which " + holder + " has released; its MinHold keeps others out"
	} else if e.Holder != "" {
		s += ", holder " + e.Holder
	}
	if e.TTL > 0 {
		s += ", for another " + rounded(e.TTL).String()
	}
	return s
}

// rounded is d as people read it.
func rounded(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Microsecond)
}

// Is makes errors.Is(err, ErrHeld) true.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }
