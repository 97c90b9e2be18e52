// Fips runs every verb, and a Locker of each kind, on the server of its argument. A test runs it under GODEBUG=fips140=only.
package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

func main() {
	if len(os.Args) == 3 && os.Args[2] == "sha1" { // shows that it is forbidden
		fmt.Println(sha1.Sum(nil))
		return
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("done")
}

func run(url string) error {
	pool, err := redigolock.NewPool(url)
	if err != nil {
		return err
	}
	defer pool.Close()
	c := pool.Get()
	defer c.Close()
	if err := verbs(context.Background(), c); err != nil {
		return err
	}
	mux := &redigolock.Mux{Pool: pool}
	defer mux.Close()
	for _, l := range []*redigolock.Locker{{Pool: pool, Owner: "fips"}, {Pool: pool, Fair: true}, {Pool: mux}} {
		err := l.Do(context.Background(), "do", time.Second, func(ctx context.Context, k *redigolock.Lock) error {
			_, err := k.Fence(ctx)
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			if _, held := l.Acquire(ctx, "do", time.Second); !errors.Is(held, redigolock.ErrHeld) {
				err = errors.Join(err, fmt.Errorf("a second acquire: %w", held))
			}
			return errors.Join(err, k.Verify(context.Background()), k.Extend(context.Background(), time.Second))
		})
		if err := errors.Join(err, l.Close()); err != nil {
			return err
		}
	}
	return nil
}

func verbs(ctx context.Context, c redis.Conn) error {
	for name, acquire := range map[string]redigolock.AcquireFunc{
		"SetNX": redigolock.SetNX, "SetNXVerified": redigolock.SetNXVerified, "SetNXScript": redigolock.SetNXScript,
		"SetNXGet": redigolock.SetNXGet,
	} {
		for how, release := range map[string]redigolock.ReleaseFunc{
			"Release": redigolock.Release, "ReleaseTx": redigolock.ReleaseTx, "ReleaseNative": redigolock.ReleaseNative,
		} {
			token := redigolock.NewToken()
			if err := acquire(ctx, c, "k", token, time.Minute); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			_, verifyErr := redigolock.Verify(ctx, c, "k", token)
			n, fenceErr := redigolock.Fence(ctx, c, "k", token)
			_, inspectErr := redigolock.Inspect(ctx, c, "k")
			err := errors.Join(verifyErr, fenceErr, inspectErr, redigolock.Extend(ctx, c, "k", token, 2*time.Minute),
				redigolock.Guard(ctx, c, "guard", n))
			if err != nil {
				return err
			}
			if _, err := redigolock.GuardDo(ctx, c, "guard", n, "SET", "resource", "v"); err != nil {
				return err
			}
			err = release(ctx, c, "k", token)
			if how == "ReleaseNative" && errors.Is(err, redigolock.ErrUnsupported) {
				err = redigolock.Release(ctx, c, "k", token)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", how, err)
			}
		}
	}
	return nil
}
