package redigolock

import (
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// maxFlying batches are in flight on a lane at a time: while the replies to one are read, others are written. With one
// only, two goroutines would take turns in waiting for the server, at twice the price; without a limit, little would
// travel together. Measured with 1, 2, 3, 4, 8 and 64 batches: 4 is best, or as good, from 1 to 1024 goroutines.
const maxFlying = 4

// slowLane is how long a lane may go without a reply before others take over what comes.
const slowLane = 10 * time.Millisecond

// A lane is the way of one real connection of a Mux. Its batches are written one at a time, and their replies read one
// at a time, in the same order: redigo allows for one writer and one reader. Each batch's leader does both for it.
// The Mux's state.mu protects all fields; the wire is changed by the writer only.
type lane struct {
	mux      *Mux
	writing  bool      // a leader writes, or dials
	flying   int       // batches that are written, or whose replies are due
	wire     *wire     // nil: none
	crowded  bool      // the last batch was not alone: it pays to wait for others
	progress time.Time // when a batch last began while none was in flight, or ended; not kept for a lone lane
	made     time.Time // the wire; the writer's
	used     time.Time // the same
}

// A wire is a real connection. It is closed when no batch is in flight on it, for some connections cannot be closed
// while another goroutine reads. The Mux's state.mu protects the fields after conn.
type wire struct {
	mu   sync.Mutex // one at a time cuts the connection, or closes it
	conn redis.Conn

	heard bool // a reply has come; of who reads

	flights  []*call       // the leaders of the batches in flight
	reading  bool          // a leader reads
	turns    []*call       // leaders that have written, and read next
	patience time.Duration // of the leader that reads: when it is over, the wire is cut; 0: never
	dead     bool          // nothing more may be written
	broken   error         // nothing more may be read: replies are due that nobody has read
}

// longer is the longer of two timeouts, where 0 is none.
func longer(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// takes reports whether a call may join those on the wire: not if the one that reads would lose patience, and cut the
// wire, long before the call itself. The caller holds state.mu. w may be nil.
func (w *wire) takes(c *call) bool {
	return w == nil || w.dead || !w.reading || w.patience == 0 || c.timeout > 0 && c.timeout <= 2*w.patience
}

// setPatience is called when a leader begins to read: it waits as long as any of those in flight. The caller holds state.mu.
func (w *wire) setPatience() {
	w.patience = w.flights[0].patience
	for _, c := range w.flights[1:] {
		w.patience = longer(w.patience, c.patience)
	}
}

// close is called when no batch is in flight any more. w may be nil.
func (w *wire) close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.conn.Close()
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cc, ok := w.conn.(redis.ConnWithContext); ok {
		cut(cc)
	}
}

// free reports whether a batch may be written. The caller holds state.mu.
func (ln *lane) free() bool {
	if ln.writing || ln.flying >= maxFlying {
		return false
	}
	return ln.flying == 0 || ln.progress.IsZero() || time.Since(ln.progress) < slowLane
}

// note keeps progress where another lane could take over. The caller holds state.mu.
func (ln *lane) note() {
	if len(ln.mux.state.lanes) > 1 {
		ln.progress = time.Now()
	}
}

// start makes c the leader of its batch on the lane. The caller holds state.mu.
func (ln *lane) start(c *call) {
	if ln.flying == 0 {
		ln.note()
	}
	ln.writing = true
	ln.flying++
	c.lane, c.writes, c.crowded = ln, true, ln.crowded
	if ln.wire != nil && !ln.wire.dead {
		ln.board(c, ln.wire)
	}
	c.patience = c.timeout
	for _, x := range c.batch {
		c.patience = longer(c.patience, x.timeout)
	}
	c.stage.Store(stageLeading)
}

// board puts the leader's batch on the wire. The caller holds state.mu.
func (ln *lane) board(c *call, w *wire) {
	c.wire = w
	w.flights = append(w.flights, c)
}

// leaveWire takes the leader's batch off its wire, and returns the wire if it is to be closed. The caller holds state.mu.
func (ln *lane) leaveWire(c *call) (unused *wire) {
	w := c.wire
	c.wire = nil
	if w == nil {
		return nil
	}
	i := slices.Index(w.flights, c)
	w.flights = slices.Delete(w.flights, i, i+1)
	if w.dead && len(w.flights) == 0 {
		if ln.wire == w {
			ln.wire = nil
		}
		return w
	}
	return nil
}

// abandon returns the wire if nothing is in flight on it, else it is closed after the last batch. The caller holds state.mu.
func (ln *lane) abandon() (unused *wire) {
	w := ln.wire
	ln.wire = nil
	if w == nil {
		return nil
	}
	w.dead = true
	if len(w.flights) > 0 {
		return nil
	}
	return w
}

// next makes those who have come meanwhile a batch, if one may be written, and the first of them its leader. The caller
// holds state.mu, and wakes the leader when it has given that back.
func (ln *lane) next() *call {
	q := &ln.mux.state.queue
	if len(q.calls) == 0 || !ln.free() || !ln.wire.takes(q.calls[0]) {
		return nil
	}
	c := q.calls[0]
	c.batch = q.take(c.batch, maxGroup, ln.wire)
	for _, x := range c.batch[1:] {
		x.stage.Store(stageWriting)
	}
	ln.start(c)
	return c
}

// giveUp breaks off what a leader does, if it does it for itself alone; else it returns with those it works for.
func (ln *lane) giveUp(c *call) {
	s := &ln.mux.state
	s.mu.Lock()
	w := c.wire
	alone := c.stage.Load() == stageLeading && len(c.batch) == 1 && (w == nil || len(w.flights) == 1)
	if alone && w != nil {
		w.dead = true // for whoever writes next
	}
	if alone && c.cancel != nil {
		c.cancel()
	}
	s.mu.Unlock()
	if alone && w != nil {
		w.cut()
	}
}

// nextTurn returns the leader that reads next, if one waits. The caller holds state.mu.
func (w *wire) nextTurn() (c *call) {
	w.reading = len(w.turns) > 0
	if w.reading {
		c = w.turns[0]
		w.turns = slices.Delete(w.turns, 0, 1)
		w.setPatience()
	}
	return c
}
