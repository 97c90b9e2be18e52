package redigolock

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// A call is what one caller wants of a Mux: a command, or a pipeline. Its stages, and who moves it on:
//
//	queued   waits for a lane                    whoever passes a lane on (to leading or writing), or who leaves
//	boarded  waits for its leader's dial         the leader (to writing), or who leaves
//	leading  its caller works the lane           its caller, to done
//	writing  is being written with its batch     the leader, to sent or done
//	sent     its replies are due                 the leader, to done, or who leaves
//	done     replies and err are there
//	left     its caller has given up; the leader throws the replies away
//
// What the requests hold is the caller's, who uses it anew as soon as the call returns. So a caller that leaves while its
// requests are written is let go only when that is over.
type call struct {
	mux     *Mux
	reqs    []request
	replies []any // the call's own: they may be written after the caller has left
	room    [2]any
	timeout time.Duration // zero: none
	since   time.Time     // when it was queued
	err     error         // of who moved it to done or left, for its caller

	// Of a leader. The Mux's state.mu protects wire and cancel.
	lane    *lane
	batch   []*call            // itself and its followers
	ended   int                // so many of them have their replies
	writes  bool               // it has the lane's side of the writer
	reads   bool               // and that of the reader
	crowded bool               // others may come right now
	wire    *wire              // nil: to be dialled
	cancel  context.CancelFunc // of the dial under way

	patience time.Duration // the longest timeout of the batch; 0: none

	leader *call // of a follower that is boarded; protected by the Mux's state.mu

	stage   atomic.Int32  // from queued by who holds the Mux's state.mu only
	leaving atomic.Bool   // to be left as soon as it is sent
	wake    chan struct{} // capacity 1: it leads, is done, or is left
	timer   *time.Timer   // runs while it waits
	late    bool          // the timer has fired, and may still look at the call: not to be used again
}

const (
	stageUnused int32 = iota
	stageQueued
	stageBoarded
	stageLeading
	stageWriting
	stageSent
	stageDone
	stageLeft
)

func newCall(m *Mux, reqs []request, timeout time.Duration) *call {
	c, ok := m.state.calls.Get().(*call)
	if !ok {
		c = &call{wake: make(chan struct{}, 1)}
	}
	c.mux, c.timeout = m, timeout
	c.reqs = append(c.reqs, reqs...)
	if n := len(reqs); n <= len(c.room) {
		c.replies = c.room[:n]
	} else {
		c.replies = make([]any, n)
	}
	return c
}

// recycle is called when nobody else knows the call any more but, perhaps, a timer or a leader that was left.
func (c *call) recycle() {
	if c.late || c.stage.Load() == stageLeft {
		return
	}
	clear(c.reqs)
	clear(c.batch)
	m := c.mux
	*c = call{reqs: c.reqs[:0], batch: c.batch[:0], wake: c.wake, timer: c.timer}
	m.state.calls.Put(c)
}

// wait returns when the call is done or left, or, with true, when it leads.
func (c *call) wait() bool {
	if c.timeout > 0 {
		if c.timer == nil {
			c.timer = time.AfterFunc(c.timeout, func() { c.leave(errLate) })
		} else {
			c.timer.Reset(c.timeout)
		}
	}
	<-c.wake
	c.late = c.timeout > 0 && !c.timer.Stop()
	if c.stage.Load() != stageLeading {
		return false
	}
	if c.timeout == 0 {
		return true
	}
	if c.timeout -= time.Since(c.since); c.timeout <= 0 {
		c.timeout = time.Microsecond
		c.leaving.Store(true) // unless it leads others, too
	}
	return true
}

// leave gives the call up for its caller, from another goroutine.
func (c *call) leave(why error) {
	c.leaving.Store(true) // before the stage is looked at; who changes the stage does it the other way round
	if c.mux.unqueue(c) {
		c.end(stageLeft, errMuxBusy)
		return
	}
	if c.stage.CompareAndSwap(stageSent, stageLeft) {
		c.end(stageLeft, why)
		return
	}
	if c.stage.Load() == stageLeading {
		c.lane.giveUp(c)
	}
}

// end wakes the caller. Whoever has moved the call to stage calls it, once.
func (c *call) end(stage int32, err error) {
	c.err = err
	c.stage.Store(stage)
	c.wake <- struct{}{}
}

// written lets a caller go that wanted to leave meanwhile.
func (c *call) written() {
	c.stage.CompareAndSwap(stageWriting, stageSent)
	if c.leaving.Load() && c.stage.CompareAndSwap(stageSent, stageLeft) {
		c.end(stageLeft, errLate)
	}
}

// finish tells the caller that the replies are there, or why they are not.
func (c *call) finish(err error) {
	if c.stage.CompareAndSwap(stageWriting, stageDone) || c.stage.CompareAndSwap(stageSent, stageDone) {
		c.end(stageDone, err)
		return
	}
	if c.stage.CompareAndSwap(stageLeading, stageDone) { // the leader itself
		c.err = err
	}
}

// A callQueue holds the calls that wait for a lane, the oldest first.
type callQueue struct{ calls []*call }

func (q *callQueue) remove(c *call) bool {
	i := slices.Index(q.calls, c)
	if i >= 0 {
		q.calls = slices.Delete(q.calls, i, i+1)
	}
	return i >= 0
}

// take appends the first ones to batch, n at most, as far as the wire takes them.
func (q *callQueue) take(batch []*call, n int, w *wire) []*call {
	n = min(n, len(q.calls))
	if i := slices.IndexFunc(q.calls[:n], func(c *call) bool { return !w.takes(c) }); i >= 0 {
		n = i
	}
	batch = append(batch, q.calls[:n]...)
	q.calls = slices.Delete(q.calls, 0, n)
	return batch
}
