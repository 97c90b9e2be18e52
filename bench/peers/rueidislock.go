package peers

import (
	"context"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/redigolock/redigolock/bench"
)

// A rueidislockRival is one Locker of rueidislock for the process. Its waiters hear of a release by the invalidation of
// what they have read, and it renews what it holds at half of the ttl. The key of lock N is rueidislock:0:N.
type rueidislockRival struct{ locker rueidislock.Locker }

// openRueidislock has one key for each lock, which is what suits one server, and NOLOOP, or the server would tell it of
// each of its own commands; its manual advises both. A try may take half of the ttl, not 20 ms, which is the default for
// the sake of other keys: no difference was found, on a hot key and among 64 waiters.
func openRueidislock(config bench.RivalConfig) (bench.Rival, error) {
	o, err := rueidis.ParseURL(config.Server.URL)
	if err != nil {
		return nil, err
	}
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption: o, KeyMajority: 1, NoLoopTracking: true,
		KeyValidity: config.TTL, ExtendInterval: config.TTL / 2, TryNextAfter: config.TTL / 2,
	})
	if err != nil {
		return nil, err
	}
	return rueidislockRival{locker}, nil
}

func (r rueidislockRival) TryAcquire(key string) (func() error, error) {
	return endedBy(r.locker.TryWithContext(noContext, key))
}

// Acquire detaches the lock from the context of the wait, whose end would be the end of the lock too.
func (r rueidislockRival) Acquire(ctx context.Context, key string) (func() error, error) {
	held, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	release, err := endedBy(r.locker.WithContext(held, key))
	if stop() {
		return release, err
	}
	if err == nil {
		_ = release()
	}
	return nil, context.Cause(ctx)
}

// endedBy makes a release of what a Locker returns: its context has ended if the lock is known to be lost. Its cancel
// waits until the key is deleted, and does not tell whether it was.
func endedBy(held context.Context, end context.CancelFunc, err error) (func() error, error) {
	if err != nil {
		return nil, err
	}
	return func() error {
		lost := held.Err()
		end()
		if lost != nil {
			return errNotHeld
		}
		return nil
	}, nil
}

func (r rueidislockRival) Close() { r.locker.Close() }
