package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/mna/redisc"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A clusterUser acquires and releases one lock. Its errors are those that reach a user.
type clusterUser func(ctx context.Context, key string) (acquire, release error)

// ofLocker uses Do of a Locker.
func ofLocker(l *redigolock.Locker) clusterUser {
	return func(ctx context.Context, key string) (acquire, release error) {
		k, err := l.Acquire(ctx, key, 2*time.Second)
		if err != nil {
			return err, nil
		}
		time.Sleep(time.Millisecond)
		return nil, k.Release(context.Background())
	}
}

// ofRedisc is the usual lock on redisc's RetryConn, which follows redirects: SET NX until it is OK, and a compare-and-delete. What goes
// wrong with a SET is an error of the acquire, for its user cannot tell what has become of it.
func ofRedisc(c *redisc.Cluster) clusterUser {
	const compareAndDelete = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`
	do := func(key string, f func(redis.Conn) error) error {
		conn := c.Get()
		defer conn.Close()
		if err := redisc.BindConn(conn, key); err != nil {
			return err
		}
		retry, err := redisc.RetryConn(conn, 4, 100*time.Millisecond)
		if err != nil {
			return err
		}
		return f(retry)
	}
	return func(ctx context.Context, key string) (error, error) {
		token := redigolock.NewToken()
		for ctx.Err() == nil {
			err := do(key, func(c redis.Conn) error {
				_, err := redis.String(c.Do("SET", key, token, "NX", "PX", 2000))
				return err
			})
			switch {
			case errors.Is(err, redis.ErrNil):
				time.Sleep(5 * time.Millisecond)
				continue
			case err != nil:
				return err, nil
			}
			time.Sleep(time.Millisecond)
			return nil, do(key, func(c redis.Conn) error {
				_, err := c.Do("EVAL", compareAndDelete, 1, key, token)
				return err
			})
		}
		return ctx.Err(), nil
	}
}

// A clusterCrowd is the workers of one library.
type clusterCrowd struct {
	mu                sync.Mutex // protects what follows
	locks             int
	acquires, release map[string]int // errors, by their text
	ends              []time.Time    // of locks of the first key
}

func (c *clusterCrowd) run(n int, stop <-chan struct{}, workers *sync.WaitGroup, name string, use clusterUser) {
	c.acquires, c.release = map[string]int{}, map[string]int{}
	for i := range n {
		workers.Go(func() {
			for j := i; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				c.cycle(fmt.Sprint(name, j%4), j%4 == 0, use)
			}
		})
	}
}

func (c *clusterCrowd) cycle(key string, isFirst bool, use clusterUser) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	acquire, release := use(ctx, key)
	if acquire != nil {
		time.Sleep(10 * time.Millisecond) // as a user would before the next try
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case acquire != nil:
		c.acquires[short(acquire)]++
		return
	case release != nil:
		c.release[short(release)]++
	}
	c.locks++
	if isFirst {
		c.ends = append(c.ends, time.Now())
	}
}

func short(err error) string {
	text := err.Error()
	return text[:min(60, len(text))]
}

func sum(errs map[string]int) (n int) {
	for _, k := range errs {
		n += k
	}
	return n
}

// TestFailoverBesideRedisc kills the master of both libraries' first keys, whose replica takes over, under a load of 32 clients each.
// No acquire of ours may fail. After an acquire that has failed a client pauses for 10 ms.
func TestFailoverBesideRedisc(t *testing.T) {
	servers := redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1})
	first := "{both}"
	ours := &redigolock.Cluster{Addrs: servers.Addrs()[:3]}
	defer ours.Close()
	locker := &redigolock.Locker{Pool: ours}
	defer locker.Close()
	theirs := &redisc.Cluster{
		StartupNodes: servers.Addrs()[:3],
		DialOptions:  []redis.DialOption{redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second), redis.DialWriteTimeout(time.Second)},
		CreatePool: func(addr string, opts ...redis.DialOption) (*redis.Pool, error) {
			return &redis.Pool{MaxIdle: 32, MaxActive: 64, Wait: true, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", addr, opts...) }}, nil
		},
	}
	defer theirs.Close()
	if err := theirs.Refresh(); err != nil {
		t.Fatal(err)
	}
	var a, b clusterCrowd
	stop, workers := make(chan struct{}), &sync.WaitGroup{}
	a.run(32, stop, workers, first+"ours", ofLocker(locker))
	b.run(32, stop, workers, first+"theirs", ofRedisc(theirs))
	var next [2][]time.Duration
	slot := servers.KeySlot(first)
	for range testbed.Length(1, 16) {
		time.Sleep(500 * time.Millisecond)
		master := servers.Owner(slot)
		replica := servers.ReplicaOf(master)
		master.Kill()
		for servers.Owner(slot) != replica {
			time.Sleep(time.Millisecond)
		}
		served := time.Now()
		for i, c := range []*clusterCrowd{&a, &b} {
			next[i] = append(next[i], c.after(served))
		}
		if err := master.Restart(); err != nil {
			t.Fatal(err)
		}
		servers.Settled(t)
	}
	close(stop)
	workers.Wait()
	var rows strings.Builder
	rows.WriteString("| | locks | acquires that failed | releases without an answer | kills | the next lock after: median | worst |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for i, c := range []*clusterCrowd{&a, &b} {
		slices.Sort(next[i])
		n := len(next[i])
		fmt.Fprintf(&rows, "| %s | %d | %d | %d | %d | %d ms | %d ms |\n", []string{"redigolock", "RetryConn of redisc"}[i],
			c.locks, sum(c.acquires), sum(c.release), n, next[i][n/2].Milliseconds(), next[i][n-1].Milliseconds())
	}
	t.Log("\n" + rows.String())
	if dir := os.Getenv("REDIGOLOCK_TABLES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "redisc.md"), []byte(rows.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := sum(a.acquires); n > 0 {
		t.Errorf("%d acquires of ours failed", n)
	}
}

// after returns how long after then the first lock of the first key was released, 20 s at most.
func (c *clusterCrowd) after(then time.Time) time.Duration {
	for time.Since(then) < 20*time.Second {
		c.mu.Lock()
		at := slices.IndexFunc(c.ends, func(end time.Time) bool { return end.After(then) })
		var d time.Duration
		if at >= 0 {
			d = c.ends[at].Sub(then)
		}
		c.mu.Unlock()
		if at >= 0 {
			return d
		}
		time.Sleep(time.Millisecond)
	}
	return 20 * time.Second
}
