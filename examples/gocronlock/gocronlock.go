// Package gocronlock is a recipe: it fits redigolock to the interfaces Locker and Elector of go-co-op/gocron. Copy it.
//
// With either, gocron does not tell a job that its lock was lost. A job that must hear of it takes the lock itself, by
// Locker.TryDo in its task, and needs neither.
package gocronlock

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/redigolock/redigolock"
)

// Locker has each job run on one host at a time, for gocron.WithDistributedLocker. The MinHold of Locks should be longer than the
// hosts' clocks may be apart, and shorter than the time between two runs: without it a short job runs on each host.
type Locker struct {
	Locks *redigolock.Locker
	TTL   time.Duration // how long a job is blocked after a crash
}

// Lock implements gocron.Locker. The lock is kept alive until Unlock, or until ctx ends, which is when the scheduler or the job is
// removed.
func (l Locker) Lock(ctx context.Context, job string) (gocron.Lock, error) {
	k, err := l.Locks.TryAcquire(ctx, "lock:cron:"+job, l.TTL)
	if err != nil {
		return nil, err
	}
	k.KeepAlive(ctx)
	return held{k}, nil
}

type held struct{ *redigolock.Lock }

// Unlock implements gocron.Lock. It releases also if ctx has ended.
func (k held) Unlock(ctx context.Context) error { return k.Release(ctx) }

// An Elector says whether this process leads, for gocron.WithDistributedElector. Its Campaign must run.
type Elector struct {
	lock atomic.Pointer[redigolock.Lock]
}

// ErrNotLeader is why gocron does not run a job here.
var ErrNotLeader = errors.New("another process leads")

// IsLeader implements gocron.Elector. It asks nobody: Valid is false at the latest when the lock is over.
func (e *Elector) IsLeader(context.Context) error {
	if !e.lock.Load().Valid() {
		return ErrNotLeader
	}
	return nil
}

// Campaign holds the lock as long as it can, waits for it when it is lost, and returns when ctx ends, or when waiting makes no
// sense, as without rights.
func (e *Elector) Campaign(ctx context.Context, locks *redigolock.Locker, key string, ttl time.Duration) error {
	for {
		err := locks.Do(ctx, key, ttl, func(ctx context.Context, k *redigolock.Lock) error {
			e.lock.Store(k)
			<-ctx.Done()
			return nil
		})
		if ctx.Err() != nil || !errors.Is(err, redigolock.ErrLost) {
			return err
		}
	}
}
