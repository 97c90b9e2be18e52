package sim_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// A world is a server, some processes whose workers lock, and what goes wrong. It lives in one bubble.
//
// Its clock is its scheduler: the bubble's time moves on when every goroutine waits, so what happens at one moment is over
// before the next begins, and everything that can wake a goroutine (a message that arrives, the end of a context, of a pause,
// of a timeout) happens at a moment of its own, for each takes a random number of nanoseconds. The seed says how many.
type world struct {
	plan     plan
	t        *testing.T
	s        *sim.Server // of the locks
	resource *sim.Server // of what the locks protect; it has no faults but delay
	trace    *trace
	check    *checker
	procs    []*process
	names    []string // of the keys
	isKey    map[string]bool
	workers  sync.WaitGroup
	faults   sync.WaitGroup

	unsafe        atomic.Bool // the server has lost what it knew: two may have a lock
	clockWentBack atomic.Bool // and so may fences fall

	mu      sync.Mutex // protects what follows
	strikes []*strike
	clock   struct {
		moved    bool
		at       time.Time // of the bubble
		shows    time.Time // what the server's clock showed then
		perMille int       // by which it is faster
	}
}

// A strike is what becomes of the next commands of a link.
type strike struct {
	link   string // "": of any
	left   int
	action sim.Action
}

// An outcome is what a world came to.
type outcome struct {
	violations []violation
	trace      *trace
	holds      int
	calls      int
	overlaps   int
	updates    int
	lost       int
	ghosts     int
	commands   int
	log        *trace // the server's
	sum        string // of log
}

// run simulates the plan.
func run(t *testing.T, p plan) (o outcome) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p)
		w.work()
		w.end()
		o = outcome{violations: w.check.found, trace: w.trace, holds: w.check.holds, calls: w.check.calls,
			overlaps: w.check.overlaps, updates: w.check.updates,
			lost: w.check.lost, ghosts: w.check.ghosts, commands: len(w.s.Log()), log: w.log()}
		o.sum = o.log.sum()
	})
	return o
}

func newWorld(t *testing.T, p plan) *world {
	w := &world{plan: p, t: t, s: sim.NewServer(t), resource: sim.NewServer(t), trace: &trace{begin: time.Now()}, isKey: map[string]bool{}}
	w.check = newChecker(w)
	for i := range p.keys {
		name := fmt.Sprintf("k%d", i)
		w.names = append(w.names, name)
		w.isKey[name] = true
	}
	w.s.NameScripts(scriptNames())
	w.s.Rule(w.rule)
	w.s.Around(w.check.around)
	for i := range p.procs {
		w.procs = append(w.procs, newProcess(w, i))
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
	w.trouble(f.proc, f.lasts)
	heal := faultKinds[f.kind].begin(w, f)
	time.Sleep(f.lasts + 1)
	if heal != nil {
		heal()
		w.trace.add("FAULT", "%s ends", f.kind)
	}
}

// trouble notes that what a process (-1: any) does may fail for so long, and until it has found out.
func (w *world) trouble(proc int, d time.Duration) {
	for _, p := range w.procs {
		if proc < 0 || p.index == proc {
			p.mu.Lock()
			if until := time.Now().Add(d); until.After(p.troubled) {
				p.troubled = until
			}
			p.mu.Unlock()
		}
	}
}

// strike has something become of the next n commands of a link, until heal.
func (w *world) strike(link string, n int, a sim.Action) (heal func()) {
	s := &strike{link, n, a}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strikes = append(w.strikes, s)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		s.left = 0
	}
}

// rule decides about each command.
func (w *world) rule(r sim.Request) sim.Action {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.strikes {
		if s.left > 0 && (s.link == "" || s.link == r.Link) {
			s.left--
			for _, p := range w.procs {
				if p.now().name == r.Link {
					w.trouble(p.index, 2*w.plan.op)
				}
			}
			w.trace.add(r.Link, "%s is struck by a fault", describe(r, ""))
			return s.action
		}
	}
	return sim.Pass()
}

func (w *world) keyOf(f fault) string { return w.names[f.n%len(w.names)] }

// moveClock steps the server's clock.
func (w *world) moveClock(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.serverTime()
	w.clock.at, w.clock.shows, w.clock.moved = time.Now(), now.Add(d), true
	w.s.SetClock(w.serverClock)
}

func (w *world) driftsAlready() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock.perMille > 0
}

func (w *world) driftClock(perMille int) {
	w.moveClock(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock.perMille += perMille
}

// holds is the token that is in a key, and how long it is there for if nothing happens, by the bubble's clock.
func (w *world) holds(key string) (token string, left time.Duration) {
	w.s.Do("PING") // has a clock that was moved show its time
	token, err := w.s.Miniredis().Get(key)
	if err != nil {
		return "", 0
	}
	left = w.s.Miniredis().TTL(key)
	w.mu.Lock()
	defer w.mu.Unlock()
	return token, left * 1000 / time.Duration(1000+w.clock.perMille)
}

func (w *world) serverClock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.serverTime()
}

func (w *world) serverTime() time.Time {
	now := time.Now()
	if !w.clock.moved {
		return now
	}
	since := now.Sub(w.clock.at)
	return w.clock.shows.Add(since + since*time.Duration(w.clock.perMille)/1000)
}

// end lets everything that is left come to its end, and checks that it does. Entries of a queue may be left until the queue's TTL
// is over, and are counted: that of a process that has crashed, and of an ENTER that arrived after its sender had taken it for
// lost, and had been told that it is not there. The next release throws them out.
func (w *world) end() {
	w.trace.add("WORLD", "the work is over")
	w.noStrays()
	w.acquireAll()
	for _, p := range w.procs {
		p.close()
	}
	time.Sleep(w.plan.maxTTL + 10*time.Second) // the longest that anything is kept for, but for fences
	synctest.Wait()
	if left := sim.Goroutines("redigolock/redigolock."); len(left) > 0 {
		w.check.fail("goroutines left", "%d: %s", len(left), strings.Join(left, "\n\n"))
	}
	for _, p := range w.procs {
		p.closePools()
		p.countsNothing()
	}
	synctest.Wait()
	for _, p := range w.procs {
		for _, inc := range p.all {
			if n := inc.link.Conns(); n > 0 {
				w.check.fail("connections left", "%s has %d", inc.name, n)
			}
		}
	}
	w.s.Do("PING") // has a clock that was moved show its time
	for _, key := range w.s.Miniredis().Keys() {
		if strings.HasSuffix(key, "-q1") {
			w.check.ghosts++
		} else if !strings.Contains(key, "-fence") {
			w.check.fail("keys left", "%s, with a TTL of %v", key, w.s.Miniredis().TTL(key))
		}
	}
}

// noStrays checks that what a failed acquire, or a released lock, has left behind was cleaned up: nobody works any more, and
// nothing is wrong with the network.
func (w *world) noStrays() {
	excused := []string{"NOPERM", "OOM", "closed", // a clean-up that is refused for good ends, and one that a Close has waited for
		"late command", "mute", "cut off", "stall", "pause", "slow link", "very slow"} // a SET may come after the second confirmation
	if w.plan.op < 100*time.Millisecond || slices.ContainsFunc(w.plan.faults, func(f fault) bool { return slices.Contains(excused, f.kind) }) {
		return
	}
	time.Sleep(min(70*time.Second, w.plan.sim+4*w.plan.op)) // a clean-up pauses for as long as it has failed, a minute at most
	for _, key := range w.names {
		if token, left := w.holds(key); token != "" && w.isOurs(token) {
			w.check.fail("stray", "%s, for another %v: %s", key, left, short(token))
		}
	}
}

// isOurs reports whether a token that is left in a key is one that no worker has left there: by a crash, by forgetting it, or by
// a release that has failed.
func (w *world) isOurs(token string) bool {
	w.check.mu.Lock()
	defer w.check.mu.Unlock()
	if w.check.abandoned[token] || strings.HasSuffix(token, "|left") {
		return false
	}
	for _, p := range w.procs {
		if p.now().name == w.check.owner(token) {
			return true
		}
	}
	return false
}

// acquireAll acquires each key once more: whatever has gone wrong, that must work within a bound.
func (w *world) acquireAll() {
	p := newProcess(w, len(w.procs))
	p.calm = true
	w.procs = append(w.procs, p)
	most := w.plan.maxTTL + 5*time.Second
	for _, key := range w.names {
		ctx, cancel := context.WithTimeout(context.Background(), most)
		k, err := p.now().locker.Acquire(ctx, key, w.plan.maxTTL)
		if err != nil {
			w.check.fail("not free", "%s could not be acquired within %v after the last fault: %v", key, most, err)
		} else if err := k.Release(ctx); err != nil {
			w.check.fail("not released", "%s, after the last fault: %v", key, err)
		}
		cancel()
	}
}

// log is the server's, until the work is over.
func (w *world) log() *trace {
	tr := &trace{}
	for _, c := range w.s.Log() {
		if c.Ran.Sub(w.trace.begin) > w.plan.sim {
			break
		}
		tr.lines = append(tr.lines, line{c.Ran.Sub(w.trace.begin), c.Link, describe(c.Request, c.Reply)})
	}
	return tr
}

// A process is a host that may crash, and another take its place.
type process struct {
	w     *world
	index int
	calm  bool // nothing on its network takes long

	mu       sync.Mutex // protects what follows
	all      []*incarnation
	stops    []chan struct{} // while it stands still
	troubled time.Time       // until then what it does may fail
}

// An incarnation is a process until it crashes.
type incarnation struct {
	p        *process
	name     string
	link     *sim.Link
	resource *redis.Pool
	pool     *redis.Pool
	dead     atomic.Bool

	mu      sync.Mutex // protects what follows
	lockers []*redigolock.Locker
	muxes   []*redigolock.Mux
	locker  *redigolock.Locker
	extra   []time.Duration // what a message takes longer
	dials   []time.Duration // what a dial takes longer
}

func newProcess(w *world, index int) *process {
	p := &process{w: w, index: index}
	p.restart()
	return p
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
	i.link = p.w.s.NewLink(i.name)
	i.link.DelayBy(i.delay)
	i.link.SlowDialsBy(i.dialTime)
	i.pool = newPool(i.link, p.w.plan)
	res := p.w.resource.NewLink(i.name)
	res.DelayBy(func(d sim.Direction, b []byte) time.Duration {
		return between(p.w.plan.seed.of("resource", i.name, time.Since(p.w.trace.begin), int(d), b), 20*time.Microsecond, 2*time.Millisecond)
	})
	i.resource = &redis.Pool{MaxIdle: 8, DialContext: func(ctx context.Context) (redis.Conn, error) { return res.DialRedis(ctx) }}
	i.open()
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

// open makes a Locker.
func (i *incarnation) open() {
	l := i.newLocker()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.locker = l
	i.lockers = append(i.lockers, l)
}

// newLocker makes a Locker as the mode says.
func (i *incarnation) newLocker() *redigolock.Locker {
	pl := i.p.w.plan
	l := &redigolock.Locker{Pool: i.pool, Owner: i.name, OpTimeout: pl.op, Retry: i.retry, Observer: i.observer()}
	mode := pl.mode
	if mode == "mixed" || mode == "foreign" {
		mode = []string{"verified", "fair", "mux", "plain"}[i.p.index%4]
	}
	if strings.HasSuffix(mode, "mux") {
		m := &redigolock.Mux{Pool: i.pool, Conns: pick(pl.seed.of("conns"), 1, 2)}
		i.mu.Lock()
		i.muxes = append(i.muxes, m)
		i.mu.Unlock()
		l.Pool = m
	}
	switch mode {
	case "plain":
		l.AcquireWith = redigolock.SetNX
		l.ReleaseWith = redigolock.ReleaseTx
	case "script":
		l.AcquireWith = redigolock.SetNXScript
	case "minhold":
		l.MinHold = pl.maxTTL / 4
	case "fair", "fairmux":
		l.Fair, l.Retry = true, nil
	case "cohort":
		l.Fair, l.Retry = true, nil
		l.Cohort = redigolock.Cohort{Passes: 5, Slice: pl.maxTTL}
	}
	return l
}

// observer lets a nanosecond pass, and more, wherever a goroutine of a user's learns something: those that learn it at the same
// moment, as from one batch of a Mux, go on at moments of their own.
func (i *incarnation) observer() *redigolock.Observer {
	return &redigolock.Observer{
		Acquired:  func(ctx context.Context, _ *redigolock.Lock, _ time.Duration) { i.part(ctx) },
		GaveUp:    func(ctx context.Context, _ string, _ time.Duration, _ error) { i.part(ctx) },
		Contended: func(ctx context.Context, _ string, _ *redigolock.HeldError) { i.part(ctx) },
		Failed:    func(ctx context.Context, _, _ string, _ error) { i.part(ctx) },
		Unknown:   func(ctx context.Context, _, _ string, _ error) { i.part(ctx) },
		Extended: func(_ context.Context, k *redigolock.Lock, _ time.Duration) {
			i.p.w.check.truth(i.name, k.Key(), k.Token(), k.Deadline)
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
	time.Sleep(between(w.plan.seed.of("part", who, time.Since(w.trace.begin)), 1, 100))
}

// retry is random by the seed.
func (i *incarnation) retry(attempt int, heldFor time.Duration) time.Duration {
	w := i.p.w
	r := w.plan.seed.of("retry", i.name, time.Since(w.trace.begin), attempt, heldFor)
	return between(r, time.Millisecond, min(20*time.Millisecond<<min(attempt, 6), w.plan.maxTTL))
}

// delay is how long a message takes: mostly some hundred microseconds, now and then longer than a short ttl.
func (i *incarnation) delay(d sim.Direction, b []byte) time.Duration {
	w := i.p.w
	r := w.plan.seed.of("delay", i.name, time.Since(w.trace.begin), int(d), b)
	took := between(r, 20*time.Microsecond, 400*time.Microsecond)
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
		w.trouble(i.p.index, took)
	}
	return took
}

func (i *incarnation) dialTime(ctx context.Context) time.Duration {
	w := i.p.w
	who, _ := ctx.Value(whoKey{}).(string)
	r := w.plan.seed.of("dial", i.name, time.Since(w.trace.begin), who)
	took := between(r, 50*time.Microsecond, time.Millisecond)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, most := range i.dials {
		took += between(r, 0, most)
	}
	return took
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
	i.link.BlackHole()
}

// stop has the workers stand still until goOn.
func (p *process) stop() (goOn func()) {
	gate := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stops = append(p.stops, gate)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stops = p.stops[1:]
		close(gate)
	}
}

// stand waits while the process stands still.
func (p *process) stand() {
	for {
		p.mu.Lock()
		if len(p.stops) == 0 {
			p.mu.Unlock()
			return
		}
		gate := p.stops[0]
		p.mu.Unlock()
		<-gate
	}
}

// closeLocker closes a Locker that is used, and makes another.
func (p *process) closeLocker() {
	i := p.now()
	i.mu.Lock()
	old := i.locker
	i.mu.Unlock()
	i.open()
	i.closeOne(old)
}

func (i *incarnation) closeOne(l *redigolock.Locker) {
	start := time.Now()
	if err := l.Close(); err != nil {
		i.p.w.check.fail("close", "%v", err)
	}
	i.p.w.check.returned(i.name, "Close", time.Since(start), 8*i.p.w.plan.op)
}

// close ends the Lockers.
func (p *process) close() {
	for _, i := range p.all {
		for _, l := range i.lockers {
			i.closeOne(l)
		}
	}
}

// countsNothing checks what the Lockers say of themselves.
func (p *process) countsNothing() {
	for _, i := range p.all {
		for _, l := range i.lockers {
			if st := l.Stats(); st != (redigolock.Stats{}) {
				p.w.check.fail("counts left", "%s: %+v", i.name, st)
			}
		}
	}
}

func (p *process) closePools() {
	for _, i := range p.all {
		for _, m := range i.muxes {
			m.Close()
		}
		i.pool.Close()
		i.resource.Close()
	}
}

type whoKey struct{}
