// Package groupcommit carries the commands of many callers over a few redigo connections. It is the engine of redigolock.Mux.
//
// # The picture
//
// A caller's commands are a Call. A lane is the place of one connection; its connection is a link. Calls that find every
// lane busy wait in the one queue. When a lane comes free, all that wait board it together, as a batch: one batch is written
// with one flush, and its replies are read in one go. Calls that travel together cost the client and the server one system
// call where each would need its own; that is the whole gain, two to three times the throughput at 128 goroutines.
//
// # Why the first caller leads
//
// The first caller of a batch is its leader: it writes the batch on its own goroutine. A goroutine per connection that
// writes for everybody would have to be woken for each command, which costs a lone caller more than the system calls that
// it has to make anyway. Where a lane is idle its caller has nothing to hand over and nobody to wait for: it writes, reads
// its own reply, and has paid three short critical sections.
//
// A batch grows by itself. While one is on its way others gather in the queue, so the slower the server, the larger the
// batches. Only one trick is needed: the replies to one batch let all its callers run, who come back a moment later, one
// by one; so a leader yields the processor once before it writes, if the lane was crowded the last time (gather).
//
// # Why four batches
//
// Up to four batches are in flight on a link: while the replies to one are read, others are written, for redigo allows one
// writer beside one reader. With one batch, two callers would take turns in waiting for the server, at twice the price.
// Without a limit little would travel together. Measured with 1, 2, 3, 4, 8 and 64: four is best, or as good, from 1 to
// 1024 goroutines. 256 calls in a batch, so that its first need not wait for thousands.
//
// # Who reads
//
// Replies come in the order of the commands, so one reader at a time reads batch after batch. Who is it?
// A goroutine that blocks in a read cannot do anything else, and redigo cannot give up a read without giving up the
// connection. If a caller read for others, it would have to stay with them beyond its own bound, or take the connection from
// them. So a caller reads for itself only, and only if it finds the link idle and uncrowded. Until it has its reply, nobody
// boards; those who come are in the queue. They make the link crowded, and from then on a goroutine reads: it is
// started when a batch has been written and nobody reads, and ends when no reply is due any more. Everybody waits on a
// channel then, and can leave at any moment.
//
// What that costs: nothing where there is one caller, or many. Two to four that take turns pay for the goroutine about
// three parts in a hundred.
//
// # Who may leave, and when
//
// Everybody, at its own bound. What a Call carries is the Call's own (Add copies it), so nothing of a caller's is in use
// after it has left. A caller that leaves
//
//	the queue, or a batch before its commands are written   has sent nothing; they are never sent
//	later                                                   does not know the outcome; its reply is read and thrown away
//
// A leader whose context can be cancelled, or whose time is nearly over, does not write for others: it hands the batch to a
// goroutine (handOver), and waits as they do. The other leaders write, for that does not block unless the peer has read
// nothing for long: a write that hangs until its leader's timeout has ended is taken for a broken connection (checkWrite). The last
// of all to leave a link, to whom alone replies are due, cuts it: nobody would be told what they say.
//
// A connection that is not redigo's own, a tracer or what a pool lends, may know neither timeouts nor a cut. Goroutines do all
// that is done on it, so that its callers are let go in time, too.
//
// # What a break does
//
// The link leaves its lane at once, so that the next call finds a lane without a link, and has it connected. Calls that have all
// their replies keep them. All others in flight get the error, and do not know the outcome: the writer tells those of the batch that
// it is writing, the reader tells the rest (breaks). There is one exception: what breaks the link is a refusal at the door in place of
// its first reply, as of a server with too many clients. That server has read nothing, and the error says so (receive).
//
// Connections that have been idle since before the break are replaced before they are used again: what broke one has most likely
// broken them, and a connection whose peer has vanished looks alive. Calls in the queue have sent nothing, and go on over the next
// link.
//
// # Who dials
//
// Nobody waits for its own dial. Calls wait in the queue, where they may leave, and a goroutine connects the lane: one for
// each lane, eight for each Group, and never more than calls wait. So a thousand callers need one dial where one connection
// is allowed. A dial goes on when its callers have left, and brings the connection for those that come next. When it fails,
// and no other lane is connected, all that wait get its error. The same goroutine tests a connection that was idle for
// long.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// What a Group does at a time.
const (
	MaxFlying     = 4   // batches in flight on a link
	MaxGroup      = 256 // calls in a batch
	MaxConnecting = 8   // lanes that are connected, for a Group
)

const (
	slowLane   = 10 * time.Millisecond // a link without a reply for so long gets no more batches where there are others
	growthRest = time.Second           // after a dial that failed while other lanes were connected, or being so
	maxTimeout = 10_000 * time.Hour
	soon       = 5 * time.Millisecond // a caller with less time left does not work for others
)

var (
	errLate     = fmt.Errorf("mux: no reply in time: %w", os.ErrDeadlineExceeded)
	errLeft     = errors.New("mux: its caller left before the reply came")
	errDropped  = errors.New("mux: the connection was dropped, for all that waited for it had left")
	errFinished = errors.New("mux: whoever worked the connection ended its goroutine")
)

// An Env is what a Group needs of the outside.
type Env struct {
	Conns     int           // the most connections
	TestAfter time.Duration // a connection that was idle for so long is tested before it is used
	MaxAge    time.Duration // one that is older is replaced; 0: none is
	Bound     time.Duration // of a dial, at least

	Dial func(ctx context.Context) (redis.Conn, error)
	Test func(ctx context.Context, c redis.Conn, used time.Time) bool // a connection that was idle is good still

	Busy   error // for a call that left before anything of it was sent
	Closed error
}

// A Group carries calls over at most Env.Conns connections. Init must come first. It must not be copied.
type Group struct {
	env   Env
	calls sync.Pool // of calls, each with its channel and timer; of this Group's alone, for both may belong to a synctest bubble
	conns sync.Pool // of pooled connections

	mu         sync.Mutex // protects what follows, and the fields of lanes, links and batches; never held during I/O
	lanes      []*lane
	queue      []*Call  // the oldest first
	batches    []*batch // to be used again
	connecting int      // lanes
	open       int      // connections that are not closed
	brokeAt    time.Time
	growAfter  time.Time // until then no lane is connected where another is, or will be
	closed     bool
}

// Init must be called once, before anything else.
func (g *Group) Init(env Env) { g.env = env }

// Do carries the call out. It returns no later than the call's timeout, or than Leave has been called.
func (g *Group) Do(c *Call) error {
	c.begin()
	g.mu.Lock()
	if err := g.refuses(c); err != nil {
		g.mu.Unlock()
		return err
	}
	lk := g.idle(c)
	if lk != nil {
		lk.board(c, c.start)
		c.stage.Store(stageWorking)
		g.mu.Unlock()
		if c.lead() {
			return c.err
		}
		c.wait()
	} else {
		c.stage.Store(stageQueued)
		g.queue = append(g.queue, c)
		g.connectMore()
		g.mu.Unlock()
		c.wait()
	}
	for c.stage.Load() == stageLeading {
		if c.lead() {
			return c.err
		}
		c.wait()
	}
	return c.outcome()
}

func (g *Group) refuses(c *Call) error {
	switch {
	case g.closed:
		return g.env.Closed
	case c.leaving.Load():
		return g.env.Busy
	}
	return nil
}

// idle finds a link for a call of its own batch: one with nothing in flight, or, where no more lanes may be connected, one
// that may have more; nil: there is none. Nobody overtakes those in the queue. The caller holds mu.
func (g *Group) idle(c *Call) *link {
	if len(g.queue) > 0 {
		return nil
	}
	var busy *link
	grows := len(g.lanes) < g.env.Conns
	for _, ln := range g.lanes {
		lk := ln.link
		switch {
		case lk == nil:
			grows = grows || !ln.connecting
		case lk.inFlight() > 0:
			if busy == nil && lk.mayWrite(c.start) && lk.mayJoin(c) {
				busy = lk
			}
		case !lk.stale(c.start):
			return lk
		case g.connecting < MaxConnecting:
			ln.connect(lk, c.timeout)
		}
	}
	if grows && !c.start.Before(g.growAfter) {
		return nil
	}
	return busy
}

// connectMore has lanes connected for those in the queue. The caller holds mu.
func (g *Group) connectMore() {
	for g.connecting < min(MaxConnecting, len(g.queue)) && g.open+g.connecting < g.env.Conns+MaxConnecting && !g.closed {
		if !g.growAfter.IsZero() && (g.connecting > 0 || g.connected()) && time.Now().Before(g.growAfter) {
			return
		}
		ln := g.vacant()
		if ln == nil {
			return
		}
		longest := g.queue[0].timeout
		for _, c := range g.queue[1:] {
			longest = longer(longest, c.timeout)
		}
		ln.connect(nil, longest)
	}
}

// vacant is a lane to be connected; nil: all are, or will be.
func (g *Group) vacant() *lane {
	for _, ln := range g.lanes {
		if ln.link == nil && !ln.connecting {
			return ln
		}
	}
	if len(g.lanes) >= g.env.Conns {
		return nil
	}
	ln := &lane{group: g}
	g.lanes = append(g.lanes, ln)
	if len(g.lanes) == 2 && g.lanes[0].link != nil {
		g.lanes[0].link.progress = time.Now() // a lone lane kept none
	}
	return ln
}

func (g *Group) connected() bool {
	return slices.ContainsFunc(g.lanes, func(ln *lane) bool { return ln.link != nil })
}

// boardMore moves calls from the queue to the batch, as many as fit and may join those on the link. The caller holds mu.
func (g *Group) boardMore(b *batch) {
	n := min(MaxGroup-len(b.calls), len(g.queue))
	lk := b.link
	for i, c := range g.queue[:n] {
		if !lk.mayJoin(c) {
			n = i
			break
		}
		c.batch = b
		c.stage.Store(stageBoarded)
		b.patience = longer(b.patience, c.timeout)
	}
	b.calls = append(b.calls, g.queue[:n]...)
	lk.waiting.Add(int32(n))
	g.queue = slices.Delete(g.queue, 0, n)
}

// Close closes the connections, those in use as soon as what travels on them is answered. Calls in the queue and later ones
// get Env.Closed.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	waiting := g.queue
	g.queue = nil
	for _, c := range waiting {
		c.stage.Store(stageDone)
	}
	var unused []*link
	for _, ln := range g.lanes {
		if ln.connecting {
			ln.cancel()
		}
		if lk := ln.link; lk != nil {
			lk.retire()
			unused = append(unused, lk.unused())
		}
	}
	g.mu.Unlock()
	for _, c := range waiting {
		c.wakeCaller(stageDone, g.env.Closed)
	}
	for _, lk := range unused {
		lk.close()
	}
}

// Closed reports whether Close has been called.
func (g *Group) Closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// Counts are numbers of now: connections that are not closed, calls that are written or whose replies are due, calls that
// wait for their turn or for a dial.
type Counts struct{ Conns, InFlight, Queued int }

// Counts counts.
func (g *Group) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := Counts{Conns: g.open, Queued: len(g.queue)}
	for _, ln := range g.lanes {
		if ln.link != nil {
			n.InFlight += int(ln.link.waiting.Load())
		}
	}
	return n
}

// longer is the longer of two timeouts, where 0 is none.
func longer(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

func wake(calls ...*Call) {
	for _, c := range calls {
		if c != nil {
			c.wake <- struct{}{}
		}
	}
}
