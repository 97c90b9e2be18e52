//go:build unix

package bench_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A holder looks whether it holds, is stopped for longer than its lease, and then writes what it was about to write. How
// often does that overwrite what a newer holder has written? The figures are added to those of faults_test.go:
//
//	REDIGOLOCK_LONG=1 go test -run StaleWrite -v -parallel 8 ./bench/ -faults-out $PWD/faults.txt

// staleTTL is of the holder that is stopped.
const staleTTL = 100 * time.Millisecond

// stalePatience bounds what the holders wait for.
const stalePatience = 30 * time.Second

// staleWays are how the holders write, and whether a stale write is refused.
var staleWays = []struct {
	name    string
	refused bool
}{{"plain", false}, {"verified", false}, {"guarded", true}}

func TestAStaleWriteIsRefusedOnlyByTheResource(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, x := range staleWays {
		t.Run(x.name, func(t *testing.T) {
			writes := make([]staleWrite, times())
			repeat(t, len(writes), true, func(t *testing.T, i int) {
				writes[i] = newHarm(t, server).staleWrite(x.name)
			})
			if t.Failed() {
				return
			}
			want := staleWrite{"accepted", "stale"}
			if x.refused {
				want = staleWrite{"refused", "new"}
			}
			accepted, refused := 0, 0
			for _, w := range writes {
				if w != want {
					t.Errorf("%s: the holder was told %q, and the resource has %q, want %+v", x.name, w.told, w.has, want)
				}
				switch w.told {
				case "accepted":
					accepted++
				case "refused":
					refused++
				}
			}
			t.Logf("%s: %d holders were stopped for longer than their lease: %d overwrote the newer one's, %d were refused", x.name,
				len(writes), accepted, refused)
			record(t, server, fmt.Sprintf("Stale/server=redis/way=%s %d %d stale-writes %d refused", x.name, len(writes), accepted, refused))
		})
	}
}

// A staleWrite is what its holder was told, and what the resource then has.
type staleWrite struct{ told, has string }

// writer writes to the resource as the holder of a lock, in the way of that name: "plain" looks at Deadline before,
// "verified" asks the server besides, and "guarded" has taken a fencing number, which goes with the write.
type writer struct {
	way, key string
	c        redis.Conn
	fence    int64
}

func (w *writer) resource() string { return "{" + w.key + "}:resource" }

// check does all that is done before the write. It says ErrNotHeld if the lock is not held any more.
func (w *writer) check(ctx context.Context, k *redigolock.Lock) (err error) {
	switch w.way {
	case "verified":
		err = k.Verify(ctx)
	case "guarded":
		w.fence, err = k.Fence(ctx)
	}
	if err == nil && !time.Now().Before(k.Deadline()) {
		err = redigolock.ErrNotHeld
	}
	return err
}

func (w *writer) write(ctx context.Context, text string) (err error) {
	if w.way == "guarded" {
		_, err = redigolock.GuardDo(ctx, w.c, "{"+w.key+"}:guard", w.fence, "SET", w.resource(), text)
	} else {
		_, err = w.c.Do("SET", w.resource(), text)
	}
	return err
}

// staleWrite has one happen. The holder stops between its look and its write, for longer than its lease, as a process that
// is suspended or collects garbage; meanwhile another acquires and writes.
func (h *harm) staleWrite(way string) staleWrite {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stalePatience)
	defer cancel()
	h.first.Fair, h.second.Fair = false, false
	older, _ := h.writer(ctx, h.first, way, staleTTL)
	newer, k := h.writer(ctx, h.second, way, time.Minute) // which waits for the end of the lease
	h.ok(newer.write(ctx, "new"))
	told := "accepted"
	if err := older.write(ctx, "stale"); errors.Is(err, redigolock.ErrFenced) {
		told = "refused"
	} else {
		h.ok(err)
	}
	has, err := redis.String(h.server.Do("GET", newer.resource()))
	h.ok(err)
	h.ok(k.Release(ctx))
	return staleWrite{told, has}
}

// writer acquires, and returns when it has seen that it holds: on a machine that is slow it may have to acquire again.
func (h *harm) writer(ctx context.Context, l *redigolock.Locker, way string, ttl time.Duration) (*writer, *redigolock.Lock) {
	h.t.Helper()
	w := &writer{way: way, key: h.key, c: l.Pool.Get()}
	h.t.Cleanup(func() { w.c.Close() })
	for {
		k, err := l.Acquire(ctx, h.key, ttl)
		h.ok(err)
		if err = w.check(ctx, k); !errors.Is(err, redigolock.ErrNotHeld) {
			h.ok(err)
			return w, k
		}
	}
}
