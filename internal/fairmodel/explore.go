package fairmodel

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// Config is what one exploration covers.
type Config struct {
	Name      string
	TTLs      [][]uint8 // in ticks, for each process and each of its Acquire calls
	Budget    Budget
	Cohort    bool
	RelPoke   bool // a REL without an answer is repeated as REL+POKE; else REL and POKE go apart, as in the implementation
	Warm      bool // the subscriptions stand already
	Punctual  bool // no timer is late: each fires before the next tick
	Mutant    Mutant
	Only      string // the one property to look at, as its violations begin; empty: all
	MaxStates int    // 0: no bound
}

// Result is what an exploration found.
type Result struct {
	States    int
	Depth     int
	Overflow  int    // steps left out because a state had no room for them
	Violation string // the property and the shortest trace that breaks it; empty: none
}

type node struct {
	parent int32
	step   step
}

type explorer struct {
	cfg    *Config
	seed   maphash.Seed
	seen   map[uint64]struct{}
	nodes  []node
	calmed map[uint64]struct{} // states from which all waiters are served without further faults
	passed []uint64            // by the run without faults at hand
	result Result
}

type open struct {
	state state
	id    int32
}

// Explore visits every state that cfg allows, breadth first, until a property breaks.
func Explore(cfg Config) Result {
	e := &explorer{cfg: &cfg, seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}, calmed: map[uint64]struct{}{}}
	first := cfg.first()
	e.seen[maphash.Comparable(e.seed, first)] = struct{}{}
	e.nodes = append(e.nodes, node{parent: -1})
	layer := []open{{first, 0}}
	for ; len(layer) > 0 && (cfg.MaxStates == 0 || len(e.nodes) < cfg.MaxStates); e.result.Depth++ {
		var next []open
		for i := range layer {
			if next = e.expand(&layer[i], next); e.result.Violation != "" {
				e.result.States = len(e.nodes)
				return e.result
			}
		}
		layer = next
	}
	e.result.States = len(e.nodes)
	return e.result
}

func (cfg *Config) first() state {
	s := state{budget: cfg.Budget}
	for p := range cfg.TTLs {
		if cfg.Warm {
			s.slots[p].sub, s.slots[p].heard = subConfirmed, true
		}
	}
	return s
}

// expand adds the unseen successors of o to next.
func (e *explorer) expand(o *open, next []open) []open {
	m := machine{state: o.state, cfg: e.cfg}
	var buf [96]step
	for _, s := range m.steps(buf[:0]) {
		n := machine{state: o.state, cfg: e.cfg}
		n.apply(s)
		if n.overflow {
			e.result.Overflow++
			continue
		}
		n.normalise()
		h := maphash.Comparable(e.seed, n.state)
		if _, ok := e.seen[h]; ok && n.bad == "" {
			continue
		}
		e.seen[h] = struct{}{}
		e.nodes = append(e.nodes, node{o.id, s})
		id := int32(len(e.nodes) - 1)
		if n.bad != "" {
			e.result.Violation = e.explain(n.bad, id, nil)
			return next
		}
		if bad := e.calm(n.state, nil); bad != "" {
			var told []string
			e.calm(n.state, &told)
			e.result.Violation = e.explain(bad, id, told)
			return next
		}
		next = append(next, open{n.state, id})
	}
	return next
}

// explain tells the steps that lead to node id.
func (e *explorer) explain(bad string, id int32, calm []string) string {
	var path []step
	for ; e.nodes[id].parent >= 0; id = e.nodes[id].parent {
		path = append(path, e.nodes[id].step)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", bad)
	m := machine{state: e.cfg.first(), cfg: e.cfg}
	for i := len(path) - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "%3d  %s\n", len(path)-i, m.tell(path[i]))
		m.normalise()
	}
	if len(calm) > 0 {
		fmt.Fprintln(&b, "     and without any further fault")
	}
	for _, line := range calm {
		fmt.Fprintf(&b, "   - %s\n", line)
	}
	return b.String()
}
