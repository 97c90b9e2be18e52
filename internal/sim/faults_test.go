package sim_test

import (
	"slices"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

// A faultKind is a way in which the world is not as one wishes. It may be under way more than once at a time.
type faultKind struct {
	ofProcess bool                                  // it strikes one process
	unsafe    bool                                  // no lock on a single server survives it: it loses what the server knew
	begin     func(w *world, f fault) (heal func()) // heal may be nil
}

// safeKinds and allKinds are sorted, so that a seed chooses the same every time.
var safeKinds, allKinds = func() (safe, all []string) {
	for name, k := range faultKinds {
		all = append(all, name)
		if !k.unsafe {
			safe = append(safe, name)
		}
	}
	slices.Sort(safe)
	slices.Sort(all)
	return safe, all
}()

var faultKinds = map[string]faultKind{
	"slow link":     {ofProcess: true, begin: slowLink(50 * time.Millisecond)},
	"very slow":     {ofProcess: true, begin: slowLink(500 * time.Millisecond)},
	"cut off":       {ofProcess: true, begin: onLinks(func(l *sim.Link) func() { return l.BlackHole() })},
	"deaf":          {ofProcess: true, begin: onLinks(func(l *sim.Link) func() { return l.BlackHole(sim.ToClient) })},
	"mute":          {ofProcess: true, begin: onLinks(func(l *sim.Link) func() { return l.BlackHole(sim.ToServer) })},
	"cut":           {ofProcess: true, begin: once((*sim.Link).Cut)},
	"half-open":     {ofProcess: true, begin: once((*sim.Link).HalfOpen)},
	"idle closed":   {ofProcess: true, begin: once((*sim.Link).CloseConns)},
	"pubsub killed": {ofProcess: true, begin: once((*sim.Link).CutSubscribers)},
	"dials refused": {ofProcess: true, begin: onLinks((*sim.Link).RefuseDials)},
	"dials hang":    {ofProcess: true, begin: onLinks((*sim.Link).HangDials)},
	"slow dials":    {ofProcess: true, begin: slowDials},

	"request lost":       {ofProcess: true, begin: commands(sim.Lose())},
	"cut before":         {ofProcess: true, begin: commands(sim.Cut())},
	"reply lost":         {ofProcess: true, begin: commands(sim.Drop())},
	"reply swallowed":    {ofProcess: true, begin: commands(sim.Swallow())},
	"cut in the reply":   {ofProcess: true, begin: commands(sim.Truncate(1))},
	"stops in the reply": {ofProcess: true, begin: commands(sim.Stop(1))},
	"late command":       {ofProcess: true, begin: lateCommands},
	"slow reply":         {ofProcess: true, begin: slowReplies},
	"byte by byte":       {ofProcess: true, begin: commands(sim.Trickle(time.Millisecond))},

	"crash":  {ofProcess: true, begin: crash},
	"stall":  {ofProcess: true, begin: stall},
	"closed": {ofProcess: true, begin: closeLocker},

	"pause":             {begin: func(w *world, f fault) func() { return w.s.Pause() }},
	"restart with data": {begin: restart},
	"scripts flushed":   {begin: command("SCRIPT", "FLUSH")},
	"foreign holder":    {begin: foreignHolder},

	"READONLY":    {begin: refuse("READONLY You can't write against a read only replica.")},
	"LOADING":     {begin: refuse("LOADING Redis is loading the dataset in memory")},
	"OOM":         {begin: refuse("OOM command not allowed when used memory > 'maxmemory'.")},
	"BUSY":        {begin: refuse("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")},
	"MISCONF":     {begin: refuse("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.")},
	"NOPERM":      {begin: refuse("NOPERM User app has no permissions to run the 'set' command")},
	"MASTERDOWN":  {begin: refuse("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")},
	"CLUSTERDOWN": {begin: refuse("CLUSTERDOWN The cluster is down")},
	"TRYAGAIN":    {begin: refuse("TRYAGAIN Multiple keys request during rehashing of slot")},
	"max clients": {begin: maxClients},

	"flushall":        {unsafe: true, begin: losing(command("FLUSHALL"))},
	"restart, empty":  {unsafe: true, begin: losing(restartEmpty)},
	"foreign delete":  {unsafe: true, begin: losing(foreignDelete)},
	"clock forward":   {unsafe: true, begin: losing(stepClock(1))},
	"clock back":      {unsafe: true, begin: losing(stepClock(-1))},
	"clock runs fast": {unsafe: true, begin: losing(drift(+200))},
	"clock runs slow": {begin: drift(-200)},
	"clock drifts":    {begin: drift(allowedDrift)},
}

func onLinks(begin func(*sim.Link) func()) func(*world, fault) func() {
	return func(w *world, f fault) func() { return begin(w.procs[f.proc].now().link) }
}

func once(do func(*sim.Link)) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		do(w.procs[f.proc].now().link)
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

// commands strikes the next commands of a process.
func commands(a sim.Action) func(*world, fault) func() {
	return func(w *world, f fault) func() { return w.strike(w.procs[f.proc].now().link.Name(), f.n, a) }
}

func lateCommands(w *world, f fault) func() {
	return w.strike(w.procs[f.proc].now().link.Name(), f.n, sim.Late(f.lasts+1))
}

func slowReplies(w *world, f fault) func() {
	return w.strike(w.procs[f.proc].now().link.Name(), f.n, sim.Slow(f.lasts+1))
}

// refuse answers every command of every process with an error.
func refuse(message string) func(*world, fault) func() {
	return func(w *world, f fault) func() { return w.strike("", 1<<30, sim.Refuse(message)) }
}

func maxClients(w *world, f fault) func() {
	return w.strike("", f.n, sim.RefuseAndEnd("ERR max number of clients reached"))
}

// crash cuts a process off for ever, and starts another in its place.
func crash(w *world, f fault) func() {
	w.procs[f.proc].crash()
	return func() { w.procs[f.proc].restart() }
}

// stall has a process stand still: its connections and its user's code.
func stall(w *world, f fault) func() {
	p := w.procs[f.proc]
	goOn := p.stop()
	heal := p.now().link.BlackHole()
	return func() {
		heal()
		goOn()
	}
}

// closeLocker closes a process's Locker in the middle of what it does; it makes another.
func closeLocker(w *world, f fault) func() {
	w.procs[f.proc].closeLocker()
	return nil
}

func restart(w *world, f fault) func() {
	var heal []func()
	for _, p := range w.procs {
		heal = append(heal, p.now().link.RefuseDials())
		p.now().link.Cut()
	}
	return func() {
		for _, f := range heal {
			f()
		}
	}
}

func restartEmpty(w *world, f fault) func() {
	heal := restart(w, f)
	w.s.Do("FLUSHALL")
	w.s.Do("SCRIPT", "FLUSH")
	return heal
}

func command(words ...string) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		args := make([]any, len(words)-1)
		for i, word := range words[1:] {
			args[i] = word
		}
		if _, err := w.s.Do(words[0], args...); err != nil {
			panic(err)
		}
		return nil
	}
}

// foreignHolder takes the key with SET NX, if it is free.
func foreignHolder(w *world, f fault) func() {
	w.s.Do("SET", w.keyOf(f), "foreign|held", "NX", "PX", max(f.lasts.Milliseconds(), 1))
	return nil
}

func foreignDelete(w *world, f fault) func() {
	w.s.Do("DEL", w.keyOf(f))
	return nil
}

// losing is for what makes the server lose what it knew.
func losing(begin func(*world, fault) func()) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		w.unsafe.Store(true)
		return begin(w, f)
	}
}

func stepClock(sign time.Duration) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		if sign < 0 {
			w.clockWentBack.Store(true)
		}
		w.moveClock(sign * (f.lasts + time.Millisecond))
		return nil
	}
}

// allowedDrift is less than the 1 % that a lock allows for.
const allowedDrift = 9

// drift makes the server's clock run faster or slower by so many per mille.
func drift(perMille int) func(*world, fault) func() {
	return func(w *world, f fault) func() {
		if perMille == allowedDrift && w.driftsAlready() {
			return nil // two of them would be more than what is allowed for
		}
		w.driftClock(perMille)
		return func() { w.driftClock(-perMille) }
	}
}
