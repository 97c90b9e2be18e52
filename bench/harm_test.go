//go:build unix

package bench_test

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

// A harm has a server, a fair Locker that holds, and another that waits.
type harm struct {
	t             *testing.T
	server        *redistest.Server
	key           string
	first, second *redigolock.Locker
}

// A gap is how long nobody held, and how much of it was a lease that had to run out.
type gap struct{ all, lease time.Duration }

func newHarm(t *testing.T, server *redistest.Server) *harm {
	h := &harm{t: t, server: server, key: "recovery:" + redigolock.NewToken()}
	h.first, h.second = h.locker(h.named("first")), h.locker(h.named("second"))
	return h
}

func (h *harm) locker(pool *redis.Pool) *redigolock.Locker {
	l := &redigolock.Locker{Pool: pool, Fair: true}
	h.t.Cleanup(func() {
		_ = l.Close()
		_ = pool.Close()
	})
	return l
}

// named makes a pool whose connections bear a name on the server.
func (h *harm) named(name string) *redis.Pool {
	pool := h.server.Pool()
	pool.Dial = func() (redis.Conn, error) { return h.server.Dial(redis.DialClientName(h.clientName(name))) }
	return pool
}

func (h *harm) clientName(name string) string { return h.key + ":" + name }

// cut ends the connections of a Locker but for its subscription. There are some: it has sent something.
func (h *harm) cut(name string) {
	h.t.Helper()
	list, err := redis.String(h.server.Do("CLIENT", "LIST", "TYPE", "normal"))
	h.ok(err)
	n := 0
	for line := range strings.Lines(list) {
		if strings.Contains(line, " name="+h.clientName(name)+" ") {
			id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
			h.do("CLIENT", "KILL", "ID", id)
			n++
		}
	}
	if n == 0 {
		h.t.Errorf("there is no connection of %s", name)
	}
}

func (h *harm) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harm) do(cmd string, args ...any) any {
	h.t.Helper()
	reply, err := h.server.Do(cmd, args...)
	h.ok(err)
	return reply
}

// hold has the first Locker hold.
func (h *harm) hold(ttl time.Duration) *redigolock.Lock {
	h.t.Helper()
	k, err := h.first.Acquire(context.Background(), h.key, ttl)
	h.ok(err)
	return k
}

// wait has the second Locker wait, in the background. What comes is when it got the lock, which it then releases.
func (h *harm) wait() <-chan time.Time {
	got := make(chan time.Time, 1)
	go func() {
		k, err := h.second.Acquire(context.Background(), h.key, 10*time.Second)
		if err != nil {
			h.t.Error(err)
		}
		got <- time.Now()
		if err == nil {
			_ = k.Release(context.Background())
		}
	}()
	return got
}

func (h *harm) queue() string { return "{" + h.key + "}:redigolock-q2" }

func (h *harm) queued(n int) {
	h.t.Helper()
	eventually(h.t, "they are queued", func() bool {
		have, err := redis.Int(h.server.Do("LLEN", h.queue()))
		return err == nil && have == n
	})
}

// heard says whether somebody hears the channel in an entry of the queue: a ttl, a length, the channel, and a token.
func (h *harm) heard(entry string) bool {
	h.t.Helper()
	channel := strings.Fields(entry)[2]
	counts, err := redis.Values(h.server.Do("PUBSUB", "NUMSUB", channel))
	h.ok(err)
	n, err := redis.Int(counts[1], nil)
	h.ok(err)
	return n > 0
}

func (h *harm) peer(ttl time.Duration) *bench.Peer {
	p := bench.StartPeer(h.t, h.server.URL(), h.key, ttl)
	h.t.Cleanup(p.Kill)
	return p
}

func (h *harm) exists(key string) bool {
	n, err := redis.Int(h.server.Do("EXISTS", key))
	return err == nil && n == 1
}

// releasing has the holder release, and is the gap from then on, in which a lease may have to run out.
func (h *harm) releasing(k *redigolock.Lock, got <-chan time.Time, lease time.Duration) gap {
	h.t.Helper()
	began := time.Now()
	h.ok(k.Release(context.Background()))
	return gap{(<-got).Sub(began), lease}
}

// waitingPeer has a process wait before the second Locker, come to harm, and then the holder release.
func waitingPeer(ttl, lease time.Duration, what func(h *harm, p *bench.Peer)) func(*harm) gap {
	return func(h *harm) gap {
		k, p := h.hold(time.Minute), h.peer(ttl)
		h.queued(1)
		got := h.wait()
		h.queued(2)
		what(h, p)
		return h.releasing(k, got, lease)
	}
}

// killed returns when the server knows of the end of the process that waits first.
func killed(h *harm, p *bench.Peer) {
	entry, err := redis.String(h.server.Do("LINDEX", h.queue(), 0))
	h.ok(err)
	p.Kill()
	eventually(h.t, "the server knows of its end", func() bool { return !h.heard(entry) })
}

// killedNow lets the release come before the server knows of the end, or not. Then a dead process holds the lock, and nothing
// tells it from one that lives and whose subscription has broken: its lease must run out.
func killedNow(h *harm, p *bench.Peer) { h.ok(p.Child.Kill()) }

func stopped(h *harm, p *bench.Peer) { h.ok(p.Child.Signal(syscall.SIGSTOP)) }

func killedHolder(h *harm) gap {
	p := h.peer(holderTTL)
	eventually(h.t, "it holds", func() bool { return h.exists(h.key) })
	got := h.wait()
	eventually(h.t, "somebody waits", func() bool { return h.exists(h.queue()) || len(got) > 0 })
	p.Kill()
	began := time.Now()
	left, err := redis.Int64(h.server.Do("PTTL", h.key))
	h.ok(err)
	return gap{max((<-got).Sub(began), 0), time.Duration(max(left, 0)) * time.Millisecond}
}

// meanwhile is what happens while one Locker holds and the other waits. Then the holder releases.
func meanwhile(what func(*harm)) func(*harm) gap {
	return func(h *harm) gap {
		k := h.hold(time.Minute)
		got := h.wait()
		h.queued(1)
		what(h)
		return h.releasing(k, got, 0)
	}
}

func cutSubscriber(h *harm) { h.do("CLIENT", "KILL", "TYPE", "pubsub") }

func cutHolder(h *harm) { h.cut("first") }

func cutWaiter(h *harm) { h.cut("second") }

func cutAll(h *harm) {
	cutSubscriber(h)
	h.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
}

func flushScripts(h *harm) { h.do("SCRIPT", "FLUSH") }

// restart restarts a server that keeps its data, and waits until it has loaded them.
func restart(h *harm) {
	h.ok(h.server.Restart())
	eventually(h.t, "it has loaded its data", func() bool { return h.exists(h.key) })
}

// lostMessage is one that does not come while the subscription seems to live, just after the waiter has asked.
func lostMessage(h *harm) gap {
	proxy := redistest.NewProxy(h.t, h.server.Addr())
	h.second = h.locker(proxy.Pool())
	h.second.OpTimeout = 20 * time.Second // or the subscription would be made anew for its silence
	silent, never := make(chan struct{}), make(chan struct{})
	defer close(never)
	var once sync.Once
	return meanwhile(func(h *harm) {
		proxy.Rule(func(q redistest.Request) (act redistest.Action) {
			if q.Name == "PING" {
				once.Do(func() {
					close(silent)
					act = redistest.Hold(never)
				})
			}
			return act
		})
		<-silent
		const short = 90 * time.Second // each script raises the queue's TTL above it
		h.do("PEXPIRE", h.queue(), short.Milliseconds())
		eventually(h.t, "the waiter asks", func() bool {
			left, err := redis.Int64(h.server.Do("PTTL", h.queue()))
			return err == nil && left > short.Milliseconds()
		})
	})(h)
}

func plainRelease(h *harm) gap {
	h.first.Fair = false
	return meanwhile(func(*harm) {})(h)
}

// abandoned is what ends the lock of a holder that does not release.
func abandoned(ttl time.Duration, what func(h *harm, k *redigolock.Lock) (began time.Time, lease time.Duration)) func(*harm) gap {
	return func(h *harm) gap {
		k := h.hold(ttl)
		got := h.wait()
		h.queued(1)
		began, lease := what(h, k)
		return gap{(<-got).Sub(began), lease}
	}
}

func deleted(h *harm, _ *redigolock.Lock) (time.Time, time.Duration) {
	began := time.Now()
	h.do("DEL", h.key)
	return began, 0
}

func restartedEmpty(h *harm, _ *redigolock.Lock) (time.Time, time.Duration) {
	h.ok(h.server.Restart())
	return time.Now(), 0
}

// restarted keeps the lease.
func restarted(h *harm, k *redigolock.Lock) (time.Time, time.Duration) {
	began := time.Now()
	h.ok(h.server.Restart())
	return began, k.Deadline().Sub(began)
}
