// Package inspect tells an operator what is on a lock's key: the holder, what is left of its TTL, who waits in the
// queue, and the fencing counter; and it takes a lock away from its holder. Nothing here shows a token, in any format
// verb or as JSON.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// A Lock is what an operator may see of a key.
type Lock struct {
	Key     string   `json:"key"`
	Held    bool     `json:"held"`
	Holder  string   `json:"holder,omitempty"` // owner#hash, as HeldError shows it
	Left    Millis   `json:"ttl_ms"`
	Waiting int      `json:"waiting"`           // entries of the queue, one for each waiting process
	Queue   []Wait   `json:"queue,omitempty"`   // the first of them, in their order
	Fence   int64    `json:"fence,omitempty"`   // the newest fencing number that was given out, 0 if none is known
	Instead string   `json:"instead,omitempty"` // what is on the key, if it is no lock
	Denied  []string `json:"denied,omitempty"`  // what the user may not look at: "queue", "fence"

	token *string // a pointer, which no format verb follows
}

// A Wait is an entry of the queue.
type Wait struct {
	Waiter string `json:"waiter"` // owner#hash of the token that it will hold the lock with
	TTL    Millis `json:"ttl_ms"` // for how long
}

// Millis is a duration that JSON has as a number of milliseconds.
type Millis time.Duration

// MarshalJSON writes the number.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, time.Duration(m).Milliseconds(), 10), nil
}

func (m Millis) String() string {
	d := time.Duration(m)
	if d >= time.Second {
		d = d.Round(100 * time.Millisecond)
	}
	text := d.Round(time.Millisecond).String()
	if short, whole := strings.CutSuffix(text, "m0s"); whole {
		text = short + "m"
	}
	if short, whole := strings.CutSuffix(text, "h0m"); whole {
		text = short + "h"
	}
	return text
}

// mostWaits is how many entries of a queue Look reads.
const mostWaits = 100

// Look tells what is on a key. A free lock is no error, nor is something that is no lock.
func Look(ctx context.Context, c redis.Conn, key string) (Lock, error) {
	info, err := redigolock.Inspect(ctx, c, key)
	l := Lock{Key: key, Held: info.Held, Left: Millis(info.TTL), Waiting: info.Waiters}
	if info.Token != "" {
		l.Holder, l.token = names.Holder(info.Token), &info.Token
	}
	switch {
	case errors.Is(err, redigolock.ErrConflict):
		l.Instead = "a string without TTL"
	case err != nil:
		return l, err
	}
	return l, l.lookBeside(ctx, c)
}

// lookBeside reads what goes with the key, and the type of what is no lock.
func (l *Lock) lookBeside(ctx context.Context, c redis.Conn) error {
	reqs := []wire.Request{{Cmd: "TYPE", Args: []any{l.Key}}}
	if queue, ok := names.Sibling(l.Key, names.Queue); ok {
		counter, _ := names.Sibling(l.Key, names.Fence)
		reqs = append(reqs,
			wire.Request{Cmd: "LRANGE", Args: []any{queue, 0, mostWaits - 1}},
			wire.Request{Cmd: "GETRANGE", Args: []any{counter, 0, 19}})
	}
	replies, err := ask(ctx, c, reqs)
	if err != nil && !lacksRight(err) {
		return err
	}
	kind, err := redis.String(replies[0], nil)
	if err == nil && l.Instead != "" && kind != "string" {
		l.Instead = "a " + kind
	}
	if len(replies) == 1 {
		return nil
	}
	entries, err := redis.Strings(replies[1], nil)
	for _, e := range entries {
		l.Queue = append(l.Queue, waitOf(e))
	}
	if lacksRight(err) {
		l.Denied = append(l.Denied, "queue")
	}
	if l.Fence, err = redis.Int64(replies[2], nil); lacksRight(err) {
		l.Denied = append(l.Denied, "fence")
	}
	return nil
}

func waitOf(entry string) Wait {
	token, ttl, ok := fairqueue.Waiting(entry)
	if !ok {
		return Wait{Waiter: "?"}
	}
	return Wait{names.Holder(token), Millis(ttl)}
}

// Break takes the lock away from the holder that Look has shown, and from nobody else. Where processes wait in a queue,
// the first of them gets it in the same script. It returns [redigolock.ErrNotHeld] if the key carries another token by
// now, or none.
func (l *Lock) Break(ctx context.Context, pool redigolock.Pool) error {
	if l.token == nil {
		return fmt.Errorf("%w: break %s: nobody holds it", redigolock.ErrNotHeld, fault.Quote(l.Key))
	}
	if l.Waiting > 0 && l.Held {
		return l.handOn(ctx, pool)
	}
	c := pool.Get()
	defer c.Close()
	return redigolock.Release(ctx, c, l.Key, *l.token)
}

// handOn releases the lock as its fair holder would.
func (l *Lock) handOn(ctx context.Context, pool redigolock.Pool) error {
	locker := &redigolock.Locker{Pool: pool, Fair: true}
	defer locker.Close()
	lock, err := locker.Attach(ctx, l.Key, *l.token, time.Minute)
	if err != nil {
		return err
	}
	return lock.Release(ctx)
}

// LooksLikeLock reports whether somebody holds it, or what is there without TTL is a token of this library.
func (l *Lock) LooksLikeLock() bool { return l.token != nil && (l.Held || names.IsToken(*l.token)) }
