package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/names"
)

// A Cluster is Servers that answer as the nodes of a Redis Cluster do: each has a map of where all slots are, serves those that are its
// own by that map, and says MOVED, ASK, TRYAGAIN or CLUSTERDOWN to other commands. What a node knows of the others may be old: see
// [Cluster.Tell]. Sharded messages are there, which a miniredis has not: as ordinary ones, at the node of their slot.
//
// Where a command goes is decided when it is carried out, so one that was under way while its slot moved is redirected.
type Cluster struct {
	Nodes []*Server

	mu       sync.Mutex  // protects what follows
	places   *places     // as it is
	known    []*places   // by each node
	moving   map[int]int // slots that are moved key by key, and where to
	asking   map[asker]bool
	multi    map[asker]bool      // connections inside of MULTI: something was redirected there
	down     []bool              // nodes that are cut off from most others, and know it
	nullHost bool                // nodes do not name their host
	heard    map[string][]hearer // sharded channels
}

type (
	asker  struct{ node, conn int }
	hearer struct {
		node int
		peer *server.Peer
	}
	// places say which node has each slot. They are not changed once they are known.
	places struct {
		owners [names.Slots]int8
		epoch  int
	}
)

// NewCluster starts n nodes, which have equal shares of the slots, in their order.
func NewCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{moving: map[int]int{}, asking: map[asker]bool{}, multi: map[asker]bool{}, places: &places{epoch: 1}, heard: map[string][]hearer{}}
	for slot := range c.places.owners {
		c.places.owners[slot] = int8(slot * n / names.Slots)
	}
	for range n {
		c.Join(t)
	}
	return c
}

// Join starts another node, which has no slots, as a replica has none, and returns its number.
func (c *Cluster) Join(t testing.TB) int {
	t.Helper()
	s, i := NewServer(t), len(c.Nodes)
	s.gate = func(r Request) (reply string, instead bool) { return c.gate(i, r) }
	s.Miniredis().Server().SetPreHook(func(p *server.Peer, cmd string, args ...string) bool { return c.shard(i, p, cmd, args) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Nodes, c.known, c.down = append(c.Nodes, s), append(c.known, c.places), append(c.down, false)
	return i
}

// host is that of all nodes, so that one which does not name it means its own.
const host = "n"

// Addr is the address of a node.
func (c *Cluster) Addr(node int) string { return fmt.Sprintf("%s:%d", host, node+1) }

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
	for i, s := range c.Nodes {
		if f == nil {
			s.Rule(nil)
			continue
		}
		s.Rule(func(r Request) Action { return f(i, r) })
	}
}

// Owner is the node that has the slot of a key.
func (c *Cluster) Owner(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ownerOf(names.Slot(key))
}

// ownerOf is the node that has a slot. The caller holds mu.
func (c *Cluster) ownerOf(slot int) int { return int(c.places.owners[slot]) }

// At is the node that a key is at; that has its slot, if it is at none.
func (c *Cluster) At(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := names.Slot(key)
	if to, moves := c.moving[slot]; moves && c.Nodes[to].Miniredis().Exists(key) {
		return to
	}
	return c.ownerOf(slot)
}

// Serves reports whether a node has the slot of a key, or gets it: what others carry out for it is lost.
func (c *Cluster) Serves(node int, key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := names.Slot(key)
	to, moves := c.moving[slot]
	return c.ownerOf(slot) == node || moves && to == node
}

// Epoch is that of what a node knows; −1: of what there is.
func (c *Cluster) Epoch(node int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if node < 0 {
		return c.places.epoch
	}
	return c.known[node].epoch
}

// Moves reports whether the slot of a key is being moved.
func (c *Cluster) Moves(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, moves := c.moving[names.Slot(key)]
	return moves
}

// Begin begins to move the slot of a key to another node, key by key. Until End, a command goes to where its keys are.
func (c *Cluster) Begin(key string, to int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moving[names.Slot(key)] = to
}

// Move moves one key of a slot that is being moved, if it is there.
func (c *Cluster) Move(key string) error {
	c.mu.Lock()
	from, to := c.ownerOf(names.Slot(key)), c.moving[names.Slot(key)]
	c.mu.Unlock()
	defer c.still(from, to)()
	return c.Nodes[from].hand(key, c.Nodes[to])
}

// End gives the slot of a key to another node, with all its keys that are left, at once. Who listens there is told that this is over.
func (c *Cluster) End(key string, to int) error {
	err := c.Hand(key, to)
	c.Tell()
	return err
}

// Hand is End of which only the two nodes know.
func (c *Cluster) Hand(key string, to int) error {
	slot := names.Slot(key)
	from := c.Owner(key)
	goOn := c.still(from, to)
	for _, k := range c.Nodes[from].redis.Keys() {
		if names.Slot(k) != slot || from == to {
			continue
		}
		if err := c.Nodes[from].hand(k, c.Nodes[to]); err != nil {
			goOn()
			return err
		}
	}
	c.mu.Lock()
	delete(c.moving, slot)
	tell := c.change(func(owners *[names.Slots]int8) { owners[slot] = int8(to) }, from, to)
	c.mu.Unlock()
	goOn()
	tell()
	return nil
}

// TakeOver gives all slots of a node to another, which has what was copied then (nil: all): a replica, in a failover. lost is called with
// what the two have, while neither carries out anything. Nobody else knows, nor does the node itself, which goes on.
func (c *Cluster) TakeOver(from, to int, has *Copy, lost func(had, has *Copy)) {
	goOn := c.still(from, to)
	defer goOn()
	had := c.Nodes[from].copy()
	if has == nil {
		has = had
	}
	lost(had, has)
	c.Nodes[to].restore(has)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(func(owners *[names.Slots]int8) {
		for slot := range owners {
			if int(owners[slot]) == from {
				owners[slot] = int8(to)
			}
		}
	}, to)
}

// Forget has a node lose all its data, and know where all slots are: one that has become a replica.
func (c *Cluster) Forget(node int) {
	goOn := c.still(node, node)
	c.Nodes[node].redis.FlushAll()
	c.mu.Lock()
	tell := c.learn(node)
	c.mu.Unlock()
	goOn()
	tell()
}

// Tell has nodes know where all slots are; none: all nodes.
func (c *Cluster) Tell(nodes ...int) {
	if len(nodes) == 0 {
		for i := range c.Nodes {
			nodes = append(nodes, i)
		}
	}
	for _, i := range nodes {
		c.mu.Lock()
		tell := c.learn(i)
		c.mu.Unlock()
		tell()
	}
}

// SetDown has a node be cut off from most others, and know it: it serves nothing.
func (c *Cluster) SetDown(node int, down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down[node] = down
}

// SetNullHost has nodes not name their host.
func (c *Cluster) SetNullHost(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nullHost = on
}

// change makes other places, which these nodes know, and returns what tells who listens there. The caller holds mu.
func (c *Cluster) change(f func(owners *[names.Slots]int8), nodes ...int) (tell func()) {
	p := &places{owners: c.places.owners, epoch: c.places.epoch + 1}
	f(&p.owners)
	c.places = p
	var all []func()
	for _, i := range nodes {
		all = append(all, c.learn(i))
	}
	return func() {
		for _, tell := range all {
			tell()
		}
	}
}

// learn has a node know the places, and returns what tells who listens to channels that are another node's now. The caller holds mu.
func (c *Cluster) learn(node int) (tell func()) {
	before := c.known[node]
	c.known[node] = c.places
	var told []func()
	for _, channel := range slices.Sorted(maps.Keys(c.heard)) {
		slot := names.Slot(channel)
		if int(before.owners[slot]) != node || int(c.places.owners[slot]) == node {
			continue
		}
		for _, h := range c.heard[channel] {
			if h.node == node {
				told = append(told, func() { c.Nodes[node].dispatch(h.peer, []string{"SUNSUBSCRIBE", channel}); h.peer.Flush() })
			}
		}
	}
	return func() {
		for _, tell := range told {
			tell()
		}
	}
}

// still has two nodes carry out nothing until goOn.
func (c *Cluster) still(a, b int) (goOn func()) {
	first, second := c.Nodes[min(a, b)], c.Nodes[max(a, b)]
	first.turn.Lock()
	if first != second {
		second.turn.Lock()
	}
	first.tick()
	second.tick()
	return func() {
		if first != second {
			second.turn.Unlock()
		}
		first.turn.Unlock()
	}
}

// gate answers what a node does not carry out itself.
func (c *Cluster) gate(node int, r Request) (reply string, instead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := asker{node, r.Conn}
	asking := c.asking[at]
	delete(c.asking, at)
	switch {
	case r.Name == "ASKING":
		c.asking[at] = true
		return "+OK\r\n", true
	case r.Name == "CLUSTER" && len(r.Args) > 0:
		return c.tell(node, r.Args[0]), true
	}
	bad, inMulti := c.multi[at]
	switch r.Name {
	case "MULTI":
		c.multi[at] = bad
	case "EXEC", "DISCARD":
		delete(c.multi, at)
	}
	if r.Name == "EXEC" && bad {
		return aborted, true
	}
	if refusal := c.place(node, asking, keysOf(r), r.Name == "SSUBSCRIBE"); refusal != "" {
		if inMulti {
			c.multi[at] = true
		}
		return "-" + refusal + "\r\n", true
	}
	return "", false
}

// aborted is what EXEC is answered after something was redirected.
const aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n"

// place says why a node does not carry out a command with these keys; "": it does. The caller holds mu.
func (c *Cluster) place(node int, asking bool, keys []string, channel bool) (refusal string) {
	if len(keys) == 0 {
		return ""
	}
	slot, have := names.Slot(keys[0]), 0
	for _, k := range keys {
		if names.Slot(k) != slot {
			return "CROSSSLOT Keys in request don't hash to the same slot"
		}
		if c.Nodes[node].Miniredis().Exists(k) {
			have++
		}
	}
	to, moves := c.moving[slot]
	moves = moves && (c.ownerOf(slot) == node || to == node)
	switch owner := int(c.known[node].owners[slot]); {
	case c.down[node]:
		return "CLUSTERDOWN The cluster is down"
	case owner != node && !(moves && to == node && asking):
		return fmt.Sprintf("MOVED %d %s", slot, c.name(owner))
	case !moves || channel || have == len(keys):
		return ""
	case owner == node && have == 0:
		return fmt.Sprintf("ASK %d %s", slot, c.name(to))
	case len(keys) > 1:
		return "TRYAGAIN Multiple keys request during rehashing of slot"
	}
	return ""
}

// name is what a node says of where another is. The caller holds mu.
func (c *Cluster) name(node int) string {
	if c.nullHost {
		return strings.TrimPrefix(c.Addr(node), host)
	}
	return c.Addr(node)
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
func (c *Cluster) tell(node int, what string) (reply string) {
	known := c.known[node]
	if strings.EqualFold(what, "INFO") {
		state := "ok"
		if c.down[node] {
			state = "fail"
		}
		info := fmt.Sprintf("cluster_state:%s\r\ncluster_current_epoch:%d\r\n", state, known.epoch)
		return fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
	}
	var spans strings.Builder
	n := 0
	for from := 0; from < len(known.owners); {
		to, owner := from, known.owners[from]
		for to+1 < len(known.owners) && known.owners[to+1] == owner {
			to++
		}
		name := fmt.Sprintf("$%d\r\n%s\r\n", len(host), host)
		if c.nullHost {
			name = "$-1\r\n"
		}
		_, port, _ := strings.Cut(c.Addr(int(owner)), ":")
		fmt.Fprintf(&spans, "*3\r\n:%d\r\n:%d\r\n*2\r\n%s:%s\r\n", from, to, name, port)
		from = to + 1
		n++
	}
	return fmt.Sprintf("*%d\r\n%s", n, spans.String())
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
