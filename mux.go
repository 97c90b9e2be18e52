package redigolock

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/cluster"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/groupcommit"
	"github.com/redigolock/redigolock/internal/pools"
)

// A Mux is a [Pool] whose connections share a few real ones, by group commit: while one command waits for its reply, those
// that come meanwhile gather, and then travel together, in one write and one read. So many goroutines cost the client and
// the server far fewer system calls. A lone goroutine finds a connection idle and uses it at once, without any hand-over.
//
//	locks := &redigolock.Locker{Pool: &redigolock.Mux{Pool: pool}}
//
// Its connections take Do, DoWithTimeout, DoContext, and Send with Flush and Receive, whose commands stay together. What
// belongs to one connection, or blocks it, is refused with [ErrUnsupported] before anything is sent: WATCH, MULTI,
// subscriptions, BLPOP and its like, XREAD BLOCK, WAIT, SELECT, AUTH, CLIENT REPLY. Use the pool itself for these; so
// [ReleaseTx] needs the pool, too.
//
// Those who travel together share some of their fate. A command that takes long (a slow script) holds up those that share
// its connection. When a connection breaks, the outcome is [ErrUnknown] for all that were in flight on it; the next
// command dials again, without waiting for the pool. A connection that panics counts as broken, since who uses it then may
// do so for others. A caller leaves when its context or its timeout ends, wherever its
// command is by then, and does the others no harm: its reply is read and thrown away. When all have left that a connection
// owes replies to, it is closed. Calls whose timeouts differ by more than a factor of two do not always travel together.
//
// Over a [Cluster] all this holds for each node. What a node redirects with ASK goes over one of the Cluster's connections.
//
// A Mux starts goroutines only while there is work for them: one for each connection that is being dialled or tested, at most
// eight at a time; for each connection that several callers share, one that reads, and one that writes when those who would
// write may have to leave first; and one that closes a connection. A lone caller needs none once it is connected. A Mux must
// not be copied after first use.
type Mux struct {
	Pool Pool // Dials the real connections; a Pool that cannot dial lends them for good. Required.
	// Conns is the most real connections, over a Cluster to each node; up to 1024. Zero: 1, which is best where few commands are slow.
	Conns int

	state muxState
}

type muxState struct {
	source atomic.Pointer[pools.Source]
	once   sync.Once // for what follows
	group  groupcommit.Group
	lanes  *cluster.Lanes // over a Cluster, in place of group; else nil
}

const (
	maxLanes = 1024

	// pollsOfMux is how many waiters may ask at a time over each connection: who comes next waits for them.
	pollsOfMux = 64

	// muxDialTimeout is how long a dial goes on at least, also when all that waited for it have left: those that come next
	// need it as well. A pool of NewPool ends it earlier by itself.
	muxDialTimeout = 5 * time.Second
)

var (
	errMuxBusy   = fmt.Errorf("%w: %w", fault.NotSent, fault.BusyPool)
	errMuxClosed = fmt.Errorf("%w: %w", ErrClosed, fault.NotSent)
)

// Get returns a connection, which one goroutine uses and closes in the end. That costs nothing: only its commands wait.
func (m *Mux) Get() redis.Conn {
	c, err := m.GetContext(context.Background())
	if err != nil {
		return groupcommit.NoConn(err)
	}
	return c
}

// GetContext is Get. It returns an error if ctx has ended, or the Mux is closed or cannot be used.
func (m *Mux) GetContext(ctx context.Context) (redis.Conn, error) {
	if ctx.Err() != nil {
		return nil, fault.OfContext(ctx)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	group, lanes := m.engine()
	switch {
	case lanes != nil && !lanes.Closed():
		return lanes.Conn(), nil
	case lanes != nil || group.Closed():
		return nil, fmt.Errorf("%w: mux", ErrClosed)
	}
	return group.Conn(), nil
}

// source is what the pool behind the Mux can do; nil: it has none.
func (m *Mux) source() *pools.Source { return sourceOf(&m.state.source, m.Pool) }

// newSource is what the Mux can do for a Locker, or for another Mux: it lends at once, and its pool dials.
func (m *Mux) newSource() *pools.Source {
	s := pools.Empty()
	s.Get, s.Polls, s.Check = m.GetContext, pollsOfMux*max(m.Conns, 1), m.check
	s.NoWait, s.Shares = "a Mux, where WAIT would hold up all that share the connection", true
	if s.Behind = m.source(); s.Behind != nil {
		s.Own = s.Behind.Own
		if s.Nodes = s.Behind.Nodes; s.Nodes != nil {
			s.Bind = s.Behind.Bind
			return s
		}
	}
	s.LendNow = func() (redis.Conn, error) {
		if err := m.check(); err != nil {
			return nil, err
		}
		group, _ := m.engine()
		return group.PooledConn(), nil
	}
	return s
}

func (m *Mux) isNil() bool { return m == nil }

// engine is the group, with what it needs of the Mux's pool; over a Cluster it is the lanes.
func (m *Mux) engine() (*groupcommit.Group, *cluster.Lanes) {
	m.state.once.Do(func() {
		env := groupcommit.Env{
			Conns:     max(m.Conns, 1),
			TestAfter: pools.TestAfter,
			Bound:     muxDialTimeout,
			Dial:      m.dial,
			Test:      m.tests,
			Busy:      errMuxBusy,
			Closed:    errMuxClosed,
		}
		if src := m.source(); src != nil {
			env.MaxAge = src.Max.Lifetime
			if src.Max.Idle > 0 {
				env.TestAfter = min(env.TestAfter, src.Max.Idle)
			}
		}
		if src := m.source(); src != nil && src.Nodes != nil {
			m.state.lanes = src.Nodes.NewLanes(env)
		}
		m.state.group.Init(env)
	})
	return &m.state.group, m.state.lanes
}

func (m *Mux) dial(ctx context.Context) (redis.Conn, error) {
	src := m.source()
	conn, err := src.Dial(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fault.BusyPool // the limit is not the context of those who wait
	case err != nil:
		return nil, err
	case src.Binds():
		_ = conn.Close()
		return nil, fault.Invalidf("mux", "Mux.Pool leads to a cluster: each key needs its own node's connection, as a Mux over a Cluster has")
	}
	return conn, nil
}

// tests tests a connection that was idle for long, by the pool's own rules where it has any.
func (m *Mux) tests(ctx context.Context, conn redis.Conn, used time.Time) bool {
	src := m.source()
	return !src.IdleTooLong(used, time.Now()) && src.Test(ctx, conn, used) == nil
}

// check finds what no command can be sent with.
func (m *Mux) check() error {
	src := m.source()
	switch {
	case src == nil:
		return fault.Invalidf("mux", "Mux.Pool is nil")
	case m.Conns < 0 || m.Conns > maxLanes:
		return fault.Invalidf("mux", "Mux.Conns is %d, allowed are 0 to %d", m.Conns, maxLanes)
	}
	if src.Check != nil {
		return src.Check()
	}
	return nil
}

// Close closes the real connections; those in use as soon as what travels on them is answered. Commands that wait for
// their turn, and all later ones, get [ErrClosed]. It returns nil, also when called again.
func (m *Mux) Close() error {
	group, lanes := m.engine()
	group.Close()
	if lanes != nil {
		lanes.Close()
	}
	if src := m.source(); src != nil {
		src.Close()
	}
	return nil
}

// MuxStats are numbers of a [Mux] at a moment.
type MuxStats struct {
	Conns    int // Real connections that are open, also those that are to be closed as soon as nobody uses them.
	InFlight int // Callers whose commands are being written, or whose replies are due.
	Queued   int // Callers that wait for their turn, or for a dial; of their commands nothing was sent.
}

// Stats returns the numbers of now. It does no I/O.
func (m *Mux) Stats() MuxStats {
	group, lanes := m.engine()
	if lanes != nil {
		return MuxStats(lanes.Counts())
	}
	return MuxStats(group.Counts())
}
