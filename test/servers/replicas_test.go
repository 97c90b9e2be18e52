package servers

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A relay is the way from a replica to its master, which can be held back: what has not passed by then never does.
type relay struct {
	listener net.Listener
	target   string
	serving  sync.WaitGroup

	mu    sync.Mutex // protects what follows
	held  bool
	conns []net.Conn
}

func startRelay(t *testing.T, target string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, target: target}
	r.serving.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.hold()
		r.serving.Wait()
	})
	return r
}

func (r *relay) port() string {
	_, port, _ := net.SplitHostPort(r.listener.Addr().String())
	return port
}

func (r *relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", r.target)
		r.mu.Lock()
		if err != nil || r.held {
			c.Close()
			if err == nil {
				s.Close()
			}
		} else {
			r.conns = append(r.conns, c, s)
			r.serving.Go(func() { _, _ = io.Copy(c, s) })
			r.serving.Go(func() { _, _ = io.Copy(s, c) })
		}
		r.mu.Unlock()
	}
}

// hold lets nothing pass from then on.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = true
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// heldBack is a master and its replicas, of which the last can be held back.
func heldBack(t *testing.T, replicas int) (master *redistest.Server, all []*redistest.Server, hold func()) {
	all = redistest.StartReplicated(t, replicas)
	master, last := all[0], all[replicas]
	way := startRelay(t, master.Addr())
	if _, err := last.Do("REPLICAOF", "127.0.0.1", way.port()); err != nil {
		t.Fatal(err)
	}
	testbed.Within(t, 20*time.Second, "all replicas acknowledge", func() bool {
		c := master.Pool().Get()
		defer c.Close()
		_, err := c.Do("SET", "ready", 1)
		n, waitErr := redis.Int(c.Do("WAIT", replicas, 200))
		return err == nil && waitErr == nil && n == replicas
	})
	return master, all[1:], way.hold
}

func has(t *testing.T, s *redistest.Server) bool {
	ok, err := redis.Bool(s.Do("EXISTS", "key"))
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// With replication held back, an acquire that wants a replica's acknowledgement is refused, and leaves no key.
func TestReplicationHeldBack(t *testing.T) {
	master, replicas, hold := heldBack(t, 1)
	l := &redigolock.Locker{Pool: master.Pool(), Replicas: 1, OpTimeout: 2 * time.Second}
	defer l.Close()
	k, err := l.Acquire(patient(t), "key", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if !has(t, replicas[0]) {
		t.Error("the replica does not have what it has acknowledged")
	}
	if err := k.Release(bg); err != nil {
		t.Fatal(err)
	}
	testbed.Within(t, 20*time.Second, "the release is replicated", func() bool { return !has(t, replicas[0]) })
	hold()
	for range 3 {
		k, err := l.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrNotReplicated)
		if k != nil || has(t, master) || has(t, replicas[0]) {
			t.Fatalf("a lock, or a key, is left: %v", k)
		}
	}
}

// Only all of the replicas are a guarantee: with two, one of which has acknowledged the lock, the other may be promoted. With Replicas 2
// there is no such lock.
func TestOneReplicaOfTwoIsNoGuarantee(t *testing.T) {
	master, replicas, hold := heldBack(t, 2)
	hold()
	both := &redigolock.Locker{Pool: master.Pool(), Replicas: 2, OpTimeout: 2 * time.Second}
	defer both.Close()
	_, err := both.TryAcquire(bg, "key", time.Minute)
	wants(t, err, redigolock.ErrNotReplicated)

	one := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: master.Pool(), Replicas: 1}
	defer one.Close()
	k, err := one.Acquire(patient(t), "key", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if !has(t, replicas[0]) || has(t, replicas[1]) {
		t.Fatal("it is not at one replica of two")
	}
	master.Kill()
	if _, err := replicas[1].Do("REPLICAOF", "NO", "ONE"); err != nil {
		t.Fatal(err)
	}
	next := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: replicas[1].Pool()}
	defer next.Close()
	second, err := next.TryAcquire(bg, "key", time.Minute)
	if err != nil {
		t.Fatalf("the lock has outlived the failover: %v", err)
	}
	if !k.Valid() || !second.Valid() {
		t.Error("there are no two holders")
	}
	if err := second.Release(bg); err != nil {
		t.Error(err)
	}
}
