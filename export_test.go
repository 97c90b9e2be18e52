package redigolock

import (
	"context"
	"time"
	"unsafe"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/batch"
	"github.com/redigolock/redigolock/internal/crowd"
	"github.com/redigolock/redigolock/internal/fairdriver"
	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/scripts"
	"github.com/redigolock/redigolock/internal/subscription"
)

// SetClock replaces the clock that a Locker judges validity by. It must be called before the Locker is used.
func SetClock(l *Locker, now func() time.Time) { l.clock = now }

// beginTest is the first use of a Locker.
func beginTest(l *Locker) *core {
	c, err := l.begin("test")
	if err != nil {
		panic(err)
	}
	return c
}

func fairOf(l *Locker) *fair { return beginTest(l).by.(*fair) }

// ReleaseKnown is how a Locker whose server is known releases.
var ReleaseKnown = releaseKnown

// FairScripts are the texts of the scripts of Locker.Fair.
var FairScripts = map[string]string{
	"try":    scriptTry.Text.(string),
	"enter":  scriptEnter.Text.(string),
	"rel":    scriptRel.Text.(string),
	"poke":   scriptPoke.Text.(string),
	"quit":   scriptQuit.Text.(string),
	"extend": scriptFairExtend.Text.(string),
}

// ScriptTexts are the texts of all scripts by their names.
var ScriptTexts = scripts.Texts

// What the tests of the verbs look at from inside.
var (
	Transient = fault.Transient
	HolderOf  = names.Holder
)

// DialOwn makes a connection as a clean-up over the pool does.
func DialOwn(ctx context.Context, p Pool) (redis.Conn, error) { return newSource(p).Dial(ctx) }

// Seeking is how many calls a Locker knows of that wait for a connection of its pool.
func Seeking(l *Locker) int {
	all, notBegun := beginTest(l).nodes[0].source.Seeking()
	return all + notBegun
}

// GroupMost is how many locks one request of the renewer extends.
const GroupMost = batch.Most

// CleaningUp reports whether the Locker has a clean-up in the background.
func CleaningUp(l *Locker) bool {
	return l.core.cleaner().Running()
}

// Crowds is how many keys a Locker knows of that somebody waits for, or asks for.
func Crowds(l *Locker) int {
	return beginTest(l).by.(*plain).crowds.Count()
}

// IsOwnRetry reports whether a crowd calls r for those that sleep.
func IsOwnRetry(r RetryFunc) bool { return isOwn(r) }

// MaxAsking is how many of a Locker's waiters for a key ask at a time.
const MaxAsking = crowd.MaxAsking

// Renewing reports whether renewals of the lock go on, or one is still in flight.
func Renewing(k *Lock) bool {
	kp := k.keptBy()
	return kp != nil && (kp.isKept() || k.core.renewer().Flying(&kp.Entry))
}

// Kept reports whether KeepAlive keeps the lock alive, whatever is in flight.
func Kept(k *Lock) bool {
	kp := k.keptBy()
	return kp != nil && kp.isKept()
}

func (kp *keeper) isKept() bool {
	kp.mu.Lock()
	defer kp.mu.Unlock()
	return len(kp.contexts) > 0
}

// SizeOfKeeper is what each lock that is kept alive costs beside its contexts.
const SizeOfKeeper = unsafe.Sizeof(keeper{})

// TokensOf is how a Locker makes tokens.
func TokensOf(l *Locker) func() string {
	l.core.owner = l.Owner
	return l.core.newToken
}

// A FairReply is what the scripts of Locker.Fair reply.
type FairReply struct {
	Was    bool
	Said   int64
	Holder string
	Left   time.Duration
	Deaf   error
}

// ReadFair reads such a reply.
func ReadFair(reply any) (FairReply, bool) {
	r, ok := fairdriver.Read(reply)
	return FairReply{r.Was, int64(r.Said), r.Holder, r.Left, r.Err}, ok
}

// lookFair looks at the queue of a key, if somebody uses it.
func lookFair(l *Locker, key string, f func(q *fairqueue.Slot)) { fairOf(l).queue.Look(key, f) }

// LocalWaiters is how many calls of Acquire wait for the key.
func LocalWaiters(l *Locker, key string) (n int) {
	lookFair(l, key, func(q *fairqueue.Slot) { n = q.Waiting() })
	return n
}

// FairSlots is how many keys a fair Locker knows of.
func FairSlots(l *Locker) int { return fairOf(l).queue.State().Keys }

// FairJoining is how many slots a fair Locker has still to subscribe to, or seems to.
func FairJoining(l *Locker) int { return fairOf(l).queue.State().Joining }

// Subscribed reports whether a fair Locker's subscription lives.
func Subscribed(l *Locker) bool { return fairOf(l).queue.State().Listens }

// Shard has a fair Locker use sharded messages. It must be called before the Locker is used.
func Shard(l *Locker) {
	f := fairOf(l)
	e := fairEnv(f.node, l.Cohort)
	e.Nodes = &subscription.Nodes{
		Of:         func(context.Context, string) (string, error) { return "it", nil },
		Where:      func(string) string { return "it" },
		Redirected: func(string, redis.Error) bool { return false },
	}
	f.queue = fairdriver.New(e)
}

// WaitingEntry is the entry of a fair Locker's token that waits for the key, "" if there is none.
func WaitingEntry(l *Locker, key string) (entry string) {
	lookFair(l, key, func(q *fairqueue.Slot) { entry = q.Entry() })
	return entry
}

// PokesAgain reports whether a fair Locker will POKE once more as soon as what is in flight for the key is answered.
func PokesAgain(l *Locker, key string) (again bool) {
	lookFair(l, key, func(q *fairqueue.Slot) { again = q.PokesAgain() })
	return again
}

// FairOwes reports whether the release of some token is not confirmed yet.
func FairOwes(l *Locker) bool { return fairOf(l).queue.State().Owes }

// Placed reports whether a reply has said that the fair Locker's token is queued for the key.
func Placed(l *Locker, key string) (placed bool) {
	lookFair(l, key, func(q *fairqueue.Slot) { placed = q.State() == fairqueue.Queued })
	return placed
}

// FairCloseWaits reports whether Close waits for what a fair Locker has in flight, or has to give up.
func FairCloseWaits(l *Locker) bool { return fairOf(l).queue.State().IsAwaited }

// Usable reports whether the handle does not say ErrNotHeld.
func Usable(k *Lock) bool { return k.usable(context.Background(), "test") == nil }

// HeldPlaces is for how many locks Stats has room.
func HeldPlaces(l *Locker) int {
	return l.core.held.Places()
}
