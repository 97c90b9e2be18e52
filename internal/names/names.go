// Package names has the names that more than the library must know: the keys that go with a lock's key, and how the holder in
// a token is shown. It has the stock of tokens, too.
package names

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// The names of siblings.
const (
	siblingPrefix = "redigolock-"
	Fence         = "fence"
	// Queue makes the key of a fair queue, and Beats that of the hash by which its dead entries are told. The number is that of
	// the format: versions of this module that do not read each other's entries must not share a queue, nor those that beat
	// and those that do not.
	Queue = "q2"
	Beats = "h2"
)

// siblings are all that there ever were: a lock must not have the key of one.
var siblings = [...]string{Fence, "q1", Queue, Beats}

// Sibling returns the key that goes with a lock's key by this name, in the same cluster slot, and under the same prefix if the
// key has a hash tag: so a user whose rights are one prefix can use all. No two pairs of key and name share a sibling: "-t" tells
// the second form from the first. A key with a '}' and no hash tag has none, for no other key can share its slot.
func Sibling(key, name string) (sibling string, ok bool) {
	if HasHashTag(key) {
		return key + ":" + siblingPrefix + name + "-t", true
	}
	if strings.Contains(key, "}") {
		return "", false
	}
	return "{" + key + "}:" + siblingPrefix + name, true
}

// IsSibling reports whether key is the sibling of another.
func IsSibling(key string) bool {
	at := strings.LastIndex(key, ":"+siblingPrefix)
	if at < 0 {
		return false
	}
	of, name := key[:at], key[at+1+len(siblingPrefix):]
	name, tagged := strings.CutSuffix(name, "-t")
	if !slices.Contains(siblings[:], name) {
		return false
	}
	if tagged {
		return HasHashTag(of)
	}
	inner, closed := strings.CutSuffix(of, "}")
	inner, opened := strings.CutPrefix(inner, "{")
	return opened && closed && inner != "" && !strings.Contains(inner, "}")
}

// HasHashTag reports whether Redis Cluster hashes only a part of key: what stands between the first '{' and the
// first '}' after it, if that is not empty.
func HasHashTag(key string) bool {
	_, tail, ok := strings.Cut(key, "{")
	return ok && strings.Index(tail, "}") > 0
}

// LeftSuffix is behind the token in a key that a Release has left to expire: see Locker.MinHold.
const LeftSuffix = "|left"

// CutLeft returns the token without that, and whether it was there. Only tokens made by a Locker have it.
func CutLeft(token string) (string, bool) { return strings.CutSuffix(token, LeftSuffix) }

// Holder is what may be shown of a token: its owner, if it is one of our tokens, and eight hex digits of its hash. What
// MinHold left is shown as the token it was, with the suffix: a waiter sees that the holder has changed.
func Holder(token string) string {
	token, isLeft := CutLeft(token)
	sum := sha256.Sum256([]byte(token))
	holder := Owner(token) + "#" + hex.EncodeToString(sum[:4])
	if isLeft {
		holder += LeftSuffix
	}
	return holder
}

// Owner is the Owner in a token made by a Locker, "" for any other token, which may be a secret as a whole.
func Owner(token string) string {
	token, _ = CutLeft(token)
	owner, id, ok := strings.Cut(token, "|")
	if !ok || !isUUID(id) || CheckOwner(owner) != nil {
		return ""
	}
	return owner
}

// IsToken reports whether a value was made by NewToken or by a Locker, as far as its form tells.
func IsToken(value string) bool {
	value, _ = CutLeft(value)
	return isUUID(value) || Owner(value) != ""
}

func isUUID(id string) bool { return len(id) == 36 && uuid.Validate(id) == nil }

const maxOwner = 128 // bytes

// CheckOwner allows up to 128 bytes of printable ASCII without space and '|', so that an owner can be told from
// the rest of the token, and shown in a log line.
func CheckOwner(owner string) error {
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
