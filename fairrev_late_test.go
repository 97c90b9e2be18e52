package redigolock_test

import (
	"context"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A TRY that is carried out after its clean-up was confirmed has left a lock to nobody. Who asks next finds it, and frees it.
func TestFairTryCarriedOutAfterItsCleanUp(t *testing.T) {
	for name, acquire := range map[string]func(*redigolock.Locker, context.Context, string) error{
		"TryAcquire": func(l *redigolock.Locker, ctx context.Context, key string) error {
			_, err := l.TryAcquire(ctx, key, time.Minute)
			return err
		},
		"Acquire": func(l *redigolock.Locker, ctx context.Context, key string) error {
			_, err := l.Acquire(ctx, key, time.Minute)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFairRig(t)
			r.locker.OpTimeout = 50 * time.Millisecond
			release := make(chan struct{})
			came := r.once("try", 1, redistest.Late(release))
			ctx, cancel := context.WithCancel(bg)
			gaveUp := inBackground(func() error { return acquire(r.locker, ctx, r.key) })
			<-came
			cancel()
			wants(t, receive(t, "it gives up", gaveUp), context.Canceled, redigolock.ErrUnknown)
			eventually(t, "it is confirmed twice", func() bool { return len(r.sent("rel")) >= 2 && !redigolock.FairOwes(r.locker) })
			close(release)
			eventually(t, "it is carried out", func() bool { return r.get(r.key) != "" })
			r.ok(r.got("the next waiter", waits(bg, r.locker, r.key, fairTestTTL)).Release(bg))
			r.gone()
		})
	}
}
