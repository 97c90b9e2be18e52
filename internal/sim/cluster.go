package sim

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/cluster"
)

// A Cluster is Servers that answer as the nodes of a Redis Cluster do: each knows where all slots are, serves its own, and says MOVED,
// ASK or TRYAGAIN to other commands. Sharded messages are there, which a miniredis has not: as ordinary ones, at the node of their slot.
type Cluster struct {
	Nodes []*Server

	mu     sync.Mutex // protects what follows
	owners [cluster.Slots]int
	moving map[int]int // slots that are moved key by key, and where to
	asking map[asker]bool
	epoch  int
	rule   func(node int, r Request) Action
	heard  map[string][]hearer // sharded channels
}

type (
	asker  struct{ node, conn int }
	hearer struct {
		node int
		peer *server.Peer
	}
)

// NewCluster starts n nodes, which have equal shares of the slots, in their order. A node's Rule is the Cluster's.
func NewCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{moving: map[int]int{}, asking: map[asker]bool{}, epoch: 1, heard: map[string][]hearer{}}
	for slot := range c.owners {
		c.owners[slot] = slot * n / cluster.Slots
	}
	for i := range n {
		s := NewServer(t)
		s.Rule(func(r Request) Action { return c.decide(i, r) })
		s.Miniredis().Server().SetPreHook(func(p *server.Peer, cmd string, args ...string) bool { return c.shard(i, p, cmd, args) })
		c.Nodes = append(c.Nodes, s)
	}
	return c
}

// Addr is the address of a node.
func (c *Cluster) Addr(node int) string { return fmt.Sprintf("n%d:1", node) }

// Addrs are those of all nodes.
func (c *Cluster) Addrs() (addrs []string) {
	for i := range c.Nodes {
		addrs = append(addrs, c.Addr(i))
	}
	return addrs
}

// DialRedis connects to the node at an address.
func (c *Cluster) DialRedis(ctx context.Context, addr string) (redis.Conn, error) {
	i := slices.Index(c.Addrs(), addr)
	if i < 0 {
		return nil, fmt.Errorf("sim: no node at %q", addr)
	}
	return c.Nodes[i].DialRedis(ctx)
}

// Rule has f decide about every command that comes to a node, before that looks where the key is; nil: all pass. It must not block.
func (c *Cluster) Rule(f func(node int, r Request) Action) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rule = f
}

// Owner is the node that has the slot of a key.
func (c *Cluster) Owner(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owners[cluster.Slot(key)]
}

// Begin begins to move the slot of a key to another node, key by key. Until End, a command goes to where its keys are.
func (c *Cluster) Begin(key string, to int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moving[cluster.Slot(key)] = to
}

// Move moves one key of a slot that is being moved, if it is there.
func (c *Cluster) Move(key string) error {
	c.mu.Lock()
	from, to := c.Nodes[c.owners[cluster.Slot(key)]], c.Nodes[c.moving[cluster.Slot(key)]]
	c.mu.Unlock()
	return moveKey(key, from, to)
}

// End gives the slot of a key to another node, with all its keys that are left. Who listens there is told that this is over.
func (c *Cluster) End(key string, to int) error {
	slot := cluster.Slot(key)
	c.mu.Lock()
	from := c.owners[slot]
	c.mu.Unlock()
	for _, k := range c.Nodes[from].Miniredis().Keys() {
		if cluster.Slot(k) != slot || from == to {
			continue
		}
		if err := moveKey(k, c.Nodes[from], c.Nodes[to]); err != nil {
			return err
		}
	}
	c.give(slot, to)
	return nil
}

func (c *Cluster) give(slot, to int) {
	c.mu.Lock()
	delete(c.moving, slot)
	c.owners[slot] = to
	c.epoch++
	var told []func()
	for channel, hearers := range c.heard {
		if cluster.Slot(channel) == slot {
			for _, h := range hearers {
				told = append(told, func() { c.Nodes[h.node].dispatch(h.peer, []string{"SUNSUBSCRIBE", channel}); h.peer.Flush() })
			}
		}
	}
	c.mu.Unlock()
	for _, tell := range told {
		tell()
	}
}

// moveKey moves a key with what it has left.
func moveKey(key string, from, to *Server) error {
	a, b := from.Miniredis(), to.Miniredis()
	if !a.Exists(key) {
		return nil
	}
	ms, err := redis.Int64(from.Do("PTTL", key))
	if err != nil {
		return err
	}
	switch a.Type(key) {
	case "string":
		v, _ := a.Get(key)
		err = b.Set(key, v)
	case "list":
		v, _ := a.List(key)
		b.Del(key)
		_, err = b.Push(key, v...)
	case "hash":
		fields, _ := a.HKeys(key)
		for _, f := range fields {
			b.HSet(key, f, a.HGet(key, f))
		}
	default:
		err = fmt.Errorf("sim: %s is a %s, which cannot be moved", key, a.Type(key))
	}
	if err == nil && ms >= 0 {
		_, err = to.Do("PEXPIRE", key, ms)
	}
	a.Del(key)
	return err
}

// decide is the Rule of a node.
func (c *Cluster) decide(node int, r Request) Action {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rule != nil {
		if a := c.rule(node, r); a != Pass() {
			return a
		}
	}
	at := asker{node, r.Conn}
	asking := c.asking[at]
	delete(c.asking, at)
	switch {
	case r.Name == "ASKING":
		c.asking[at] = true
		return Answer("+OK\r\n")
	case r.Name == "CLUSTER" && len(r.Args) > 0:
		return c.tell(r.Args[0])
	}
	return c.place(node, asking, keysOf(r), r.Name == "SSUBSCRIBE")
}

// place says where a command with these keys goes. The caller holds mu.
func (c *Cluster) place(node int, asking bool, keys []string, channel bool) Action {
	if len(keys) == 0 {
		return Pass()
	}
	slot, have := cluster.Slot(keys[0]), 0
	for _, k := range keys {
		if cluster.Slot(k) != slot {
			return Refuse("CROSSSLOT Keys in request don't hash to the same slot")
		}
		if c.Nodes[node].Miniredis().Exists(k) {
			have++
		}
	}
	to, moves := c.moving[slot]
	switch owner := c.owners[slot]; {
	case owner != node && !(moves && to == node && asking):
		return Refuse(fmt.Sprintf("MOVED %d %s", slot, c.Addr(owner)))
	case !moves || channel || have == len(keys):
		return Pass()
	case owner == node && have == 0:
		return Refuse(fmt.Sprintf("ASK %d %s", slot, c.Addr(to)))
	case len(keys) > 1:
		return Refuse("TRYAGAIN Multiple keys request during rehashing of slot")
	}
	return Pass()
}

// keysOf are the keys of a command of this library.
func keysOf(r Request) []string {
	switch r.Name {
	case "EVAL", "EVALSHA":
		if len(r.Args) < 2 {
			return nil
		}
		n, _ := strconv.Atoi(r.Args[1])
		return r.Args[2:min(2+n, len(r.Args))]
	case "PING", "ECHO", "CLUSTER", "UNWATCH", "MULTI", "EXEC", "DISCARD", "SCRIPT", "PUBSUB", "INFO", "ROLE", "CLIENT", "SUNSUBSCRIBE":
		return nil
	}
	return r.Args[:min(1, len(r.Args))]
}

// tell answers CLUSTER INFO and CLUSTER SLOTS. The caller holds mu.
func (c *Cluster) tell(what string) Action {
	if strings.EqualFold(what, "INFO") {
		info := fmt.Sprintf("cluster_state:ok\r\ncluster_current_epoch:%d\r\n", c.epoch)
		return Answer(fmt.Sprintf("$%d\r\n%s\r\n", len(info), info))
	}
	var spans strings.Builder
	n := 0
	for from := 0; from < len(c.owners); {
		to := from
		for to+1 < len(c.owners) && c.owners[to+1] == c.owners[from] {
			to++
		}
		host, port, _ := strings.Cut(c.Addr(c.owners[from]), ":")
		fmt.Fprintf(&spans, "*3\r\n:%d\r\n:%d\r\n*2\r\n$%d\r\n%s\r\n:%s\r\n", from, to, len(host), host, port)
		from = to + 1
		n++
	}
	return Answer(fmt.Sprintf("*%d\r\n%s", n, spans.String()))
}

// shard carries out what a miniredis does not know, and reports whether the command was such. It is called inside of scripts, too.
func (c *Cluster) shard(node int, p *server.Peer, cmd string, args []string) bool {
	instead := map[string]string{"SSUBSCRIBE": "SUBSCRIBE", "SUNSUBSCRIBE": "UNSUBSCRIBE", "SPUBLISH": "PUBLISH"}[cmd]
	if cmd == "PUBSUB" && len(args) > 0 && strings.EqualFold(args[0], "SHARDNUMSUB") {
		instead, args = "PUBSUB", append([]string{"NUMSUB"}, args[1:]...)
	}
	if instead == "" {
		return false
	}
	if cmd != "SPUBLISH" && cmd != "PUBSUB" && len(args) > 0 { // else it may be inside of a script, under the node's lock
		c.listen(hearer{node, p}, args[0], cmd == "SSUBSCRIBE")
	}
	c.Nodes[node].Miniredis().Server().Dispatch(p, append([]string{instead}, args...))
	return true
}

// listen notes who listens to a channel.
func (c *Cluster) listen(h hearer, channel string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[channel] = slices.DeleteFunc(c.heard[channel], func(x hearer) bool { return x == h })
	if on {
		c.heard[channel] = append(c.heard[channel], h)
	}
}
