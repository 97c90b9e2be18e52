// Leader has two candidates for one office. Whoever has the lock leads, and steps down when it is lost.
//
// If renewals fail, the leader steps down before its key expires, and then another begins. Here the key is deleted, as by
// an administrator, an eviction, or a failover that loses it: then another begins at once, and the old leader hears of it at its next
// renewal, up to half of the ttl later. Against what it writes until then, only fencing helps.
package main

import (
	"context"
	"errors"
	"log"
	"sync"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/examples/internal/demo"
)

const (
	key = "lock:leader"
	ttl = 2 * time.Second // how long there is no leader after a crash; a loss is noticed after half of it
)

func main() {
	pool := demo.Pool()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	var candidates sync.WaitGroup
	for _, name := range []string{"alice", "bob"} {
		locks := &redigolock.Locker{Pool: pool, Owner: name}
		candidates.Go(func() {
			defer locks.Close()
			campaign(ctx, locks, func(ctx context.Context) error { return lead(ctx, name) })
		})
	}

	time.Sleep(time.Second)
	conn := pool.Get()
	defer conn.Close()
	if _, err := conn.Do("DEL", key); err != nil {
		log.Fatal(err)
	}
	demo.Say("admin", "deletes the key")
	candidates.Wait()
}

// campaign has lead run whenever this process has the lock, until ctx ends.
func campaign(ctx context.Context, locks *redigolock.Locker, lead func(context.Context) error) {
	for ctx.Err() == nil {
		err := locks.Do(ctx, key, ttl, func(ctx context.Context, _ *redigolock.Lock) error { return lead(ctx) })
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, redigolock.ErrLost):
			demo.Say(locks.Owner, "was deposed")
		case err != nil: // what ends a wait at once, such as missing rights, will not be over soon
			demo.Say(locks.Owner, "cannot campaign: %v", err)
			time.Sleep(time.Second)
		}
	}
}

// lead works until ctx ends, and must not go on then.
func lead(ctx context.Context, name string) error {
	demo.Say(name, "leads")
	defer demo.Say(name, "steps down")
	work := time.NewTicker(100 * time.Millisecond)
	defer work.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-work.C: // the work of a leader, in short steps, or with ctx
		}
	}
}
