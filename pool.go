package redigolock

import (
	"context"
	"sync/atomic"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/pools"
	"github.com/redigolock/redigolock/internal/sentinel"
)

// A Pool lends connections: a *redis.Pool, a *[Mux], or whatever else has its Get.
//
// Three methods are used where they are there:
//   - GetContext(ctx) (redis.Conn, error) of the pool lends a connection; ctx ends when the caller waits no longer. If the
//     pool has no such method, or does not return when ctx ends, the caller returns all the same, and what the pool lends
//     later goes to the next caller. For that, each borrow has a goroutine, unless the pool is a Mux or was made by NewPool
//     and its Dial and Test fields were not changed.
//   - DialContext(ctx) (redis.Conn, error) of the pool makes connections for clean-ups, renewals, subscriptions and second
//     tries, which must not wait for a connection of the pool. Of a *redis.Pool, the field DialContext or Dial is used. A
//     pool that cannot dial lends these connections, too. KeepAlive keeps the one that it was lent for as long as any lock
//     of its Locker is kept alive.
//   - Bind(keys ...string) error of the connection is called with the lock's key, once, before anything is sent (Redis
//     Cluster, as in mna/redisc).
type Pool interface{ Get() redis.Conn }

// NewPool makes a *redis.Pool for a server, tuned for locks; it connects only when it is used. The URL is
// redis://, rediss:// (TLS), valkey:// or valkeys://, as in
//
//	redis://[user:password@]host[:port][/db]
//	unix://[user:password@]/path/to/socket[?db=N]
//	redis-sentinel://[user:password@]host[:port],host[:port],…[/db]?master=NAME[&sentinel_username=U][&sentinel_password=P]
//
// The last form names Sentinels, whose default port is 26379, and redis-sentinels:// is that with TLS to them and to the
// servers, each by the name of its address. The user and the password before the @ are those of the master, those in the
// query are the Sentinels'. opts are for both, but users, passwords, a database and a client's name in them are the master's.
// Such a pool asks the Sentinels whenever it dials. It finds out that there is another master when a write is refused
// (READONLY), when it dials because a connection broke, and by a ROLE before it lends a connection, at most once a second.
// [Open] makes a pool that is told.
//
// Every timeout is set: 2 s to connect, 2 s for the TLS handshake, 3 s for a read or a write. There are at most 64
// connections, and a caller waits for one when all are in use. A connection that was idle for 10 s is tested by a PING
// before it is lent, after 4 minutes it is closed. opts come last, and win.
//
// A URL that cannot be used is [ErrInvalid]. So is a user with an empty password: redigo would not log in at all, and act
// as the user default. For an ACL user that needs none (nopass), give any password. No message shows any part of the URL,
// since that may be the password.
func NewPool(rawURL string, opts ...redis.DialOption) (*redis.Pool, error) {
	p, _, err := pools.New(rawURL, false, opts)
	return p, err
}

// An OpenPool is what [Open] returns.
type OpenPool interface {
	Pool
	Close() error
}

// Open makes a pool for the server, or the servers, at a URL: see [NewPool], whose forms, options and defaults it has. Where
// the URL names Sentinels, the pool also subscribes to them while connections are out, so that it knows another master as
// soon as they do: connections to the old one are cut at once. Close ends the subscription, and closes the pool.
//
// redis-cluster:// and redis-clusters:// (TLS) name nodes of a Redis Cluster, whose default port is 6379:
//
//	redis-cluster://[user:password@]host[:port],host[:port],…
//
// Open makes a [Cluster] for them, with its defaults. NewPool does not take such a URL.
func Open(rawURL string, opts ...redis.DialOption) (OpenPool, error) {
	if pools.IsCluster(rawURL) {
		addrs, dial, err := pools.Nodes(rawURL, opts)
		if err != nil {
			return nil, err
		}
		return &Cluster{Addrs: addrs, Dial: dial}, nil
	}
	p, sentinels, err := pools.New(rawURL, true, opts)
	switch {
	case err != nil:
		return nil, err
	case sentinels != nil:
		return &sentinelPool{p, sentinels}, nil
	}
	return p, nil
}

// A sentinelPool is a pool over Sentinels that it is subscribed to.
type sentinelPool struct {
	*redis.Pool
	sentinels *sentinel.Group
}

func (p *sentinelPool) isNil() bool { return p == nil }

// newSource is what the pool behind it can do for a Locker.
func (p *sentinelPool) newSource() *pools.Source { return newSource(p.Pool) }

// DialContext dials a connection that is not the pool's.
func (p *sentinelPool) DialContext(ctx context.Context) (redis.Conn, error) {
	return p.Pool.DialContext(ctx)
}

// Close closes the pool, and ends the subscription and every dial.
func (p *sentinelPool) Close() error {
	err := p.Pool.Close()
	p.sentinels.Close()
	return err
}

// An ownPool is a pool of this package, which knows itself what it can do.
type ownPool interface {
	isNil() bool
	newSource() *pools.Source
}

// noPool reports whether p is nil, or a nil pointer.
func noPool(p Pool) bool {
	switch p := p.(type) {
	case nil:
		return true
	case *redis.Pool:
		return p == nil
	case ownPool:
		return p.isNil()
	}
	return false
}

// newSource looks at a pool; nil: it is none.
func newSource(p Pool) *pools.Source {
	if noPool(p) {
		return nil
	}
	if op, ok := p.(ownPool); ok {
		return op.newSource()
	}
	s := pools.Of(p)
	var x *Sentinel
	if rp, ok := p.(*redis.Pool); ok {
		if intro := pools.Introduce(rp, x.DialContext); intro != nil && intro.Group != nil {
			s.Moved = intro.Group.Changed
		}
	}
	return s
}

func sourceOf(kept *atomic.Pointer[pools.Source], p Pool) *pools.Source {
	if s := kept.Load(); s != nil {
		return s
	}
	if s := newSource(p); s != nil {
		kept.CompareAndSwap(nil, s)
	}
	return kept.Load()
}
