package redigolock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A Mux is a [Pool] whose connections share a few real ones, by group commit: while one command waits for its reply, those
// that come meanwhile gather, and then travel together, in one write and one read. So many goroutines cost the client and
// the server far fewer system calls. A lone goroutine finds a connection idle and uses it at once, without any hand-over.
//
//	locks := &redigolock.Locker{Pool: &redigolock.Mux{Pool: pool}}
//
// Its connections take Do, DoWithTimeout, DoContext, and Send with Flush and Receive, whose commands stay together. What
// belongs to one connection, or blocks it, is refused with [ErrUnsupported] before anything is sent: WATCH, MULTI,
// subscriptions, BLPOP and its like, XREAD BLOCK, WAIT, SELECT, AUTH, CLIENT REPLY. The pool is there for it; so [ReleaseTx]
// needs the pool, too.
//
// Those who travel together share some of their fate. A command that takes long (a slow script) holds up those that share
// its connection. When a connection breaks, the outcome is [ErrUnknown] for all that were in flight on it; the next
// command dials anew, without waiting for the pool. A caller that leaves, because its context or its timeout has ended,
// does the others no harm: its reply is read and thrown away. Only the one that does the work for others stays with
// them, for the longest timeout among them at most. Those whose timeouts differ by more than a factor of two do not travel
// together.
//
// A Mux has no goroutine of its own. It must not be copied after first use.
type Mux struct {
	Pool  Pool // Dials the real connections; a Pool that cannot dial lends them for good. Required.
	Conns int  // The most real connections, up to 1024. Zero: 1, which is best where few commands are slow.

	state muxState
}

const (
	maxLanes = 1024
	maxGroup = 256 // callers that travel together, so that the first need not wait long for the last
)

type muxState struct {
	calls sync.Pool // of *call, each with its channel and its timer, which may belong to a testing/synctest bubble: not global

	mu     sync.Mutex // protects what follows; taken for moments only, never while anything is sent
	lanes  []*lane
	queue  callQueue // empty while a lane is free
	source atomic.Pointer[source]
	closed bool
}

var (
	// errNotSent is in the error of a command that a Mux has not sent: its outcome is definite.
	errNotSent   = errors.New("mux: nothing was sent")
	errMuxBusy   = fmt.Errorf("%w: %w", errNotSent, errBusyPool)
	errMuxClosed = fmt.Errorf("%w: %w", ErrClosed, errNotSent)
	errLate      = fmt.Errorf("mux: no reply in time: %w", os.ErrDeadlineExceeded)
	errLeft      = errors.New("mux: its caller left before the reply came")
	errForsaken  = errors.New("mux: whoever worked the connection panicked")
)

// Get returns a connection, which one goroutine uses and closes in the end. That costs nothing: only its commands wait.
func (m *Mux) Get() redis.Conn {
	c, err := m.GetContext(context.Background())
	if err != nil {
		return &muxConn{err: err}
	}
	return c
}

// GetContext is Get. It returns an error if ctx has ended, or the Mux is closed or cannot be used.
func (m *Mux) GetContext(ctx context.Context) (redis.Conn, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	if m.state.closed {
		return nil, fmt.Errorf("%w: mux", ErrClosed)
	}
	return &muxConn{mux: m}, nil
}

// check finds what no command can be sent with.
func (m *Mux) check() error {
	src := m.source()
	switch {
	case src == nil:
		return invalid("mux", "Mux.Pool is nil")
	case m.Conns < 0 || m.Conns > maxLanes:
		return invalid("mux", "Mux.Conns is %d, allowed are 0 to %d", m.Conns, maxLanes)
	}
	if src.mux != nil {
		return src.mux.check()
	}
	return nil
}

// Close closes the real connections; those in use as soon as what travels on them is answered. Commands that wait for
// their turn, and all later ones, get [ErrClosed]. It returns nil, also when called again.
func (m *Mux) Close() error {
	s := &m.state
	s.mu.Lock()
	s.closed = true
	waiting := s.queue.calls
	s.queue.calls = nil
	for _, c := range waiting {
		c.stage.Store(stageDone)
	}
	var unused []*wire
	for _, ln := range s.lanes {
		unused = append(unused, ln.abandon())
	}
	s.mu.Unlock()
	for _, c := range waiting {
		c.end(stageDone, errMuxClosed)
	}
	for _, w := range unused {
		w.close()
	}
	return nil
}

// run carries the call out: as the leader of a batch if a lane is free, or if it is made one later, else in another's.
func (m *Mux) run(c *call) error {
	s := &m.state
	s.mu.Lock()
	if s.closed || c.leaving.Load() {
		defer s.mu.Unlock()
		if s.closed {
			return errMuxClosed
		}
		return errMuxBusy
	}
	ln := m.freeLane(c)
	if ln != nil {
		c.batch = append(c.batch, c)
		ln.start(c)
	} else {
		c.since = time.Now()
		c.stage.Store(stageQueued)
		s.queue.calls = append(s.queue.calls, c)
	}
	s.mu.Unlock()
	if ln != nil || c.wait() {
		c.lead()
	}
	return c.err
}

// freeLane finds a lane for a new batch: one that has nothing in flight, a new one, or one that may have more; nil: there is
// none. Nobody overtakes those in the queue. The caller holds state.mu.
func (m *Mux) freeLane(c *call) *lane {
	s := &m.state
	if len(s.queue.calls) > 0 {
		return nil
	}
	var free *lane
	for _, ln := range s.lanes {
		if ln.flying == 0 {
			return ln
		}
		if free == nil && ln.free() && ln.wire.takes(c) {
			free = ln
		}
	}
	if len(s.lanes) >= max(m.Conns, 1) {
		return free
	}
	ln := &lane{mux: m}
	s.lanes = append(s.lanes, ln)
	for _, other := range s.lanes {
		if other.progress.IsZero() {
			other.note() // the only lane so far kept none
		}
	}
	return ln
}

// unqueue takes the call out of the queue, or out of the batch that waits for a dial, if it is still there.
func (m *Mux) unqueue(c *call) bool {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	switch c.stage.Load() {
	case stageQueued:
		return m.state.queue.remove(c)
	case stageBoarded:
		return c.leader.putOff(c)
	}
	return false
}
