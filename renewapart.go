package redigolock

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Renewals over connections that bind, each of which leads to the node of one key (Redis Cluster): there is no pipeline to
// share, so each lock is renewed on a connection for its key, up to maxDials at a time. It is borrowed, which a cluster's
// pool answers from what is idle; after a failure it is dialled, where that can be.
//
// One node that hangs must not cost the locks on another. So a renewal has no more than its share of the time that is left
// for its lock, and those that have failed take half of the places at most: who has not failed yet never waits for those
// that fail again and again.
type renewApart struct {
	all    chan struct{} // a place for each renewal under way
	failed chan struct{} // of these, for those that have failed before
	flying sync.WaitGroup
}

func newRenewApart() *renewApart {
	return &renewApart{all: make(chan struct{}, maxDials), failed: make(chan struct{}, maxDials/2)}
}

// renew sends the renewals of a batch, each as a batch of its own. It returns when the last of them is under way.
func (r *renewApart) renew(l *Locker, b *batch) {
	keepers := slices.Clone(b.keepers)
	slices.SortStableFunc(keepers, func(x, y *keeper) int { return min(x.failures, 1) - min(y.failures, 1) })
	rounds := (len(keepers) + maxDials - 1) / maxDials
	l.split(b)
	for _, kp := range keepers {
		again := kp.failures > 0
		if again {
			select {
			case r.failed <- struct{}{}:
			default:
				kp.later(l)
				continue
			}
		}
		r.all <- struct{}{}
		r.flying.Go(func() {
			defer func() {
				<-r.all
				if again {
					<-r.failed
				}
			}()
			kp.renewAlone(l, rounds, again)
		})
	}
}

// split makes each keeper of a batch a batch of its own: who waits for one need not wait for the others.
func (l *Locker) split(b *batch) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	for _, kp := range b.keepers {
		own := &batch{keepers: []*keeper{kp}, done: make(chan struct{})}
		kp.batch = own
		if kp.k.inFlight == b {
			kp.k.inFlight = own
		}
	}
	close(b.done)
}

// renewAlone renews one lock, as a batch of its own, and judges the reply.
func (kp *keeper) renewAlone(l *Locker, rounds int, own bool) {
	var errs []error
	sent := l.stillKept([]*keeper{kp}) // else nothing is sent: it may have waited for its place
	defer func() {
		l.putBack(kp.batch, sent, errs)
		wake(l.state.renewer.wakeDue)
	}()
	if len(sent) > 0 {
		errs = append(errs, kp.extendAlone(l, kp.patience(l, rounds), own))
	}
}

// later has the renewal wait for a place.
func (kp *keeper) later(l *Locker) {
	l.state.mu.Lock()
	kp.due = l.now().Add(renewPause)
	l.state.mu.Unlock()
	l.putBack(kp.batch, nil, nil)
}

// patience is the share of the time until the lock is lost that a renewal has when there are so many rounds of them.
func (kp *keeper) patience(l *Locker, rounds int) time.Duration {
	now := l.now()
	kp.k.mu.Lock()
	left := kp.k.lossTime(now).Sub(now)
	kp.k.mu.Unlock()
	return min(l.opTimeout(), max(left/2/time.Duration(rounds), leastPatience))
}

func (kp *keeper) extendAlone(l *Locker, most time.Duration, own bool) error {
	k, ctx := kp.k, context.WithoutCancel(kp.ctx)
	var start time.Time
	extend := func(c redis.Conn) error {
		start = l.now()
		_, err := k.extendOn(ctx, c, k.ttl)
		return err
	}
	var err error
	if now := time.Now(); own && l.source().canDial() {
		err = l.onOwnBy(ctx, "extend", k.key, k.token, now.Add(most), most, extend)
	} else {
		b := &boundConn{key: k.conn.key, token: k.conn.token, ttl: k.conn.ttl}
		_, err = l.exchangeBy(ctx, b, "extend", k.key, now, now.Add(most), most, extend)
	}
	if err != nil {
		return k.judge(ctx, "extend", err)
	}
	return k.extended(ctx, start, k.ttl)
}
