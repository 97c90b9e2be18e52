package sim_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

// A faultKind is a way in which the world is not as one wishes. It may be under way more than once at a time.
type faultKind struct {
	ofProcess bool                                  // it strikes one process
	hangs     bool                                  // its dials may hang
	unsafe    bool                                  // no lock on a single server survives it: it loses what the server knew
	several   bool                                  // it concerns several servers, and happens only where there are
	cluster   bool                                  // it concerns a cluster, and happens only there
	quiet     bool                                  // nobody need notice it, unless it says so itself
	begin     func(w *world, f fault) (heal func()) // heal may be nil
}

// safeKinds and allKinds are of all worlds; lossKinds are those of allKinds that lose data, severalKinds those of worlds with several
// servers, and clusterKinds those of clusters. They are sorted, so that a seed chooses the same every time.
var safeKinds, allKinds, lossKinds, severalKinds, clusterKinds = func() (safe, all, loss, several, cluster []string) {
	for _, name := range slices.Sorted(maps.Keys(faultKinds)) {
		switch k := faultKinds[name]; {
		case k.several:
			several = append(several, name)
			continue
		case k.cluster:
			cluster = append(cluster, name)
			continue
		case k.unsafe:
			loss = append(loss, name)
		default:
			safe = append(safe, name)
		}
		all = append(all, name)
	}
	return safe, all, loss, several, cluster
}()

// strayKinds are those that leave a token behind.
var strayKinds = []string{"clean-up lost", "late acquire", "reply lost", "reply swallowed", "cut in the reply", "request lost"}

// movingKinds are those of clusters that cost a lock nothing.
var movingKinds = []string{"slot moves", "slot moves at once", "slot moves under", "stale map", "null host"}

var faultKinds = map[string]faultKind{
	"slow link":     {ofProcess: true, begin: slowLink(50 * time.Millisecond)},
	"very slow":     {ofProcess: true, begin: slowLink(500 * time.Millisecond)},
	"cut off":       {ofProcess: true, hangs: true, begin: onLinks(func(l *sim.Link) func() { return l.BlackHole() })},
	"deaf":          {ofProcess: true, hangs: true, begin: onLinks(func(l *sim.Link) func() { return l.BlackHole(sim.ToClient) })},
	"mute":          {ofProcess: true, hangs: true, begin: onLinks(func(l *sim.Link) func() { return l.BlackHole(sim.ToServer) })},
	"cut":           {ofProcess: true, begin: once((*sim.Link).Cut)},
	"half-open":     {ofProcess: true, begin: once((*sim.Link).HalfOpen)},
	"idle closed":   {ofProcess: true, begin: once((*sim.Link).CloseConns)},
	"pubsub killed": {ofProcess: true, begin: once((*sim.Link).CutSubscribers)},
	"pubsub silent": {ofProcess: true, begin: once((*sim.Link).HalfOpenSubscribers)},
	"dials refused": {ofProcess: true, begin: onLinks((*sim.Link).RefuseDials)},
	"dials hang":    {ofProcess: true, hangs: true, begin: onLinks((*sim.Link).HangDials)},
	"slow dials":    {ofProcess: true, begin: slowDials},

	"request lost":       {ofProcess: true, begin: commands(sim.Lose())},
	"cut before":         {ofProcess: true, begin: commands(sim.Cut())},
	"reply lost":         {ofProcess: true, begin: commands(sim.Drop())},
	"reply swallowed":    {ofProcess: true, begin: commands(sim.Swallow())},
	"cut in the reply":   {ofProcess: true, begin: commands(sim.Truncate(1))},
	"stops in the reply": {ofProcess: true, begin: commands(sim.Stop(1))},
	"late command":       {ofProcess: true, begin: lateCommands},
	"clean-up lost":      {ofProcess: true, begin: cleanUpsLost},
	"late acquire":       {ofProcess: true, begin: lateAcquires},
	"slow reply":         {ofProcess: true, begin: slowReplies},
	"byte by byte":       {ofProcess: true, begin: commands(sim.Trickle(time.Millisecond))},

	"crash":      {ofProcess: true, begin: crash},
	"stall":      {ofProcess: true, hangs: true, begin: stall},
	"suspension": {ofProcess: true, hangs: true, begin: suspend},
	"closed":     {ofProcess: true, begin: closeLocker},

	"pause":             {begin: func(w *world, f fault) func() { return w.nodeAt(f).s.Pause() }},
	"restart with data": {begin: restart},
	"scripts flushed":   {begin: command("SCRIPT", "FLUSH")},
	"foreign holder":    {begin: foreignHolder},

	"READONLY":           {begin: refuse("READONLY You can't write against a read only replica.")},
	"LOADING":            {begin: refuse("LOADING Redis is loading the dataset in memory")},
	"OOM":                {begin: refuse("OOM command not allowed when used memory > 'maxmemory'.")},
	"BUSY":               {begin: refuse("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")},
	"MISCONF":            {begin: refuse("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.")},
	"NOPERM":             {begin: refuse("NOPERM User app has no permissions to run the 'set' command")},
	"MASTERDOWN":         {begin: refuse("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")},
	"CLUSTERDOWN":        {begin: refuse("CLUSTERDOWN The cluster is down")},
	"TRYAGAIN":           {begin: refuse("TRYAGAIN Multiple keys request during rehashing of slot")},
	"max clients":        {begin: maxClients},
	"no rights on a key": {begin: refuseKey("NOPERM No permissions to access a key")},
	"BUSY key":           {begin: refuseKey("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")},

	"flushall":        {unsafe: true, begin: losing(command("FLUSHALL"))},
	"restart, empty":  {unsafe: true, begin: losing(restartEmpty)},
	"foreign delete":  {unsafe: true, begin: foreignDelete},
	"clock forward":   {unsafe: true, begin: losing(stepClock(1))},
	"clock back":      {unsafe: true, begin: losing(stepClock(-1))},
	"clock runs fast": {unsafe: true, begin: runFast},
	"clock runs slow": {begin: drift(-200)},
	"clock drifts":    {begin: drift(allowedDrift)},

	"slow server":     {several: true, begin: func(w *world, f fault) func() { return w.nodeAt(f).slowDown(w.plan.op) }},
	"partition":       {several: true, ofProcess: true, hangs: true, begin: partition},
	"away, empty":     {several: true, begin: awayEmpty},
	"several down":    {several: true, begin: severalDown},
	"several flushed": {several: true, begin: severalFlushed},

	"failover":           {cluster: true, quiet: true, begin: failOver},
	"slot moves":         {cluster: true, quiet: true, begin: moveSlot},
	"slot moves at once": {cluster: true, quiet: true, begin: moveSlotAtOnce},
	"slot moves under":   {cluster: true, quiet: true, begin: moveSlotUnder},
	"stale map":          {cluster: true, quiet: true, begin: staleMap},
	"stale map alone":    {cluster: true, begin: staleMapAlone},
	"minority":           {cluster: true, begin: minority},
	"null host":          {cluster: true, quiet: true, begin: nullHost},
	"node killed":        {cluster: true, begin: func(w *world, f fault) func() { return w.nodeAt(f).s.Kill() }},
	"node unreachable":   {cluster: true, begin: unreachable},
}

// several are so many servers, 1 to all, that a fault concerns.
func (w *world) several(f fault) (list []*node) {
	for i := range 1 + f.n%len(w.nodes) {
		list = append(list, w.nodes[(f.node+i)%len(w.nodes)])
	}
	return list
}

// partition cuts a process off from some servers.
func partition(w *world, f fault) func() {
	var heals []func()
	for _, n := range w.several(f) {
		heals = append(heals, w.procs[f.proc].now().links[n.index].BlackHole())
	}
	return together(heals)
}

// awayEmpty is a server that has lost its data, and stays away until what it had granted is over.
func awayEmpty(w *world, f fault) func() {
	n := w.nodeAt(f)
	back := n.strike("", 1<<30, always(sim.Cut()), false)
	n.goesAway()
	n.s.Do("FLUSHALL")
	n.s.Do("SCRIPT", "FLUSH")
	time.Sleep(w.plan.maxTTL + between(w.plan.seed.of("away", int(f.n), f.at), 1, time.Millisecond))
	return back
}

func severalDown(w *world, f fault) func() {
	var heals []func()
	for _, n := range w.several(f) {
		heals = append(heals, n.strike("", 1<<30, always(sim.Cut()), false))
	}
	return together(heals)
}

func severalFlushed(w *world, f fault) func() {
	for _, n := range w.several(f) {
		n.loses("")
		n.s.Do("FLUSHALL")
	}
	return nil
}

func together(heals []func()) func() {
	return func() {
		for _, heal := range heals {
			heal()
		}
	}
}

func runFast(w *world, f fault) func() {
	w.nodeAt(f).losesFromNowOn()
	return drift(+200)(w, f)
}

// nodeAt is the server that a fault concerns; in a cluster it is a master.
func (w *world) nodeAt(f fault) *node {
	if w.shards != nil {
		return w.shards.master(w.shards.shardOf(f))
	}
	return w.nodes[f.node%len(w.nodes)]
}

// linkOf is the link that a fault concerns.
func (w *world) linkOf(f fault) *sim.Link { return w.procs[f.proc].now().links[w.nodeAt(f).index] }

func onLinks(begin func(*sim.Link) func()) func(*world, fault) func() {
	return func(w *world, f fault) func() { return begin(w.linkOf(f)) }
}

func once(do func(*sim.Link)) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		do(w.linkOf(f))
		return nil
	}
}

// slowLink makes each message take up to so much longer.
func slowLink(most time.Duration) func(*world, fault) func() {
	return func(w *world, f fault) func() { return w.procs[f.proc].slow(false, most) }
}

func slowDials(w *world, f fault) func() {
	return w.procs[f.proc].slow(true, 200*time.Millisecond)
}

// strike strikes the next commands of the fault's process, or of any.
func (w *world) strike(f fault, left int, action func(sim.Request) sim.Action, forGood bool) (heal func()) {
	link := ""
	if f.proc >= 0 {
		link = w.linkOf(f).Name()
	}
	return w.nodeAt(f).strike(link, left, action, forGood)
}

// commands strikes the next commands of a process.
func commands(a sim.Action) func(*world, fault) func() {
	return func(w *world, f fault) func() { return w.strike(f, f.n, always(a), false) }
}

func lateCommands(w *world, f fault) func() {
	return w.strike(f, f.n, always(sim.Late(f.lasts+1)), false)
}

func slowReplies(w *world, f fault) func() {
	return w.strike(f, f.n, always(sim.Slow(f.lasts+1)), false)
}

// lateAcquires has commands that acquire come to the server right after the first one that removes their token, be that a release or
// a clean-up, or is told that it is not in the queue; at the end of the fault at the latest.
func lateAcquires(w *world, f fault) func() {
	over := make(chan struct{})
	heal := w.strike(f, f.n, func(r sim.Request) sim.Action {
		if r.Verb != "set" && r.Verb != "setnx" && r.Verb != "try" && r.Verb != "enter" {
			return sim.Pass()
		}
		for _, word := range r.Args {
			if token := tokenIn(word); token != "" {
				return sim.LateUntil(w.check.untilRemoved(w.nodeAt(f), token, over))
			}
		}
		return sim.Pass()
	}, false)
	return func() {
		heal()
		time.AfterFunc(w.plan.maxTTL/4, func() { close(over) })
	}
}

// cleanUpsLost has acquires get no answer, and cuts the first command that removes what they have left.
func cleanUpsLost(w *world, f fault) func() {
	var mu sync.Mutex // protects left
	left := map[string]bool{}
	return w.strike(f, 2*f.n, func(r sim.Request) sim.Action {
		mu.Lock()
		defer mu.Unlock()
		for _, word := range r.Args {
			token := tokenIn(word)
			switch {
			case token == "":
			case r.Verb == "set" || r.Verb == "setnx" || r.Verb == "try":
				left[token] = true
				return sim.Swallow()
			case slices.Contains(removes, r.Verb) && left[token]:
				delete(left, token)
				w.check.mustGo(w.nodeAt(f), w.procs[f.proc], r, token)
				return sim.Cut()
			}
		}
		return sim.Pass()
	}, false)
}

// refuse answers every command of every process with an error.
func refuse(message string) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		return w.strike(f, 1<<30, always(sim.Refuse(message)), isForGood(message))
	}
}

// refuseKey answers every command that names a key with an error.
func refuseKey(message string) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		key := w.nodeAt(f).keyOf(f)
		return w.strike(f, 1<<30, func(r sim.Request) sim.Action {
			if slices.Contains(r.Args, key) {
				return sim.Refuse(message)
			}
			return sim.Pass()
		}, isForGood(message))
	}
}

// isForGood reports whether a clean-up ends at such a refusal.
func isForGood(message string) bool {
	return strings.HasPrefix(message, "NOPERM") || strings.HasPrefix(message, "OOM")
}

func maxClients(w *world, f fault) func() {
	return w.strike(f, f.n, always(sim.RefuseAndEnd("ERR max number of clients reached")), false)
}

// crash cuts a process off for ever, and starts another in its place.
func crash(w *world, f fault) func() {
	w.procs[f.proc].crash()
	return func() { w.procs[f.proc].restart() }
}

// stall has a process stand still: its connections and its user's code.
func stall(w *world, f fault) func() { return w.procs[f.proc].stop() }

// suspend has a process's host stand still, and its monotonic clock.
func suspend(w *world, f fault) func() {
	p := w.procs[f.proc]
	resume, goOn := p.clock.suspend(), p.stop()
	return func() {
		resume()
		goOn()
	}
}

// closeLocker closes a process's Locker in the middle of what it does; it makes another.
func closeLocker(w *world, f fault) func() {
	n := w.nodeAt(f).index
	if w.plan.hasOneLocker() {
		n = 0
	}
	w.procs[f.proc].closeLocker(n)
	return nil
}

func restart(w *world, f fault) func() {
	var heal []func()
	for _, p := range w.procs {
		l := p.now().links[w.nodeAt(f).index]
		heal = append(heal, l.RefuseDials())
		l.Cut()
	}
	return func() {
		for _, f := range heal {
			f()
		}
	}
}

func restartEmpty(w *world, f fault) func() {
	heal := restart(w, f)
	s := w.nodeAt(f).s
	s.Do("FLUSHALL")
	s.Do("SCRIPT", "FLUSH")
	return heal
}

func command(words ...string) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		args := make([]any, len(words)-1)
		for i, word := range words[1:] {
			args[i] = word
		}
		if _, err := w.nodeAt(f).s.Do(words[0], args...); err != nil {
			panic(err)
		}
		return nil
	}
}

// foreignHolder takes the key with SET NX, if it is free.
func foreignHolder(w *world, f fault) func() {
	n := w.nodeAt(f)
	if w.shards != nil {
		key := n.keyOf(f)
		if w.shards.c.Moves(key) {
			return nil // only by a redirect it could be made
		}
		n = w.wards[key].nodes()[0]
	}
	n.s.Do("SET", n.keyOf(f), "foreign|held", "NX", "PX", max(f.lasts.Milliseconds(), 1))
	return nil
}

func foreignDelete(w *world, f fault) func() {
	n := w.nodeAt(f)
	n.loses(n.keyOf(f))
	n.s.Do("DEL", n.keyOf(f))
	return nil
}

// losing is for what makes the server lose what it knew.
func losing(begin func(*world, fault) func()) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		w.nodeAt(f).loses("")
		return begin(w, f)
	}
}

func stepClock(sign time.Duration) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		w.nodeAt(f).moveClock(sign * (f.lasts + time.Millisecond))
		return nil
	}
}

// allowedDrift is less than the 1 % that a lock allows for.
const allowedDrift = 9

// drift makes the server's clock run faster or slower by so many per mille.
func drift(perMille int) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		n := w.nodeAt(f)
		if perMille == allowedDrift && n.driftsAlready() {
			return nil // two of them would be more than what is allowed for
		}
		n.driftClock(perMille)
		return func() { n.driftClock(-perMille) }
	}
}
