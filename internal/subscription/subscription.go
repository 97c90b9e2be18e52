// Package subscription listens for a fair Locker: to the channels of all its keys, over one connection to each server that has
// some of them. It knows neither locks nor queues.
//
// # The picture
//
// A [Channel] is what one key listens to, an [Ear] who is told. A line is the subscriptions at one server: one connection, with two
// goroutines, of which one dials, sends and closes, and the other receives. They live while somebody needs them.
//
// Where there is one server there is one line. A connection that breaks is made again, with pauses, and each channel is subscribed to
// again.
//
// In a Redis Cluster each channel is heard at the node that has its key, by the sharded commands, one channel a command. The channels
// whose node is to be found out are those of a line that has no server: it asks the map for each, and gives it to its node's line. A
// channel comes back to it, and only that one, when the node refuses it with MOVED, or ends it with a sunsubscribe that nobody has
// asked for, as a node does when the slot has moved; and all of a node come back when its connection breaks, for another may have
// taken its place.
//
// # What it may do
//
// It sends SUBSCRIBE and UNSUBSCRIBE, and once a second a PING, by which it finds out that its server hangs; nothing that changes a key.
// It tells an Ear whether its channel is heard, and each message as it came, with the mutex of its owner held; it never waits for
// anything with that mutex. What a message means, and whether one may have been missed while a connection was made, is for the Ear to
// say: so Heard comes again after each break. It keeps a channel until the Ear says that nobody has waited for long (Rests), or until the
// subscription is refused for good.
package subscription

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/wait"
)

// An Ear is who listens to a channel. It is called with Env.Mutex held.
type Ear interface {
	Heard(now time.Time)                // the subscription stands, also again: a message may have been missed
	Unheard(now time.Time)              // its connection has ended, and another is being made
	Silenced(now time.Time)             // it has ended, for nobody needs it
	Moved(now time.Time)                // the channel's key is at another server, where it will be heard
	Told(now time.Time, message string) // a message
	// Refused says why it cannot be heard for now; forGood ends the subscription.
	Refused(now time.Time, err error, forGood bool)
	Wants() bool              // to be told when it is heard
	Rests(now time.Time) bool // nobody has waited for long
}

// An Env is what Lines need of their owner.
type Env struct {
	Mutex *sync.Mutex // the owner's. It protects the Lines, and is held when an Ear is called, and by who calls them
	Now   func() time.Time
	Bound time.Duration // of a dial, and of the reply to a PING
	Conns *atomic.Int64 // how many there are

	// Dial connects to a server, the one that Where has named.
	Dial func(ctx context.Context, server string) (redis.Conn, error)
	// Told is called without the mutex after an Ear was refused.
	Told func()

	// Nodes is where the keys are, in a Redis Cluster; nil: all are at one server.
	Nodes *Nodes
}

// Nodes are the servers of a Redis Cluster.
type Nodes struct {
	Of    func(ctx context.Context, key string) (server string, err error) // by its map, which it may have to ask for
	Where func(key string) (server string)                                 // by the map as it is; "": it does not tell
	// Redirected goes by a reply of a server's, and reports whether it was a MOVED.
	Redirected func(server string, err redis.Error) bool
}

// A Channel is what one key listens to. Key, Name and Ear are set before the first use, and not changed.
type Channel struct {
	Key, Name string
	Ear       Ear

	line    *line     // that it is with; nil: nobody listens
	ask     uint64    // the number of the SUBSCRIBE that was sent for it on the line's connection; 0: none
	astray  int       // how often it has come back to be placed since it was heard
	placeAt time.Time // not before, where it has come back often
	doubted *line     // that it was with, when the server that answers did not hear it
}

// Lines are all that a Locker listens to. It must not be copied.
type Lines struct {
	env    Env
	lines  map[string]*line // by server; "": where there is one, or whose is to be found out
	asks   uint64           // how many SUBSCRIBEs were sent
	ending bool
}

// Init must be called first.
func (ls *Lines) Init(env Env) { ls.env, ls.lines = env, map[string]*line{} }

// sharded reports whether messages are those of a Redis Cluster.
func (ls *Lines) sharded() bool { return ls.env.Nodes != nil }

// Want has the channel heard. The caller holds the mutex, as for all that follows.
func (ls *Lines) Want(c *Channel) {
	if ls.ending {
		return
	}
	if c.line == nil {
		ls.at("").add(c)
		return
	}
	c.line.join(c)
}

// Renew listens again: the server that answers does not hear the channel.
func (ls *Lines) Renew(c *Channel) {
	switch n := c.line; {
	case n == nil:
	case !ls.sharded() || n.server == "":
		n.renew()
	default:
		c.doubted = n
		ls.stray(c)
	}
}

// stray has a channel's server found out again.
func (ls *Lines) stray(c *Channel) {
	if c.line != nil {
		c.line.forget(c)
	}
	if c.astray++; c.astray > free { // at once where it has moved
		c.placeAt = time.Now().Add(wait.Pause(c.astray - free - 1))
	}
	if !ls.ending {
		ls.at("").add(c)
	}
}

// End ends all, and returns what is closed when that is done.
func (ls *Lines) End(now time.Time) (done []<-chan struct{}) {
	ls.ending = true
	for _, server := range slices.Sorted(maps.Keys(ls.lines)) {
		if d := ls.lines[server].end(now); d != nil {
			done = append(done, d)
		}
	}
	return done
}

// Alive reports whether there is a goroutine.
func (ls *Lines) Alive() bool { return len(ls.lines) > 0 }

// Joining is how many channels are to be subscribed to over a connection that there is.
func (ls *Lines) Joining() (n int) {
	for _, line := range ls.lines {
		n += len(line.joining)
	}
	return n
}

// at is the line of a server.
func (ls *Lines) at(server string) *line {
	n := ls.lines[server]
	if n == nil {
		n = &line{of: ls, server: server, channels: map[string]*Channel{}, wake: make(chan struct{}, 1)}
		ls.lines[server] = n
	}
	return n
}

// inOrder is channels by their keys, so that what follows for all of them is the same each time.
func inOrder(channels map[string]*Channel) []*Channel {
	list := slices.Collect(maps.Values(channels))
	slices.SortFunc(list, func(a, b *Channel) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// tell has the owner told of what was refused. The caller does not hold the mutex.
func (ls *Lines) tell() {
	if ls.env.Told != nil {
		ls.env.Told()
	}
}

// free is how often a channel is placed at once: its node says that it has moved, and then, if the map has not heard of it, where to.
const free = 2

// pingEvery is how often a line asks whether its server still answers; it then waits for a Bound more.
const pingEvery = time.Second
