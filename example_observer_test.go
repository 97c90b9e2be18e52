package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/redigolock/redigolock"
)

type requestID struct{}

// Log what happens to locks, with the id of the request that each call belongs to. Acquired and Released are of interest
// when they took long; Contended comes with each try, so it is better counted; Failed, Unknown and Lost are for people.
func ExampleObserver() {
	pool, stop := newPool()
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	id := func(ctx context.Context) slog.Attr { return slog.Any("request", ctx.Value(requestID{})) }
	contended := 0 // a metric
	locks := &redigolock.Locker{
		Pool: pool,
		Observer: &redigolock.Observer{
			Acquired: func(ctx context.Context, k *redigolock.Lock, waited time.Duration) {
				log.InfoContext(ctx, "acquired", "key", k.Key(), id(ctx), "at once", waited < time.Second)
			},
			GaveUp: func(ctx context.Context, key string, waited time.Duration, err error) {
				log.WarnContext(ctx, "gave up", "key", key, id(ctx), "held", errors.Is(err, redigolock.ErrHeld))
			},
			Contended: func(context.Context, string, *redigolock.HeldError) { contended++ },
			Failed: func(ctx context.Context, key, verb string, err error) {
				log.ErrorContext(ctx, "failed", "key", key, id(ctx), "verb", verb, "err", err)
			},
			Unknown: func(ctx context.Context, key, verb string, err error) {
				log.ErrorContext(ctx, "no reply", "key", key, id(ctx), "verb", verb, "err", err)
			},
			Lost: func(ctx context.Context, k *redigolock.Lock, cause error) {
				log.ErrorContext(ctx, "lost", "key", k.Key(), id(ctx), "cause", cause)
			},
		},
	}

	first := context.WithValue(context.Background(), requestID{}, 17)
	err := locks.Do(first, "lock:invoice", time.Minute, func(context.Context, *redigolock.Lock) error {
		second := context.WithValue(context.Background(), requestID{}, 18)
		_, err := locks.TryAcquire(second, "lock:invoice", time.Minute)
		fmt.Println("held:", errors.Is(err, redigolock.ErrHeld))
		fmt.Printf("%+v\n", locks.Stats())
		return nil
	})
	fmt.Println("done:", err, "contended:", contended)
	// Output:
	// level=INFO msg=acquired key=lock:invoice request=17 "at once"=true
	// level=WARN msg="gave up" key=lock:invoice request=18 held=true
	// held: true
	// {Held:1 Waiting:0 Kept:1 Owed:0 Conns:0}
	// done: <nil> contended: 1
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
