package redigolock

import "time"

// SetClock replaces the clock that a Locker judges validity by. It must be called before the Locker is used.
func SetClock(l *Locker, now func() time.Time) { l.clock = now }

// Sibling, Drift and the limits, for property tests.
var (
	Sibling    = sibling
	HasHashTag = hasHashTag
	Drift      = drift
)

// ScriptNames tells by its hash which script an EVALSHA runs, for tests that look at the requests of a Proxy.
var ScriptNames = map[any]string{
	scriptSetNX.hash:   "setnx",
	scriptVerify.hash:  "verify",
	scriptExtend.hash:  "extend",
	scriptRelease.hash: "release",
	scriptFence.hash:   "fence",
	scriptInspect.hash: "inspect",
}

// What the tests of the verbs look at from inside.
var (
	ScriptSetNX  = scriptSetNX.src.(string)
	ScriptExtend = scriptExtend.src.(string)
	ServerError  = serverError
	Transient    = transient
	HolderOf     = holderOf
	DoCommand    = do
	DialOwn      = dialOwn
	IsPassing    = isPassing
)

// GroupMost is how many locks one request of the renewer extends.
const GroupMost = groupMost

// CleaningUp reports whether the Locker has a clean-up in the background.
func CleaningUp(l *Locker) bool {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	return l.state.strays.stop != nil
}

// Renewing reports whether renewals of the lock go on, or one is still in flight.
func Renewing(k *Lock) bool {
	k.locker.state.mu.Lock()
	defer k.locker.state.mu.Unlock()
	return k.keeper != nil || k.inFlight != nil
}

// Kept reports whether KeepAlive keeps the lock alive, whatever is in flight.
func Kept(k *Lock) bool {
	k.locker.state.mu.Lock()
	defer k.locker.state.mu.Unlock()
	return k.keeper != nil
}

// TokensOf is how a Locker makes tokens.
func TokensOf(l *Locker) func() string { return l.newToken }

// What a Mux does at a time.
const (
	MaxFlying = maxFlying
	MaxGroup  = maxGroup
)

// MuxQueued is how many callers of the Mux wait for their turn.
func MuxQueued(m *Mux) int {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	return len(m.state.queue.calls)
}

// AgeMux makes the connections of an idle Mux as old as if nothing had happened for d.
func AgeMux(m *Mux, d time.Duration) {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	for _, ln := range m.state.lanes {
		ln.used, ln.made = ln.used.Add(-d), ln.made.Add(-d)
	}
}
