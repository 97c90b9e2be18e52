// Package cluster leads commands to the nodes of a Redis Cluster, and follows them when slots move.
//
// Four things make it safe:
//   - What a node has answered is never asked again, and nor is what has had no reply: an exchange goes to another node only as far
//     as it was refused by MOVED or ASK. Whatever else goes wrong comes back to the caller, whose next try finds a newer map.
//   - MOVED changes the map at once. A refresh asks several nodes; what one says that is older than the map, or that was cut off
//     from most others, does not count.
//   - There is one refresh at a time, and not more than one in refreshPause, however many commands are redirected or fail.
//   - When a node has lost all its slots, as after a failover, connections to it are not lent any more, and those that still wait
//     for a reply a moment later are cut.
//
// A Cluster starts goroutines only while it dials and while it refreshes its map.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/errands"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/names"
)

const (
	// refreshPause is the shortest time from the begin of one refresh to that of the next.
	refreshPause = 250 * time.Millisecond
	// hopsMost is how often an exchange is redirected before its caller gets the redirect.
	hopsMost = 5
	// unboundedMost bounds how long a call waits for a connection, or for the first map, that has no bound itself.
	unboundedMost = 5 * time.Second
)

// An Env is what a Cluster works with.
type Env struct {
	Addrs []string // host:port of some nodes, which are asked for all others
	// Dial connects to a node. It may ignore ctx: who waits for it does not.
	Dial               func(ctx context.Context, addr string) (redis.Conn, error)
	MaxIdle, MaxActive int // connections to each node
}

// Counts is what a Cluster has met.
type Counts struct{ Moved, Asked, Refreshes int64 }

// A Cluster is the map of a Redis Cluster, and a pool of connections to each node.
type Cluster struct {
	env     Env
	asking  errands.Group   // dials of refreshes
	life    context.Context // ends with Close
	end     context.CancelFunc
	started sync.WaitGroup

	owners                  [names.Slots]atomic.Pointer[node] // nil: not known
	moved, asked, refreshes atomic.Int64

	mu     sync.Mutex // protects what follows; nothing is waited for under it
	nodes  map[string]*node
	epoch  int64     // of the view that the map is from
	known  bool      // there is a map
	hint   string    // the node that was named by the last MOVED: it knows
	round  *round    // the refresh that is under way or to come; nil: none is wanted
	last   time.Time // when a refresh last began
	closed bool
	other  chan struct{} // closed when a Place becomes another; nil: nobody asks for that
}

// A round is a refresh that callers wait for.
type round struct {
	begun bool
	done  chan struct{} // closed at its end
	err   error         // set before
}

// New makes a Cluster. It does no I/O.
func New(env Env) *Cluster {
	c := &Cluster{env: env, asking: errands.Group{Keyed: true}, nodes: map[string]*node{}}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// Close closes all connections that are not lent, and ends every dial and refresh. Those that are lent are closed when they are
// given back.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	nodes := slices.Collect(maps.Values(c.nodes))
	c.mu.Unlock()
	c.end()
	for _, n := range nodes {
		n.close()
	}
	c.started.Wait()
	c.asking.Close()
}

// Counts returns what was counted until now.
func (c *Cluster) Counts() Counts {
	return Counts{c.moved.Load(), c.asked.Load(), c.refreshes.Load()}
}

// Refresh asks for the map, where no refresh is to come already. It does not wait.
func (c *Cluster) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want()
}

// want returns a refresh that has not begun yet. The caller holds mu.
func (c *Cluster) want() *round {
	if c.round != nil && !c.round.begun {
		return c.round
	}
	r := &round{done: make(chan struct{})}
	if c.closed {
		r.err = fault.Closed
		close(r.done)
		return r
	}
	under := c.round
	c.round = r
	if under == nil {
		c.started.Add(1)
		go c.refreshAll()
	}
	return r
}

// refreshAll carries out refreshes, with pauses, until none is wanted.
func (c *Cluster) refreshAll() {
	defer c.started.Done()
	for {
		c.mu.Lock()
		pause := time.Until(c.last.Add(refreshPause))
		c.mu.Unlock()
		if pause > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-c.life.Done():
				timer.Stop()
			}
		}
		c.mu.Lock()
		r := c.round
		r.begun, c.last = true, time.Now()
		c.mu.Unlock()
		r.err = c.refresh()
		close(r.done)
		c.mu.Lock()
		over := c.round == r
		if over {
			c.round = nil
		}
		c.mu.Unlock()
		if over {
			return
		}
	}
}

// await waits for a map, at first, or for a newer one.
func (c *Cluster) await(ctx context.Context) error {
	c.mu.Lock()
	r := c.round // also one that has begun: what its nodes say is new enough
	if r == nil {
		r = c.want()
	}
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errNoOwner = errors.New("cluster: no node is known for the slot")

// owner returns the node of a slot, which it asks the others for if need be. Slot −1 is any.
func (c *Cluster) owner(ctx context.Context, slot int) (*node, error) {
	for waited := false; ; waited = true {
		var n *node
		if slot >= 0 {
			n = c.owners[slot].Load()
		} else {
			n = c.any()
		}
		switch {
		case c.life.Err() != nil:
			return nil, fault.Closed
		case n != nil:
			return n, nil
		case waited:
			return nil, errNoOwner
		}
		if err := c.await(ctx); err != nil {
			return nil, err
		}
	}
}

// any returns a node that has slots, nil if none is known.
func (c *Cluster) any() *node {
	for range 8 {
		if n := c.owners[hooks.N(names.Slots)].Load(); n != nil {
			return n
		}
	}
	for i := range c.owners {
		if n := c.owners[i].Load(); n != nil {
			return n
		}
	}
	return nil
}

// at returns the node at an address, which need not be in the map: ASK names one that has no slots yet.
func (c *Cluster) at(addr string) (*node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.atLocked(addr)
}

func (c *Cluster) atLocked(addr string) (*node, error) {
	if c.closed {
		return nil, fault.Closed
	}
	n := c.nodes[addr]
	if n == nil {
		n = newNode(c, addr)
		c.nodes[addr] = n
	}
	return n, nil
}

// A Place is where a key is served. It is another one when its slot has another node, and when its node is back: it serves commands
// again after it did not.
type Place struct {
	node *node
	back int64
}

// Place returns where a key is served, as far as is known.
func (c *Cluster) Place(key string) Place {
	n := c.owners[names.Slot(key)].Load()
	if n == nil {
		return Place{}
	}
	return Place{n, n.back.Load()}
}

// Tenure returns a channel that is closed when what the node of a key has confirmed may not be so any more: another node has taken its
// slots over, or it serves commands again after a connection of Conn has broken, or after it said that it did not. A failover may undo the
// newest writes, as a restart may. A slot that moves does not, so its keys' node has its tenure still. Nil: no node is known.
func (c *Cluster) Tenure(key string) <-chan struct{} {
	n := c.owners[names.Slot(key)].Load()
	if n == nil {
		return nil
	}
	return *n.tenure.Load()
}

// TenureAt is the Tenure of the keys of the node at an address; nil: there is no such node.
func (c *Cluster) TenureAt(addr string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[addr]
	if n == nil {
		return nil
	}
	return *n.tenure.Load()
}

// Another returns a channel that is closed when the Place of some key becomes another one from then on.
func (c *Cluster) Another() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.other == nil {
		c.other = make(chan struct{})
	}
	return c.other
}

// isAnother tells of another Place. The caller holds mu.
func (c *Cluster) isAnother() {
	if c.other != nil {
		close(c.other)
		c.other = nil
	}
}

// heed goes by a redirect that a node has answered with, and returns where it leads.
func (c *Cluster) heed(from *node, r redirect) (*node, error) {
	if r.ask {
		c.asked.Add(1)
		return c.at(r.addr)
	}
	c.moved.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	to, err := c.atLocked(r.addr)
	if err != nil {
		return nil, err
	}
	switch c.owners[r.slot].Load() {
	case to:
		if to != from {
			return to, nil // somebody was told before, and has asked for the map
		}
	case from, nil:
		c.owners[r.slot].Store(to)
		c.isAnother()
	}
	c.hint = r.addr
	c.want()
	return to, nil
}

// Redirected goes by what the node at an address has answered, if that is a redirect, and reports whether it was MOVED.
func (c *Cluster) Redirected(addr string, reply redis.Error) bool {
	r, ok := redirectOf(reply, addr)
	if !ok {
		return false
	}
	from, err := c.at(addr)
	if err == nil {
		_, err = c.heed(from, r)
	}
	return err == nil && !r.ask
}

// NodeOf returns the address of the node that has a key, which it asks the others for if need be.
func (c *Cluster) NodeOf(ctx context.Context, key string) (addr string, err error) {
	n, err := c.owner(ctx, names.Slot(key))
	if err != nil {
		return "", err
	}
	return n.addr, nil
}

// Where returns the address of the node that has a key, by the map; "": it does not tell.
func (c *Cluster) Where(key string) (addr string) {
	if n := c.owners[names.Slot(key)].Load(); n != nil {
		addr = n.addr
	}
	return addr
}

// DialNode connects to the node at an address. Commands go there as they are, and what it answers comes back.
func (c *Cluster) DialNode(ctx context.Context, addr string) (redis.Conn, error) {
	n, err := c.at(addr)
	if err != nil {
		return nil, err
	}
	conn, err := n.borrow(ctx, true)
	if err != nil {
		c.Refresh()
	}
	return conn, err
}

// install takes a view for the map, unless it is older, or from a node that was cut off: then it only fills in what is not known.
// most says that most nodes have been asked, and none has said anything better.
func (c *Cluster) install(v *view, most bool) {
	for _, n := range c.take(v, most) {
		n.close() // which may take long, with TLS
		time.AfterFunc(cutAfter, n.cut)
	}
}

// take is install but for the nodes that are to be closed, which it returns.
func (c *Cluster) take(v *view, most bool) (gone []*node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	believed := !c.known || !v.down && (v.epoch >= c.epoch || most)
	changed, had := false, map[*node]bool{}
	for i := range c.owners {
		if n := c.owners[i].Load(); n != nil {
			had[n] = true
		}
	}
	for _, s := range v.spans {
		for slot := s.from; slot <= s.to; slot++ {
			if old := c.owners[slot].Load(); old == nil || believed && old.addr != s.addr {
				n, _ := c.atLocked(s.addr)
				c.owners[slot].Store(n)
				changed = true
			}
		}
	}
	if believed {
		if c.known = c.known || !v.down; c.known {
			c.epoch = v.epoch
		}
		gone = c.dismiss(had)
	}
	if changed {
		c.isAnother() // whoever hears of it finds the tenures ended that end by it
	}
	return gone
}

// dismiss forgets the nodes that have no slots: those that had some, and those that were not used for long. The caller holds mu.
func (c *Cluster) dismiss(had map[*node]bool) (gone []*node) {
	has := map[*node]bool{}
	for i := range c.owners {
		has[c.owners[i].Load()] = true
	}
	for addr, n := range c.nodes {
		if !has[n] && (had[n] || time.Since(time.Unix(0, n.used.Load())) > time.Minute) {
			delete(c.nodes, addr)
			n.end()
			close(*n.tenure.Load())
			gone = append(gone, n)
		}
	}
	return gone
}

// sources are the nodes to ask for the map: the one that is said to know, the others, and those that the user has named.
func (c *Cluster) sources() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	addrs := slices.AppendSeq(make([]string, 0, len(c.nodes)+len(c.env.Addrs)), maps.Keys(c.nodes))
	slices.Sort(addrs) // for simulations, which repeat what chance has done
	shuffle(addrs)
	first := len(addrs)
	addrs = append(addrs, c.env.Addrs...)
	shuffle(addrs[first:])
	if c.hint != "" {
		addrs = slices.Insert(addrs, 0, c.hint)
		c.hint = ""
	}
	var all []string
	for _, addr := range addrs {
		if !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	return all
}

func shuffle(list []string) {
	for i := len(list) - 1; i > 0; i-- {
		j := hooks.N(time.Duration(i + 1))
		list[i], list[j] = list[j], list[i]
	}
}

func (c *Cluster) String() string { return fmt.Sprintf("cluster of %v", c.env.Addrs) }

// Closed reports whether Close was called.
func (c *Cluster) Closed() bool { return c.life.Err() != nil }
