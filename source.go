package redigolock

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A source is what a pool can do, found out once for each Locker and each Mux. This file is the only place that lends,
// dials, binds and gives back connections; nowhere else is the type of a pool looked at, or a connection's Bind.
type source struct {
	mux *Mux                                               // the pool is one: it lends at once, without any wait; else nil
	get func(ctx context.Context) (redis.Conn, error)      // lends
	own func(ctx context.Context) (redis.Conn, error)      // dials; nil: the pool cannot
	max struct{ idle, lifetime time.Duration }             // of a connection, as the pool has it; zero: none
	ask func(context.Context, redis.Conn, time.Time) error // tests a connection that was idle since; nil: as NewPool does

	bounded  bool        // get honours its context, whatever it waits for
	unaware  func() bool // whether the next get probably waits for a dial that takes no context; nil: never
	bindings atomic.Bool // a connection was seen that has Bind
}

type (
	contextPool interface {
		GetContext(ctx context.Context) (redis.Conn, error)
	}
	dialingPool interface {
		DialContext(ctx context.Context) (redis.Conn, error)
	}
	bindingConn interface {
		Bind(keys ...string) error
	}
)

// noPool reports whether p is nil, or a nil pointer.
func noPool(p Pool) bool {
	switch p := p.(type) {
	case nil:
		return true
	case *redis.Pool:
		return p == nil
	case *Mux:
		return p == nil
	}
	return false
}

// newSource looks at a pool that is not nil.
func newSource(p Pool) *source {
	s := &source{}
	if m, ok := p.(*Mux); ok {
		s.mux, s.get = m, m.GetContext
		if !noPool(m.Pool) {
			s.own = m.source().own
		}
		return s
	}
	if cp, ok := p.(contextPool); ok {
		s.get, s.bounded = cp.GetContext, true
	} else {
		s.get = func(context.Context) (redis.Conn, error) {
			c := p.Get()
			return c, c.Err()
		}
	}
	if rp, ok := p.(*redis.Pool); ok {
		s.ofRedigo(rp)
	} else if dp, ok := p.(dialingPool); ok {
		s.own = dp.DialContext
	}
	return s
}

func (s *source) ofRedigo(p *redis.Pool) {
	s.max.idle, s.max.lifetime = p.IdleTimeout, p.MaxConnLifetime
	switch {
	case p.DialContext != nil:
		s.own = p.DialContext
	case p.Dial != nil:
		s.own = func(ctx context.Context) (redis.Conn, error) { return dialBounded(ctx, p.Dial) }
	}
	if p.DialContext == nil {
		s.unaware = func() bool { return p.IdleCount() == 0 }
	}
	switch {
	case p.TestOnBorrowContext != nil:
		s.ask = p.TestOnBorrowContext
	case p.TestOnBorrow != nil:
		s.ask = func(_ context.Context, c redis.Conn, lastUsed time.Time) error { return p.TestOnBorrow(c, lastUsed) }
	}
}

// source is what the Locker's pool can do; nil: it has none.
func (l *Locker) source() *source { return sourceOf(&l.state.source, l.Pool) }

// source is what the pool behind the Mux can do; nil: it has none.
func (m *Mux) source() *source { return sourceOf(&m.state.source, m.Pool) }

func sourceOf(kept *atomic.Pointer[source], p Pool) *source {
	if s := kept.Load(); s != nil {
		return s
	}
	if noPool(p) {
		return nil
	}
	kept.CompareAndSwap(nil, newSource(p))
	return kept.Load()
}

// waits reports whether lending takes a context that bounds it.
func (s *source) waits() bool { return s.bounded && s.mux == nil }

// lend puts a connection, bound to the lock's key, into b, for an exchange that must be over at b.deadline. Nothing has
// been sent when it fails. Every lend is followed by one giveBack.
func (s *source) lend(ctx, limit context.Context, b *boundConn, verb, key string) error {
	var err error
	switch {
	case s.mux != nil:
		b.mux = muxConn{mux: s.mux}
		b.Conn, err = &b.mux, s.mux.check()
	case s.unaware != nil && s.unaware():
		b.Conn, err = dialBounded(limit, func() (redis.Conn, error) { return s.get(limit) })
	default:
		b.Conn, err = s.get(limit)
	}
	if err == nil {
		err = b.Conn.Err()
	}
	if err == nil {
		err = s.bind(b.Conn, key)
	}
	if err == nil {
		return nil
	}
	b.giveBack(nil)
	return noConnection(ctx, verb, key, err)
}

// dials reports whether dial makes a connection, and does not borrow one.
func (s *source) dials() bool { return s.own != nil }

// dial makes a connection that is not the pool's, so that a clean-up neither waits for a connection nor gets a broken
// one. A pool that cannot dial lends one, which its user closes as if it were dialled.
func (s *source) dial(ctx context.Context) (redis.Conn, error) {
	lend := s.own
	switch {
	case lend != nil:
	case s.mux != nil:
		lend = s.mux.source().dial
	default:
		lend = s.get
	}
	c, err := lend(ctx)
	if err == nil {
		err = c.Err()
	}
	if err != nil {
		if c != nil {
			_ = c.Close()
		}
		return nil, err
	}
	s.looksAt(c)
	return c, nil
}

// looksAt notes whether connections of this pool are to be bound.
func (s *source) looksAt(c redis.Conn) (binds bool) {
	if _, binds = c.(bindingConn); binds {
		s.bindings.Store(true)
	}
	return binds
}

// binds reports whether a connection leads to the node of one key only (Redis Cluster), as far as is known: it is as soon
// as there was one.
func (s *source) binds() bool { return s.bindings.Load() }

// bind tells a connection of a cluster which node it must lead to.
func (s *source) bind(c redis.Conn, key string) error {
	if !s.looksAt(c) {
		return nil
	}
	return c.(bindingConn).Bind(key)
}

// tooOld reports whether the pool would not lend a connection any more.
func (s *source) tooOld(made, now time.Time) bool {
	return s.max.lifetime > 0 && now.Sub(made) > s.max.lifetime
}

// idleTooLong reports whether the pool would have closed a connection.
func (s *source) idleTooLong(lastUsed, now time.Time) bool {
	return s.max.idle > 0 && now.Sub(lastUsed) > s.max.idle
}

// test tests a connection that was idle, as the pool does where it does.
func (s *source) test(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	if s.ask != nil {
		return s.ask(ctx, c, lastUsed)
	}
	return pingIdle(ctx, c, lastUsed)
}

// giveBack returns the connection. err is what its last exchange ended with: a connection whose reply is still due is
// dead by then, which the pool sees; one that leads to a server that may not write any more is cut here, so that the
// pool dials anew, perhaps a server that may.
func (b *boundConn) giveBack(err error) {
	if cc, ok := b.Conn.(redis.ConnWithContext); ok && err != nil && readOnly(err) {
		cut(cc)
	}
	if b.Conn != nil {
		_ = b.Conn.Close()
	}
}
