package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redigolock/redigolock"
)

// The verbs alone, on a connection of one's own: the first approach with its double check, and the safe release.
func ExampleSetNXVerified() {
	pool, stop := newPool()
	defer stop()
	c := pool.Get()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // bounds each reply
	defer cancel()

	mine, other := redigolock.NewToken(), redigolock.NewToken()
	fmt.Println("acquired:", redigolock.SetNXVerified(ctx, c, "lock:report", mine, 30*time.Second))

	err := redigolock.SetNXVerified(ctx, c, "lock:report", other, 30*time.Second)
	fmt.Println("held by another:", errors.Is(err, redigolock.ErrHeld))
	err = redigolock.Release(ctx, c, "lock:report", other)
	fmt.Println("not theirs to release:", errors.Is(err, redigolock.ErrNotHeld))

	fmt.Println("released:", redigolock.Release(ctx, c, "lock:report", mine))
	// Output:
	// acquired: <nil>
	// held by another: true
	// not theirs to release: true
	// released: <nil>
}

// The second approach: SETNX and PEXPIRE in one script. It tells how long the holder has left.
func ExampleSetNXScript() {
	pool, stop := newPool()
	defer stop()
	c := pool.Get()
	defer c.Close()
	ctx := context.Background()

	mine := redigolock.NewToken()
	fmt.Println("acquired:", redigolock.SetNXScript(ctx, c, "lock:report", mine, 30*time.Second))

	var held *redigolock.HeldError
	err := redigolock.SetNXScript(ctx, c, "lock:report", redigolock.NewToken(), 30*time.Second)
	if errors.As(err, &held) {
		fmt.Println("held for about", held.TTL.Round(10*time.Second))
	}
	fmt.Println("released:", redigolock.ReleaseTx(ctx, c, "lock:report", mine)) // without Lua
	// Output:
	// acquired: <nil>
	// held for about 30s
	// released: <nil>
}

// Verify and Extend with the verbs, while the work goes on.
func ExampleExtend() {
	pool, stop := newPool()
	defer stop()
	c := pool.Get()
	defer c.Close()
	ctx := context.Background()

	token := redigolock.NewToken()
	if err := redigolock.SetNX(ctx, c, "lock:report", token, 10*time.Second); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("extended:", redigolock.Extend(ctx, c, "lock:report", token, time.Minute))
	left, err := redigolock.Verify(ctx, c, "lock:report", token)
	fmt.Println("left:", left.Round(10*time.Second), err)

	fmt.Println("released:", redigolock.Release(ctx, c, "lock:report", token))
	err = redigolock.Extend(ctx, c, "lock:report", token, time.Minute)
	fmt.Println("gone, and not created anew:", errors.Is(err, redigolock.ErrNotHeld))
	// Output:
	// extended: <nil>
	// left: 1m0s <nil>
	// released: <nil>
	// gone, and not created anew: true
}

// Who holds the lock? For operators: nobody else should see a token.
func ExampleInspect() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()
	locks := &redigolock.Locker{Pool: pool, Owner: "worker-1"}
	lock, err := locks.TryAcquire(ctx, "lock:report", 30*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer lock.Release(ctx)

	c := pool.Get()
	defer c.Close()
	info, err := redigolock.Inspect(ctx, c, "lock:report")
	fmt.Println(info.Held, info.Owner, info.TTL.Round(10*time.Second), err)
	// Output:
	// true worker-1 30s <nil>
}
