// Batch has two hosts work through the same 1,000 parcels, each under a lock of its own, 50 at a time. A host skips what the other
// one works on; what is done already it sees under the lock. A Mux has all goroutines of a host share one connection.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/examples/internal/demo"
)

// shipped stands for a column of the database. Both hosts see it.
var shipped sync.Map

func main() {
	n := flag.Int("n", 1000, "how many parcels")
	pool := demo.Pool()
	var hosts sync.WaitGroup
	var total atomic.Int64
	for _, host := range []string{"host1", "host2"} {
		hosts.Go(func() {
			did, skipped := work(context.Background(), pool, host, *n)
			demo.Say(host, "shipped %d, skipped %d", did, skipped)
			total.Add(did)
		})
	}
	hosts.Wait()
	fmt.Println(total.Load(), "shipments")
}

// work ships what is not shipped yet.
func work(ctx context.Context, pool redigolock.Pool, host string, n int) (did, skipped int64) {
	mux := &redigolock.Mux{Pool: pool}
	defer mux.Close()
	locks := &redigolock.Locker{Pool: mux, Owner: host}
	defer locks.Close()
	parcels := make(chan int)
	var workers sync.WaitGroup
	for range 50 {
		workers.Go(func() {
			for parcel := range parcels {
				err := locks.TryDo(ctx, fmt.Sprint("lock:parcel:", parcel), 10*time.Second, func(ctx context.Context, _ *redigolock.Lock) error {
					return ship(ctx, parcel, &did)
				})
				switch {
				case errors.Is(err, redigolock.ErrHeld):
					atomic.AddInt64(&skipped, 1)
				case err != nil:
					log.Fatal(err)
				}
			}
		})
	}
	for _, parcel := range rand.Perm(n) { // in another order than the other host
		parcels <- parcel
	}
	close(parcels)
	workers.Wait()
	return did, skipped
}

// ship looks first, since the other host may have done it before this one got the lock.
func ship(ctx context.Context, parcel int, did *int64) error {
	if _, done := shipped.Load(parcel); done {
		return nil
	}
	time.Sleep(time.Millisecond) // the work
	shipped.Store(parcel, true)
	atomic.AddInt64(did, 1)
	return ctx.Err()
}
