package groupcommit

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/wire"
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
	if !b.link.plain || fickle && !b.alone {
		b.handOver(c)
		return false
	}
	return !b.send() || b.written(c)
}

// leaveUnwritten leaves a batch that its leader has not begun to write to the others.
func (b *batch) leaveUnwritten(c *Call) {
	lk := b.link
	g := lk.group
	c.err = g.env.Busy
	c.stage.Store(stageDone)
	g.mu.Lock()
	lk.waiting.Add(-1)
	lk.writer = nil
	b.calls = slices.Delete(b.calls, 0, 1)
	var next *Call
	var unused *link
	rest := len(b.calls) > 0
	if !rest {
		lk.writing = nil
		b.recycle()
		next = lk.boardNext()
		unused = lk.unused()
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
	g := b.link.group
	g.mu.Lock()
	b.link.writer = nil
	g.mu.Unlock()
	c.stage.Store(stageBoarded)
	go b.work()
	if c.leaving.Load() {
		c.Leave(errLeft)
	}
}

// writeAndRead writes the batch, and reads replies if nobody else does, on a goroutine of its own.
func (b *batch) writeAndRead() {
	if b.send() && !b.written(nil) {
		b.link.readAll()
	}
}

// send writes the batch. If that fails, or the connection ends the goroutine, the link is broken, and the batch over.
func (b *batch) send() (sent bool) {
	err := errFinished
	defer func() {
		if err != nil {
			b.link.breaks(b, err)
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
	hooks.Yield()
	g := b.link.group
	g.mu.Lock()
	defer g.mu.Unlock()
	g.boardMore(b)
}

// write sends the batch without those that have left.
func (b *batch) write() error {
	b.gather()
	return wire.Guarded(b.flush)
}

func (b *batch) flush() error {
	conn := b.link.conn
	all, calls, seen := b.calls, b.calls[:0], 0
	defer func() { b.calls = append(calls, all[seen:]...) }() // also if the connection panics
	for _, c := range all {
		seen++
		if !c.stage.CompareAndSwap(stageBoarded, stageSent) && c.stage.Load() != stageWorking {
			continue
		}
		calls = append(calls, c)
		if err := c.send(conn, b.link.plain); err != nil {
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
		args := r.Args
		if !plain {
			args = slices.Clone(args)
			for i, arg := range args {
				if b, ok := arg.([]byte); ok {
					args[i] = bytes.Clone(b)
				}
			}
		}
		if err := conn.Send(r.Cmd, args...); err != nil {
			return err
		}
	}
	return nil
}

// written lets the next batch be written, and sees to it that somebody reads. c is the leader, if it has written, and nil
// if a goroutine has. The result: nothing is left to do for the caller; if not, the leader waits, and a goroutine reads.
func (b *batch) written(c *Call) (over bool) {
	lk := b.link
	g := lk.group
	g.mu.Lock()
	err := lk.broken
	if err == nil && len(b.calls) > 0 && lk.waiting.Load() == 0 {
		err = errDropped
	}
	if err != nil {
		g.mu.Unlock()
		lk.breaks(b, err)
		return true
	}
	lk.writing, lk.writer = nil, nil
	if len(b.calls) == 0 {
		b.recycle()
		next, unused := lk.boardNext(), lk.unused()
		g.mu.Unlock()
		wake(next)
		unused.close()
		return true
	}
	lk.sent = append(lk.sent, b)
	reads := !lk.reading
	own := c != nil && b.alone && len(g.queue) == 0
	if reads {
		lk.reading, lk.exclusive = true, own
		lk.setPatience()
	}
	if c != nil && !own {
		c.stage.Store(stageSent)
	}
	next := lk.boardNext()
	g.mu.Unlock()
	wake(next)
	switch {
	case own:
		c.readOwn()
		return true
	case c == nil:
		return !reads
	case reads:
		go lk.read()
	}
	if c.leaving.Load() {
		c.Leave(errLeft)
	}
	return false
}

// setPatience is called when a batch begins to be read: the reader waits as long as any of those in flight would.
func (lk *link) setPatience() {
	lk.patience = lk.sent[0].patience
	for _, b := range lk.sent[1:] {
		lk.patience = longer(lk.patience, b.patience)
	}
}

// readOwn reads the replies to a call that is alone on its link, on its caller's goroutine.
func (c *Call) readOwn() {
	lk, b := c.batch.link, c.batch
	read := lk.reads(func() error {
		for j := range c.Replies {
			var left time.Duration
			if c.timeout > 0 { // each reply has the whole timeout of redigo's, all together have this one
				left = max(c.timeout-time.Since(c.start), time.Microsecond)
			}
			if err := lk.receive(left, &c.Replies[j]); err != nil {
				return err
			}
		}
		return nil
	})
	if read {
		c.stage.Store(stageDone)
		lk.waiting.Add(-1)
		lk.passOn(b)
	}
}

// reads calls f to read. If that fails, or the connection ends the goroutine, the link is broken, and all on it over.
func (lk *link) reads(f func() error) (read bool) {
	err := errFinished
	defer func() {
		if err != nil {
			lk.breaks(nil, err)
		}
	}()
	err = wire.Guarded(f)
	return err == nil
}

// readAll reads the replies to batch after batch until none is due. Its own patience is the last resort, for callers that
// have none are not told from those that have left: each caller leaves at its own bound, and the last of them cuts the
// link. While it reads, up to three batches more may board, each at most twice as patient as those at the beginning, and
// each while some caller before it still waits. So the last bound is at most seven times the patience away.
func (lk *link) readAll() {
	for b := lk.first(); b != nil && lk.reads(func() error { return lk.readBatch(b) }); {
		b = lk.passOn(b)
	}
}

func (lk *link) first() *batch {
	lk.group.mu.Lock()
	defer lk.group.mu.Unlock()
	return lk.sent[0]
}

func (lk *link) readBatch(b *batch) error {
	patience := 8 * lk.patience
	for _, c := range b.calls {
		for j := range c.Replies {
			if err := lk.receive(patience, &c.Replies[j]); err != nil {
				return err
			}
		}
		b.answered++
		c.finish(nil)
	}
	return nil
}

// receive reads one reply; an error reply is one. With a patience of 0 the connection's own is what bounds it.
func (lk *link) receive(patience time.Duration, to *any) (err error) {
	var reply any
	ct, timed := lk.conn.(redis.ConnWithTimeout)
	if timed = timed && patience > 0 && !lk.untimed; timed {
		if reply, err = ct.ReceiveWithTimeout(patience); wire.NoTimeouts(err) {
			lk.untimed, timed = true, false // a pooled connection learns only when it is asked what the one inside cannot do
		}
	}
	if !timed {
		reply, err = lk.conn.Receive()
	}
	if re, ok := fault.Reply(err); ok {
		if !lk.heard && fault.AtDoor(re) {
			return fmt.Errorf("%w: %w", fault.NotSent, re)
		}
		reply, err = re, nil
		if fault.ReadOnly(re) || fault.AtDoor(re) { // the next call gets another connection, perhaps to a server that may write
			lk.group.mu.Lock()
			lk.retire()
			lk.group.connectMore()
			lk.group.mu.Unlock()
		}
	}
	lk.heard = lk.heard || err == nil
	*to = reply
	return err
}

// passOn is called when the batch has been read. It returns the next one to read; nil: none is due.
func (lk *link) passOn(b *batch) *batch {
	g := lk.group
	g.mu.Lock()
	lk.crowded = len(b.calls) > 1 || lk.inFlight() > 1 || len(g.queue) > 0
	lk.sent = slices.Delete(lk.sent, 0, 1)
	b.recycle()
	if len(g.lanes) > 1 {
		lk.progress = time.Now()
	}
	var after *batch
	lk.exclusive = false
	if lk.reading = len(lk.sent) > 0; lk.reading {
		after = lk.sent[0]
		lk.setPatience()
	}
	next, unused := lk.boardNext(), lk.unused()
	g.mu.Unlock()
	wake(next)
	unused.close()
	return after
}
