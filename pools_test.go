package redigolock_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// A countingPool counts how often a connection was borrowed.
type countingPool struct {
	*redis.Pool
	gets atomic.Int64
}

func (p *countingPool) Get() redis.Conn {
	p.gets.Add(1)
	return p.Pool.Get()
}

func (p *countingPool) GetContext(ctx context.Context) (redis.Conn, error) {
	p.gets.Add(1)
	return p.Pool.GetContext(ctx)
}

// getPool has nothing but Get, as redisc.Cluster has.
type getPool struct{ pool *redis.Pool }

func (p getPool) Get() redis.Conn { return p.pool.Get() }

// A gatedPool has its first borrow wait until open is closed, once it is armed. It takes no context.
type gatedPool struct {
	getPool
	armed   atomic.Bool
	waiting chan struct{}
	open    chan struct{}
}

func newGatedPool(pool *redis.Pool) *gatedPool {
	return &gatedPool{getPool: getPool{pool}, waiting: make(chan struct{}), open: make(chan struct{})}
}

func (p *gatedPool) Get() redis.Conn {
	if p.armed.CompareAndSwap(true, false) {
		close(p.waiting)
		<-p.open
	}
	return p.getPool.Get()
}

// A hangingDialer dials without a context, as many pools do, and hangs from a certain moment on until the test ends.
type hangingDialer struct {
	dialed func(...redis.DialOption) (redis.Conn, error)
	end    chan struct{}

	mu    sync.Mutex // protects what follows
	stuck bool
	count int
}

func newHangingDialer(t *testing.T, dial func(...redis.DialOption) (redis.Conn, error)) *hangingDialer {
	d := &hangingDialer{dialed: dial, end: make(chan struct{})}
	t.Cleanup(func() { close(d.end) })
	return d
}

func (d *hangingDialer) dial() (redis.Conn, error) {
	d.mu.Lock()
	stuck := d.stuck
	if stuck {
		d.count++
	}
	d.mu.Unlock()
	if stuck {
		<-d.end
		return nil, errors.New("the dial hung until the test ended")
	}
	return d.dialed()
}

// pool keeps no idle connection: each borrow dials.
func (d *hangingDialer) pool() *redis.Pool { return &redis.Pool{Dial: d.dial} }

func (d *hangingDialer) hang() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stuck = true
}

// hanging is how many dials hang.
func (d *hangingDialer) hanging() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}
