package redistest

import (
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// ioTimeout bounds each connect, read and write of the connections made here,
// so that a test that hangs says where.
const ioTimeout = 5 * time.Second

// pools remembers the pools it opened, to close them together.
type pools struct {
	mu   sync.Mutex // protects list
	list []*redis.Pool
}

// open returns an unbounded pool of TCP connections to addr.
func (ps *pools) open(addr string) *redis.Pool {
	p := &redis.Pool{
		MaxIdle: 256,
		Dial:    func() (redis.Conn, error) { return dial("tcp", addr) },
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.list = append(ps.list, p)
	return p
}

// close closes every pool opened until now.
func (ps *pools) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.list {
		p.Close()
	}
	ps.list = nil
}

// dial connects with ioTimeout everywhere; opts come after it and win.
func dial(network, addr string, opts ...redis.DialOption) (redis.Conn, error) {
	bounds := []redis.DialOption{
		redis.DialConnectTimeout(ioTimeout),
		redis.DialReadTimeout(ioTimeout),
		redis.DialWriteTimeout(ioTimeout),
	}
	return redis.Dial(network, addr, append(bounds, opts...)...)
}
