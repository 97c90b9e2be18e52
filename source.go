package redigolock

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/cluster"
	"github.com/redigolock/redigolock/internal/errands"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/sentinel"
	"github.com/redigolock/redigolock/internal/wire"
)

// A source is what a pool can do, found out once for each Locker and each Mux. This file is the only place that lends,
// dials, binds and gives back connections; nowhere else is the type of a pool looked at, or a connection's Bind.
//
// Whatever the pool does with a context, lend and dial return when theirs ends. What that costs, a goroutine and some
// allocations for each borrow, a Mux and a pool of NewPool are spared: see tuned.
type source struct {
	lendNow func() (redis.Conn, error) // of a pool that lends without any wait, to who gives back exactly once; else nil
	check   func() error               // finds what no command can be sent with; nil: nothing
	behind  *source                    // the pool that it shares connections of; nil: none
	tuned   *dialer                    // of a pool that honours its context, whatever it waits for; else nil

	get   func(ctx context.Context) (redis.Conn, error)      // lends
	own   func(ctx context.Context) (redis.Conn, error)      // dials; nil: the pool cannot
	ask   func(context.Context, redis.Conn, time.Time) error // tests a connection that was idle since; nil: as NewPool does
	bind  func(context.Context, redis.Conn, string) error    // binds to a key; it and get end with their context; nil: a connection's Bind is looked for
	idle  interface{ IdleCount() int }                       // how many the pool keeps; nil: it does not say
	moved func() <-chan struct{}                             // closed when it leads to another server from then on; nil: that is not known
	max   struct{ idle, lifetime time.Duration }             // of a connection, as the pool has it; zero: none
	nodes *cluster.Cluster                                   // where the keys are, and who dials their nodes; nil: of a pool that is none

	noWait string // why no WAIT can be sent; "": it can

	polls int // how many waiters may ask at a time, so that a holder finds a connection; 0: any number

	borrows, dials errands.Group
	binding        errands.Group
	dropping       atomic.Bool // what is idle is being closed
	bindings       atomic.Bool // a connection was seen that has Bind
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
	// An ownPool is a pool of this package, which knows itself what it can do.
	ownPool interface {
		isNil() bool
		newSource() *source
	}
)

// maxDials is how many connections of its own a Locker or a Mux dials at a time: after a break all its locks want one.
const maxDials = 8

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
func newSource(p Pool) *source {
	if noPool(p) {
		return nil
	}
	if op, ok := p.(ownPool); ok {
		return op.newSource()
	}
	s := emptySource()
	if cp, ok := p.(contextPool); ok {
		s.get = cp.GetContext
	} else {
		s.get = func(context.Context) (redis.Conn, error) {
			c := p.Get()
			return c, c.Err()
		}
	}
	if s.idle, _ = p.(interface{ IdleCount() int }); s.idle != nil {
		s.borrows.Idle = func() bool { return s.idle.IdleCount() > 0 }
	}
	if rp, ok := p.(*redis.Pool); ok {
		s.ofRedigo(rp)
	} else if dp, ok := p.(dialingPool); ok {
		s.own = dp.DialContext
	}
	return s
}

func emptySource() *source {
	return &source{dials: errands.Group{Dial: true, Most: maxDials}, binding: errands.Group{Keyed: true}}
}

func (s *source) ofRedigo(p *redis.Pool) {
	if p.MaxActive > 0 {
		s.polls = max(p.MaxActive/2, 1)
	}
	s.max.idle, s.max.lifetime = p.IdleTimeout, p.MaxConnLifetime
	s.tuned = tuned(p)
	if group := s.sentinels(p); group != nil {
		s.moved = group.Changed
	}
	switch {
	case s.tuned != nil:
		s.own = s.tuned.dial
	case p.DialContext != nil:
		s.own = p.DialContext
	case p.Dial != nil:
		s.own = func(context.Context) (redis.Conn, error) { return p.Dial() }
	}
	switch {
	case p.TestOnBorrowContext != nil:
		s.ask = p.TestOnBorrowContext
	case p.TestOnBorrow != nil:
		s.ask = func(_ context.Context, c redis.Conn, lastUsed time.Time) error { return p.TestOnBorrow(c, lastUsed) }
	}
}

// sentinels are those that name the server of a pool of Open or NewPool, or of one whose DialContext is a Sentinel's; nil of any
// other.
func (s *source) sentinels(p *redis.Pool) *sentinel.Group {
	if s.tuned != nil {
		return s.tuned.sentinels
	}
	var x *Sentinel
	if p.DialContext == nil || !same(p.DialContext, x.DialContext) {
		return nil
	}
	intro := &introduction{Context: context.Background()}
	_, _ = p.DialContext(intro)
	group, _ := intro.sentinel.engine()
	return group
}

// isAnother returns a channel that is closed when the pool leads to another server from then on; nil: that is not known.
func (s *source) isAnother() <-chan struct{} {
	switch {
	case s.behind != nil:
		return s.behind.isAnother()
	case s.moved != nil:
		return s.moved()
	}
	return nil
}

// same reports whether two funcs have the same code.
func same(f, g any) bool { return reflect.ValueOf(f).Pointer() == reflect.ValueOf(g).Pointer() }

// An introduction is the context by which newSource asks a dialer of NewPool, or a Sentinel, who it is.
type introduction struct {
	context.Context
	dialer   *dialer
	sentinel *Sentinel
}

var errIntroduced = errors.New("not dialled")

// tuned is the dialer of a pool as NewPool makes them, nil of any other. Such a pool never keeps a caller for longer than
// its context: it waits for a free connection, dials and tests under it. Any other pool may: a Dial and a TestOnBorrow take
// no context, redigo's DialContext leaves the TLS handshake out, and what a func of a user's does cannot be known. So the
// two funcs must be those of pool.go, which their code pointers tell: a method value of an unexported type cannot be
// made elsewhere.
func tuned(p *redis.Pool) *dialer {
	var d *dialer
	switch {
	case p.Dial != nil, p.TestOnBorrow != nil, p.DialContext == nil, p.TestOnBorrowContext == nil:
		return nil
	case !same(p.DialContext, d.dialContext), !same(p.TestOnBorrowContext, d.test):
		return nil
	}
	intro := &introduction{Context: context.Background()}
	_, _ = p.DialContext(intro)
	return intro.dialer
}

func sourceOf(kept *atomic.Pointer[source], p Pool) *source {
	if s := kept.Load(); s != nil {
		return s
	}
	if s := newSource(p); s != nil {
		kept.CompareAndSwap(nil, s)
	}
	return kept.Load()
}

// lend puts a connection, bound to the lock's key, into b. It returns when limit ends. Nothing has been sent when it fails.
// Every lend is followed by one GiveBack.
func (s *source) lend(ctx, limit context.Context, b *wire.Bound, verb, key string) error {
	var err error
	switch {
	case s.lendNow != nil:
		b.Conn, err = s.lendNow()
	case s.tuned != nil, s.bind != nil:
		b.Conn, err = s.get(limit)
	default:
		b.Conn, err = s.borrows.Fetch(limit, s.get)
	}
	return s.bindLent(ctx, limit, b, err, verb, key)
}

// lendOwn is lend of a connection that is not the pool's.
func (s *source) lendOwn(ctx, limit context.Context, b *wire.Bound, verb, key string) error {
	c, err := s.dial(limit)
	b.Conn = c
	return s.bindLent(ctx, limit, b, err, verb, key)
}

// bindLent binds the connection that b was lent, unless there was an error.
func (s *source) bindLent(ctx, limit context.Context, b *wire.Bound, err error, verb, key string) error {
	if err == nil {
		err = b.Conn.Err()
	}
	if err == nil && s.looksAt(b.Conn) {
		b.Conn, err = s.bindTo(limit, b.Conn, key)
	}
	if err == nil {
		return nil
	}
	b.GiveBack(nil)
	b.Conn = nil
	return fault.NoConnection(ctx, verb, key, err)
}

// forgets reports whether its connections do not keep the arguments that they are given.
func (s *source) forgets() bool { return s.lendNow != nil || s.tuned != nil }

// canDial reports whether dial makes a connection, and does not borrow one.
func (s *source) canDial() bool { return s.own != nil || s.behind != nil && s.behind.canDial() }

// dial makes a connection that is not the pool's, so that a clean-up neither waits for a connection nor gets a broken
// one. It is not bound yet. A pool that cannot dial lends one, which its user closes as if it were dialled.
func (s *source) dial(ctx context.Context) (redis.Conn, error) {
	var c redis.Conn
	var err error
	switch {
	case s.own != nil:
		c, err = s.dials.Fetch(ctx, s.own)
	case s.behind != nil:
		c, err = s.behind.dial(ctx)
	default:
		c, err = s.borrows.Fetch(ctx, s.get)
	}
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

// returned is told that a connection went back to the pool.
func (s *source) returned() {
	if s.lendNow == nil && s.tuned == nil {
		s.borrows.FetchIdle()
	}
}

// doubt is told that a connection that was borrowed at that time has broken, or was not answered. A pool of NewPool tests
// those that were idle meanwhile; of any other that says how many they are, they are closed, in the background: what it
// tests, and for how long, is not known.
func (s *source) doubt(borrowed time.Time) {
	switch {
	case s.tuned != nil:
		s.tuned.doubt(borrowed)
	case s.idle != nil && s.idle.IdleCount() > 0 && s.dropping.CompareAndSwap(false, true):
		s.borrows.Aside(func() {
			defer s.dropping.Store(false)
			s.dropIdle()
		})
	}
}

// dropIdle closes what is idle. More can come back meanwhile, which was in use.
func (s *source) dropIdle() {
	limit, cancel := context.WithTimeout(context.Background(), errands.EndLate)
	defer cancel()
	for n := s.idle.IdleCount(); n > 0 && s.idle.IdleCount() > 0; n-- {
		c, err := s.get(limit)
		if err != nil {
			return
		}
		wire.Cut(c)
		_ = c.Close()
	}
}

// close lets go of connections that nobody needs any more. calm is closed when no call of the pool's is left that goes on
// for nobody.
func (s *source) close() (calm []<-chan struct{}) {
	s.borrows.Close()
	s.dials.Close()
	calm = append(calm, s.borrows.Calm(), s.dials.Calm(), s.binding.Calm())
	if s.tuned != nil {
		calm = append(calm, s.tuned.dials.Calm())
	}
	return calm
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

// bindTo tells a connection of a cluster which node it must lead to, once; it may well dial for that. It returns no
// connection if limit has ended before, and closes it then as soon as it can.
func (s *source) bindTo(limit context.Context, c redis.Conn, key string) (redis.Conn, error) {
	if s.bind != nil {
		return c, s.bind(limit, c, key)
	}
	return s.binding.Fetch(limit, func(context.Context) (redis.Conn, error) {
		return c, c.(bindingConn).Bind(key)
	})
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
