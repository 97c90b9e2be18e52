package sim_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A plan is what a world is made from, and all of it: the same plan is the same world. It comes from a seed, and is made
// smaller to find out what of it matters.
type plan struct {
	seed    chance
	mode    string
	sim     time.Duration // how long the faults and the work last
	procs   int
	workers int // of each process
	keys    int
	servers int
	noHost  bool // the nodes of a cluster do not name their host
	sparse  bool // ttls of minutes, and long times between
	minTTL  time.Duration
	maxTTL  time.Duration
	pace    time.Duration // what the workers' times are in proportion to
	op      time.Duration // OpTimeout
	parts   time.Duration // what the user's code takes at most where it goes on at a moment of its own, see world.part
	faults  []fault
}

// A fault happens at a time, to one process or to the server.
type fault struct {
	kind  string
	at    time.Duration
	lasts time.Duration
	proc  int // -1: none
	node  int
	n     int
}

func (f fault) String() string {
	s := fmt.Sprintf("%-22s at %v for %v", f.kind, f.at, f.lasts)
	if f.proc >= 0 {
		s += fmt.Sprintf(", process p%d", f.proc)
	}
	if f.node > 0 {
		s += fmt.Sprintf(", server %d", f.node)
	}
	return fmt.Sprintf("%s, n %d", s, f.n)
}

func (p plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, mode %s, %v, %d processes of %d workers, %d keys, ttls %v to %v, OpTimeout %v\n",
		p.seed, p.mode, p.sim, p.procs, p.workers, p.keys, p.minTTL, p.maxTTL, p.op)
	for _, f := range p.faults {
		fmt.Fprintf(&b, "  %v\n", f)
	}
	return b.String()
}

// modes are the ways to lock that are tried.
var modes = []string{"plain", "verified", "script", "fair", "cohort", "mux", "fairmux", "minhold", "renew", "mixed", "foreign", "servers", "quorum", "cluster", "faircluster", "muxcluster"}

// isCluster reports whether the servers are a Redis Cluster.
func (p plan) isCluster() bool { return strings.HasSuffix(p.mode, "cluster") }

// isMux reports whether commands travel together in a mode.
func (p plan) isMux(mode string) bool { return strings.Contains(mode, "mux") }

// hasOneLocker reports whether a process has one Locker for all nodes.
func (p plan) hasOneLocker() bool { return p.mode == "quorum" || p.isCluster() }

// newPlan makes the plan of a seed. A fifth of them are long and sparse; a fifth are unsafe: they lose the server's data or move
// its clock, so that exclusion cannot hold, but the fence must.
func newPlan(seed chance, mode string, sim time.Duration) plan {
	r := seed.of("plan", mode)
	p := plan{seed: seed, mode: mode, sim: sim, procs: 2 + r.IntN(3), workers: 1 + r.IntN(3), keys: 1 + r.IntN(2), servers: 1,
		minTTL: 10 * time.Millisecond, maxTTL: pick(r, 100*time.Millisecond, 400*time.Millisecond, time.Second),
		op:    pick(r, 20*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond),
		parts: 30 * time.Microsecond}
	if r.IntN(5) == 0 {
		p.sparse, p.sim = true, 300*sim
		p.minTTL, p.maxTTL, p.op = 10*time.Second, 5*time.Minute, time.Second
	}
	p.pace = p.maxTTL
	if !p.sparse && r.IntN(4) == 0 { // what is left behind stays for long, if it is not cleaned up
		p.maxTTL, p.pace, p.op = 10*time.Second, 300*time.Millisecond, 20*time.Millisecond
	}
	p.op += between(r, 1, 100*time.Microsecond) // no timeout of the library's is a multiple of another
	if r.IntN(5) == 0 {
		p.keys = 8 + r.IntN(20)
	}
	if p.isMux(mode) || mode == "cohort" {
		p.workers += r.IntN(6) // batches need a crowd, and so do hand-offs
	}
	if mode == "cohort" && r.IntN(3) > 0 { // neighbours wait for each other
		p.procs, p.keys = 2, 1
	}
	if mode == "renew" { // many locks are renewed together, and not all of them go well
		p.keys = max(p.keys, 4+r.IntN(8))
	}
	if mode == "servers" {
		p.servers, p.keys = 3, max(p.keys, 3)
	}
	kinds := safeKinds
	if r.IntN(5) == 0 {
		kinds = allKinds
	}
	if mode == "quorum" {
		p.servers, p.procs = pick(r, 3, 5), max(p.procs, 3)
		quorumKinds := slices.DeleteFunc(slices.Clone(severalKinds), func(kind string) bool { return kind == "several flushed" })
		switch kinds = slices.Concat(quorumKinds, quorumKinds, safeKinds); r.IntN(5) {
		case 0: // a few servers lose something, each by itself
			kinds = slices.Concat(kinds, lossKinds, lossKinds)
		case 1: // or several at once
			kinds = slices.Concat(kinds, []string{"several flushed", "several flushed", "several flushed"})
		}
	}
	if p.isCluster() {
		p.servers, p.noHost = 2*masters, r.IntN(4) == 0
		kinds = slices.Concat(clusterKinds, clusterKinds, clusterKinds, safeKinds, []string{"slow server", "partition", "several down"})
	}
	n, most, favours := 1+r.IntN(24), min(p.sim/10, 3*p.pace), true
	switch r.IntN(10) {
	case 0:
		n = 0
	case 1, 2: // little is wrong but that tries are lost, so it is seen whether what they leave behind goes
		kinds, n, most, favours, p.keys = strayKinds, 1+r.IntN(5), p.sim/2, false, max(p.keys, 4)
		if !p.sparse {
			p.maxTTL, p.pace, p.op = 10*time.Second, 300*time.Millisecond, 20*time.Millisecond+between(r, 1, 100*time.Microsecond)
		}
	}
	if p.isCluster() {
		most = max(most, p.sim/5)
		switch {
		case !favours:
			kinds = slices.Concat(kinds, movingKinds)
		case r.IntN(4) == 0: // nothing is wrong but that slots move: what excuses so much elsewhere does not here
			kinds, favours = movingKinds, false
		}
	}
	for range n {
		kind := kinds[r.IntN(len(kinds))]
		if favours {
			kind = favoured(r, mode, kind)
		}
		f := fault{kind: kind, at: between(r, 0, p.sim*9/10), lasts: between(r, 0, most), proc: -1, n: 1 + r.IntN(4), node: r.IntN(p.servers)}
		if mode == "fair" && kind == "slow link" { // it needs a hand-off while a reply is under way
			f.lasts *= 5
		}
		switch kind {
		case "failover": // the one before is away for long
			f.lasts *= 2
		case "slot moves", "stale map alone": // locks are renewed meanwhile, and maps asked for
			f.lasts *= 3
		}
		if faultKinds[kind].ofProcess {
			f.proc = r.IntN(p.procs)
		}
		p.faults = append(p.faults, f)
	}
	return p
}

// favoured is a kind of fault that finds more in this mode than others do, or else kind. One draw decides, so that none of them takes
// another's place. Where strays are looked for there are none of them: what makes a process slow, or deaf to messages, excuses a stray.
func favoured(r *rand.Rand, mode, kind string) string {
	draw, isFair := r.IntN(12), strings.HasPrefix(mode, "fair") || mode == "cohort"
	switch {
	case mode == "renew" && draw < 4:
		return pick(r, "no rights on a key", "BUSY key")
	case strings.HasSuffix(mode, "cluster") && draw < 5:
		return pick(r, "failover", "failover", "slot moves", "slot moves at once", "slot moves under", "stale map", "stale map alone")
	case isFair && draw < 2: // what is published is lost
		return pick(r, "pubsub killed", "pubsub silent")
	case (mode == "cohort" || mode == "fair") && draw < 7: // a hand-off is told, or its extension answered, late
		return "slow link"
	}
	return kind
}
