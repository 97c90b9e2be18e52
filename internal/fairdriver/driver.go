// Package fairdriver does what the slots of a fair queue say. It knows neither Lock nor Locker.
//
//	fairqueue     decides: what a Locker knows of one key, and what follows from each event
//	subscription  listens to the channels of the keys
//	fairdriver    is between them and the server:
//	  driver.go     what it needs of its Locker, and its end
//	  acquire.go    a call of Acquire, which waits; one of TryAcquire, which does not
//	  release.go    a Release, and what a Locker tells of its handles
//	  slot.go       tells a slot's queue what happens, and does what follows
//	  sweep.go      forgets the slots that are no longer used
//	  send.go       sends a command, and tells the queue what became of it
//	  script.go     the scripts: their arguments and their replies
//	  move.go       what is different while the key's slot of a Redis Cluster moves to another node
//	  listen.go     where the subscription listens
//	  state.go      what tests look at
//
// # What the driver may do
//
// Whoever has the mutex tells a slot's queue of one event, and calls follow, which does all that the queue answers, before the
// mutex is given back: it ends waits and handles, has the subscription listen, sets the timer, and starts a goroutine for each
// command. It decides nothing, and it never sends anything while it holds the mutex.
//
// A command is sent by the call that it is for (the first Try of an Acquire, a TryAcquire, a Release), or by a goroutine that lives
// for this one command: one that hangs must not keep the others waiting. What became of it is told to the queue as Replied or Failed,
// exactly once, also when a func of the user's panics in between: then the outcome is unknown.
//
// The pool's connections are for what is sent when all is well. What the queue wants to have a connection of its own is dialled: after
// a break each key of a Locker wants one, so a few are in use at a time, and only a Release does not wait for its turn.
//
// Other goroutines there are none, but those of the subscription and of timers: one timer for each slot that has something due, one for
// the sweep. All that it keeps for a key is a slot, and that goes when nothing is left to remember.
package fairdriver

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/pools"
	"github.com/redigolock/redigolock/internal/subscription"
	"github.com/redigolock/redigolock/internal/wait"
	"github.com/redigolock/redigolock/internal/wire"
)

// An Env is what a Driver needs of its Locker.
type Env struct {
	Now       func() time.Time
	OpTimeout time.Duration   // of each command
	Closing   <-chan struct{} // closed when the Locker is being closed
	Token, ID func() string   // make what nothing else has
	Drift     func(ttl time.Duration) time.Duration
	Passes    int // as in fairqueue.Config
	Slice     time.Duration

	// Borrow has the pool lend b a connection within so long, for most at most; if that is no error, GiveBack follows. Both together
	// take no longer than within. Own runs f on a connection that is not the pool's. These are two calls, and not one that takes a
	// func, for a func would be on the heap with all that it uses, for each command.
	Borrow   func(ctx context.Context, b *wire.Bound, verb, key string, within, most time.Duration) (began time.Time, err error)
	GiveBack func(ctx context.Context, b *wire.Bound, began time.Time, returned bool, err error)
	Own      func(ctx context.Context, verb, key, token string, by time.Time, most time.Duration, f func(redis.Conn) error) error
	// Dial connects to where the channels are heard, in a Redis Cluster to the node server; see ListenTo.
	Dial  func(ctx context.Context, server string) (redis.Conn, error)
	Nodes *subscription.Nodes // of a Redis Cluster, where messages are sharded; else nil

	// Place is where a key is served; it is another value once the key has another server, or its server is back. Another returns a
	// channel that is closed when that becomes so for some key; nil: it is not known.
	Place   func(key string) any
	Another func() <-chan struct{}

	Scripts Scripts
	// Release and Extend are the verbs, for the lock's key alone: they leave the queue as it is.
	Release func(ctx context.Context, c redis.Conn, key, token string) error
	Extend  func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) (left time.Duration, err error)

	// Outcome is told how a command ended; nil: nobody asks.
	Outcome     func(ctx context.Context, key, verb string, err error)
	Held        func(key, token string, left time.Duration) error // the error that says who has the lock
	Conns, Owed *atomic.Int64                                     // how many connections of the Driver's, and tokens that it is to remove, there are
}

// A Handle is a lock as its holder has it, or one that a call is to obtain. Handles are compared: each is one pointer.
type Handle interface {
	// Lease is the handle's token, its ttl, and the longest lease that was asked of the server for the token.
	Lease() fairqueue.Handle
	// Bound is what the first command for the handle is sent by, and its Release.
	Bound() *wire.Bound
	// Wait is that of an Acquire that has not returned.
	Wait() *Wait
	// Rename gives it another token, while it has no lock.
	Rename(token string)
	// Grant: it has the lock, at the time now. acquired is what MaxHold counts from, key the key, boxed. Nobody else knows the handle.
	Grant(now, acquired time.Time, key any, g fairqueue.Grant)
	// IsOver reports whether the lock is gone, or its Deadline has passed.
	IsOver() bool
	// Lose ends it at once; with an err, its holder is told of that, later.
	Lose(err error)
	// Extend asks the server for another ttl, until by at most. It returns the time just before it was sent, and what is left.
	Extend(ctx context.Context, ttl time.Duration, by time.Time) (start time.Time, left time.Duration, err error)
}

// A Driver is what a fair Locker has for its keys.
type Driver struct {
	env Env

	mu     sync.Mutex // protects what follows, and all slots; taken for moments only, never while anything is sent
	rules  fairqueue.Config
	then   fairqueue.Actions // what follows from the newest event
	id     string            // of this Locker, in its channels
	slots  map[string]*slot
	sweep  sweep
	lines  subscription.Lines
	untold []refusal     // what the Observer is still to be told
	places chan struct{} // of commands on connections that are not the pool's; capacity pools.MaxDials
	idle   chan struct{} // closed when nothing is left to do; nil unless Close waits for it
	rare   []*slot       // that retry something seldom
	calm   chan struct{} // closed when there is none any more; nil: nobody watches for another server
	closed bool          // Close waits no longer: what comes to be owed or given up now is tried once
}

// New makes a Driver. It does nothing before its first use.
func New(env Env) *Driver { return &Driver{env: env} }

// start makes what a Driver needs before its first slot.
func (d *Driver) start() {
	e := &d.env
	d.slots, d.id = map[string]*slot{}, e.ID()
	d.places = make(chan struct{}, pools.MaxDials)
	d.lines.Init(subscription.Env{Mutex: &d.mu, Now: e.Now, Bound: e.OpTimeout, Conns: e.Conns, Dial: e.Dial, Told: d.tellRefusals, Nodes: e.Nodes})
	d.rules = fairqueue.Config{
		OpTimeout: e.OpTimeout,
		Passes:    e.Passes,
		Slice:     e.Slice,
		Token:     e.Token,
		Drift:     e.Drift,
		Pause:     wait.Pause,
		Chance:    hooks.N,
	}
}

// Close waits until what was given up is out of the queue, for so long at most; then it ends the subscription, and gives
// up what it has tried until then.
func (d *Driver) Close(most time.Duration) {
	d.mu.Lock()
	now := d.env.Now()
	for _, s := range d.inOrder() {
		s.q.Closing(now, &d.then)
		s.follow(now)
	}
	idle := make(chan struct{})
	d.idle = idle
	d.checkIdle()
	d.mu.Unlock()
	wait.For(most, idle)
	d.mu.Lock()
	d.closed, d.idle = true, nil
	d.sweep.stop()
	now = d.env.Now()
	done := d.lines.End(now)
	for _, s := range d.inOrder() {
		s.q.Closed(now, &d.then)
		s.follow(now)
	}
	d.mu.Unlock()
	if done != nil {
		wait.For(d.env.OpTimeout, done...)
	}
}

// isClosing reports whether Close has been called, and may have looked at the slots already.
func (d *Driver) isClosing() bool {
	select {
	case <-d.env.Closing:
		return true
	default:
		return false
	}
}

// checkIdle tells Close when nothing is left to do.
func (d *Driver) checkIdle() {
	if d.idle == nil {
		return
	}
	for _, s := range d.slots {
		if s.busy() {
			return
		}
	}
	close(d.idle)
	d.idle = nil // or each slot that is settled would look at all others
}

// inOrder is all slots by their keys, so that what follows for all of them is the same each time.
func (d *Driver) inOrder() []*slot {
	list := slices.Collect(maps.Values(d.slots))
	slices.SortFunc(list, func(a, b *slot) int { return strings.Compare(a.key, b.key) })
	return list
}

// tell tells how a command ended.
func (d *Driver) tell(ctx context.Context, key, verb string, err error) {
	if d.env.Outcome != nil && err != nil {
		d.env.Outcome(ctx, key, verb, err)
	}
}

// observed is ctx if an Observer may be told of what is sent for it later, else nil: then it need not be kept.
func (d *Driver) observed(ctx context.Context) context.Context {
	if d.env.Outcome == nil {
		return nil
	}
	return ctx
}

// deadline is what a lease that was set no earlier than at start is good for.
func (d *Driver) deadline(start time.Time, left time.Duration) time.Time {
	return start.Add(left - d.env.Drift(left))
}
