package sim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// A process is a host that may crash, and another take its place.
type process struct {
	w     *world
	index int
	calm  bool // nothing on its network takes long

	beside bool // Quorums: it has a Locker on the first node, for the same keys

	mu       sync.Mutex // protects what follows
	all      []*incarnation
	stops    []chan struct{} // while it stands still
	standing int             // how often a goroutine has begun to stand
	stood    []span          // when it stood still
	troubled time.Time       // until then what it does may take long
	failed   time.Time       // until then it may fail
	hung     time.Time       // until then a dial may hang
	clock    *hostClock
}

// A span is a time from begin until end; a zero end: it goes on.
type span struct{ begin, end time.Time }

// An incarnation is a process until it crashes.
type incarnation struct {
	p        *process
	name     string
	links    []*sim.Link // to each node
	pools    []*redis.Pool
	cluster  *redigolock.Cluster // which dials as the pools do; nil: the nodes are none
	resource *redis.Pool
	dead     atomic.Bool

	mu      sync.Mutex // protects what follows
	opened  []*locker  // so far
	current []*locker  // for each node; in a cluster, and a Quorum: one for all
	muxes   []*redigolock.Mux
	extra   []time.Duration // what a message takes longer
	dials   []time.Duration // what a dial takes longer
	dialled []time.Time     // when the newest dial to each node began
}

// A locker is a Locker for a node, or a Quorum.
type locker struct {
	locking
	owner  string
	fair   bool
	closed bool // while the workers work
}

// locking is what a Locker and a Quorum have in common.
type locking interface {
	TryAcquire(ctx context.Context, key string, ttl time.Duration) (*redigolock.Lock, error)
	Acquire(ctx context.Context, key string, ttl time.Duration) (*redigolock.Lock, error)
	Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *redigolock.Lock) error) error
	TryDo(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *redigolock.Lock) error) error
	Stats() redigolock.Stats
	Close() error
}

func newProcess(w *world, index int, beside bool) *process {
	p := &process{w: w, index: index, beside: beside, clock: newHostClock(w.plan, index)}
	p.restart()
	return p
}

// ward is where a key's locks are for the process.
func (p *process) ward(key string) *ward {
	w := p.w.wards[key]
	if p.beside {
		w = &ward{key: key, of: " beside", nodes: at(w.nodes()[0])}
	}
	return w
}

// now is the process that runs.
func (p *process) now() *incarnation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[len(p.all)-1]
}

// restart begins another incarnation.
func (p *process) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := &incarnation{p: p, name: fmt.Sprintf("p%d%c", p.index, 'a'+rune(len(p.all)))}
	i.dialled = make([]time.Time, len(p.w.nodes))
	i.current = make([]*locker, len(p.w.nodes))
	for n, node := range p.w.nodes {
		l := node.s.NewLink(i.name)
		l.DelayBy(func(d sim.Direction, b []byte) time.Duration { return i.delay(node, d, b) })
		l.SlowDialsBy(func(ctx context.Context) time.Duration { return i.dialTime(n, ctx) })
		i.links = append(i.links, l)
		i.pools = append(i.pools, newPool(l, p.w.plan))
	}
	if p.w.plan.isCluster() {
		i.cluster = p.w.shards.newPool(i)
	}
	for n := range p.w.nodes {
		if n == 0 || !p.w.plan.hasOneLocker() {
			i.open(n)
		}
	}
	res := p.w.resource.NewLink(i.name)
	res.DelayBy(func(d sim.Direction, b []byte) time.Duration {
		return between(p.w.plan.seed.of("resource", i.name, time.Since(p.w.trace.begin), int(d), b), 20*time.Microsecond, 2*time.Millisecond)
	})
	i.resource = &redis.Pool{MaxIdle: 8, DialContext: func(ctx context.Context) (redis.Conn, error) { return res.DialRedis(ctx) }}
	p.all = append(p.all, i)
}

// newPool is a pool of NewPool's, of one of the sizes that people have.
func newPool(l *sim.Link, pl plan) *redis.Pool {
	p, err := redigolock.NewPool("redis://sim", l.Options()...)
	if err != nil {
		panic(err)
	}
	p.MaxActive = pick(pl.seed.of("pool"), 2, 8, 64)
	return p
}

// open makes a Locker for a node, or a Quorum.
func (i *incarnation) open(n int) {
	i.mu.Lock()
	count := len(i.opened)
	i.mu.Unlock()
	l := &locker{owner: i.p.clock.ownerOf(i.p.w.plan, i.name, count)}
	if i.p.w.plan.mode == "quorum" && !i.p.beside {
		l.locking = i.newQuorum(l.owner)
	} else {
		x := i.newLocker(n, l.owner)
		l.locking, l.fair = x, x.Fair
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current[n] = l
	i.opened = append(i.opened, l)
}

// locker is the one for a key.
func (i *incarnation) locker(w *ward) *locker {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.p.w.plan.hasOneLocker() {
		return i.current[0]
	}
	return i.current[w.nodes()[0].index]
}

// newQuorum is one over all nodes.
func (i *incarnation) newQuorum(owner string) *redigolock.Quorum {
	q := &redigolock.Quorum{Owner: owner, OpTimeout: i.p.w.plan.op, Retry: i.retry, Observer: i.observer()}
	for _, p := range i.pools {
		q.Pools = append(q.Pools, p)
	}
	return q
}

// newLocker makes a Locker for a node as the mode says.
func (i *incarnation) newLocker(n int, owner string) *redigolock.Locker {
	pl := i.p.w.plan
	l := &redigolock.Locker{Pool: i.pools[n], Owner: owner, OpTimeout: pl.op, Retry: i.retry, Observer: i.observer()}
	mode := pl.mode
	if mode == "mixed" || mode == "foreign" {
		mode = []string{"verified", "fair", "mux", "plain"}[i.p.index%4]
	}
	if pl.isCluster() {
		l.Pool = i.cluster
	}
	if pl.isMux(mode) {
		m := &redigolock.Mux{Pool: l.Pool, Conns: pick(pl.seed.of("conns"), 1, 2)}
		i.mu.Lock()
		i.muxes = append(i.muxes, m)
		i.mu.Unlock()
		l.Pool = m
	}
	switch mode {
	case "cluster":
		if i.p.index%3 == 1 {
			l.AcquireWith, l.ReleaseWith = i.acquireWith, i.releaseWith
		}
	case "plain":
		l.AcquireWith, l.ReleaseWith = i.acquireWith, i.releaseWith
	case "script":
		l.AcquireWith = redigolock.SetNXScript
	case "minhold":
		l.MinHold = pl.maxTTL / 4
	case "fair", "fairmux", "faircluster":
		l.Fair, l.Retry = true, nil
	case "cohort":
		l.Fair, l.Retry = true, nil
		l.Cohort = redigolock.Cohort{Passes: 5, Slice: pl.maxTTL}
	}
	return l
}

// acquireWith and releaseWith are a user's own: they stand still with their process, before and after the command.
func (i *incarnation) acquireWith(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	i.p.stand()
	defer i.p.stand()
	return redigolock.SetNX(ctx, c, key, token, ttl)
}

func (i *incarnation) releaseWith(ctx context.Context, c redis.Conn, key, token string) error {
	i.p.stand()
	defer i.p.stand()
	return redigolock.ReleaseTx(ctx, c, key, token)
}

// observer lets a nanosecond pass, and more, wherever a goroutine of a user's learns something: those that learn it at the same
// moment, as from one batch of a Mux, go on at moments of their own.
func (i *incarnation) observer() *redigolock.Observer {
	return &redigolock.Observer{
		Acquired: func(ctx context.Context, _ *redigolock.Lock, _ time.Duration) {
			begin := time.Now()
			i.part(ctx)
			if u, ok := workersBy.Load(goroutine()); ok {
				u.(*worker).heard = time.Since(begin)
			}
		},
		GaveUp:    func(ctx context.Context, _ string, _ time.Duration, _ error) { i.part(ctx) },
		Contended: func(ctx context.Context, _ string, _ *redigolock.HeldError) { i.part(ctx) },
		Failed:    func(ctx context.Context, _, _ string, _ error) { i.part(ctx) },
		Unknown:   func(ctx context.Context, _, _ string, _ error) { i.part(ctx) },
		Extended: func(_ context.Context, k *redigolock.Lock, _ time.Duration) {
			i.p.w.check.truth(i.name, i.p.ward(k.Key()), k.Token(), k.Deadline)
		},
	}
}

// part lets the caller, if it is a worker, go on at a moment of its own.
func (i *incarnation) part(ctx context.Context) {
	if who, ok := ctx.Value(whoKey{}).(string); ok {
		i.p.w.part(who)
	}
}

func (w *world) part(who string) {
	time.Sleep(between(w.plan.seed.of("part", who, time.Since(w.trace.begin)), 1, w.plan.parts))
}

// retry is random by the seed. It is the user's code, and stands still with its process.
func (i *incarnation) retry(attempt int, heldFor time.Duration) time.Duration {
	w := i.p.w
	i.p.stand()
	r := w.plan.seed.of("retry", i.name, time.Since(w.trace.begin), attempt, heldFor)
	return between(r, time.Millisecond, min(20*time.Millisecond<<min(attempt, 6), w.plan.maxTTL))
}

// delay is how long a message takes: mostly some hundred microseconds, now and then longer than a short ttl.
func (i *incarnation) delay(n *node, d sim.Direction, b []byte) time.Duration {
	w := i.p.w
	if d == sim.ToServer {
		w.check.sent(i, n, b)
	}
	r := w.plan.seed.of("delay", i.name+n.name(), time.Since(w.trace.begin), int(d), b)
	took := between(r, 20*time.Microsecond, 400*time.Microsecond)
	if most := n.slowness(); most > 0 {
		took += between(r, 0, most)
	}
	switch {
	case i.p.calm:
	case often(r, 10):
		took += between(r, 0, 20*time.Millisecond)
	case often(r, 2):
		took += between(r, 0, 300*time.Millisecond)
	}
	i.mu.Lock()
	for _, most := range i.extra {
		took += between(r, 0, most)
	}
	i.mu.Unlock()
	if took > time.Millisecond {
		i.p.troubledFor(took, took > w.plan.op/4)
	}
	return took
}

func (i *incarnation) dialTime(n int, ctx context.Context) time.Duration {
	w := i.p.w
	who, _ := ctx.Value(whoKey{}).(string)
	r := w.plan.seed.of("dial", i.name+w.nodes[n].name(), time.Since(w.trace.begin), who)
	took := between(r, 50*time.Microsecond, time.Millisecond)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.dialled[n] = time.Now()
	for _, most := range i.dials {
		took += between(r, 0, most)
	}
	return took
}

// lastDial is when the newest dial to a node began.
func (i *incarnation) lastDial(n *node) time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.dialled[n.index]
}

// slow makes what the process does on the network take longer, until heal.
func (p *process) slow(dials bool, most time.Duration) (heal func()) {
	i := p.now()
	list := &i.extra
	if dials {
		list = &i.dials
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	*list = append(*list, most)
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		*list = (*list)[1:]
	}
}

// crash ends what runs, as its workers see at their next step.
func (p *process) crash() {
	i := p.now()
	i.dead.Store(true)
	i.onLinks(func(l *sim.Link) func() { return l.BlackHole() })
}

// stop has the workers stand still, and the network, until goOn.
func (p *process) stop() (goOn func()) {
	gate := make(chan struct{})
	heal := p.now().onLinks(func(l *sim.Link) func() { return l.BlackHole() })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stops = append(p.stops, gate)
	if len(p.stops) == 1 {
		p.stood = append(p.stood, span{begin: time.Now()})
	}
	return func() {
		heal()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stops = slices.DeleteFunc(p.stops, func(c chan struct{}) bool { return c == gate })
		if len(p.stops) == 0 {
			p.stood[len(p.stood)-1].end = time.Now()
		}
		close(gate)
	}
}

// stand waits while the process stands still. Those who stand go on one after another.
func (p *process) stand() {
	for {
		p.mu.Lock()
		if len(p.stops) == 0 {
			p.mu.Unlock()
			return
		}
		gate, nth := p.stops[0], p.standing
		p.standing++
		p.mu.Unlock()
		<-gate
		p.w.part(fmt.Sprintf("%d stands, %d", p.index, nth)) // they do not go on all at once
	}
}

// stoodSince is for how long the process has stood still since then.
func (p *process) stoodSince(begin time.Time) (d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stood {
		if s.end.IsZero() {
			s.end = time.Now()
		}
		if s.begin.Before(begin) {
			s.begin = begin
		}
		d += max(s.end.Sub(s.begin), 0)
	}
	return d
}

// closeLocker closes a Locker that is used, and makes another.
func (p *process) closeLocker(n int) {
	i := p.now()
	i.mu.Lock()
	old := i.current[n]
	old.closed = true
	i.mu.Unlock()
	i.open(n)
	i.closeOne(old)
}

func (i *incarnation) closeOne(l *locker) {
	start := time.Now()
	if err := l.Close(); err != nil {
		i.p.w.check.fail("close", "%v", err)
	}
	i.p.w.check.returned(i.p, i.name, "Close", start, 8*i.p.w.plan.op)
}

// onLinks does something to all links of a process, and returns what undoes it.
func (i *incarnation) onLinks(f func(*sim.Link) func()) (heal func()) {
	var heals []func()
	for _, l := range i.links {
		if heal := f(l); heal != nil {
			heals = append(heals, heal)
		}
	}
	return together(heals)
}

func (i *incarnation) hasCrashed() bool { return i.dead.Load() }

func (i *incarnation) runs() bool { return !i.dead.Load() }

// close ends the Lockers of some incarnations.
func (p *process) close(which func(*incarnation) bool) {
	for _, i := range p.all {
		if !which(i) {
			continue
		}
		for _, l := range i.opened {
			i.closeOne(l)
		}
	}
}

// owes is how many clean-ups the process still has to do.
func (p *process) owes() (n int) {
	i := p.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, l := range i.opened {
		n += l.Stats().Owed
	}
	return n
}

// countsNothing checks what the Lockers say of themselves, and that they remember nothing.
func (p *process) countsNothing() {
	for _, i := range p.all {
		if i.hasCrashed() {
			continue
		}
		for _, l := range i.opened {
			if st := l.Stats(); st != (redigolock.Stats{}) {
				p.w.check.fail("counts left", "%s: %+v", l.owner, st)
			}
			if kept := remembers(l.locking); len(kept) > 0 && !l.closed {
				p.w.check.fail("memory left", "%s: %s", l.owner, strings.Join(kept, ", "))
			}
		}
	}
}

func (p *process) closePools() {
	for _, i := range p.all {
		for _, m := range i.muxes {
			m.Close()
		}
		if i.cluster != nil {
			i.cluster.Close()
		}
		for _, pool := range i.pools {
			pool.Close()
		}
		i.resource.Close()
		for _, l := range i.opened {
			i.p.clock.isNotOf(l.owner)
		}
	}
}

// trouble notes that what a process (-1: any) does may fail for so long, and until it has found out.
func (w *world) trouble(proc int, d time.Duration) {
	for _, p := range w.procs {
		if proc < 0 || p.index == proc {
			p.troubledFor(d, true)
		}
	}
}

// troubledFor notes that what the process does may fail for so long, or, where it is not much, only take its time.
func (p *process) troubledFor(d time.Duration, much bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(d)
	p.troubled = later(p.troubled, until)
	if much {
		p.failed = later(p.failed, until)
	}
}

// hangs notes that the dials of a process may hang for so long, and until they have timed out by themselves.
func (p *process) hangs(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hung = later(p.hung, time.Now().Add(d+sim.ConnectTimeout))
}

// calmFor is how long nothing has been wrong with the process.
func (p *process) calmFor() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.troubled)
}

// wellFor is how long nothing has failed, whatever it took.
func (p *process) wellFor() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.failed)
}

// awakeLate is how late a process may notice that a Deadline has passed: a host that was suspended compares its clocks once a second.
func (p *process) awakeLate() time.Duration {
	if p.clock.used {
		return time.Second
	}
	return 0
}

// hungSince reports whether dials may have hung since then.
func (p *process) hungSince(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hung.After(t)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

type whoKey struct{}

var errTired = errors.New("tired")
