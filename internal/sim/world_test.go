package sim_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

// A world is a few servers, mostly one, some processes whose workers lock, and what goes wrong. It lives in one bubble.
//
// Its clock is its scheduler: the bubble's time moves on when every goroutine waits, so what happens at one moment is over
// before the next begins, and everything that can wake a goroutine (a message that arrives, the end of a context, of a pause,
// of a timeout) happens at a moment of its own, for each takes a random number of nanoseconds. The seed says how many.
type world struct {
	plan     plan
	t        *testing.T
	nodes    []*node     // the servers of the locks
	shards   *shards     // where they are a cluster; else nil
	resource *sim.Server // of what the locks protect; it has no faults but delay
	trace    *trace
	check    *checker
	procs    []*process
	names    []string         // of the keys
	wards    map[string]*ward // of the keys
	workers  sync.WaitGroup
	faults   sync.WaitGroup
}

// An outcome is what a world came to.
type outcome struct {
	violations []violation
	trace      *trace
	holds      int
	spent      int
	calls      int
	overlaps   int
	overlapsBy map[int]int
	updates    int
	lost       int
	ghosts     int
	commands   int
	redirects  map[string]int // by the nodes of a cluster, by their first word
	log        *trace         // the server's
	sum        string         // of log
}

// run simulates the plan.
func run(t *testing.T, p plan) (o outcome) {
	scriptNames(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p)
		w.work()
		w.end()
		o = outcome{violations: w.check.found, trace: w.trace, holds: w.check.holds, spent: w.check.spent, calls: w.check.calls,
			overlaps: w.check.overlaps, overlapsBy: w.check.overlapsBy, updates: w.check.updates,
			lost: w.check.lost, ghosts: w.check.ghosts, log: w.log(), redirects: map[string]int{}}
		for _, n := range w.nodes {
			o.commands += len(n.s.Log())
			if w.shards == nil {
				continue
			}
			for _, c := range n.s.Log() {
				if word, _, _ := strings.Cut(c.Reply, " "); slices.Contains(redirects, word) {
					o.redirects[word[1:]]++
				}
			}
		}
		o.sum = o.log.sum()
	})
	return o
}

func newWorld(t *testing.T, p plan) *world {
	w := &world{plan: p, t: t, resource: sim.NewServer(t), trace: &trace{begin: time.Now()}, wards: map[string]*ward{}}
	w.check = newChecker(w)
	w.resource.Apart(uint64(p.seed) + 1)
	if p.isCluster() {
		w.shards = newShards(w, t)
	}
	for i := range p.servers {
		w.nodes = append(w.nodes, newNode(w, t, i))
	}
	for i := range max(p.keys, p.servers) {
		name, known := fmt.Sprintf("k%d", i), w.nodes[i%len(w.nodes):][:1]
		if p.mode == "quorum" || p.isCluster() {
			known = w.nodes
		}
		w.names = append(w.names, name)
		w.wards[name] = &ward{key: name, nodes: at(known...)}
		if p.isCluster() {
			w.wards[name].nodes = func() []*node { return w.nodes[w.shards.c.At(name):][:1] }
		}
		for _, n := range known {
			n.keys = append(n.keys, name)
		}
	}
	for i := range p.procs {
		w.procs = append(w.procs, newProcess(w, i, false))
	}
	if p.mode == "quorum" {
		w.procs = append(w.procs, newProcess(w, p.procs, true))
	}
	return w
}

// work lets the workers and the faults go until the plan's time is over.
func (w *world) work() {
	for _, f := range w.plan.faults {
		w.faults.Go(func() { w.suffer(f) })
	}
	for _, p := range w.procs {
		for i := range w.plan.workers {
			w.workers.Go(func() { newWorker(p, i).run() })
		}
	}
	if w.plan.mode == "foreign" {
		w.workers.Go(newForeigner(w).run)
	}
	w.faults.Wait()
	w.workers.Wait()
}

// suffer has a fault begin and end.
func (w *world) suffer(f fault) {
	time.Sleep(f.at)
	w.trace.add("FAULT", "%s begins: %v", f.kind, f)
	kind := faultKinds[f.kind]
	if !kind.quiet {
		w.trouble(f.proc, f.lasts)
	}
	if kind.hangs {
		w.procs[f.proc].hangs(f.lasts)
	}
	heal := kind.begin(w, f)
	time.Sleep(f.lasts + 1)
	if heal != nil {
		heal()
		w.trace.add("FAULT", "%s ends", f.kind)
	}
}

// end lets everything that is left come to its end, and checks that it does. Entries of a queue may be left until the queue's TTL
// is over, and are counted: that of a process that has crashed, and of an ENTER that arrived after its sender had taken it for
// lost, and had been told that it is not there. The next release throws them out.
func (w *world) end() {
	w.trace.add("WORLD", "the work is over")
	w.check.noStrays()
	w.acquireAll()
	for _, p := range w.procs {
		p.close((*incarnation).hasCrashed)
	}
	time.Sleep(w.plan.maxTTL + 10*time.Second) // the longest that anything is kept for, but for fences
	w.noGoroutines("before Close")
	for _, p := range w.procs {
		p.countsNothing()
		p.close((*incarnation).runs)
	}
	w.noGoroutines("after Close")
	for _, p := range w.procs {
		p.closePools()
	}
	synctest.Wait()
	for _, p := range w.procs {
		for _, inc := range p.all {
			for _, l := range inc.links {
				if n := l.Conns(); n > 0 {
					w.check.fail("connections left", "%s has %d", inc.name, n)
				}
			}
		}
	}
	for _, n := range w.nodes {
		w.nothingLeft(n)
	}
}

func (w *world) noGoroutines(when string) {
	synctest.Wait()
	if left := sim.Goroutines("redigolock/redigolock."); len(left) > 0 {
		w.check.fail("goroutines left", "%d %s: %s", len(left), when, strings.Join(left, "\n\n"))
	}
}

// nothingLeft checks that no key is left, but for what those who have waited for long have beaten in, for a minute.
func (w *world) nothingLeft(n *node) {
	n.s.Do("PING") // has a clock that was moved show its time
	for _, key := range n.s.Miniredis().Keys() {
		switch left := n.s.Miniredis().TTL(key); {
		case strings.HasSuffix(key, "-q2"):
			w.check.ghosts++
		case strings.HasSuffix(key, "-h2") && left > 0 && left <= time.Minute, strings.Contains(key, "-fence"):
		default:
			w.check.fail("keys left", "%s%s, with a TTL of %v", key, n.name(), left)
		}
	}
}

// acquireAll acquires each key once more: whatever has gone wrong, that must work within a bound.
func (w *world) acquireAll() {
	p := newProcess(w, len(w.procs), false)
	p.calm = true
	w.procs = append(w.procs, p)
	most := w.plan.maxTTL + 5*time.Second
	for _, key := range w.names {
		ctx, cancel := context.WithTimeout(context.Background(), most)
		k, err := p.now().locker(p.ward(key)).Acquire(ctx, key, w.plan.maxTTL)
		if err != nil {
			w.check.fail("not free", "%s could not be acquired within %v after the last fault: %v", key, most, err)
		} else if err := k.Release(ctx); err != nil {
			w.check.fail("not released", "%s, after the last fault: %v", key, err)
		}
		cancel()
	}
}

// log is that of all servers, until the work is over.
func (w *world) log() *trace {
	tr := &trace{}
	for _, n := range w.nodes {
		tr.lines = append(tr.lines, n.log()...)
	}
	return tr
}

func (w *world) isFair() bool {
	for _, p := range w.procs {
		if slices.ContainsFunc(p.now().current, func(l *locker) bool { return l != nil && l.fair }) {
			return true
		}
	}
	return false
}
