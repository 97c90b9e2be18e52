// Cron runs a job of 50 ms on three hosts whose clocks are 100 ms apart, in the three ways there are: on each host in turn (Do), on
// those that find the lock free (TryDo), and once (TryDo with MinHold).
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/examples/internal/demo"
)

func main() {
	pool := demo.Pool()
	for _, way := range []struct {
		name    string
		minHold time.Duration
		wait    bool
	}{
		{name: "Do", wait: true},
		{name: "TryDo"},
		{name: "TryDo with MinHold", minHold: 3 * time.Second},
	} {
		fmt.Println(way.name)
		var runs atomic.Int64
		var hosts sync.WaitGroup
		for i := range 3 {
			host := fmt.Sprint("host", i+1)
			locks := &redigolock.Locker{Pool: pool, Owner: host, MinHold: way.minHold}
			hosts.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				if err := occasion(context.Background(), locks, host, way.wait, &runs); err != nil {
					log.Fatal(err)
				}
			})
		}
		hosts.Wait()
		fmt.Printf("%s: %d runs\n\n", way.name, runs.Load())
	}
}

// occasion is what a host does when its clock says that the job is due.
func occasion(ctx context.Context, locks *redigolock.Locker, host string, wait bool, runs *atomic.Int64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // without an end Do waits for ever
	defer cancel()
	do := locks.TryDo
	if wait {
		do = locks.Do
	}
	err := do(ctx, "lock:report", 5*time.Second, func(ctx context.Context, _ *redigolock.Lock) error {
		demo.Say(host, "runs the job")
		runs.Add(1)
		return job(ctx)
	})
	var held *redigolock.HeldError
	if errors.As(err, &held) {
		demo.Say(host, "leaves it to %s", held.Holder)
		return nil
	}
	return err
}

// job ends early if the lock is lost.
func job(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
