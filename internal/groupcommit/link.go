package groupcommit

import (
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/wire"
)

// A link is a real connection. One writer and one reader work it at a time. Its life:
//
//	in a lane   batches board it
//	retired     it has left its lane: what is in flight goes on, nothing else is written (too old, demoted, closed, broken)
//	broken      a read or a write has failed, or a bound has passed: nothing more is read, and it is cut
//	closed      when nobody writes or reads any more: some connections cannot be closed while another goroutine reads
//
// The Group's mu protects the fields, but for those whose comment says otherwise.
type link struct {
	group *Group
	conn  redis.Conn
	plain bool      // redigo's own kind: it does not keep arguments, and a deadline or a cut ends its reads and writes
	made  time.Time // does not change
	read  func()    // readAll, made once

	lane      *lane // nil: nothing may be written any more
	writing   *batch
	sent      []*batch // their replies are due, in this order
	reading   bool
	exclusive bool          // a caller reads for itself alone: nobody boards
	patience  time.Duration // as long as a reader waits for those in flight now; 0: as long as the connection does
	broken    error         // why nothing more can be read
	closed    bool
	used      time.Time    // when a batch last began
	progress  time.Time    // when a batch last began while none was in flight, or ended; not kept for a lone lane
	crowded   bool         // the last batch was not alone: it pays to wait for others
	heard     bool         // a reply has come; the reader's
	untimed   bool         // its reads know no timeout; the reader's
	waiting   atomic.Int32 // calls in flight whose callers have not left; raised under mu

	writer  *Call       // the leader that writes, by itself; nil: none, or a goroutine
	watch   *time.Timer // cuts a write that hangs
	watchAt time.Time   // when it fires; zero: it does not run

	io sync.Mutex // one at a time cuts the connection, or closes it
}

// A batch is what travels together. The Group's mu protects calls until it is written, but against its writer.
type batch struct {
	link     *link
	calls    []*Call
	patience time.Duration // the longest timeout; 0: none
	alone    bool          // nothing was in flight when it began, and nobody is expected to join it
	crowded  bool          // others may come right now
	answered int           // so many calls have their replies
	work     func()        // writeAndRead, made once
}

var redigoConn = reflect.TypeOf(redis.NewConn(nil, 0, 0))

func newLink(g *Group, conn redis.Conn, now time.Time) *link {
	lk := &link{group: g, conn: conn, plain: reflect.TypeOf(conn) == redigoConn, made: now, used: now}
	lk.read = lk.readAll
	return lk
}

func (lk *link) inFlight() int {
	if lk.writing != nil {
		return len(lk.sent) + 1
	}
	return len(lk.sent)
}

// stale reports whether the connection, with nothing in flight, must be tested or replaced before it is used.
func (lk *link) stale(now time.Time) bool {
	g := lk.group
	return lk.old(now) || now.Sub(lk.used) >= g.env.TestAfter || lk.used.Before(g.brokeAt) || !lk.plain && wire.Guarded(lk.conn.Err) != nil
}

// old reports whether the connection must be replaced, whatever it does.
func (lk *link) old(now time.Time) bool {
	return lk.group.env.MaxAge > 0 && now.Sub(lk.made) > lk.group.env.MaxAge
}

// mayWrite reports whether a batch may be written.
func (lk *link) mayWrite(now time.Time) bool {
	if lk.lane == nil || lk.writing != nil || lk.exclusive || len(lk.sent) >= MaxFlying {
		return false
	}
	return len(lk.sent) == 0 || lk.progress.IsZero() || now.Sub(lk.progress) < slowLane
}

// mayJoin reports whether a call may join those on the link: not if the reader might lose its patience long before the call
// does. See readAll for why a factor of two is safe.
func (lk *link) mayJoin(c *Call) bool {
	return !lk.reading || lk.patience == 0 || c.timeout > 0 && c.timeout <= 2*lk.patience
}

// board makes c the leader of a batch of its own, to which more may come.
func (lk *link) board(c *Call, now time.Time) *batch {
	g := lk.group
	var b *batch
	if lk.inFlight() == 0 && len(g.lanes) > 1 {
		lk.progress = now
	}
	if n := len(g.batches); n > 0 {
		b, g.batches = g.batches[n-1], g.batches[:n-1]
	} else {
		b = &batch{}
		b.work = b.writeAndRead
	}
	b.link, b.patience, b.crowded, b.answered = lk, c.timeout, lk.crowded, 0
	b.alone = len(lk.sent) == 0 && !lk.crowded
	b.calls = append(b.calls, c)
	lk.waiting.Add(1)
	lk.writing, lk.used = b, now
	lk.writer = c
	if c.timeout > 0 {
		if by := c.start.Add(c.timeout); lk.watchAt.IsZero() || by.Before(lk.watchAt) {
			lk.watchUntil(by)
		}
	}
	c.batch = b
	return b
}

// boardNext makes those who have come meanwhile a batch, if one may be written. The caller wakes its leader when it has given mu
// back.
func (lk *link) boardNext() *Call {
	g := lk.group
	if len(g.queue) == 0 || lk.lane == nil || !lk.mayJoin(g.queue[0]) {
		return nil
	}
	now := time.Now()
	if !lk.mayWrite(now) {
		return nil
	}
	if lk.old(now) {
		lk.retire()
		g.connectMore()
		return nil
	}
	c := g.queue[0]
	g.queue = slices.Delete(g.queue, 0, 1)
	b := lk.board(c, now)
	c.stage.Store(stageLeading)
	g.boardMore(b)
	b.alone = b.alone && len(b.calls) == 1
	return c
}

// recycle is called when the batch is over, and all of its calls may be others'.
func (b *batch) recycle() {
	g := b.link.group
	clear(b.calls)
	*b = batch{calls: b.calls[:0], work: b.work}
	g.batches = append(g.batches, b)
}

// retire takes the link from its lane: those in flight go on, and then it is closed.
func (lk *link) retire() {
	if lk.lane != nil {
		lk.lane.link = nil
		lk.lane = nil
	}
}

// unused returns the link if it is to be closed now, by the caller, who must hold mu no longer.
func (lk *link) unused() *link {
	if lk.lane != nil || lk.writing != nil || lk.reading || lk.closed {
		return nil
	}
	lk.closed = true
	lk.group.open--
	if lk.watch != nil {
		lk.watch.Stop()
	}
	return lk
}

// doom retires a link that is cut by the caller, who must hold mu no longer then.
func (lk *link) doom(why error) {
	if lk.broken == nil {
		lk.broken = why
	}
	if why == errLate {
		lk.group.brokeAt = time.Now()
	}
	lk.retire()
	lk.group.connectMore()
}

// watchUntil has the watch look at t whether a leader that writes by itself has missed its bound. It looks once for each
// timeout, not for each write, so that it costs nothing.
func (lk *link) watchUntil(t time.Time) {
	lk.watchAt = t
	if lk.watch == nil {
		lk.watch = time.AfterFunc(time.Until(t), lk.checkWrite)
	} else {
		lk.watch.Reset(time.Until(t))
	}
}

func (lk *link) checkWrite() {
	g := lk.group
	g.mu.Lock()
	lk.watchAt = time.Time{}
	hangs := false
	if c := lk.writer; c != nil && c.timeout > 0 && !lk.closed {
		now, by := time.Now(), c.start.Add(c.timeout)
		switch {
		case now.Before(by):
			lk.watchUntil(by)
		case c.stage.Load() == stageLeading: // it has not begun, and will not do so by itself when it sees the time
			lk.watchUntil(now.Add(soon))
		default:
			hangs = true
			lk.doom(errLate)
		}
	}
	g.mu.Unlock()
	if hangs {
		lk.cut()
	}
}

// close is called by whom unused has told to. lk may be nil.
func (lk *link) close() {
	if lk == nil {
		return
	}
	lk.io.Lock()
	defer lk.io.Unlock()
	_ = wire.Guarded(lk.conn.Close)
}

// cut makes the connection unusable at once, which ends a read or a write that hangs. ReceiveContext with a context whose
// deadline has passed does nothing else, under redigo's own mutex.
func (lk *link) cut() {
	lk.io.Lock()
	defer lk.io.Unlock()
	_ = wire.Guarded(func() error {
		wire.Cut(lk.conn)
		return nil
	})
}

// breaks ends the link, and all that was sent on it. Its reader calls it, or the writer of mine, which is not in sent yet.
func (lk *link) breaks(mine *batch, err error) error {
	g := lk.group
	g.mu.Lock()
	if lk.broken == nil {
		lk.broken = err
		if err != errDropped {
			g.brokeAt = time.Now()
		}
	}
	err = lk.broken
	lk.retire()
	over := lk.sent
	if mine != nil {
		over = nil // they are their reader's
		lk.writing, lk.writer = nil, nil
	} else {
		lk.sent, lk.reading = nil, false
	}
	g.mu.Unlock()
	if wire.Guarded(lk.conn.Err) == nil {
		lk.cut() // replies are due still, which nobody must take for those to others
	}
	if mine != nil {
		over = []*batch{mine}
	}
	for _, b := range over {
		for _, c := range b.calls[b.answered:] {
			c.finish(err)
		}
	}
	g.mu.Lock()
	for _, b := range over {
		b.recycle()
	}
	g.connectMore()
	unused := lk.unused()
	g.mu.Unlock()
	unused.close()
	return err
}
