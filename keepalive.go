package redigolock

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/batch"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wire"
)

// A keeping is what a Locker keeps alive.
type keeping struct {
	once    sync.Once // for renewer
	renewer renewal.Renewer
}

// renewer is the engine, with what it needs of the Locker.
func (l *core) renewer() *renewal.Renewer {
	k := &l.keeping
	k.once.Do(func() {
		k.renewer.Init(renewal.Env{Now: l.now, Bound: l.opTimeout, Lost: signalLosses})
	})
	return &k.renewer
}

// A keeper keeps a lock alive, as the renewal.Lease of it. It is made by the first KeepAlive, and then stays.
type keeper struct {
	renewal.Entry
	k *Lock

	mu       sync.Mutex      // protects what follows; taken before that of the Renewer, and that before Lock.mu
	ctx      context.Context // that of the first KeepAlive of those that go on, for the Observer
	contexts []kept
}

// A kept is one context that KeepAlive returned.
type kept struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	forget func() bool // stops the watch over the parent; nil: the parent never ends
}

// KeepAlive keeps the lock alive until Release: when half of the ttl of the acquire is left, or up to ttl/64 earlier, it is
// extended by that ttl. The context that it returns is for the work under the lock. It ends
//   - with Release, its cause is then context.Canceled;
//   - with its parent ctx, and the renewals end with the last context of the lock;
//   - with the cause [ErrLost] a moment before Deadline, min(25 ms, ttl/20), if no renewal has succeeded;
//   - with the cause [ErrLost] at once, when the server says that the lock is not held, or when Locker.MaxHold is
//     reached;
//   - with the cause [ErrClosed] when the Locker is closed.
//
// It ends no later than Deadline as long as this process is scheduled; code that must not act late asks [Lock.Valid]
// itself. Called again, it returns another context of the same renewal. After an [Lock.Extend] with a
// longer ttl, renewal pauses until half of the ttl of the acquire is left.
//
// All locks of a Locker are renewed in pipelines on one connection, which is not the pool's, by two goroutines, which
// end with the last lock that is kept alive. A request extends up to 32 locks. With Fair, over a [Cluster], and where the
// server does not take several together, each lock has its own request. Over a Cluster each node has its own connection and
// goroutine, so that a node that fails costs the locks of no other. A lock costs no goroutine, unless ctx is of a type
// that is not the standard library's: package context then starts two for it.
func (k *Lock) KeepAlive(ctx context.Context) context.Context {
	if ctx == nil {
		kept, cancel := context.WithCancelCause(context.Background())
		cancel(fault.Invalidf("keep alive", "ctx is nil"))
		return kept
	}
	keptCtx, cancel := context.WithCancelCause(ctx)
	if k.isNone() {
		cancel(neverHeld("keep alive"))
		return keptCtx
	}
	entry := kept{ctx: keptCtx, cancel: cancel}
	if ctx.Done() != nil {
		entry.forget = context.AfterFunc(ctx, func() { k.forget(keptCtx) })
	}
	end, isLoss, cause := k.keep(ctx, entry)
	if end {
		entry.end(cause)
	}
	if isLoss {
		k.core.observer.lost(ctx, k, cause)
	}
	return keptCtx
}

func (e kept) end(cause error) {
	if e.forget != nil {
		e.forget()
	}
	e.cancel(cause)
}

// keep registers a context with the lock's keeper, and the keeper with the Locker's Renewer. It says what the context must
// end with at once, and whether that is a loss that nobody has been told of.
func (k *Lock) keep(parent context.Context, entry kept) (end, isLoss bool, cause error) {
	kp := k.keeping()
	kp.mu.Lock()
	defer kp.mu.Unlock()
	if end, isLoss, cause = k.refuseKeeping(parent); end {
		return end, isLoss, cause
	}
	if len(kp.contexts) == 0 {
		kp.ctx = parent
	}
	l := k.core
	if !l.renewer().Add(&kp.Entry, kp, l.by.renewedAt(k)...) {
		return true, false, fmt.Errorf("%w: keep alive %s", ErrClosed, fault.Quote(k.key))
	}
	kp.contexts = append(kp.contexts, entry)
	return false, false, nil
}

// keeping is the lock's keeper.
func (k *Lock) keeping() *keeper {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keeper == nil {
		k.keeper = &keeper{k: k}
	}
	return k.keeper
}

// refuseKeeping says whether a context must end at once, with what, and whether that is a loss that nobody has been told of.
func (k *Lock) refuseKeeping(parent context.Context) (end, isLoss bool, cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.core.now()
	switch {
	case k.released:
		return true, false, nil
	case k.core.closed.Load():
		return true, false, fmt.Errorf("%w: keep alive %s", ErrClosed, fault.Quote(k.key))
	case k.latched(now):
		cause = fault.Of(ErrLost, "keep alive", k.key, "its time was over")
	case k.heldTooLong(now):
		cause = k.maxHoldError()
	case k.lost:
		cause = fault.Of(ErrLost, "keep alive", k.key, "it was lost")
	case parent.Err() != nil: // not the new context's: a parent runs its AfterFunc, which may be over, before it ends its children
		return true, false, nil
	default:
		return false, false, nil
	}
	isLoss, k.lost = !k.lost, true
	k.uncountHeld()
	return true, isLoss, cause
}

// forget ends the renewals when the last context has ended.
func (k *Lock) forget(ctx context.Context) {
	kp := k.keeping()
	kp.mu.Lock()
	defer kp.mu.Unlock()
	kp.contexts = slices.DeleteFunc(kp.contexts, func(e kept) bool { return e.ctx == ctx })
	if len(kp.contexts) == 0 {
		k.core.renewer().Remove(&kp.Entry)
	}
}

// keptBy is what has kept the lock alive, maybe until now; nil: nothing.
func (k *Lock) keptBy() *keeper {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keeper
}

// end ends the renewals, and the contexts with the cause, nil for context.Canceled. It reports whether there were any.
func (kp *keeper) end(cause error) bool {
	kp.mu.Lock()
	kp.k.core.renewer().Remove(&kp.Entry)
	contexts := kp.contexts
	kp.contexts = nil
	kp.mu.Unlock()
	for _, e := range contexts {
		e.end(cause)
	}
	return len(contexts) > 0
}

// observed is the ctx for the Observer.
func (kp *keeper) observed() context.Context {
	kp.mu.Lock()
	defer kp.mu.Unlock()
	return kp.ctx
}

// endKeeping ends KeepAlive, and waits until no renewal of the lock is in flight, at most for OpTimeout.
func (k *Lock) endKeeping() {
	if kp := k.keptBy(); kp != nil {
		kp.end(nil)
		k.core.renewer().Await(&kp.Entry, k.core.opTimeout())
	}
}

// lose ends the KeepAlive contexts because holding cannot be proven any longer.
func (k *Lock) lose(why error) {
	cause := fmt.Errorf("%w: %w", ErrLost, fault.InLine(why))
	kp := k.keptBy()
	if kp == nil || !kp.end(cause) {
		return
	}
	k.mu.Lock()
	k.lost = true
	k.mu.Unlock()
	k.core.observer.lost(kp.observed(), k, cause)
}

// signalLosses ends the KeepAlive contexts of locks that the Renewer has found lost: all of them before an Observer is told of one.
func signalLosses(losses []renewal.Loss) {
	told := losses[:0]
	for _, x := range losses {
		if keeperOf(x.Lease).end(x.Cause) {
			told = append(told, x)
		}
	}
	for _, x := range told {
		kp := keeperOf(x.Lease)
		kp.k.core.observer.lost(kp.observed(), kp.k, x.Cause)
	}
}

// keeperOf is the only thing that a Locker has the Renewer keep.
func keeperOf(x renewal.Lease) *keeper { return x.(*keeper) }

// readyToRenew tells the node how the locks of its discipline are renewed.
func (n *node) readyToRenew() {
	x := n.by.extension()
	env := batch.Env{
		Dial:      n.source.Dial,
		Conns:     &n.conns,
		Extension: batch.Extension{Script: x.script, Most: x.most, Keys: x.keys},
		Place:     n.source.Place,
		Apart:     n.source.Binds,
		Another:   n.source.Another,
		Alone:     n.extendAlone,
	}
	if n.replicas > 0 {
		env.Acknowledged = func(ctx context.Context, b *wire.Bound, key string) error { return n.replicated(ctx, b, "extend", key) }
	}
	n.renew.Init(env)
	if at := n.source.Nodes; at != nil {
		n.servers = new(batch.Nodes)
		n.servers.Init(env, batch.Map{Where: at.Where, Dial: at.DialNode, Redirected: at.Redirected, Refresh: at.Refresh, Tenure: at.TenureAt}, &n.renew)
	}
}

// renewedAt is where a key's lock is renewed.
func (n *node) renewedAt(key string) renewal.Node {
	if n.servers != nil {
		return n.servers.Of(key)
	}
	return &n.renew
}

// extendAlone extends one lock on a connection for its key. It is borrowed, which a cluster's pool answers from what is idle; after
// a failure it is dialled, where that can be.
func (n *node) extendAlone(x batch.Lock, within time.Duration, own bool) renewal.Vote {
	kp := keeperOf(x)
	k, ctx := kp.k, context.WithoutCancel(kp.observed())
	v := renewal.Vote{Answered: true, Left: k.ttl}
	extend := func(c redis.Conn) error {
		v.Start = n.now()
		_, err := n.by.extendOn(ctx, c, k, k.ttl)
		return err
	}
	if now := time.Now(); own && n.source.CanDial() {
		v.Err = n.onOwnBy(ctx, "extend", k.key, k.token, now.Add(within), within, extend)
	} else {
		b := &wire.Bound{Key: k.conn.Key, Token: k.conn.Token, TTL: k.conn.TTL}
		_, v.Err = n.onLentBy(ctx, b, "extend", k.key, now, now.Add(within), within, extend)
	}
	return v
}

// Key, AddKeys and Token are what a renewal sends.
func (kp *keeper) Key() string { return kp.k.key }

func (kp *keeper) AddKeys(args []any) []any { return kp.k.core.by.extension().add(args, kp.k) }

func (kp *keeper) Token() any { return kp.k.conn.Token }

// TTL is that of the acquire.
func (kp *keeper) TTL() time.Duration { return kp.k.ttl }

// Due is when half of the ttl is left, at a node of several of what that node has.
func (kp *keeper) Due(now time.Time, node int) time.Time {
	k := kp.k
	if b := k.votes; b != nil {
		if ends := b.Ends(node); !ends.IsZero() {
			return soonest(now, ends.Add(-k.ttl/2))
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return soonest(now, k.deadline.Add(-k.ttl/2))
}

// Judge turns what the lock's nodes have said into what becomes of the lock. After its loss has been signalled, that is of
// no concern any more.
func (kp *keeper) Judge(votes []renewal.Vote) error {
	k, ctx := kp.k, kp.observed()
	if k.isLost() {
		return ErrLost
	}
	v := k.core.by.verdict(k, votes)
	switch {
	case !v.Answered && v.Err == nil: // too few of its nodes have voted yet
		return nil
	case !v.Answered:
		err := fault.OfUnheard(ctx, "extend", k.key, v.Err)
		k.core.observer.outcome(ctx, k.key, "extend", err)
		return err
	case v.Err != nil:
		return k.heard(ctx, "extend", v.Err)
	}
	return k.extended(ctx, v.Start, v.Left)
}

// Lost is why the lock counts as lost now, and when that will be signalled if nothing happens until then.
func (kp *keeper) Lost(now time.Time, last error) (at time.Time, cause error) {
	k := kp.k
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.heldTooLong(now):
		cause = k.maxHoldError()
	case k.gone || passed(now.Add(k.early()), k.deadline):
		cause = fault.Of(ErrLost, "keep alive", k.key, "no renewal succeeded before Deadline")
		if last != nil {
			cause = fmt.Errorf("%w: %w", cause, fault.InLine(last))
		}
	}
	if cause != nil {
		k.lost = true
		k.uncountHeld()
	}
	return k.lossTime(now), cause
}

// lossTime is when the loss is to be signalled if nothing happens until then. The caller holds k.mu.
func (k *Lock) lossTime(now time.Time) time.Time {
	at := k.deadline.Add(-k.early())
	if most := k.core.maxHold; most > 0 && k.acquired.Add(most).Before(at) {
		at = k.acquired.Add(most)
	}
	return soonest(now, at)
}

// soonest is when either clock says at, on the monotonic one: it stood still while the machine was suspended.
func soonest(now, at time.Time) time.Time {
	return now.Add(min(at.Sub(now), at.Round(0).Sub(now.Round(0))))
}

// early is how long before Deadline the loss is signalled, since timers fire late.
func (k *Lock) early() time.Duration { return min(25*time.Millisecond, k.ttl/20) }

func (k *Lock) heldTooLong(now time.Time) bool {
	most := k.core.maxHold
	return most > 0 && !now.Before(k.acquired.Add(most))
}

func (k *Lock) maxHoldError() error {
	return fault.Of(ErrLost, "keep alive", k.key, fmt.Sprintf("MaxHold of %v was reached", k.core.maxHold))
}

// loseIfOver makes up for a loss signal that comes late.
func (k *Lock) loseIfOver() {
	k.mu.Lock()
	over := k.latched(k.core.now())
	k.mu.Unlock()
	if over {
		k.lose(fault.Of(ErrNotHeld, "keep alive", k.key, "its time is over"))
	}
}

func (k *Lock) isLost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

func (k *Lock) isReleased() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.released
}
