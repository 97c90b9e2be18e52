package fairmodel

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/redigolock/redigolock/internal/fairqueue"
)

// Config is what one exploration covers.
type Config struct {
	TTLs      [][]uint8 // in ticks, for each process and each of its Acquire calls
	Budget    Budget
	Cohort    bool
	Warm      bool  // the subscriptions stand already
	Prompt    bool  // what takes no time happens at once, in one order
	Patience  uint8 // for how many ticks of H's clock an entry may be silent; 0: for 4, as the script has it
	MaxWaste  uint8 // for how many ticks crashed processes may have K while somebody waits; 0: for as long as they like
	Punctual  bool  // no timer is late: each fires before the next tick
	Mutant    Mutant
	Only      string // the one property to look at, as its violations begin; empty: all
	MaxStates int    // 0: no bound
}

// Result is what an exploration found.
type Result struct {
	States    int
	Steps     int // taken, also those that led to a state that was known
	Depth     int
	Moves     map[Move]struct{} // of the slots
	Overflow  int               // steps left out because a state had no room for them
	Violation string            // the property and the shortest trace that breaks it; empty: none
}

type node struct {
	parent int32
	step   step
}

type explorer struct {
	cfg     *Config
	seed    maphash.Seed
	seen    map[uint64]struct{}
	nodes   []node
	calmed  map[uint64]struct{} // states from which all waiters are served without further faults
	passed  []uint64            // by the run without faults at hand
	cfgs    [maxProcs]*fairqueue.Config
	namings []naming
	alike   [][2]int // pairs of processes
	at      *machine // whose step it is
	then    fairqueue.Actions
	result  Result
}

type open struct {
	state state
	id    int32
}

// Explore visits every state that cfg allows, breadth first, until a property breaks.
func Explore(cfg Config) Result {
	e := &explorer{cfg: &cfg, seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}, calmed: map[uint64]struct{}{}}
	e.result.Moves = map[Move]struct{}{}
	e.namings, e.alike = cfg.namings(), cfg.pairs()
	for p := range cfg.TTLs {
		e.cfgs[p] = e.config(p)
	}
	first := e.first()
	e.seen[e.hash(&first)] = struct{}{}
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

// machine is a machine in state s, and whose step it is until the next is asked for.
func (e *explorer) machine(s *state) *machine {
	if e.at == nil {
		e.at = &machine{}
	}
	*e.at = machine{state: *s, cfg: e.cfg, cfgs: &e.cfgs, then: &e.then, moves: e.result.Moves}
	return e.at
}

func (e *explorer) first() state {
	m := e.machine(&state{world: world{budget: e.cfg.Budget}})
	for p := range e.cfg.TTLs {
		m.queues[p], m.owned[p] = fairqueue.New(e.cfgs[p], "c"), true
		if e.cfg.Warm {
			m.applySlot(stepSubscribed, p)
		}
	}
	m.normalise()
	return m.state
}

// expand adds the unseen successors of o to next.
func (e *explorer) expand(o *open, next []open) []open {
	var buf [96]step
	for _, s := range e.machine(&o.state).steps(buf[:0]) {
		n := e.machine(&o.state)
		n.apply(s)
		e.result.Steps++
		if n.overflow {
			e.result.Overflow++
			continue
		}
		n.normalise()
		h := e.hash(&n.state)
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
		next = append(next, open{n.state, id})
		reached := &next[len(next)-1].state
		if bad := e.calm(reached, nil); bad != "" {
			var told []string
			e.calm(reached, &told)
			e.result.Violation = e.explain(bad, id, told)
			return next
		}
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
	first := e.first()
	m := e.machine(&first)
	for i := len(path) - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "%3d  %s\n", len(path)-i, m.inWords(path[i]))
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
