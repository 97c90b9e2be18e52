package redigolock

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/pools"
	"github.com/redigolock/redigolock/internal/sentinel"
)

// A Sentinel finds the master of a group of servers that Redis Sentinels watch, for a pool of any kind:
//
//	s := &redigolock.Sentinel{Addrs: []string{"s1:26379", "s2:26379", "s3:26379"}, Master: "mymaster"}
//	pool := &redis.Pool{DialContext: s.DialContext, TestOnBorrow: s.TestOnBorrow, MaxIdle: 16}
//
// [Open] makes both from a URL, with bounds and timeouts set. All Sentinels are asked at a time, and the one that knows the
// newest configuration wins; those that are down or hang do not matter while one answers. The server that they name must
// say by ROLE that it is a master, where the user may ask for that; as long as it is not, the dial tries again, for a second
// at most.
//
// When there is another master, connections to the old one are cut, those in use as well: their commands end with
// [ErrUnknown], and what the old master would still accept would be lost. That is noticed by a subscription to one of the
// Sentinels, by a write that is refused (READONLY), and by every dial. What a failover does to a lock is told in
// docs/sentinel.md.
//
// Fields must not be changed after first use, and a Sentinel must not be copied then.
type Sentinel struct {
	Addrs  []string // Of the Sentinels, host[:port]; the default port is 26379. Required.
	Master string   // What the Sentinels call the master. Required.

	// Dial connects to a server, and DialSentinel to a Sentinel; addr is host:port. They set the password and, with TLS, the
	// name that a certificate must have, and may map addresses (NAT). Nil: by TCP, without a password, with the timeouts of
	// NewPool. They should end with ctx; where they do not, nobody waits for them any longer.
	Dial, DialSentinel func(ctx context.Context, addr string) (redis.Conn, error)

	state sentinelState
}

type sentinelState struct {
	once  sync.Once // for what follows
	group *sentinel.Group
	err   error
}

// DialContext connects to the master. It returns when ctx ends, and not much later than a second after the Sentinels have
// named a server that is none. After Close it returns [ErrClosed].
func (s *Sentinel) DialContext(ctx context.Context) (redis.Conn, error) {
	if intro, ok := ctx.(*pools.Introduction); ok {
		intro.Group, _ = s.engine()
		return nil, pools.ErrIntroduced
	}
	group, err := s.engine()
	if err != nil {
		return nil, err
	}
	return group.Dial(ctx)
}

// TestOnBorrow returns an error for a connection that leads to a former master, or is broken. It does no I/O.
func (s *Sentinel) TestOnBorrow(c redis.Conn, lastUsed time.Time) error { return sentinel.Current(c) }

// Close ends the subscription to the Sentinels, which lives only while connections are out, and every dial. Connections
// stay as they are. It returns nil, also when called again.
func (s *Sentinel) Close() error {
	if group, err := s.engine(); err == nil {
		group.Close()
	}
	return nil
}

func (s *Sentinel) engine() (*sentinel.Group, error) {
	s.state.once.Do(func() { s.state.group, s.state.err = s.newGroup() })
	return s.state.group, s.state.err
}

func (s *Sentinel) newGroup() (*sentinel.Group, error) {
	env := sentinel.Env{Master: s.Master, Watch: true, Dial: s.Dial, DialSentinel: s.DialSentinel}
	for _, addr := range s.Addrs {
		if addr = pools.WithPort(addr, pools.SentinelPort); addr == "" || slices.Contains(env.Addrs, addr) {
			return nil, fault.Invalidf("sentinel", "Sentinel.Addrs has an address that is no host:port, or has it twice")
		}
		env.Addrs = append(env.Addrs, addr)
	}
	if len(env.Addrs) == 0 || s.Master == "" {
		return nil, fault.Invalidf("sentinel", "Sentinel.Addrs and Sentinel.Master must be set")
	}
	if env.Dial == nil {
		env.Dial = pools.Plain
	}
	if env.DialSentinel == nil {
		env.DialSentinel = pools.Plain
	}
	return sentinel.New(env), nil
}
