package sim_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

// A violation is a promise that was broken.
type violation struct {
	at   time.Duration
	kind string // the same for the same promise
	text string
}

func (v violation) String() string { return fmt.Sprintf("%v at %v: %s", v.kind, v.at, v.text) }

// A checker watches a world.
type checker struct {
	w *world

	mu         sync.Mutex // protects what follows
	found      []violation
	holders    map[string][]*holder // of each key, that may be valid still
	fences     map[string]int64     // the highest number that was handed out for a key
	tokens     map[string]*life
	writes     map[string]bool // values of the register that were written, and confirmed to be
	overlaps   int
	overlapsBy map[int]int // by the nodes that have lost the token of one of them
	holds      int
	spent      int // of them, those whose time was over when the user's own code had taken its time
	calls      int
	lost       int
	queue      map[place][]*ticket // who waits, in the order of their calls
	ghosts     int
	updates    int
	beats      map[string]beat // of the entries of the queues
	watching   map[string]bool // connections that have sent WATCH
}

// worldIsSafe has every overlap count as a violation.
var worldIsSafe atomic.Bool

// A holder is one that thinks it has a lock, until it says otherwise or its time is over.
type holder struct {
	*ward
	who, token string
	until      func() time.Time // Deadline
	over       bool
}

// A ward is what a lock protects at one node, or at a majority of several.
type ward struct {
	key   string
	of    string // the holders that exclude each other, beside others of the same key; "": all
	nodes func() []*node
}

func (w *ward) majority() int { return len(w.nodes())/2 + 1 }

// at is for a ward that is always at the same nodes.
func at(nodes ...*node) func() []*node { return func() []*node { return nodes } }

func (w *ward) id() string { return w.key + w.of }

func newChecker(w *world) *checker {
	return &checker{w: w, holders: map[string][]*holder{}, fences: map[string]int64{},
		queue: map[place][]*ticket{}, tokens: map[string]*life{}, writes: map[string]bool{}, overlapsBy: map[int]int{}, watching: map[string]bool{}}
}

func (c *checker) fail(kind, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(kind, format, args...)
}

func (c *checker) failLocked(kind, format string, args ...any) {
	v := violation{time.Since(c.w.trace.begin), kind, fmt.Sprintf(format, args...)}
	c.found = append(c.found, v)
	c.w.trace.add("CHECK", "%s: %s", kind, v.text)
}

// acquired is called when an acquire has returned a lock, which it gave at that time: nobody else may think now that it has the key.
func (c *checker) acquired(who string, w *ward, token string, until func() time.Time, given time.Time) *holder {
	c.truth(who, w, token, until)
	c.mu.Lock()
	defer c.mu.Unlock()
	h, key := &holder{ward: w, who: who, token: token, until: until}, w.key
	now := time.Now()
	if !given.Before(until()) {
		c.failLocked("no validity", "%s was given %s, whose Deadline was over %v before", who, key, given.Sub(until()))
	}
	if given.Before(until()) && !now.Before(until()) {
		c.spent++
	}
	if c.w.plan.mode == "cohort" && c.lifeOf(token).expired {
		c.failLocked("passed on late", "%s was given %s of %s, whose holder's Deadline had passed before it was released", who, short(token), key)
	}
	c.holds++
	live := c.holders[w.id()][:0]
	for _, o := range c.holders[w.id()] {
		if o.over || !now.Before(o.until()) {
			continue
		}
		live = append(live, o)
		c.overlap(o, h, now)
	}
	c.holders[w.id()] = append(live, h)
	return h
}

// overlap is called with two holders that are valid at the same time. Those of one token, which Attach makes, are one.
func (c *checker) overlap(a, b *holder, now time.Time) {
	if a.token == b.token && c.w.plan.mode != "cohort" {
		return
	}
	c.overlaps++
	lost := max(c.lostLocked(a.ward, a.token), c.lostLocked(b.ward, b.token))
	c.overlapsBy[lost]++
	if lost == 0 || worldIsSafe.Load() {
		c.failLocked("two holders", "%s got %s (%s) while %s has it (%s) for another %v", b.who, b.key, short(b.token), a.who, short(a.token), a.until().Sub(now))
	}
}

// truth looks at the servers, past the network: who may act until a time has the key until then, at least, at a majority of them. All
// else follows. A node that may have lost what it has granted counts as one that has it.
func (c *checker) truth(who string, w *ward, token string, until func() time.Time) {
	now, end, found := time.Now(), until(), []string(nil)
	if !now.Before(end) {
		return
	}
	yes := 0
	for _, n := range w.nodes() {
		has, left := n.holds(w.key)
		if has == token && !now.Add(left).Before(end) || c.mayBeWithout(n, w.key, token) {
			yes++
		}
		found = append(found, fmt.Sprintf("%q for another %v", short(has), left))
	}
	if yes < w.majority() {
		c.fail("validity", "%s may act on %s with %s for another %v, and the key carries %s", who, w.key, short(token), end.Sub(now), strings.Join(found, ", "))
	}
}

// mayHaveLost is how many of the nodes may have lost a token that they had.
func (c *checker) mayHaveLost(w *ward, token string) (count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lostLocked(w, token)
}

func (c *checker) lostLocked(w *ward, token string) (count int) {
	for _, n := range w.nodes() {
		if c.lostAtLocked(n, w.key, token) {
			count++
		}
	}
	return count
}

// mayBeWithout reports whether the node may have lost the token, or else has and was away since.
func (c *checker) mayBeWithout(n *node, key, token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.lifeAt(n, token).made
	return c.lostAtLocked(n, key, token) || !made.IsZero() && n.wasAwaySince(made)
}

// lostAtLocked: a single server is not trusted with a key any more, once it has lost something; of several each is judged by the token.
func (c *checker) lostAtLocked(n *node, key, token string) bool {
	switch {
	case c.w.shards != nil:
		return c.lifeOf(token).lost
	case c.w.plan.mode != "quorum":
		return n.unsafe(key)
	}
	made := c.lifeAt(n, token).made
	return !made.IsZero() && n.hasLostSince(key, made)
}

// extended is called when Deadline has moved: the others must have ended.
func (c *checker) extended(h *holder) {
	c.mu.Lock()
	over := h.over
	c.mu.Unlock()
	if !over {
		c.truth(h.who, h.ward, h.token, h.until)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if h.over || !now.Before(h.until()) {
		return
	}
	for _, o := range c.holders[h.id()] {
		if o != h && !o.over && now.Before(o.until()) {
			c.overlap(o, h, now)
		}
	}
}

// over is called when a holder says that it no longer has the lock: before it releases, or when it was told so.
func (c *checker) over(h *holder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !h.over && !time.Now().Before(h.until()) {
		c.lifeOf(h.token).expired = true
	}
	h.over = true
}

// released is called when a release was confirmed: a majority of the nodes does not have the token, and if it is one, has removed it. In a
// cohort the token goes on to the next.
func (c *checker) released(h *holder) {
	without := 0
	for _, n := range h.nodes() {
		if has, _ := n.holds(h.key); has != h.token {
			without++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lifeOf(h.token)
	l.over = time.Now()
	if c.w.plan.mode == "cohort" {
		return
	}
	l.dead = true
	n := h.nodes()[0]
	isGone := without >= h.majority()
	if len(h.nodes()) == 1 { // it may be the next's already
		isGone = !c.lifeAt(n, h.token).removed.IsZero() || c.lostAtLocked(n, h.key, h.token)
	}
	if !isGone {
		c.failLocked("not released", "%s was told that %s (%s) was released, and it is not", h.who, h.key, short(h.token))
	}
}

// abandon is called when a lock is not released, or the release has failed.
func (c *checker) abandon(h *holder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lifeOf(h.token).abandoned = true
}

// fenced is called when a holder has been given a number.
func (c *checker) fenced(h *holder, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lifeAt(h.nodes()[0], h.token).numbers[n] {
		c.failLocked("not its number", "%s got the number %d for %s, which the server has not given to %s", h.who, n, h.key, short(h.token))
	}
	if last := c.fences[h.key]; n <= last && !h.wentBack() && !c.lifeOf(h.token).lost { // a master of before whose clock is behind gives numbers, too; the guard refuses them
		c.failLocked("fence", "%s got the number %d for %s, and %d was given before", h.who, n, h.key, last)
	}
	c.fences[h.key] = max(n, c.fences[h.key])
}

// wrote is called when the register has confirmed a value, one higher than what the writer had read under the same fence.
func (c *checker) wrote(who, key string, value int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := key + " " + strconv.FormatInt(value, 10)
	if c.writes[id] && !c.w.wards[key].wentBack() {
		c.failLocked("lost update", "%s wrote %d for %s, and so had another", who, value, key)
	}
	c.writes[id] = true
	c.updates++
}

// partings is more than a caller needs to go on at a moment of its own, a few times (world.part).
const partings = 200 * time.Microsecond

// returned is called when a call has returned that had to return within most, but for the time in which its process stood still.
func (c *checker) returned(p *process, who, call string, start time.Time, most time.Duration) {
	stood := p.stoodSince(start)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if took := time.Since(start); took > most+stood+partings {
		c.failLocked("late return", "%s of %s took %v, its bound is %v", call, who, took, most+stood)
	}
}

// owner is the process that a token belongs to.
func (c *checker) owner(token string) string {
	locker, _, ok := strings.Cut(token, "|")
	if !ok {
		return ""
	}
	owner, _, _ := strings.Cut(locker, ".")
	return owner
}

// A state is what a lock's key holds.
type state struct {
	token string
	ttl   time.Duration
	queue []string // of Fair
}

func (n *node) look(key string) (s state) {
	m := n.s.Miniredis()
	if token, err := m.Get(key); err == nil {
		s = state{token: token, ttl: m.TTL(key)}
	}
	s.queue, _ = m.List("{" + key + "}:redigolock-q2")
	return s
}

// around checks what each command does to the locks that it names.
func (c *checker) around(n *node, r sim.Request, carry func() string) {
	var keys []string
	for _, a := range r.Args {
		if slices.Contains(n.keys, a) {
			keys = append(keys, a)
		}
	}
	if r.Name == "EXEC" { // it does not say which
		keys = n.keys
	}
	before := make([]state, len(keys))
	for i, key := range keys {
		before[i] = n.look(key)
	}
	heard := c.listeners(n, before)
	reply := carry()
	c.w.trace.add(r.Link+n.name(), "%s", describe(r, reply))
	c.watched(n, r, reply)
	if c.w.shards != nil {
		c.w.shards.answered(n, r, reply)
	}
	for i, key := range keys {
		after := n.look(key)
		if c.w.shards != nil {
			c.w.shards.carriedOut(n, r, key, before[i], after)
		}
		c.lives(n, r, reply, key, before[i], after)
		c.inOrder(r, key, before[i], after, heard)
		c.changed(n, r, key, before[i].token, before[i].ttl, after.token, after.ttl)
	}
}

// watched checks that a transaction is carried out only where its key was watched, and that nothing else deletes a key with DEL.
func (c *checker) watched(n *node, r sim.Request, reply string) {
	at := fmt.Sprintf("%d %d", n.index, r.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.Name {
	case "DEL":
		if strings.HasPrefix(reply, ":") {
			c.failLocked("not compared", "%s has deleted a key whatever it carries: %s", r.Link, describe(r, reply))
		}
	case "WATCH":
		c.watching[at] = !strings.HasPrefix(reply, "-")
	case "UNWATCH", "DISCARD":
		delete(c.watching, at)
	case "EXEC":
		if !c.watching[at] && !strings.HasPrefix(reply, "-") {
			c.failLocked("not watched", "%s has carried out a transaction at server %d without a WATCH", r.Link, n.index)
		}
		delete(c.watching, at)
	}
}

// changed judges what a command has done to a lock.
func (c *checker) changed(n *node, r sim.Request, key, was string, wasTTL time.Duration, is string, isTTL time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	process := strings.TrimSuffix(r.Link, "'")
	owns := func(token string) bool { return c.owner(token) == process }
	left, _, isLeft := strings.Cut(is, "|left")
	switch {
	case is != "" && isTTL <= 0:
		c.failLocked("no ttl", "%s left %s without a TTL: %s", r.Link, key, describe(r, ""))
	case was != "" && is != was && !owns(was) && !strings.HasSuffix(was, "|left"):
		c.failLocked("not its own", "%s removed the token %s of %s: %s", r.Link, short(was), key, describe(r, ""))
	case was != "" && is != was && strings.HasSuffix(was, "|left"):
		c.failLocked("not its own", "%s removed what MinHold left at %s: %s", r.Link, key, describe(r, ""))
	case was == "" && is != "" && strings.HasPrefix(r.Name, "EVAL") && acquiresBySet[c.w.plan.mode]:
		c.failLocked("made again", "%s made %s of %s again: %s", r.Link, short(is), key, describe(r, ""))
	case was == is && isTTL > wasTTL && !owns(is):
		c.failLocked("not its own", "%s extended the token %s of %s: %s", r.Link, short(is), key, describe(r, ""))
	case was == is && isTTL > wasTTL && c.lifeOf(is).dead && !c.lifeOf(is).lost && !c.lifeOf(is).mayExtend && !c.stillAsked(n, is) && c.sentAfter(r, is):
		c.failLocked("dead token", "%s extended the token %s of %s, which was released: %s", r.Link, short(is), key, describe(r, ""))
	case was == is && isTTL < wasTTL && is != "":
		c.failLocked("lowered", "%s lowered the TTL of %s from %v to %v: %s", r.Link, key, wasTTL, isTTL, describe(r, ""))
	case isLeft && is != was && was != left:
		c.failLocked("not its own", "%s left MinHold of %s where %s was", r.Link, short(left), short(was))
	}
}

// sentAfter reports whether a command was sent after the release of a token. A Quorum does not wait for a node that hangs with what was
// sent before.
func (c *checker) sentAfter(r sim.Request, token string) bool {
	return c.w.plan.mode != "quorum" || r.Sent.After(c.lifeOf(token).over)
}

// acquiresBySet are the modes in which only the command SET may make a key.
var acquiresBySet = map[string]bool{"plain": true, "verified": true, "mux": true, "minhold": true, "quorum": true, "cluster": true, "muxcluster": true}

// describe is a command for people.
func describe(r sim.Request, reply string) string {
	words := []string{r.Verb}
	for i, a := range r.Args {
		if strings.HasPrefix(r.Name, "EVAL") && i < 2 {
			continue
		}
		words = append(words, short(a))
	}
	s := strings.Join(words, " ")
	if reply != "" {
		reply = strings.ReplaceAll(strings.TrimSpace(reply), "\r\n", " ")
		if len(reply) > 60 {
			reply = reply[:60] + "…"
		}
		s += " → " + reply
	}
	return s
}

// A place is where a fair Locker's callers wait: first come, first served.
type place struct {
	l   *locker
	key string
}

// A ticket is one call of Acquire or Do that waits.
type ticket struct {
	place
	who string
	ctx context.Context
}

// waits is called before an Acquire; with Fair its caller stands behind those that wait already, until ctx ends.
func (c *checker) waits(ctx context.Context, l *locker, key, who string) *ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := &ticket{place{l, key}, who, ctx}
	if l.fair {
		c.queue[x.place] = append(c.queue[x.place], x)
	}
	return x
}

// served is called when it has returned, or runs its fn: with a lock, nobody who came before may wait still. Who has given up, or
// was served, at the same moment may take a microsecond to say so.
func (c *checker) served(x *ticket, won bool) {
	before := c.leave(x)
	if !won || len(before) == 0 {
		return
	}
	time.Sleep(time.Microsecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, y := range before {
		if y.ctx.Err() == nil && slices.Contains(c.queue[x.place], y) {
			c.failLocked("out of order", "%s got %s before %s, who had come first", x.who, x.key, y.who)
		}
	}
}

// leave takes x out of its queue, and returns those before it.
func (c *checker) leave(x *ticket) []*ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.queue[x.place], x)
	if i < 0 {
		return nil
	}
	before := slices.Clone(c.queue[x.place][:i])
	c.queue[x.place] = slices.Delete(c.queue[x.place], i, i+1)
	return before
}
