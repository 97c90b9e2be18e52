package batch

import (
	"context"
	"sync"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/renewal"
)

// # Renewals in a Redis Cluster
//
// Each server has a Node of its own, with a connection, so that one that fails costs the locks of no other. A script's keys must be of
// one slot, so each lock has a request of its own; all those of a flight travel in one pipeline. What the cluster does meanwhile:
//
//   - A slot has moved, and its server says MOVED for some of a pipeline: the others are renewed, the map is mended by what it says, and
//     these locks go over to the Node of the server that is named.
//   - The map has changed, by a refresh or by what another command was told: before anything is sent, each lock goes over to the Node that
//     has it now. So the locks of a server that is gone are not kept waiting for it.
//   - A server does not answer, or cannot be reached: the map is asked for. Its locks are tried again, after a pause, at the server that
//     the map has then, within the time that is left of them.
//   - A slot is moving, and its server says ASK or TRYAGAIN: the lock is renewed for itself, over a connection of the Cluster's pool, which
//     follows such answers, and then goes back to the Node of its server.
//   - MOVED to the very server that says so: another one has its address by now. The connection is given up, and the lock is renewed for
//     itself once.
//   - Another server has taken over from one, or one is known to be back that may have lost what it had: all locks that it had are renewed
//     at once, so that those that are lost are known to be. A slot that moves takes its locks along, so they are not.
//   - No server is known for a slot: its lock is renewed for itself until there is one.
//
// A server that has lost all its slots is forgotten when the last of its locks has gone over.

// A Map is where the keys of a Redis Cluster are.
type Map struct {
	Where      func(key string) (addr string) // as far as is known now; "": nothing is
	Dial       func(ctx context.Context, addr string) (redis.Conn, error)
	Redirected func(addr string, reply redis.Error) bool // has the map go by what the server at an address has answered
	Refresh    func()                                    // asks for it; does not wait
	Tenure     func(addr string) <-chan struct{}         // closed when the locks of a server may be lost; nil: there is no such server
}

// Nodes are the servers of a Redis Cluster.
type Nodes struct {
	env   Env
	by    Map
	whole *Node // leads to all of them

	mu sync.Mutex // protects at
	at map[string]*Node
}

// Init must be called first. whole is a Node that is Apart, whose connections lead to the server of a key.
func (c *Nodes) Init(env Env, by Map, whole *Node) {
	c.env, c.by, c.whole, c.at = env, by, whole, map[string]*Node{}
	c.env.Extension.Most = 1
	c.env.Apart = func() bool { return false }
	whole.of = c
}

// Of is the Node of the server that has a key.
func (c *Nodes) Of(key string) renewal.Node { return c.home(key) }

func (c *Nodes) home(key string) *Node {
	addr := c.by.Where(key)
	if addr == "" {
		c.by.Refresh()
		return c.whole
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.at[addr]
	if n == nil {
		env := c.env
		env.Dial = func(ctx context.Context) (redis.Conn, error) { return c.by.Dial(ctx, addr) }
		env.Another = func() <-chan struct{} { return c.by.Tenure(addr) }
		n = &Node{of: c, addr: addr}
		n.Init(env)
		c.at[addr] = n
	}
	return n
}

// forget is called when no lock is at a Node any more. Should one be on its way to it, there are two for a while.
func (c *Nodes) forget(n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at[n.addr] == n {
		delete(c.at, n.addr)
	}
}

// Elsewhere returns the Node that has a lock by now, nil if it is this one.
func (n *Node) Elsewhere(x renewal.Lease) renewal.Node {
	if n.of == nil {
		return nil
	}
	if home := n.of.home(x.(Lock).Key()); home != n {
		return home
	}
	return nil
}

// redirect returns where a lock is to be renewed by what its server has answered; nil: that is an answer.
func (n *Node) redirect(k Lock, reply any) renewal.Node {
	re, refused := reply.(redis.Error)
	if n.of == nil || !refused {
		return nil
	}
	re = fault.Bare(re)
	switch fault.Word(re) {
	case "MOVED":
		n.of.by.Redirected(n.addr, re)
		if home := n.of.home(k.Key()); home != n {
			return home
		}
		n.kept.HangUp()
		return n.of.whole
	case "ASK", "TRYAGAIN":
		return n.of.whole
	case "CLUSTERDOWN", "MASTERDOWN", "READONLY":
		n.of.by.Refresh()
	}
	return nil
}
