package fairmodel

import (
	"hash/maphash"
	"slices"
)

// Processes whose calls have the same ttls are alike: two states that differ only in which of them is which have the same future,
// so one of the two is explored.

// A naming says which number each process gets.
type naming [maxProcs]uint8

// namings are all ways to number the processes so that each gets the number of one that is alike. The first leaves all as they are.
func (c *Config) namings() []naming {
	all := []naming{{0, 1, 2, 3}}
	for _, pair := range c.pairs() {
		for _, x := range all {
			if p, q := pair[0], pair[1]; x[q] == uint8(q) { // it has its own still
				x[p], x[q] = x[q], x[p]
				all = append(all, x)
			}
		}
	}
	return all
}

// pairs are the pairs of processes that are alike.
func (c *Config) pairs() (list [][2]int) {
	for q := range c.TTLs {
		for p := range q {
			if c.alike(p, q) {
				list = append(list, [2]int{p, q})
			}
		}
	}
	return list
}

// alike reports whether nothing tells two processes apart. Of those that crash together, the first is spared.
func (c *Config) alike(p, q int) bool {
	isFirst := p == 0 || q == 0
	return slices.Equal(c.TTLs[p], c.TTLs[q]) && !(isFirst && (c.Budget.CrashAll > 0 || c.Mutant == OneDoesNotBeat))
}

// hash tells states apart that are not alike: it is that of the state whose processes stand in the order of their slots.
func (e *explorer) hash(s *state) uint64 {
	var slots [maxProcs]uint64
	for p, q := range s.queues {
		if q != nil {
			var buf [256]byte
			slots[p] = maphash.Bytes(e.seed, q.Append(buf[:0], inByte))
		}
	}
	least, found := uint64(0), false
	for _, x := range e.namings {
		if !e.inOrder(x, &slots) {
			continue
		}
		if h := e.hashAs(s, x, &slots); !found || h < least {
			least, found = h, true
		}
	}
	return least
}

// inOrder reports whether processes that are alike get their numbers in the order of their slots.
func (e *explorer) inOrder(x naming, slots *[maxProcs]uint64) bool {
	for _, pair := range e.alike {
		if p, q := pair[0], pair[1]; slots[p] != slots[q] && (slots[p] < slots[q]) != (x[p] < x[q]) {
			return false
		}
	}
	return true
}

// hashAs is the hash of s with other numbers for its processes.
func (e *explorer) hashAs(s *state, x naming, slots *[maxProcs]uint64) uint64 {
	var queues [maxProcs]uint64
	for p, q := range x {
		queues[q] = slots[p]
	}
	if x == e.namings[0] {
		return maphash.Comparable(e.seed, s.world) ^ maphash.Comparable(e.seed, queues)
	}
	return maphash.Comparable(e.seed, s.renamed(x)) ^ maphash.Comparable(e.seed, queues)
}

// renamed is s with other numbers for its processes.
func (s *world) renamed(x naming) world {
	w := *s
	for p, q := range x {
		w.procs[q] = s.procs[p]
	}
	w.eachToken(func(t *token) {
		if t.ours() {
			*t = tokenAt(int(x[t.owner()]), byte(*t-2)%maxTokens)
		}
	})
	for i := range w.cmds[:w.cmdLen] {
		w.cmds[i].proc = x[w.cmds[i].proc]
	}
	w.sort()
	return w
}
