package sim_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// masters is how many nodes of a cluster have slots. Each of them has a replica.
const masters = 3

// shards are the nodes of a world that are a cluster: node i and node i+masters are a master and its replica, in turns.
//
// Replication is asynchronous: in a failover the replica has what the master had a while before. Every token that this loses, or brings
// back, is marked (life.lost): two holders are excused only if that of one of them is.
type shards struct {
	w *world
	c *sim.Cluster

	mu     sync.Mutex            // protects what follows
	leads  []int                 // the master of each shard
	busy   []bool                // shards that fail over, or of which a slot moves
	behind map[int]int           // nodes that are not told what changes, by so many faults
	knows  map[string]*knowledge // of processes
}

// redirects begin what a node answers when it does not carry a command out.
var redirects = []string{"-MOVED", "-ASK", "-TRYAGAIN", "-CLUSTERDOWN"}

func newShards(w *world, t *testing.T) *shards {
	s := &shards{w: w, c: sim.NewCluster(t, masters), busy: make([]bool, masters), behind: map[int]int{}, knows: map[string]*knowledge{}}
	for i := range masters {
		s.leads = append(s.leads, i)
		s.c.Join(t)
	}
	s.c.SetNullHost(w.plan.noHost)
	return s
}

// newPool is a process's pool of connections to the cluster. It knows some of the nodes.
func (s *shards) newPool(i *incarnation) *redigolock.Cluster {
	r := s.w.plan.seed.of("cluster", i.name)
	all := s.c.Addrs()
	var addrs []string
	for _, n := range r.Perm(len(all))[:2+r.IntN(len(all)-1)] {
		addrs = append(addrs, all[n])
	}
	return &redigolock.Cluster{Addrs: addrs, MaxActive: pick(r, 2, 8, 64), Dial: func(ctx context.Context, addr string) (redis.Conn, error) {
		n := slices.Index(all, addr)
		if n < 0 {
			return nil, fmt.Errorf("there is no node at %q", addr)
		}
		return i.pools[n].DialContext(ctx)
	}}
}

// master is that of a shard.
func (s *shards) master(shard int) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.nodes[s.leads[shard]]
}

// shardOf is the shard that a fault concerns: that of some key.
func (s *shards) shardOf(f fault) int { return s.c.Owner(s.w.names[f.node%len(s.w.names)]) % masters }

// take has some shards be busy, unless one of them is already.
func (s *shards) take(list ...int) (free func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, shard := range list {
		if s.busy[shard] {
			return nil, false
		}
	}
	set := func(busy bool) {
		for _, shard := range list {
			s.busy[shard] = busy
		}
	}
	set(true)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		set(false)
	}, true
}

// isolate has a node not be told what changes, until it is told all.
func (s *shards) isolate(node int) (tell func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind[node]++
	return func() {
		s.mu.Lock()
		s.behind[node]--
		knows := s.behind[node] == 0
		if knows {
			delete(s.behind, node)
		}
		s.mu.Unlock()
		if knows {
			s.c.Tell(node)
		}
	}
}

// gossip has the nodes hear of what has changed, each at a time of its own, within most.
func (s *shards) gossip(r *rand.Rand, most time.Duration) {
	for _, node := range r.Perm(len(s.w.nodes)) {
		time.Sleep(between(r, 0, most/time.Duration(len(s.w.nodes))))
		s.mu.Lock()
		hears := s.behind[node] == 0
		s.mu.Unlock()
		if hears {
			s.c.Tell(node)
		}
	}
}

// carriedOut is called when a node has carried out a command that names a key. If the slot is another's, what it did is lost.
func (s *shards) carriedOut(n *node, r sim.Request, key string, was, is state) {
	if s.c.Serves(n.index, key) {
		return
	}
	tokens := []string{is.token, was.token}
	for _, word := range r.Args {
		tokens = append(tokens, tokenIn(word))
	}
	s.lost(tokens...)
}

// knowledge is what a process was told of where slots are.
type knowledge struct {
	epoch int       // the highest that a node has told
	since time.Time // when a second answer has told it
	once  bool
	named map[int]time.Time // by a redirect, when one last led to a node
}

// hears reports whether what is sent to a process comes.
func (s *shards) hears(name string) bool {
	for _, p := range s.w.procs {
		if p.now().name == name {
			return !p.hungSince(time.Now())
		}
	}
	return false
}

// answered is called when a node has answered a command. Who knows a newer map goes by no older one: whoever is told MOVED by a node that
// had the slot in an older map, and was not led there since, has done so.
func (s *shards) answered(n *node, r sim.Request, reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.knows[r.Link]
	if k == nil {
		k = &knowledge{named: map[int]time.Time{}}
		s.knows[r.Link] = k
	}
	now := time.Now()
	if r.Name == "CLUSTER" && strings.EqualFold(r.Args[0], "SLOTS") && now.Sub(r.Sent) < 2*time.Millisecond && s.hears(r.Link) { // else nobody may wait for it any more
		switch epoch := s.c.Epoch(n.index); {
		case epoch > k.epoch:
			k.epoch, k.once, k.since = epoch, true, time.Time{}
		case epoch == k.epoch && k.once:
			k.once, k.since = false, now
		}
	}
	word, rest, _ := strings.Cut(strings.TrimSpace(reply), " ")
	if word != "-MOVED" && word != "-ASK" {
		return
	}
	_, addr, _ := strings.Cut(rest, " ")
	_, port, _ := strings.Cut(addr, ":")
	to, _ := strconv.Atoi(port)
	k.named[to-1] = now
	if word == "-MOVED" && !k.since.IsZero() && k.epoch == s.c.Epoch(-1) && r.Sent.After(k.since.Add(s.w.plan.op+time.Second)) &&
		k.named[n.index].Before(k.since) && len(s.behind) <= 1 {
		s.w.check.fail("an older map", "%s asks node %d, %v after it was told by two nodes who has the slot: %s", r.Link, n.index, r.Sent.Sub(k.since), describe(r, reply))
	}
}

func (s *shards) lost(tokens ...string) {
	c := s.w.check
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, token := range tokens {
		if token != "" {
			c.lifeOf(token).lost = true
		}
	}
}

// loses compares what a replica takes over with, and what its master had: whose lock is lost, or ends sooner, and who was gone and is back.
func (s *shards) loses(had, has *sim.Copy) {
	for _, key := range s.w.names {
		before, ended := had.Get(key)
		after, ends := has.Get(key)
		if before != after || ends.Before(ended.Add(-time.Millisecond)) {
			s.lost(before, after)
		}
		queue := "{" + key + "}:redigolock-q2"
		for _, entry := range has.List(queue) {
			if !slices.Contains(had.List(queue), entry) {
				s.lost(tokenIn(entry))
			}
		}
	}
}

// failOver has the replica of a master take over, which is killed, stopped, cut off from the other nodes, or told so by an operator. What
// it has written last may be lost. It comes back as a replica, without its data.
func failOver(w *world, f fault) func() {
	s, shard, r := w.shards, w.shards.shardOf(f), w.plan.seed.of("failover", f.at, f.n)
	free, ok := s.take(shard)
	if !ok {
		return nil
	}
	old := s.master(shard)
	next := w.nodes[(old.index+masters)%len(w.nodes)]
	most := min(f.lasts/2, w.plan.pace)
	lag, noticed, way := between(r, 0, most), between(r, 0, most), r.IntN(4)
	toldOf := between(r, 0, 50*time.Millisecond)
	w.trouble(-1, lag+noticed+toldOf+time.Second+2*w.plan.op) // to find out takes a refresh or two

	tell := s.isolate(old.index)
	var has *sim.Copy // nil: all is replicated
	if r.IntN(3) > 0 {
		has = old.s.Copy()
		time.Sleep(lag)
	}
	back := func() {}
	switch way {
	case 0:
		back = old.s.Kill()
	case 1:
		back = old.s.Pause()
	case 2: // those who lock still reach it
	default: // by command: it knows at once
		noticed = 0
	}
	time.Sleep(noticed)
	w.trace.add("FAULT", "node %d takes over from %d, way %d, all is replicated: %v", next.index, old.index, way, has == nil)
	s.c.TakeOver(old.index, next.index, has, s.loses)
	next.clockMayBeBehind(old)
	s.mu.Lock()
	s.leads[shard] = next.index
	s.mu.Unlock()
	if way == 3 {
		s.c.Forget(old.index)
	}
	if way == 2 && r.IntN(2) == 0 { // it knows that it is cut off
		s.c.SetDown(old.index, true)
	}
	s.gossip(r, toldOf)
	return func() {
		if way == 1 && r.IntN(2) == 0 { // what has come is carried out before it hears of its end
			back()
		}
		s.c.SetDown(old.index, false)
		s.c.Forget(old.index)
		back()
		tell()
		free()
	}
}

// clockMayBeBehind notes, when a node takes over from another whose clock shows another time, that fences may fall.
func (n *node) clockMayBeBehind(old *node) {
	behind := n.serverClock().Before(old.serverClock())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clockWentBack = n.clockWentBack || behind
}

// course is a slot that may move: that of a key, from its shard to another.
func (s *shards) course(f fault) (key string, to int, free func(), ok bool) {
	key = s.w.names[f.n%len(s.w.names)]
	from := s.c.Owner(key) % masters
	shard := (from + 1 + f.node%(masters-1)) % masters
	if free, ok = s.take(from, shard); !ok {
		return key, 0, nil, false
	}
	return key, s.master(shard).index, free, true
}

// moveSlot moves a slot key by key, while those who lock work on.
func moveSlot(w *world, f fault) func() {
	s, r := w.shards, w.plan.seed.of("slot moves", f.at, f.n)
	key, to, free, ok := s.course(f)
	if !ok {
		return nil
	}
	siblings := []string{key, "{" + key + "}:redigolock-q2", "{" + key + "}:redigolock-h2", "{" + key + "}:redigolock-fence"}
	s.splits(2 * f.lasts)
	s.c.Begin(key, to)
	for range 2 * len(siblings) {
		time.Sleep(between(r, 0, f.lasts/time.Duration(2*len(siblings))))
		if err := s.c.Move(pick(r, siblings...)); err != nil {
			w.check.fail("move", "%v", err)
		}
	}
	return func() { s.hand(r, key, to, free) }
}

// moveSlotAtOnce moves a slot with all its keys.
func moveSlotAtOnce(w *world, f fault) func() {
	s := w.shards
	key, to, free, ok := s.course(f)
	if ok {
		s.hand(w.plan.seed.of("slot moves at once", f.at, f.n), key, to, free)
	}
	return nil
}

func (s *shards) hand(r *rand.Rand, key string, to int, free func()) {
	s.w.trace.add("FAULT", "the slot of %s is at node %d now", key, to)
	s.splits(50 * time.Millisecond)
	s.w.nodes[to].clockMayBeBehind(s.w.nodes[s.c.Owner(key)])
	if err := s.c.Hand(key, to); err != nil {
		s.w.check.fail("move", "%v", err)
	}
	free()
	s.gossip(r, 50*time.Millisecond)
}

// splits notes that scripts of several keys, as Fair's are, may be refused for so long. A plain lock loses nothing by a slot that moves.
func (s *shards) splits(d time.Duration) {
	if s.w.isFair() {
		s.w.trouble(-1, d)
	}
}

// moveSlotUnder moves a slot with all its keys when a command has come for its key, before or after that is carried out; the WATCH of a
// transaction rather than others.
func moveSlotUnder(w *world, f fault) func() {
	s, r := w.shards, w.plan.seed.of("slot moves under", f.at, f.n)
	key, to, free, ok := s.course(f)
	if !ok {
		return nil
	}
	before, came, once := r.IntN(2) == 0, make(chan struct{}), sync.Once{}
	stop := s.w.nodes[s.c.Owner(key)].strike("", 1<<30, func(r sim.Request) sim.Action {
		if !slices.Contains(r.Args, key) || (r.Name == "WATCH") != (f.n%2 == 0) {
			return sim.Pass()
		}
		late := false
		once.Do(func() { close(came); late = before })
		if late {
			return sim.Late(300 * time.Microsecond)
		}
		return sim.Pass()
	}, false)
	timer := time.NewTimer(f.lasts)
	defer timer.Stop()
	select {
	case <-came:
		time.Sleep(between(r, 1, 200*time.Microsecond))
	case <-timer.C:
	}
	stop()
	s.hand(r, key, to, free)
	return nil
}

// staleMapAlone moves a slot, of which one node is not told, and then has a process reach only that node for a while.
func staleMapAlone(w *world, f fault) func() {
	s, r := w.shards, w.plan.seed.of("stale map alone", f.at, f.n)
	key, to, free, ok := s.course(f)
	if !ok {
		return nil
	}
	stale := (s.c.Owner(key) + 1) % len(w.nodes)
	if stale == to {
		stale = (stale + 1) % len(w.nodes)
	}
	w.trouble(-1, 4*f.lasts)
	tell := s.isolate(stale)
	s.hand(r, key, to, free)
	time.Sleep(f.lasts)
	p := w.procs[f.n%w.plan.procs]
	p.hangs(f.lasts)
	var heals []func()
	for n, l := range p.now().links {
		if n != stale {
			heals = append(heals, l.BlackHole())
		}
	}
	time.Sleep(f.lasts)
	together(heals)()
	return tell
}

// staleMap has a node know nothing of what changes from now on.
func staleMap(w *world, f fault) func() {
	return w.shards.isolate(w.plan.seed.of("stale map", f.at, f.n).IntN(len(w.nodes)))
}

// minority cuts a node off from the others: it serves nothing, and knows nothing of what changes.
func minority(w *world, f fault) func() {
	n := w.nodeAt(f).index
	w.shards.c.SetDown(n, true)
	return together([]func(){func() { w.shards.c.SetDown(n, false) }, w.shards.isolate(n)})
}

// nullHost has the nodes not know their own address.
func nullHost(w *world, _ fault) func() {
	w.shards.c.SetNullHost(true)
	return func() { w.shards.c.SetNullHost(w.plan.noHost) }
}

// unreachable has nobody reach a node.
func unreachable(w *world, f fault) func() {
	n := w.nodeAt(f).index
	var heals []func()
	for _, p := range w.procs {
		heals = append(heals, p.now().links[n].BlackHole())
		p.hangs(f.lasts)
	}
	return together(heals)
}
