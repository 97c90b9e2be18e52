// Package pools finds out what a pool can do, lends its connections, and makes the pools of NewPool and Open. Its engine for what does
// not end with its context is package errands.
package pools

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
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/sentinel"
	"github.com/redigolock/redigolock/internal/wire"
)

// A Source is what a pool can do, found out once for each Locker and each Mux. This file is the only place that lends,
// dials, binds and gives back connections; nowhere else is the type of a pool looked at, or a connection's Bind.
//
// Whatever the pool does with a context, Lend and Dial return when theirs ends. What that costs, a goroutine and some
// allocations for each borrow, a Mux and a pool of NewPool are spared: see tuned.
type Source struct {
	Get     func(ctx context.Context) (redis.Conn, error)   // lends
	LendNow func() (redis.Conn, error)                      // of a pool that lends without any wait, to who gives back exactly once; else nil
	Own     func(ctx context.Context) (redis.Conn, error)   // dials; nil: the pool cannot
	Bind    func(context.Context, redis.Conn, string) error // binds to a key; it and Get end with their context; nil: a connection's Bind is looked for
	Check   func() error                                    // finds what no command can be sent with; nil: nothing
	Moved   func() <-chan struct{}                          // closed when it leads to another server from then on; nil: that is not known
	Behind  *Source                                         // the pool that it shares connections of; nil: none
	Max     struct{ Idle, Lifetime time.Duration }          // of a connection, as the pool has it; zero: none
	Nodes   *cluster.Cluster                                // where the keys are, and who dials their nodes; nil: of a pool that is none
	Shares  bool                                            // callers share its connections: what has broken is another by now
	NoWait  string                                          // why no WAIT can be sent; "": it can
	Place   string                                          // tells it from the others of a Quorum
	Polls   int                                             // how many waiters may ask at a time, so that a holder finds a connection; 0: any number

	tuned *dialer                                            // of a pool that honours its context, whatever it waits for; else nil
	ask   func(context.Context, redis.Conn, time.Time) error // tests a connection that was idle since; nil: as NewPool does
	idle  interface{ IdleCount() int }                       // how many the pool keeps; nil: it does not say

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
)

// MaxDials is how many connections of its own a Locker or a Mux dials at a time: after a break all its locks want one.
const MaxDials = 8

// Of looks at a pool.
func Of(p interface{ Get() redis.Conn }) *Source {
	s := Empty()
	if cp, ok := p.(contextPool); ok {
		s.Get = cp.GetContext
	} else {
		s.Get = func(context.Context) (redis.Conn, error) {
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
		s.Own = dp.DialContext
	}
	return s
}

// Empty is a source that can do nothing yet.
func Empty() *Source {
	return &Source{dials: errands.Group{Dial: true, Most: MaxDials}, binding: errands.Group{Keyed: true}}
}

func (s *Source) ofRedigo(p *redis.Pool) {
	if p.MaxActive > 0 {
		s.Polls = max(p.MaxActive/2, 1)
	}
	s.Max.Idle, s.Max.Lifetime = p.IdleTimeout, p.MaxConnLifetime
	s.tuned = tuned(p)
	if s.tuned != nil && s.tuned.sentinels != nil {
		s.Moved = s.tuned.sentinels.Changed
	}
	switch {
	case s.tuned != nil:
		s.Own = s.tuned.dial
	case p.DialContext != nil:
		s.Own = p.DialContext
	case p.Dial != nil:
		s.Own = func(context.Context) (redis.Conn, error) { return p.Dial() }
	}
	switch {
	case p.TestOnBorrowContext != nil:
		s.ask = p.TestOnBorrowContext
	case p.TestOnBorrow != nil:
		s.ask = func(_ context.Context, c redis.Conn, lastUsed time.Time) error { return p.TestOnBorrow(c, lastUsed) }
	}
}

// Another returns a channel that is closed when the pool leads to another server from then on; nil: that is not known.
func (s *Source) Another() <-chan struct{} {
	switch {
	case s.Behind != nil:
		return s.Behind.Another()
	case s.Moved != nil:
		return s.Moved()
	}
	return nil
}

// same reports whether two funcs have the same code.
func same(f, g any) bool { return reflect.ValueOf(f).Pointer() == reflect.ValueOf(g).Pointer() }

// An Introduction is the context by which the func DialContext of a pool is asked who it belongs to.
type Introduction struct {
	context.Context
	dialer *dialer         // of NewPool
	Group  *sentinel.Group // of a Sentinel; nil: its fields are wrong
}

// ErrIntroduced is what that func returns then.
var ErrIntroduced = errors.New("not dialled")

// Introduce asks a pool's DialContext, if it is that method of a type of this module.
func Introduce(p *redis.Pool, method any) *Introduction {
	if p.DialContext == nil || !same(p.DialContext, method) {
		return nil
	}
	intro := &Introduction{Context: context.Background()}
	_, _ = p.DialContext(intro)
	return intro
}

// tuned is the dialer of a pool as NewPool makes them, nil of any other. Such a pool never keeps a caller for longer than
// its context: it waits for a free connection, dials and tests under it. Any other pool may: a Dial and a TestOnBorrow take
// no context, redigo's DialContext leaves the TLS handshake out, and what a func of a user's does cannot be known. So the
// two funcs must be those of dialer.go, which their code pointers tell: a method value of an unexported type cannot be
// made elsewhere.
func tuned(p *redis.Pool) *dialer {
	var d *dialer
	switch {
	case p.Dial != nil, p.TestOnBorrow != nil, p.DialContext == nil, p.TestOnBorrowContext == nil:
		return nil
	case !same(p.DialContext, d.dialContext), !same(p.TestOnBorrowContext, d.test):
		return nil
	}
	return Introduce(p, d.dialContext).dialer
}

// Lend puts a connection, bound to the lock's key, into b. It returns when limit ends. Nothing has been sent when it fails.
// Every lend is followed by one GiveBack.
func (s *Source) Lend(ctx, limit context.Context, b *wire.Bound, verb, key string) error {
	s.turn(b, verb, key)
	var err error
	switch {
	case s.LendNow != nil:
		b.Conn, err = s.LendNow()
	case s.tuned != nil, s.Bind != nil:
		b.Conn, err = s.Get(limit)
	default:
		b.Conn, err = s.borrows.Fetch(limit, s.Get)
	}
	return s.bindLent(ctx, limit, b, err, verb, key)
}

// LendOwn is lend of a connection that is not the pool's.
func (s *Source) LendOwn(ctx, limit context.Context, b *wire.Bound, verb, key string) error {
	s.turn(b, verb, key)
	c, err := s.Dial(limit)
	b.Conn = c
	return s.bindLent(ctx, limit, b, err, verb, key)
}

// turn has what comes at one moment go on in an order of its own, in a simulation.
func (s *Source) turn(b *wire.Bound, verb, key string) {
	token, _ := b.Token.(string)
	hooks.Turn(verb, key, token, s.Place)
}

// bindLent binds the connection that b was lent, unless there was an error.
func (s *Source) bindLent(ctx, limit context.Context, b *wire.Bound, err error, verb, key string) error {
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

// Forgets reports whether its connections do not keep the arguments that they are given.
func (s *Source) Forgets() bool { return s.LendNow != nil || s.tuned != nil }

// CanDial reports whether dial makes a connection, and does not borrow one.
func (s *Source) CanDial() bool { return s.Own != nil || s.Behind != nil && s.Behind.CanDial() }

// Dial makes a connection that is not the pool's, so that a clean-up neither waits for a connection nor gets a broken
// one. It is not bound yet. A pool that cannot dial lends one, which its user closes as if it were dialled.
func (s *Source) Dial(ctx context.Context) (redis.Conn, error) {
	var c redis.Conn
	var err error
	switch {
	case s.Own != nil:
		c, err = s.dials.Fetch(ctx, s.Own)
	case s.Behind != nil:
		c, err = s.Behind.Dial(ctx)
	default:
		c, err = s.borrows.Fetch(ctx, s.Get)
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

// Returned is told that a connection went back to the pool.
func (s *Source) Returned() {
	if s.LendNow == nil && s.tuned == nil {
		s.borrows.FetchIdle()
	}
}

// Doubt is told that a connection that was borrowed at that time has broken, or was not answered. A pool of NewPool tests
// those that were idle meanwhile; of any other that says how many they are, they are closed, in the background: what it
// tests, and for how long, is not known.
func (s *Source) Doubt(borrowed time.Time) {
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
func (s *Source) dropIdle() {
	limit, cancel := context.WithTimeout(context.Background(), errands.EndLate)
	defer cancel()
	for n := s.idle.IdleCount(); n > 0 && s.idle.IdleCount() > 0; n-- {
		c, err := s.Get(limit)
		if err != nil {
			return
		}
		wire.Cut(c)
		_ = c.Close()
	}
}

// Close lets go of connections that nobody needs any more. calm is closed when no call of the pool's is left that goes on
// for nobody.
func (s *Source) Close() (calm []<-chan struct{}) {
	s.borrows.Close()
	s.dials.Close()
	calm = append(calm, s.borrows.Calm(), s.dials.Calm(), s.binding.Calm())
	if s.tuned != nil {
		calm = append(calm, s.tuned.dials.Calm())
	}
	return calm
}

// looksAt notes whether connections of this pool are to be bound.
func (s *Source) looksAt(c redis.Conn) (binds bool) {
	if _, binds = c.(bindingConn); binds {
		s.bindings.Store(true)
	}
	return binds
}

// Binds reports whether a connection leads to the node of one key only (Redis Cluster), as far as is known: it is as soon
// as there was one.
func (s *Source) Binds() bool { return s.Bind != nil || s.bindings.Load() }

// bindTo tells a connection of a cluster which node it must lead to, once; it may well dial for that. It returns no
// connection if limit has ended before, and closes it then as soon as it can.
func (s *Source) bindTo(limit context.Context, c redis.Conn, key string) (redis.Conn, error) {
	if s.Bind != nil {
		return c, s.Bind(limit, c, key)
	}
	return s.binding.Fetch(limit, func(context.Context) (redis.Conn, error) {
		return c, c.(bindingConn).Bind(key)
	})
}

// IdleTooLong reports whether the pool would have closed a connection.
func (s *Source) IdleTooLong(lastUsed, now time.Time) bool {
	return s.Max.Idle > 0 && now.Sub(lastUsed) > s.Max.Idle
}

// Test tests a connection that was idle, as the pool does where it does.
func (s *Source) Test(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	if s.ask != nil {
		return s.ask(ctx, c, lastUsed)
	}
	return pingIdle(ctx, c, lastUsed)
}

// Seeking is how many calls wait for a connection of the pool, and how many of these for their borrow to begin.
func (s *Source) Seeking() (all, notBegun int) { return s.borrows.Seeking() }
