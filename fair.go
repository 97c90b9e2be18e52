package redigolock

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairdriver"
	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// The discipline of Locker.Fair: the waiters of a key queue in Redis, one entry for each Locker with a local FIFO behind it, and a
// release hands the key to the next of them in its own script, which also queues the releasing Locker's next waiter. What is done when is
// decided by internal/fairqueue, and done by internal/fairdriver; here is what a Lock and a Locker are to them.
type fair struct {
	single
	queue   *fairdriver.Driver
	extends extension
}

func newFair(n *node, c Cohort) *fair {
	l := &fair{single: single{n}, queue: fairdriver.New(fairEnv(n, c))}
	l.extends = extension{script: scriptFairExtend, most: 1, keys: 2, add: addFair}
	if n.source.Nodes != nil {
		l.extends = plainExtension // see Driver.Extend
	}
	return l
}

// fairEnv is what the queues of a Locker need of it.
func fairEnv(n *node, c Cohort) fairdriver.Env {
	e := fairdriver.Env{
		Now:       n.now,
		OpTimeout: n.opTimeout(),
		Closing:   n.closingChan(),
		Token:     n.newToken,
		ID:        n.newID,
		Drift:     drift,
		Passes:    c.Passes,
		Slice:     c.slice(),
		Borrow: func(ctx context.Context, b *wire.Bound, verb, key string, within, most time.Duration) (time.Time, error) {
			now := n.host()
			return n.borrow(ctx, b, verb, key, now, now.Add(within), most)
		},
		GiveBack: n.giveBack,
		Own:      n.onOwnBy,
		Scripts: fairdriver.Scripts{
			Try: scriptTry, Enter: scriptEnter, Release: scriptRel, Poke: scriptPoke, Quit: scriptQuit, Extend: scriptFairExtend,
		},
		Release: Release,
		Extend:  extend,
		Held: func(key, token string, left time.Duration) error {
			return &HeldError{Key: key, Holder: names.Holder(token), TTL: max(left, 0)}
		},
		Conns: &n.conns,
		Owed:  &n.owed,
	}
	if n.observer != nil {
		e.Outcome = n.observer.outcome
	}
	e.ListenTo(n.source)
	return e
}

func (l *fair) check(w want) error {
	_, err := sibling(w.verb, w.key, names.Queue)
	return err
}

func (l *fair) acquire(ctx context.Context, w want) (k *Lock, err error) {
	if w.wait {
		k = &Lock{core: l.core, claim: claim{key: w.key, ttl: w.ttl}, wait: fairdriver.NewWait()}
		err = l.queue.Acquire(ctx, w.key, w.ttl, (*fairHandle)(k))
	} else {
		k = l.handle(w, l.newToken())
		err = l.queue.TryAcquire(ctx, w.key, (*fairHandle)(k))
	}
	if err != nil {
		return nil, err
	}
	k.wait = nil
	return k, nil
}

func (l *fair) abandon(ctx context.Context, k *Lock) { l.queue.Desert(ctx, k.key, (*fairHandle)(k)) }

func (l *fair) release(ctx context.Context, k *Lock, by time.Time) error {
	tenure := l.tenure(k.key)
	freed, err := l.queue.Release(ctx, k.key, (*fairHandle)(k), by)
	if freed {
		l.remember(k, tenure)
	}
	return err
}

func (l *fair) lost(k *Lock) { l.queue.Lost(k.key, (*fairHandle)(k)) }

func (l *fair) moved(k *Lock, start, d time.Time) { l.queue.Moved(k.key, (*fairHandle)(k), start, d) }

func (l *fair) freed(string) {}

func (l *fair) close(most time.Duration) { l.queue.Close(most) }

func (l *fair) extend(ctx context.Context, k *Lock, ttl time.Duration) (time.Time, error) {
	start, _, err := (*fairHandle)(k).Extend(ctx, ttl, time.Now().Add(l.opTimeout()))
	return start, err
}

func (l *fair) extendOn(ctx context.Context, c redis.Conn, k *Lock, ttl time.Duration) (time.Duration, error) {
	return l.queue.Extend(ctx, c, k.key, k.token, ttl)
}

// extension: the script takes one lock.
func (l *fair) extension() *extension { return &l.extends }

// addFair adds what the script takes of a lock before its token.
func addFair(args []any, k *Lock) []any {
	queue, _ := sibling("extend", k.key, names.Queue) // check has asked
	return append(args, k.conn.Key, queue, "")
}

// A fairHandle is a Lock as its queue knows it, from the beginning of the call that is to obtain it.
type fairHandle Lock

func (x *fairHandle) lock() *Lock { return (*Lock)(x) }

func (x *fairHandle) Lease() fairqueue.Handle {
	return fairqueue.Handle{Token: x.token, TTL: x.ttl, Most: x.lock().longest()}
}

func (x *fairHandle) Bound() *wire.Bound { return &x.conn }

func (x *fairHandle) Wait() *fairdriver.Wait { return x.wait }

func (x *fairHandle) Rename(token string) { x.token, x.conn.Token = token, token }

func (x *fairHandle) Grant(now, acquired time.Time, key any, g fairqueue.Grant) {
	if x.token != g.Token {
		x.conn.Key = key
		x.Rename(g.Token)
	}
	x.most, x.acquired, x.deadline = g.Most, acquired, g.Deadline
	x.lock().countHeld(now)
}

func (x *fairHandle) IsOver() bool { return x.lock().isOver() }

func (x *fairHandle) Lose(err error) {
	x.lock().latch()
	if err != nil {
		go x.lock().lose(err) // it calls the user, who may call the Locker
	}
}

func (x *fairHandle) Extend(ctx context.Context, ttl time.Duration, by time.Time) (start time.Time, left time.Duration, err error) {
	x.lock().asking(ttl)
	l := x.core.by.(*fair)
	start, err = l.askBy(ctx, &x.claim, "extend", by, func(c redis.Conn) (err error) {
		left, err = l.extendOn(ctx, c, x.lock(), ttl)
		return err
	})
	return start, left, err
}
