package bench

import (
	"sync"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

// boundedPools are pools of at most n connections, for which one waits. They stay as long as the Server, as its Pool
// does: then no run begins by dialling.
type boundedPools struct {
	mu  sync.Mutex // protects all
	all map[int]*redis.Pool
}

// pool is that of the server, or the Cluster, for 0, else a bounded one that all runs share.
func (s *Server) pool(n int) lock.Pool {
	if n == 0 {
		return s.locks
	}
	return s.shared(n)
}

func (s *Server) shared(n int) *redis.Pool {
	b := &s.boundedPools
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = make(map[int]*redis.Pool)
	}
	if b.all[n] == nil {
		b.all[n] = s.bounded(n)
	}
	return b.all[n]
}

func (b *boundedPools) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.all {
		_ = p.Close()
	}
}

// bounded is a new pool of at most n connections, for which one waits.
func (s *Server) bounded(n int) *redis.Pool {
	return &redis.Pool{
		DialContext:         s.Pool.DialContext,
		TestOnBorrowContext: s.Pool.TestOnBorrowContext,
		MaxActive:           n, MaxIdle: n, Wait: true,
	}
}

// fill sees to it that a bounded pool has all its connections. An error is left to whoever borrows next.
func fill(pool *redis.Pool) {
	if pool.IdleCount() == pool.MaxActive {
		return
	}
	lent := make([]redis.Conn, pool.MaxActive)
	for i := range lent {
		lent[i] = pool.Get()
	}
	for _, c := range lent {
		_ = c.Close()
	}
}
