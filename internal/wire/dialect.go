package wire

import (
	"sync/atomic"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/wait"
)

// A Dialect is what has been learned, from its replies, of the commands that a server knows. It is forgotten when its connections
// lead to another server.
type Dialect struct {
	changed func() <-chan struct{}
	learned atomic.Pointer[Learned]
}

// Init says how to learn that the connections lead to another server from then on: by a channel that is closed then. A nil
// channel, and a nil func, never say so.
func (d *Dialect) Init(changed func() <-chan struct{}) { d.changed = changed }

// Learned is what is known of a server.
type Learned struct {
	SetGet SetGet
	Delete Delete

	of    *Dialect        // nil: of a server that nothing is kept of
	until <-chan struct{} // it is forgotten when that is closed
}

// SetGet is whether the server answers SET with NX and GET as Redis 7.0 does: by nil where it set the key, else by the value there.
type SetGet uint8

const (
	SetGetUntold SetGet = iota
	SetGetKnown
	SetGetUnknown
)

// Delete is the command by which the server compares and deletes.
type Delete uint8

const (
	DeleteUntold Delete = iota
	DeleteByDELEX
	DeleteByDELIFEQ
	DeleteByScript // it has neither of these two, or its user may not use them
)

// A speaker is a connection that may lead to one of several servers.
type speaker interface {
	Dialect() *Dialect // of the one that it leads to now; nil: to none
}

// Known is what is known of the server to which a connection leads that was borrowed for a lock. Of any other connection nothing is.
func Known(c redis.Conn) Learned {
	d := dialectOf(c)
	if d == nil {
		return Learned{}
	}
	if l := d.learned.Load(); l != nil && !wait.IsClosed(l.until) {
		return *l
	}
	l := Learned{of: d}
	if d.changed != nil {
		l.until = d.changed()
	}
	return l
}

func dialectOf(c redis.Conn) *Dialect {
	b, ok := c.(*Bound)
	if !ok {
		return nil
	}
	if s, ok := b.Conn.(speaker); ok {
		return s.Dialect()
	}
	return b.dialect
}

// LearnSetGet notes what an exchange on c has told that began after Known(c) had returned l.
func (l Learned) LearnSetGet(c redis.Conn, s SetGet) {
	l.learn(c, func(n *Learned) { n.SetGet = s })
}

// LearnDelete is LearnSetGet for the other command.
func (l Learned) LearnDelete(c redis.Conn, by Delete) {
	l.learn(c, func(n *Learned) { n.Delete = by })
}

// learn leaves what others have learned meanwhile. What a redirect has led to another server is not of this one.
func (l Learned) learn(c redis.Conn, set func(*Learned)) {
	if l.of == nil || dialectOf(c) != l.of {
		return
	}
	for {
		old := l.of.learned.Load()
		now := l
		if old != nil && old.until == l.until {
			now = *old
		}
		if set(&now); l.of.learned.CompareAndSwap(old, &now) {
			return
		}
	}
}
