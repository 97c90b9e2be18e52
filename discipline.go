package redigolock

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wire"
)

// A discipline is how the locks of a core are taken, renewed and given back: by trying (plain.go), in a
// queue (fair.go), or by the votes of several servers (quorum.go).
// Its methods send; a core keeps the time, counts, tells the Observer how calls end, and ends what it started.
type discipline interface {
	// check says what of w it cannot do, before anything is sent.
	check(w want) error
	// acquire obtains a lock, with its Deadline, and counts it as held. A lock that nobody is given it removes in the
	// background, also if a func of the user's panics.
	acquire(ctx context.Context, w want) (*Lock, error)
	// abandon has a lock removed in the background that was obtained, and that nobody has been given.
	abandon(ctx context.Context, k *Lock)

	// verify asks whether k is held.
	verify(ctx context.Context, k *Lock) error
	// fence gets a fencing number for k.
	fence(ctx context.Context, k *Lock) (int64, error)
	// extend makes k last ttl from start on. It notes no Deadline, nor does it tell the Observer how it ended.
	extend(ctx context.Context, k *Lock, ttl time.Duration) (start time.Time, err error)
	// renewedAt are the nodes that renew k.
	renewedAt(k *Lock) []renewal.Node
	// verdict is what their votes make of it, one vote of each in the order of renewedAt, as if one server had said it; zero if that
	// is not known yet.
	verdict(k *Lock, votes []renewal.Vote) renewal.Vote
	// extendOn is one try to extend k at one node, on a connection that its renewal has; it returns what is left.
	extendOn(ctx context.Context, c redis.Conn, k *Lock, ttl time.Duration) (left time.Duration, err error)
	// extension is how the renewer extends several.
	extension() *extension

	// release gives k back; ctx does not end, and nothing renews k any more. What it does before its command has to be over by
	// by. It tells the Observer of each try but one that found nothing, which its caller does.
	release(ctx context.Context, k *Lock, by time.Time) error
	// freed is told that the clean-up has removed a token from a key.
	freed(key string)
	// moved is told that the Deadline of k is d now, by a command that was sent at start.
	moved(k *Lock, start, d time.Time)
	// lost is told that k is not held any more.
	lost(k *Lock)
	// close ends what the discipline has under way, for so long at most.
	close(most time.Duration)
}

// A want is what a call is to obtain.
type want struct {
	verb, key string
	ttl       time.Duration
	wait      bool // until ctx ends
}

// An extension is the script that extends locks: KEYS and ARGV are those of all locks, one after the other, ARGV ends for
// each with its token and the ttl in ms.
type extension struct {
	script *wire.Script
	most   int                             // how many locks it extends at a time
	keys   int                             // of each lock
	add    func(args []any, k *Lock) []any // adds a lock's KEYS, and what stands before all tokens
}

// A single is what the disciplines of one server have in common.
type single struct{ *node }

func (s single) verify(ctx context.Context, k *Lock) error {
	_, err := s.ask(ctx, &k.claim, "verify", func(c redis.Conn) error {
		_, err := Verify(ctx, c, k.key, k.token)
		return err
	})
	return err
}

func (s single) fence(ctx context.Context, k *Lock) (number int64, err error) {
	_, err = s.ask(ctx, &k.claim, "fence", func(c redis.Conn) (err error) {
		number, err = Fence(ctx, c, k.key, k.token)
		return err
	})
	return number, err
}

func (s single) renewedAt(k *Lock) []renewal.Node {
	if s.servers != nil {
		return []renewal.Node{s.node.renewedAt(k.key)}
	}
	return s.renews[:]
}

func (s single) verdict(_ *Lock, votes []renewal.Vote) renewal.Vote { return votes[0] }
