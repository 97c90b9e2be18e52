package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

// noDial is a Dial that must not be called.
func noDial(t *testing.T) func(context.Context, string) (redis.Conn, error) {
	return func(context.Context, string) (redis.Conn, error) {
		t.Error("I/O")
		return nil, errors.New("no I/O")
	}
}

func TestClusterRefusesBadFields(t *testing.T) {
	for name, c := range map[string]*lock.Cluster{
		"no address":       {},
		"an empty address": {Addrs: []string{""}},
		"a URL":            {Addrs: []string{"redis://a:1"}},
		"twice":            {Addrs: []string{"a", "a:6379"}},
		"negative":         {Addrs: []string{"a"}, MaxIdle: -1},
		"negative too":     {Addrs: []string{"a"}, MaxActive: -1},
	} {
		c.Dial = noDial(t)
		if _, err := (&lock.Locker{Pool: c}).TryAcquire(bg, "k", time.Second); !errors.Is(err, lock.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Get().Err(); !errors.Is(err, lock.ErrInvalid) {
			t.Errorf("%s: Get: %v", name, err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
	}
	var none *lock.Cluster
	if _, err := (&lock.Locker{Pool: none}).TryAcquire(bg, "k", time.Second); !errors.Is(err, lock.ErrInvalid) {
		t.Errorf("nil: %v", err)
	}
}

func TestClusterIsClosed(t *testing.T) {
	c := &lock.Cluster{Addrs: []string{"a"}, Dial: noDial(t)}
	conn := c.Get()
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if _, err := conn.Do("GET", "k"); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("a connection of before: %v", err)
	}
	if err := c.Get().Err(); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("Get: %v", err)
	}
	if _, err := (&lock.Locker{Pool: c}).Acquire(bg, "k", time.Second); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("Acquire: %v", err)
	}
}

func TestMuxOverClusterIsRefused(t *testing.T) {
	c := &lock.Cluster{Addrs: []string{"a"}, Dial: noDial(t)}
	defer c.Close()
	m := &lock.Mux{Pool: c}
	defer m.Close()
	if _, err := (&lock.Locker{Pool: m}).Acquire(bg, "k", time.Second); !errors.Is(err, lock.ErrInvalid) {
		t.Errorf("Acquire: %v", err)
	}
	if _, err := m.Get().Do("GET", "k"); !errors.Is(err, lock.ErrInvalid) {
		t.Errorf("Do: %v", err)
	}
}

// TestClusterGuardsInOneSlot: the resource and its guard must be at one node.
func TestClusterGuardsInOneSlot(t *testing.T) {
	c := &lock.Cluster{Addrs: []string{"a"}, Dial: noDial(t)}
	defer c.Close()
	if _, err := lock.GuardDo(bg, c.Get(), "guard", 1, "SET", "key", "v"); !errors.Is(err, lock.ErrInvalid) {
		t.Error(err)
	}
}

// TestClusterHangs: what OpTimeout bounds, also the first question for the map and a dial that no context ends.
func TestClusterHangs(t *testing.T) {
	over := make(chan struct{})
	c := &lock.Cluster{Addrs: []string{"a", "b"}, Dial: func(context.Context, string) (redis.Conn, error) {
		<-over
		return nil, errors.New("over")
	}}
	l := &lock.Locker{Pool: c, OpTimeout: 50 * time.Millisecond}
	begin := time.Now()
	if _, err := l.TryAcquire(bg, "k", time.Second); !errors.Is(err, lock.ErrUnavailable) || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	close(over)
	if err := errors.Join(l.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

func TestOpenReadsTheNodesOfAURL(t *testing.T) {
	for rawURL, want := range map[string]string{
		"redis-cluster://h1":                           "[h1:6379]",
		"redis-clusters://u:hun@ter2@h1:1,h2,[::1]:3/": "[h1:1 h2:6379 [::1]:3]",
		"redis-cluster://:hunter2@h1,h2:7000/0":        "[h1:6379 h2:7000]",
	} {
		p, err := lock.Open(rawURL, redis.DialContextFunc(func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("not dialled")
		}))
		if err != nil {
			t.Errorf("%s: %v", rawURL, err)
			continue
		}
		if c, ok := p.(*lock.Cluster); !ok || fmt.Sprint(c.Addrs) != want {
			t.Errorf("%s: %T", rawURL, p)
		}
		if _, err := p.Get().Do("GET", "k"); err == nil || !strings.Contains(err.Error(), "not dialled") || strings.Contains(err.Error(), "ter2") {
			t.Errorf("%s: %v", rawURL, err)
		}
		p.Close()
		if _, err := lock.NewPool(rawURL); !errors.Is(err, lock.ErrInvalid) || !strings.Contains(err.Error(), "use Open") {
			t.Errorf("NewPool: %v", err)
		}
	}
	for _, rawURL := range []string{"redis-cluster://", "redis-cluster://h1,", "redis-cluster://h1,h1:6379", "redis-cluster://h1/1",
		"redis-cluster://h1?master=m", "redis-cluster://hunter2@:1:1", "redis-cluster:h1", "redis-cluster://u:@h1"} {
		if p, err := lock.Open(rawURL); !errors.Is(err, lock.ErrInvalid) || p != nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", rawURL, p, err)
		}
	}
}
