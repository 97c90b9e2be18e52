package sim_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

// A node is one of a world's servers, with keys, a clock, faults and a log of its own. A process has a link, a pool and a Locker
// for each.
type node struct {
	w     *world
	index int
	s     *sim.Server
	keys  []string

	mu            sync.Mutex           // protects what follows
	lost          map[string]time.Time // when it lost what it knew about a key, the last time
	away          time.Time            // when it was last emptied, and has stayed away ever since for longer than any lock lasts
	slow          []time.Duration      // what its messages take longer
	clockWentBack bool                 // and so may fences fall
	strikes       []*strike
	clock         struct {
		moved    bool
		at       time.Time // of the bubble
		shows    time.Time // what the server's clock showed then
		perMille int       // by which it is faster
	}
}

// A strike is what becomes of the next commands of a link.
type strike struct {
	link    string // "": of any
	left    int
	action  func(sim.Request) sim.Action
	forGood bool // it refuses for good
}

func newNode(w *world, t *testing.T, index int) *node {
	n := &node{w: w, index: index, lost: map[string]time.Time{}}
	if w.shards != nil {
		n.s = w.shards.c.Nodes[index]
	} else {
		n.s = sim.NewServer(t)
	}
	n.s.NameScripts(scriptNames(nil))
	n.s.Apart(uint64(w.plan.seed) + uint64(index) + 1)
	n.s.Rule(n.rule)
	n.s.Around(func(r sim.Request, carry func() string) { w.check.around(n, r, carry) })
	return n
}

// name is what a trace has before what happens at the node; "" where it is the only one.
func (n *node) name() string {
	if len(n.w.nodes) == 1 {
		return ""
	}
	return fmt.Sprintf("@%d", n.index)
}

// strike has something become of the next commands of a link, until heal.
func (n *node) strike(link string, left int, action func(sim.Request) sim.Action, forGood bool) (heal func()) {
	s := &strike{link, left, action, forGood}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.strikes = append(n.strikes, s)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		s.left = 0
	}
}

// rule decides about each command.
func (n *node) rule(r sim.Request) sim.Action {
	s, a := n.struck(r)
	if s == nil {
		return a
	}
	for _, p := range n.w.procs {
		if p.now().name == r.Link {
			n.w.trouble(p.index, 2*n.w.plan.op)
		}
	}
	if s.forGood {
		n.w.check.refusedForGood(r)
	}
	n.w.trace.add(r.Link+n.name(), "%s is struck by a fault", describe(r, ""))
	return a
}

// struck is the first strike that concerns a command, and what becomes of it.
func (n *node) struck(r sim.Request) (*strike, sim.Action) {
	n.mu.Lock()
	all := slices.Clone(n.strikes)
	n.mu.Unlock()
	for _, s := range all {
		if s.link != "" && s.link != r.Link || !s.take(n) {
			continue
		}
		if a := s.action(r); a != sim.Pass() {
			return s, a
		}
		s.giveBack(n)
	}
	return nil, sim.Pass()
}

func (s *strike) take(n *node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s.left--
	return s.left >= 0
}

func (s *strike) giveBack(n *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.left >= 0 {
		s.left++
	}
}

// always is the same action for every command.
func always(a sim.Action) func(sim.Request) sim.Action {
	return func(sim.Request) sim.Action { return a }
}

// keyOf is the key that a fault concerns.
func (n *node) keyOf(f fault) string { return n.keys[f.n%len(n.keys)] }

// loses notes that the node has lost what it knew about a key; "": about all.
func (n *node) loses(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost[key] = later(n.lost[key], time.Now())
}

// losesFromNowOn notes that the node loses what it knows all the time.
func (n *node) losesFromNowOn() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost[""] = time.Now().Add(1000 * time.Hour)
}

// hasLostSince reports whether the node may have lost what it knew of a key, since then or later.
func (n *node) hasLostSince(key string, made time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !later(n.lost[""], n.lost[key]).Before(made)
}

// goesAway notes that the node loses what it knew, and stays away until no lock of before can be valid.
func (n *node) goesAway() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = time.Now()
}

// wasAwaySince reports whether it went away then or later.
func (n *node) wasAwaySince(t time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.away.Before(t)
}

// slowDown has the messages from and to the node take up to so much longer, until heal.
func (n *node) slowDown(most time.Duration) (heal func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow = append(n.slow, most)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.slow = n.slow[1:]
	}
}

func (n *node) slowness() (most time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.slow {
		most += d
	}
	return most
}

// unsafe reports whether the node has lost what it knew about a key.
func (n *node) unsafe(key string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.lost) > 0 && (!n.lost[""].IsZero() || !n.lost[key].IsZero())
}

// wentBack reports whether fences may have fallen: the clock has, or in a cluster that of a master is behind the one before.
func (w *ward) wentBack() bool {
	all := w.nodes()[:1]
	if s := all[0].w.shards; s != nil {
		all = s.w.nodes
	}
	return slices.ContainsFunc(all, (*node).wentBack)
}

func (n *node) wentBack() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.clockWentBack
}

// moveClock steps the server's clock.
func (n *node) moveClock(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.serverTime()
	n.clock.at, n.clock.shows, n.clock.moved = time.Now(), now.Add(d), true
	n.clockWentBack = n.clockWentBack || d < 0
	n.s.SetClock(n.serverClock)
}

func (n *node) driftsAlready() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.clock.perMille > 0
}

func (n *node) driftClock(perMille int) {
	n.moveClock(0)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clock.perMille += perMille
}

// holds is the token that is in a key, and how long it is there for if nothing happens, by the bubble's clock.
func (n *node) holds(key string) (token string, left time.Duration) {
	n.s.Do("PING") // has a clock that was moved show its time
	token, err := n.s.Miniredis().Get(key)
	if err != nil {
		return "", 0
	}
	left = n.s.Miniredis().TTL(key)
	n.mu.Lock()
	defer n.mu.Unlock()
	return token, left * 1000 / time.Duration(1000+n.clock.perMille)
}

func (n *node) serverClock() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serverTime()
}

func (n *node) serverTime() time.Time {
	now := time.Now()
	if !n.clock.moved {
		return now
	}
	since := now.Sub(n.clock.at)
	return n.clock.shows.Add(since + since*time.Duration(n.clock.perMille)/1000)
}

// log is the server's, until the work is over.
func (n *node) log() (lines []line) {
	for _, c := range n.s.Log() {
		if c.Ran.Sub(n.w.trace.begin) > n.w.plan.sim {
			break
		}
		lines = append(lines, line{c.Ran.Sub(n.w.trace.begin), c.Link + n.name(), describe(c.Request, c.Reply)})
	}
	return lines
}
