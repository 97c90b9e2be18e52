// Package cleanup removes what tries without a reply may have left on servers. It is the engine of a Locker's clean-up in the
// background. It sends nothing by itself, and knows neither Redis nor a Locker.
//
// A Stray is a token that a try may have left in a key, or may still put there: its command was sent, and no reply came. It is
// removed, again and again, until the node has confirmed twice, a Bound apart, that it is not there, or until its ttl must be over.
// Strays are kept by node: one goroutine for each node that has some, so that a node which hangs delays nobody else's. A node may be several
// servers, as a Redis Cluster is: those at each go one after the other on one connection, and where a server gives no answer, those behind
// are put off. Then it delays those at the others by one Bound.
//
// What can go wrong: the lost command is carried out after the first confirmation: the second finds the token. After the second: the
// key lives for one ttl, with nobody as its holder. The node is away: tried until the ttl is over, in longer and longer
// pauses, and soon after it is known to be back, or another one to have taken its place. This process dies: one ttl.
//
// A Removal is a token whose removal a node has confirmed. A failover to a replica that has not heard of it yet may undo it. So the newest
// are remembered, as long as what they have removed could last, but for minutes only, and are carried out once more where that may have
// happened. A second failover right after the first may undo that again: the ttl ends it.
package cleanup

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/redigolock/redigolock/internal/wait"
)

const (
	maxGroups = 8 // that are removed at a time
	longPause = time.Minute
	// soon is how long after a failure a try is repeated where the place is another one. A place may change often.
	soon = 100 * time.Millisecond
	// maxRemovals is how many are remembered of what one server has confirmed. A replica is behind by what its master has done in
	// milliseconds, but under load, or just after it was joined, in half a second: with 256 some of a thousand releases a second stood.
	maxRemovals = 4096
	// maxRemembered is how long. A failover comes within seconds of what it loses, a minute with slow settings.
	maxRemembered = 5 * time.Minute
)

// A Stray is a token that may be in a key.
type Stray struct {
	Key, Token string
	Context    context.Context // of the try, for Env.Told; its end does not matter
	Next       time.Time       // when to try next
	Until      time.Time       // its ttl is over, whenever the lost command is carried out

	again     bool      // of a Removal
	confirmed bool      // the node has said once that it is not there
	over      bool      // nothing is left to do
	failures  int       // in a row
	place     any       // where the newest try went
	tried     time.Time // when it ended
}

// A Node is where strays may be.
type Node interface {
	// Group is equal for strays at the same server. Nil: it is not known which that is.
	Group(s *Stray) any
	// Remover makes a Remover, for strays of one group.
	Remover() Remover
	// Place is where commands for the key of a stray go. A try that has failed is repeated soon after that is another place.
	Place(s *Stray) any
	// Another returns a channel that is closed when a place becomes another from then on; nil: that is never known.
	Another() <-chan struct{}
}

// A Remover removes strays, by one connection. One goroutine at a time uses it.
type Remover interface {
	// Remove deletes the key if it carries the token. It may keep the connection for the next call, until HangUp.
	Remove(ctx context.Context, s *Stray) error
	HangUp()
}

// A Removal is a token that was in a key, until a node has confirmed that it is removed.
type Removal struct {
	Key, Token string
	Until      time.Time // the ttl that it had is over
}

// removals are the newest of one tenure; the oldest makes room.
type removals struct {
	all  []Removal
	next int // the oldest, once there are maxRemovals
}

func (r *removals) add(x Removal) {
	if len(r.all) < maxRemovals {
		r.all = append(r.all, x)
		return
	}
	r.all[r.next] = x
	r.next = (r.next + 1) % maxRemovals
}

// An Answer is what the error of Remover.Remove says.
type Answer int

const (
	Failed  Answer = iota // it is not known: try again
	Silent                // the same, for the server has not answered
	Gone                  // the token is not in the key, or was just deleted
	Refused               // for good
)

// An Env is what a Cleaner needs of its owner.
type Env struct {
	Bound func() time.Duration          // of a try; and the time between two confirmations
	Read  func(err error) Answer        // of Remover.Remove
	Told  func(s *Stray, removed error) // after each try, without the mutex
}

// A Cleaner removes strays. Its goroutines live only while there are some, or removals are remembered. It must not be copied.
type Cleaner struct {
	env Env

	mu      sync.Mutex // protects what follows, and all lines; taken for moments only, and nothing else is called under it
	lines   []*line    // of each node that has had a stray or a removal
	drained bool       // Close no longer waits: what is added now gets one try
}

// A line has the strays and the removals of a node.
type line struct {
	c      *Cleaner
	node   Node
	strays []*Stray
	stop   context.CancelFunc // ends the goroutine; nil while there is none
	ended  chan struct{}      // closed when the goroutine has ended
	added  chan struct{}      // capacity 1

	removed map[<-chan struct{}]*removals // by the tenure that has confirmed them
	until   time.Time                     // the last of them is to be forgotten
}

// Init must be called first.
func (c *Cleaner) Init(env Env) { c.env = env }

// Add leaves a stray at a node to the Cleaner. One whose Until is over before its Next is forgotten.
func (c *Cleaner) Add(node Node, s Stray) {
	if s.Next.After(s.Until) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.lineOf(node)
	n.strays = append(n.strays, &s)
	if n.stop != nil {
		wait.Wake(n.added)
		return
	}
	n.start()
}

// start starts the goroutine. The caller holds mu.
func (n *line) start() {
	ctx, stop := context.WithCancel(context.Background())
	n.stop, n.ended, n.added = stop, make(chan struct{}), make(chan struct{}, 1)
	if n.c.drained {
		time.AfterFunc(n.c.env.Bound(), stop)
	}
	go n.run(ctx, n.added, n.ended)
}

// Removed has a removal be carried out once more when the tenure ends in which a node has confirmed it: that is closed when the server
// may have lost its newest writes. Node.Another tells that there is one. What comes after Close is not remembered.
func (c *Cleaner) Removed(node Node, tenure <-chan struct{}, x Removal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drained {
		return
	}
	if most := time.Now().Add(maxRemembered); x.Until.After(most) {
		x.Until = most
	}
	n := c.lineOf(node)
	r := n.removed[tenure]
	if r == nil {
		if n.removed == nil {
			n.removed = map[<-chan struct{}]*removals{}
		}
		r = new(removals)
		n.removed[tenure] = r
	}
	r.add(x)
	if x.Until.After(n.until) {
		n.until = x.Until
	}
	switch {
	case n.stop == nil:
		n.start()
	case wait.IsClosed(tenure): // nobody will tell of that any more
		wait.Wake(n.added)
	}
}

// lineOf is the line of a node. The caller holds mu.
func (c *Cleaner) lineOf(node Node) *line {
	for _, n := range c.lines {
		if n.node == node {
			return n
		}
	}
	n := &line{c: c, node: node}
	c.lines = append(c.lines, n)
	return n
}

// Owed is how many strays there are that may be in a key: not those that a node has confirmed to be removed.
func (c *Cleaner) Owed() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.lines {
		for _, s := range x.strays {
			if !s.again {
				n++
			}
		}
	}
	return n
}

// Running reports whether there is a goroutine.
func (c *Cleaner) Running() bool {
	stops, _ := c.running()
	return len(stops) > 0
}

// running are the goroutines.
func (c *Cleaner) running() (stops []context.CancelFunc, ends []<-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.lines {
		if n.stop != nil {
			stops, ends = append(stops, n.stop), append(ends, n.ended)
		}
	}
	return stops, ends
}

// Close waits until all is removed, for so long at most, and then ends what goes on.
func (c *Cleaner) Close(most time.Duration) {
	c.mu.Lock()
	c.drained = true
	for _, n := range c.lines {
		n.removed = nil
		if n.stop != nil {
			wait.Wake(n.added)
		}
	}
	c.mu.Unlock()
	stops, ends := c.running()
	if len(stops) == 0 {
		return
	}
	wait.For(most, ends...)
	for _, stop := range stops {
		stop()
	}
	wait.For(c.env.Bound(), ends...) // whatever it waits for ends with its context, but for a dial that ignores that
}

// run is the goroutine. If whoever it calls ends it, another goes on.
func (n *line) run(ctx context.Context, added <-chan struct{}, ended chan<- struct{}) {
	over := false
	defer func() {
		if over {
			close(ended)
		} else {
			go n.run(ctx, added, ended)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		another := n.node.Another() // before the places are looked at: what changes later closes it
		select {
		case <-added: // what was added is seen now
		default:
		}
		n.recall()
		n.hurry()
		n.removeAll(ctx, n.due())
		next, more := n.next(ctx)
		if over = !more; over {
			return
		}
		timer.Reset(time.Until(next))
		select {
		case <-timer.C:
		case <-added:
		case <-another:
		case <-ctx.Done():
		}
	}
}

// recall makes strays of the removals that may be undone. Who carries them out finds a token that nothing puts there any more, so one
// confirmation does.
func (n *line) recall() {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	now := time.Now()
	for tenure, r := range n.removed {
		if !wait.IsClosed(tenure) {
			continue
		}
		delete(n.removed, tenure)
		if len(n.removed) == 0 {
			n.until = time.Time{}
		}
		for _, x := range r.all {
			if now.Before(x.Until) {
				n.strays = append(n.strays, &Stray{Key: x.Key, Token: x.Token, Context: context.Background(), Next: now, Until: x.Until, again: true, confirmed: true})
			}
		}
	}
}

// hurry ends the pauses of the strays whose place is another one than where they were tried in vain.
func (n *line) hurry() {
	n.c.mu.Lock()
	strays := slices.Clone(n.strays)
	n.c.mu.Unlock()
	for _, s := range strays { // only this goroutine, and those it waits for, change them
		if s.failures == 0 {
			continue
		}
		place, next := n.node.Place(s), s.tried.Add(soon)
		if place != s.place && next.Before(s.Next) {
			s.place, s.failures, s.Next = place, 0, next
		}
	}
}

// due are the strays to try now.
func (n *line) due() (due []*Stray) {
	now := time.Now()
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for _, s := range n.strays {
		if !s.Next.After(now) {
			due = append(due, s)
		}
	}
	return due
}

// next forgets what nothing can be done about any more, and says when the next stray is due, or the removals are to be forgotten. It says
// no more if there is none of either, or ctx has ended, and then the goroutine has been signed off under mu, so that the next starts a new one.
func (n *line) next(ctx context.Context) (next time.Time, more bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	now := time.Now()
	var left []*Stray
	for _, s := range n.strays {
		if s.over || now.After(s.Until) || ctx.Err() != nil {
			continue
		}
		left = append(left, s)
		if next.IsZero() || s.Next.Before(next) {
			next = s.Next
		}
	}
	n.strays = left
	if len(n.removed) > 0 {
		switch remembers := now.Before(n.until) && ctx.Err() == nil; {
		case !remembers:
			n.removed, n.until = nil, time.Time{}
		case next.IsZero() || n.until.Before(next):
			next = n.until
		}
	}
	if more = len(left) > 0 || len(n.removed) > 0; !more {
		n.stop()
		n.stop = nil
	}
	return next, more
}

// removeAll tries each of due once, but for those that are put off. Only the goroutine and those it waits for touch what it changes.
func (n *line) removeAll(ctx context.Context, due []*Stray) {
	var groups [][]*Stray
	places := map[any]int{} // of groups
	for _, s := range due {
		group := n.node.Group(s)
		at, known := places[group]
		if !known || group == nil {
			at = len(groups)
			groups, places[group] = append(groups, nil), at
		}
		groups[at] = append(groups[at], s)
	}
	if len(groups) == 1 {
		n.removeGroup(ctx, groups[0])
		return
	}
	limit := make(chan struct{}, maxGroups)
	var all sync.WaitGroup
	for _, group := range groups {
		limit <- struct{}{}
		all.Go(func() {
			defer func() { <-limit }()
			n.removeGroup(ctx, group)
		})
	}
	all.Wait()
}

// removeGroup tries strays at one server, until that does not answer. Those behind are put off; removals go last, and
// wait when a stray has come meanwhile; what has failed less goes first.
func (n *line) removeGroup(ctx context.Context, group []*Stray) {
	r := n.node.Remover()
	defer r.HangUp()
	slices.SortStableFunc(group, func(a, b *Stray) int { return a.rank() - b.rank() })
	for i, s := range group {
		if s.again && len(n.added) > 0 {
			return
		}
		if answer := n.remove(ctx, r, s); answer != Silent || ctx.Err() != nil {
			continue
		}
		for _, behind := range group[i+1:] {
			behind.putOff(s.place, s.tried, n.c.env.Bound())
		}
		return
	}
}

// rank orders the strays at one server: the lowest goes first.
func (s *Stray) rank() int {
	if s.again {
		return s.failures + math.MaxInt32
	}
	return s.failures
}

// remove tries to remove one, and tells how that ended.
func (n *line) remove(ctx context.Context, r Remover, s *Stray) (a Answer) {
	err := ctx.Err()
	if err == nil {
		s.place = n.node.Place(s)
		err = r.Remove(ctx, s)
	}
	a = n.c.env.Read(err)
	s.answered(a, time.Now(), n.c.env.Bound())
	n.c.env.Told(s, err)
	return a
}

// answered decides when to try again.
func (s *Stray) answered(a Answer, now time.Time, apart time.Duration) {
	s.tried = now
	switch a {
	case Gone:
		s.over, s.confirmed, s.failures = s.confirmed, true, 0
		s.Next = now.Add(apart)
	case Refused:
		s.over = true
	default:
		s.failures++
		s.Next = now.Add(min(apart<<min(s.failures-1, 6), longPause))
	}
}

// putOff has a stray that was not tried wait as after the first failure at a place. One before it that never gets an answer, whatever the
// server says to others, fails again, and is tried behind it then.
func (s *Stray) putOff(place any, now time.Time, apart time.Duration) {
	s.place, s.tried, s.failures = place, now, max(s.failures, 1)
	s.Next = now.Add(apart)
}
