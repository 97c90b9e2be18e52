// Package fault has the errors of redigolock that its engines return too, and says what an error means: whether it is the
// server's reply, what a reply says by its first word, and whether a command that failed was carried out. It is a leaf: it
// imports nothing of the module. What each sentinel means to a user is in the root package, with the variables that show it.
package fault

import (
	"errors"
	"fmt"
)

//lint:file-ignore ST1012 outside they read as fault.Held, as the root package has them as ErrHeld

// The sentinels of the root package.
var (
	Held        = errors.New("redigolock: held by another token")
	NotHeld     = errors.New("redigolock: not held by this token")
	Lost        = errors.New("redigolock: lock lost")
	Unknown     = errors.New("redigolock: no reply came, outcome unknown")
	Invalid     = errors.New("redigolock: invalid argument")
	Conflict    = errors.New("redigolock: key holds something that is no lock")
	Unsupported = errors.New("redigolock: not supported")
	Fenced      = errors.New("redigolock: fenced off by a higher number")
	Expired     = errors.New("redigolock: acquired too late, already expired")
	Unavailable = errors.New("redigolock: unavailable, nothing was carried out")
	Closed      = errors.New("redigolock: closed")
	NoQuorum    = errors.New("redigolock: no quorum")

	NotReplicated = errors.New("redigolock: not replicated")
)

var (
	// NotSent is in the error of a command of which nothing was sent, though it had a connection: its outcome is definite.
	NotSent = errors.New("mux: nothing was sent")
	// BusyPool: the pool had no connection in time. It hides the context error of the bound, which is not the caller's.
	BusyPool = errors.New("no connection came free, or none could be made, within OpTimeout")
	// NoTTL is the conflict of a lock that carries its own token still: somebody took its TTL away (PERSIST).
	NoTTL = errors.New(noTTL)
	// Unread tells a Locker that the token may be in the key though the verb failed, and the server was heard: a later try
	// that finds the own token must not count its ttl from its own send, and one that gives up has something to clean up.
	Unread = errors.New("it may have been set, but could not be read back")
	// Hangs is why a server has not answered of which nothing was heard in time.
	Hangs = errors.New("no answer in time")
)

const noTTL = "the lock has lost its TTL" // as the scripts say

// Invalidf is the Invalid of a verb.
func Invalidf(verb, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", Invalid, verb, fmt.Sprintf(format, args...))
}

// Failed puts what is being done in front of an error whose outcome is definite.
func Failed(verb, key string, err error) error {
	return fmt.Errorf("redigolock: %s %s: %w", verb, Quote(key), InLine(argsHidden(err)))
}

// Of puts a sentinel in front of what is being done, and the reason behind.
func Of(sentinel error, verb, key, reason string) error {
	return fmt.Errorf("%w: %s %s: %s", sentinel, verb, Quote(key), reason)
}

// Gone is the NotHeld of a verb that the server answered.
func Gone(verb, key string) error {
	return Of(NotHeld, verb, key, "it expired, was deleted, or was taken by another")
}

// Unexpected is the error for a reply that the protocol does not allow here, such as that of a proxy.
func Unexpected(verb, key string, reply any) error {
	return fmt.Errorf("redigolock: %s %s: unexpected reply of type %T", verb, Quote(key), reply)
}

// MaybeSet has err be Unread, too.
func MaybeSet(err error) error { return fmt.Errorf("%w: %w", err, Unread) }

// AlsoUnknown has an error that says in words that the outcome is unknown be Unknown, too.
func AlsoUnknown(err error) error { return Said(OneLine(err.Error()), err, Unknown) }

// ReleasedAgain is what Release returns after two tries, which ended with err and again.
func ReleasedAgain(err, again error, isOver func() bool) error {
	switch {
	case again == nil:
		return nil
	case errors.Is(again, NotHeld) && errors.Is(err, Unknown) && !isOver():
		return nil // the first try did it, and only its reply was lost
	case errors.Is(again, NotHeld):
		return again
	}
	return Followed(err, "and on a new connection: ", again)
}
