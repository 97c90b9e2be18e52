package groupcommit

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A wire is a real connection. One writer and one reader work it at a time. Its life:
//
//	in a lane   batches board it
//	retired     it has left its lane: what is in flight goes on, nothing else is written (too old, demoted, closed, broken)
//	broken      a read or a write has failed, or a bound has passed: nothing more is read, and it is cut
//	closed      when nobody writes or reads any more: some connections cannot be closed while another goroutine reads
//
// The Group's mu protects the fields, but for those whose comment says otherwise.
type wire struct {
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
	wire     *wire
	calls    []*Call
	patience time.Duration // the longest timeout; 0: none
	alone    bool          // nothing was in flight when it began, and nobody is expected to join it
	crowded  bool          // others may come right now
	answered int           // so many calls have their replies
	work     func()        // carry, made once
}

var redigoConn = reflect.TypeOf(redis.NewConn(nil, 0, 0))

func newWire(g *Group, conn redis.Conn, now time.Time) *wire {
	w := &wire{group: g, conn: conn, plain: reflect.TypeOf(conn) == redigoConn, made: now, used: now}
	w.read = w.readAll
	return w
}

func (w *wire) inFlight() int {
	if w.writing != nil {
		return len(w.sent) + 1
	}
	return len(w.sent)
}

// stale reports whether the connection, with nothing in flight, must be tested or replaced before it is used.
func (w *wire) stale(now time.Time) bool {
	g := w.group
	return w.old(now) || now.Sub(w.used) >= g.env.TestAfter || w.used.Before(g.brokeAt) || !w.plain && guarded(w.conn.Err) != nil
}

// old reports whether the connection must be replaced, whatever it does.
func (w *wire) old(now time.Time) bool {
	return w.group.env.MaxAge > 0 && now.Sub(w.made) > w.group.env.MaxAge
}

// free reports whether a batch may be written.
func (w *wire) free(now time.Time) bool {
	if w.lane == nil || w.writing != nil || w.exclusive || len(w.sent) >= MaxFlying {
		return false
	}
	return len(w.sent) == 0 || w.progress.IsZero() || now.Sub(w.progress) < slowLane
}

// takes reports whether a call may join those on the wire: not if the reader might lose its patience long before the call
// does. See readAll for why a factor of two is safe.
func (w *wire) takes(c *Call) bool {
	return !w.reading || w.patience == 0 || c.timeout > 0 && c.timeout <= 2*w.patience
}

// board makes c the leader of a batch of its own, to which more may come.
func (w *wire) board(c *Call, now time.Time) *batch {
	g := w.group
	var b *batch
	if w.inFlight() == 0 && len(g.lanes) > 1 {
		w.progress = now
	}
	if n := len(g.batches); n > 0 {
		b, g.batches = g.batches[n-1], g.batches[:n-1]
	} else {
		b = &batch{}
		b.work = b.carry
	}
	b.wire, b.patience, b.crowded, b.answered = w, c.timeout, w.crowded, 0
	b.alone = len(w.sent) == 0 && !w.crowded
	b.calls = append(b.calls, c)
	w.waiting.Add(1)
	w.writing, w.used = b, now
	w.writer = c
	if c.timeout > 0 {
		if by := c.start.Add(c.timeout); w.watchAt.IsZero() || by.Before(w.watchAt) {
			w.watchUntil(by)
		}
	}
	c.batch = b
	return b
}

// next makes those who have come meanwhile a batch, if one may be written. The caller wakes its leader when it has given mu
// back.
func (w *wire) next() *Call {
	g := w.group
	if len(g.queue) == 0 || w.lane == nil || !w.takes(g.queue[0]) {
		return nil
	}
	now := time.Now()
	if !w.free(now) {
		return nil
	}
	if w.old(now) {
		w.retire()
		g.connectMore()
		return nil
	}
	c := g.queue[0]
	g.queue = slices.Delete(g.queue, 0, 1)
	b := w.board(c, now)
	c.stage.Store(stageLeading)
	g.take(b)
	b.alone = b.alone && len(b.calls) == 1
	return c
}

// done is called when the batch is over, and all of its calls may be others'.
func (b *batch) done() {
	g := b.wire.group
	clear(b.calls)
	*b = batch{calls: b.calls[:0], work: b.work}
	g.batches = append(g.batches, b)
}

// retire takes the wire from its lane: those in flight go on, and then it is closed.
func (w *wire) retire() {
	if w.lane != nil {
		w.lane.wire = nil
		w.lane = nil
	}
}

// unused returns the wire if it is to be closed now, by the caller, who must hold mu no longer.
func (w *wire) unused() *wire {
	if w.lane != nil || w.writing != nil || w.reading || w.closed {
		return nil
	}
	w.closed = true
	w.group.open--
	if w.watch != nil {
		w.watch.Stop()
	}
	return w
}

// doom retires a wire that is cut by the caller, who must hold mu no longer then.
func (w *wire) doom(why error) {
	if w.broken == nil {
		w.broken = why
	}
	if why == errLate {
		w.group.brokeAt = time.Now()
	}
	w.retire()
	w.group.connectMore()
}

// watchUntil has the watch look at t whether a leader that writes by itself has missed its bound. It looks once for each
// timeout, not for each write, so that it costs nothing.
func (w *wire) watchUntil(t time.Time) {
	w.watchAt = t
	if w.watch == nil {
		w.watch = time.AfterFunc(time.Until(t), w.look)
	} else {
		w.watch.Reset(time.Until(t))
	}
}

func (w *wire) look() {
	g := w.group
	g.mu.Lock()
	w.watchAt = time.Time{}
	hangs := false
	if c := w.writer; c != nil && c.timeout > 0 && !w.closed {
		now, by := time.Now(), c.start.Add(c.timeout)
		switch {
		case now.Before(by):
			w.watchUntil(by)
		case c.stage.Load() == stageLeading: // it has not begun, and will not do so by itself when it sees the time
			w.watchUntil(now.Add(soon))
		default:
			hangs = true
			w.doom(errLate)
		}
	}
	g.mu.Unlock()
	if hangs {
		w.cut()
	}
}

// close is called by whom unused has told to. w may be nil.
func (w *wire) close() {
	if w == nil {
		return
	}
	w.io.Lock()
	defer w.io.Unlock()
	_ = guarded(w.conn.Close)
}

// past is a context whose deadline has passed. No timer belongs to it, and its channel is closed already, so that it may be
// shared by all goroutines, also those of several testing/synctest bubbles.
var past, _ = context.WithDeadline(context.Background(), time.Unix(1, 0))

// cut makes the connection unusable at once, which ends a read or a write that hangs. ReceiveContext with a context whose
// deadline has passed does nothing else, under redigo's own mutex.
func (w *wire) cut() {
	w.io.Lock()
	defer w.io.Unlock()
	if cc, ok := w.conn.(redis.ConnWithContext); ok {
		_ = guarded(func() error {
			_, err := cc.ReceiveContext(past)
			return err
		})
	}
}

// guarded turns a panic of a connection into an error: a reply that announces an absurd length makes redigo panic, and
// whoever reads it reads for others.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("mux: the connection panicked: %v", p)
		}
	}()
	return f()
}

// breaks ends the wire, and all that was sent on it. Its reader calls it, or the writer of mine, which is not in sent yet.
func (w *wire) breaks(mine *batch, err error) error {
	g := w.group
	g.mu.Lock()
	if w.broken == nil {
		w.broken = err
		if err != errDropped {
			g.brokeAt = time.Now()
		}
	}
	err = w.broken
	w.retire()
	over := w.sent
	if mine != nil {
		over = nil // they are their reader's
		w.writing, w.writer = nil, nil
	} else {
		w.sent, w.reading = nil, false
	}
	g.mu.Unlock()
	if guarded(w.conn.Err) == nil {
		w.cut() // replies are due still, which nobody must take for those to others
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
		b.done()
	}
	g.connectMore()
	unused := w.unused()
	g.mu.Unlock()
	unused.close()
	return err
}
