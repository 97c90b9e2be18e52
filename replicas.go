package redigolock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/pools"
	"github.com/redigolock/redigolock/internal/wire"
)

// Locker.Replicas. What was written counts only when so many replicas have acknowledged it, which WAIT tells. It travels on the very
// connection that wrote: a server answers it at once to one that has sent nothing.
//
// It is an exchange of its own, after the one that wrote, for three reasons. A try that finds the lock held must not stand behind
// replicas that are slow. A script that the server does not know is sent once more, and a WAIT of the same pipeline would have been
// answered before that. And an AcquireFunc of the user's sends what it likes.

// checkReplicas says whether the replicas can be asked for acknowledgements.
func (l *Locker) checkReplicas(verb string, s *pools.Source) error {
	switch {
	case l.Replicas < 0:
		return fault.Invalidf(verb, "Locker.Replicas is negative")
	case l.Replicas == 0:
		return nil
	case s.NoWait != "":
		return fault.Invalidf(verb, "Locker.Replicas does not go with %s", s.NoWait)
	}
	return nil
}

// replicated waits until the replicas have acknowledged what was written on c, which is a Locker's. An error that says that they have
// not, or that the server does not tell, is an unreplicated; without an answer it is ErrUnknown.
func (n *node) replicated(ctx context.Context, c redis.Conn, verb, key string) error {
	if n.replicas == 0 {
		return nil
	}
	args := wire.Args(c, 2)
	args[0], args[1] = n.replicas, waitTimeout(c.(*wire.Bound).Left(ctx))
	reqs := [1]wire.Request{{Cmd: "WAIT", Args: args}}
	var replies [1]any
	res := wire.Exchange(ctx, c, reqs[:], replies[:])
	switch {
	case res.Err != nil && !res.Sent && fault.RefusedForGood(res.Err):
		return unreplicated{fault.Failed(verb, key, res.Err)}
	case res.Err != nil:
		return fault.UnknownOutcome(ctx, verb, key, res.Err)
	}
	switch reply := replies[0].(type) {
	case int64:
		if reply >= int64(n.replicas) {
			return nil
		}
		return unreplicated{fault.Of(ErrNotReplicated, verb, key, fmt.Sprintf("%d of %d replicas acknowledged it in time", reply, n.replicas))}
	case redis.Error:
		if strings.HasPrefix(string(reply), "ERR WAIT cannot be used with replica") { // a former master
			return unreplicated{fault.Of(ErrNotReplicated, verb, key, "the server is a replica by now")}
		}
		return unreplicated{fault.Refused(verb, key, reply)}
	default:
		return unreplicated{fault.Unexpected(verb, key, reply)}
	}
}

// waitTimeout is the timeout of a WAIT in ms: three quarters of what is left of its exchange, so that the reply comes before the end of
// that, also over a slow network. It is never 0, which would have the server wait for ever.
func waitTimeout(left time.Duration) int64 { return max((left - left/4).Milliseconds(), 1) }

// An unreplicated is why what the server has carried out does not count.
type unreplicated struct{ error }

func (e unreplicated) Unwrap() error { return e.error }

// errNotUndone ends an Acquire: a delete that is carried out late would hit the lock of its next try, which has the same token.
var errNotUndone = errors.New("it could not be undone")

// dismiss removes the key of an acquire that ended with err, if that is an unreplicated.
func (p *plain) dismiss(ctx context.Context, k *Lock, err error) error {
	var u unreplicated
	if !errors.As(err, &u) {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	now := time.Now()
	most := p.opTimeout()
	_, undoErr := p.onLentBy(ctx, &k.conn, "release", k.key, now, now.Add(most), most, func(c redis.Conn) error {
		return undo(ctx, c, k.key, k.token)
	})
	p.told(ctx, k.key, "release", undoErr)
	if undoErr == nil || errors.Is(undoErr, ErrNotHeld) {
		return err
	}
	k.stray(ctx)
	return fault.Followed(err, "", fmt.Errorf("%w: %w", errNotUndone, fault.InLine(undoErr)))
}
