package servers_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// The connections that a Locker dials for itself, for renewals and for its subscription, bear the name that the pool's do.
func TestOwnConnectionsBearTheClientName(t *testing.T) {
	server := redistest.Start(t)
	pool, err := redigolock.NewPool(server.URL(), redis.DialClientName("orders-7"))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	plain := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: pool}
	holder, waiter := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: pool, Fair: true}, &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: pool, Fair: true}
	for key, l := range map[string]*redigolock.Locker{"lock:plain": plain, "lock:fair": holder, "lock:other": waiter} {
		defer l.Close()
		k, err := l.TryAcquire(t.Context(), key, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		k.KeepAlive(t.Context())
	}
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	waited := make(chan error)
	go func() {
		_, err := waiter.Acquire(short, "lock:fair", time.Minute)
		waited <- err
	}()
	admin, err := server.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	names, subscribed := 0, 0 // at the most at a time, until the wait is over
	for over := false; !over; {
		select {
		case err := <-waited:
			over = true
			if !errors.Is(err, redigolock.ErrHeld) {
				t.Error(err)
			}
		case <-time.After(20 * time.Millisecond):
		}
		list, err := redis.String(admin.Do("CLIENT", "LIST"))
		if err != nil {
			t.Fatal(err)
		}
		n, subs := 0, 0
		for client := range strings.Lines(list) {
			switch {
			case strings.Contains(client, "cmd=client"):
				continue
			case !strings.Contains(client, " name=orders-7 "):
				if !strings.Contains(client, "cmd=NULL") && !strings.Contains(client, "cmd=client|setname") { // at its dial
					t.Fatalf("a connection without the name: %s", client)
				}
				continue
			case strings.Contains(client, "cmd=subscribe"):
				subs++
			}
			n++
		}
		if names, subscribed = max(names, n), max(subscribed, subs); names >= 5 && subscribed > 0 {
			cancel()
		}
	}
	if names < 5 || subscribed == 0 { // one of the pool's at least, a renewal's of each Locker, and the subscription
		t.Errorf("%d connections with the name, %d of them subscribed; want 5 and 1 at least", names, subscribed)
	}
}
