package groupcommit

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// lead is what the first caller of a batch does. It returns false if others go on, and the caller waits.
func (c *Call) lead() (over bool) {
	b := c.batch
	c.stage.Store(stageWorking) // before leaving is looked at: see Leave
	fickle := c.fickle || c.timeout > 0 && c.left < soon
	if c.leaving.Load() || c.timeout > 0 && c.left <= 0 {
		b.leaveUnwritten(c)
		return true
	}
	if !b.wire.plain || fickle && !b.alone {
		b.handOver(c)
		return false
	}
	return !b.send() || b.written(c)
}

// leaveUnwritten leaves a batch that its leader has not begun to write to the others.
func (b *batch) leaveUnwritten(c *Call) {
	w := b.wire
	g := w.group
	c.err = g.env.Busy
	c.stage.Store(stageDone)
	g.mu.Lock()
	w.waiting.Add(-1)
	w.writer = nil
	b.calls = slices.Delete(b.calls, 0, 1)
	var next *Call
	var unused *wire
	rest := len(b.calls) > 0
	if !rest {
		w.writing = nil
		b.done()
		next = w.next()
		unused = w.unused()
	}
	g.mu.Unlock()
	if rest {
		go b.work()
	}
	wake(next)
	unused.close()
}

// handOver has a goroutine do the leader's work, so that the leader can leave.
func (b *batch) handOver(c *Call) {
	g := b.wire.group
	g.mu.Lock()
	b.wire.writer = nil
	g.mu.Unlock()
	c.stage.Store(stageBoarded)
	go b.work()
	if c.leaving.Load() {
		c.Leave(errLeft)
	}
}

// carry writes the batch, and reads replies if nobody else does, on a goroutine of its own.
func (b *batch) carry() {
	if b.send() && !b.written(nil) {
		b.wire.readAll()
	}
}

// send writes the batch. If that fails, or the connection ends the goroutine, the wire is broken, and the batch over.
func (b *batch) send() (sent bool) {
	err := errFinished
	defer func() {
		if err != nil {
			b.wire.breaks(b, err)
		}
	}()
	err = b.write()
	return err == nil
}

// gather takes along who comes right now. The replies to one batch let its callers run, all of which come back soon: the
// first of them would else travel alone.
func (b *batch) gather() {
	if !b.crowded {
		return
	}
	runtime.Gosched()
	g := b.wire.group
	g.mu.Lock()
	defer g.mu.Unlock()
	g.take(b)
}

// write sends the batch without those that have left.
func (b *batch) write() error {
	b.gather()
	return guarded(b.flush)
}

func (b *batch) flush() error {
	conn := b.wire.conn
	all, calls, seen := b.calls, b.calls[:0], 0
	defer func() { b.calls = append(calls, all[seen:]...) }() // also if the connection panics
	for _, c := range all {
		seen++
		if !c.stage.CompareAndSwap(stageBoarded, stageSent) && c.stage.Load() != stageWorking {
			continue
		}
		calls = append(calls, c)
		if err := c.send(conn, b.wire.plain); err != nil {
			return err
		}
	}
	if len(calls) == 0 {
		return nil
	}
	return conn.Flush()
}

// send buffers the call's requests. A connection that is not redigo's own may keep the arguments, to send them later or to
// show them: it gets copies, for those of the call are used again.
func (c *Call) send(conn redis.Conn, plain bool) error {
	for _, r := range c.requests {
		args := r.args
		if !plain {
			args = slices.Clone(args)
			for i, arg := range args {
				if b, ok := arg.([]byte); ok {
					args[i] = bytes.Clone(b)
				}
			}
		}
		if err := conn.Send(r.cmd, args...); err != nil {
			return err
		}
	}
	return nil
}

// written lets the next batch be written, and sees to it that somebody reads. c is the leader, if it has written, and nil
// if a goroutine has. The result: nothing is left to do for the caller; if not, the leader waits, and a goroutine reads.
func (b *batch) written(c *Call) (over bool) {
	w := b.wire
	g := w.group
	g.mu.Lock()
	err := w.broken
	if err == nil && len(b.calls) > 0 && w.waiting.Load() == 0 {
		err = errDropped
	}
	if err != nil {
		g.mu.Unlock()
		w.breaks(b, err)
		return true
	}
	w.writing, w.writer = nil, nil
	if len(b.calls) == 0 {
		b.done()
		next, unused := w.next(), w.unused()
		g.mu.Unlock()
		wake(next)
		unused.close()
		return true
	}
	w.sent = append(w.sent, b)
	reads := !w.reading
	own := c != nil && b.alone && len(g.queue) == 0
	if reads {
		w.reading, w.exclusive = true, own
		w.setPatience()
	}
	if c != nil && !own {
		c.stage.Store(stageSent)
	}
	next := w.next()
	g.mu.Unlock()
	wake(next)
	switch {
	case own:
		c.readOwn()
		return true
	case c == nil:
		return !reads
	case reads:
		go w.read()
	}
	if c.leaving.Load() {
		c.Leave(errLeft)
	}
	return false
}

// setPatience is called when a batch begins to be read: the reader waits as long as any of those in flight would.
func (w *wire) setPatience() {
	w.patience = w.sent[0].patience
	for _, b := range w.sent[1:] {
		w.patience = longer(w.patience, b.patience)
	}
}

// readOwn reads the replies to a call that is alone on its wire, on its caller's goroutine.
func (c *Call) readOwn() {
	w, b := c.batch.wire, c.batch
	read := w.reads(func() error {
		for j := range c.Replies {
			var left time.Duration
			if c.timeout > 0 { // each reply has the whole timeout of redigo's, all together have this one
				left = max(c.timeout-time.Since(c.start), time.Microsecond)
			}
			if err := w.receive(left, &c.Replies[j]); err != nil {
				return err
			}
		}
		return nil
	})
	if read {
		c.stage.Store(stageDone)
		w.waiting.Add(-1)
		w.passOn(b)
	}
}

// reads calls f to read. If that fails, or the connection ends the goroutine, the wire is broken, and all on it over.
func (w *wire) reads(f func() error) (read bool) {
	err := errFinished
	defer func() {
		if err != nil {
			w.breaks(nil, err)
		}
	}()
	err = guarded(f)
	return err == nil
}

// readAll reads the replies to batch after batch until none is due. Its own patience is the last resort, for callers that
// have none are not told from those that have left: each caller leaves at its own bound, and the last of them cuts the
// wire. While it reads, up to three batches more may board, each at most twice as patient as those at the beginning, and
// each while some caller before it still waits. So the last bound is at most seven times the patience away.
func (w *wire) readAll() {
	for b := w.first(); b != nil && w.reads(func() error { return w.readBatch(b) }); {
		b = w.passOn(b)
	}
}

func (w *wire) first() *batch {
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	return w.sent[0]
}

func (w *wire) readBatch(b *batch) error {
	patience := 8 * w.patience
	for _, c := range b.calls {
		for j := range c.Replies {
			if err := w.receive(patience, &c.Replies[j]); err != nil {
				return err
			}
		}
		b.answered++
		c.finish(nil)
	}
	return nil
}

// receive reads one reply; an error reply is one. With a patience of 0 the connection's own is what bounds it.
func (w *wire) receive(patience time.Duration, to *any) (err error) {
	var reply any
	ct, timed := w.conn.(redis.ConnWithTimeout)
	if timed = timed && patience > 0 && !w.untimed; timed {
		if reply, err = ct.ReceiveWithTimeout(patience); err == errNoTimeouts {
			w.untimed, timed = true, false // a pooled connection learns only when it is asked what the one inside cannot do
		}
	}
	if !timed {
		reply, err = w.conn.Receive()
	}
	if re, ok := fault.Reply(err); ok {
		if !w.heard && fault.AtDoor(re) {
			return fmt.Errorf("%w: %w", fault.NotSent, re)
		}
		reply, err = re, nil
		if fault.ReadOnly(re) || fault.AtDoor(re) { // the next call gets another connection, perhaps to a server that may write
			w.group.mu.Lock()
			w.retire()
			w.group.connectMore()
			w.group.mu.Unlock()
		}
	}
	w.heard = w.heard || err == nil
	*to = reply
	return err
}

// errNoTimeouts is redigo's unexported error for a connection without timeouts, given before anything is read.
var _, errNoTimeouts = redis.ReceiveWithTimeout(struct{ redis.Conn }{}, 0)

// passOn is called when the batch has been read. It returns the next one to read; nil: none is due.
func (w *wire) passOn(b *batch) *batch {
	g := w.group
	g.mu.Lock()
	w.crowded = len(b.calls) > 1 || w.inFlight() > 1 || len(g.queue) > 0
	w.sent = slices.Delete(w.sent, 0, 1)
	b.done()
	if len(g.lanes) > 1 {
		w.progress = time.Now()
	}
	var after *batch
	w.exclusive = false
	if w.reading = len(w.sent) > 0; w.reading {
		after = w.sent[0]
		w.setPatience()
	}
	next, unused := w.next(), w.unused()
	g.mu.Unlock()
	wake(next)
	unused.close()
	return after
}
