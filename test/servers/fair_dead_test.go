package servers

import (
	"fmt"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// Waiters whose machines have vanished are entries whose channel a connection still hears, and nobody else. They cost who stands
// behind them one ttl and eight seconds, or all their ttls if that is less. In virtual time the root's
// TestFairDeadWaitersDoNotAddUp has Lockers for them.
func TestFairDeadWaitersOnARealServer(t *testing.T) {
	for _, n := range []int{4, 10} {
		for _, ttl := range []time.Duration{2 * time.Second, 20 * time.Second} {
			t.Run(fmt.Sprintf("%d of %v", n, ttl), func(t *testing.T) {
				if ttl > 2*time.Second && !testbed.Long() {
					t.Skip("only with REDIGOLOCK_LONG")
				}
				t.Parallel() // in real time: the subject is the server
				fairDead(t, n, ttl)
			})
		}
	}
}

func fairDead(t *testing.T, n int, ttl time.Duration) {
	server := redistest.Start(t)
	locker := func() *redigolock.Locker {
		l := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: server.Pool(), Fair: true}
		t.Cleanup(func() { l.Close() })
		return l
	}
	holder, err := locker().Acquire(bg, "key", minute)
	if err != nil {
		t.Fatal(err)
	}
	ears, err := server.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer ears.Close()
	for i := range n {
		channel := fmt.Sprint("vanished", i)
		if err := ears.Send("SUBSCRIBE", channel); err != nil {
			t.Fatal(err)
		}
		entry := fmt.Sprintf("%d %d %s token%d", ttl.Milliseconds(), len(channel), channel, i)
		if _, err := server.Do("RPUSH", "{key}:redigolock-q2", entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := ears.Flush(); err != nil {
		t.Fatal(err)
	}
	live := waits(bg, locker(), "key", minute)
	eventually(t, "all are queued", func() bool {
		have, err := redis.Int(server.Do("LLEN", "{key}:redigolock-q2"))
		return err == nil && have == n+1
	})
	begin := time.Now()
	if err := holder.Release(bg); err != nil {
		t.Fatal(err)
	}
	a := <-live
	took := time.Since(begin)
	bound := min(time.Duration(n)*ttl, ttl+8*time.Second)
	t.Logf("%v behind %d dead waiters of %v; the bound is %v", took.Round(time.Millisecond), n, ttl, bound)
	if took > bound+2*time.Second { // a busy machine
		t.Errorf("it took %v", took)
	}
	if a.Err != nil {
		t.Fatal(a.Err)
	}
	if err := a.K.Release(bg); err != nil {
		t.Error(err)
	}
}
