package redigolock

import (
	"fmt"

	"github.com/google/uuid"
)

const maxOwner = 64 // bytes

// NewToken returns a new token: unique, and unguessable, so that nobody can release a lock by chance or by
// imitation. It is a random (version 4) UUID of github.com/google/uuid, which panics if the system has no randomness.
//
// The articles that use one fixed value for everybody ("mylockvalue") make compare-and-delete worthless.
func NewToken() string { return uuid.NewString() }

// newToken is NewToken with the owner in front, as Locker.Owner describes it.
func newToken(owner string) string {
	if owner == "" {
		return uuid.NewString()
	}
	return owner + "|" + uuid.NewString()
}

// checkOwner allows up to 64 bytes of printable ASCII without space and '|', so that an owner can be told from
// the rest of the token, and shown in a log line.
func checkOwner(owner string) error {
	if len(owner) > maxOwner {
		return fmt.Errorf("the Owner has %d bytes, at most %d are allowed", len(owner), maxOwner)
	}
	for i := range len(owner) {
		if c := owner[i]; c <= ' ' || c > '~' || c == '|' {
			return fmt.Errorf("the Owner %q has the byte %q; printable ASCII without space and '|' is allowed", owner, c)
		}
	}
	return nil
}
