package redigolock

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/gomodule/redigo/redis"
)

// lead writes the batch and reads its replies, on the goroutine of its first caller.
func (c *call) lead() {
	err := errForsaken
	defer func() { c.over(err) }() // also when a connection of the user's own panics
	if err = c.write(); err != nil {
		return
	}
	c.turn()
	err = errForsaken
	err = c.read()
}

// gather takes along who comes right now. The replies to one batch let its callers run, all of which come back soon: the
// first of them would else travel alone.
func (c *call) gather() {
	s := &c.mux.state
	if !c.crowded {
		return
	}
	runtime.Gosched()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(c.batch)
	c.batch = s.queue.take(c.batch, maxGroup-n, c.wire)
	for _, x := range c.batch[n:] {
		x.stage.Store(stageWriting)
		c.patience = longer(c.patience, x.timeout)
	}
}

// write sends the batch; it dials first where it has to.
func (c *call) write() error {
	if len(c.batch) == 1 && c.leaving.Load() {
		return errMuxBusy
	}
	c.gather()
	now := time.Now()
	if c.wire == nil || c.wire.conn.Err() != nil || c.lane.stale(now) {
		if err := c.connectAlone(now); err != nil {
			return fmt.Errorf("%w: %w", errNotSent, err)
		}
	}
	c.lane.used = now
	conn := c.wire.conn
	for _, x := range c.batch {
		for _, r := range x.reqs {
			if err := conn.Send(r.cmd, r.args...); err != nil {
				return err
			}
		}
	}
	err := conn.Flush()
	for _, x := range c.batch[1:] {
		x.written()
	}
	return err
}

// turn lets the next batch be written, and waits until those before it on the wire are read.
func (c *call) turn() {
	s, ln, w := &c.mux.state, c.lane, c.wire
	s.mu.Lock()
	c.writes, ln.writing = false, false
	wait := w.reading
	if wait {
		w.turns = append(w.turns, c)
	} else {
		w.reading = true
		w.setPatience()
	}
	next := ln.next()
	s.mu.Unlock()
	if next != nil {
		next.wake <- struct{}{}
	}
	if wait {
		<-c.wake
	}
	c.reads = true
}

// read reads the replies, and lets each caller go with its own.
func (c *call) read() error {
	w := c.wire
	patience, err := c.mayRead()
	if err != nil {
		return err
	}
	begin, left := time.Now(), patience
	for i, x := range c.batch {
		for j := range x.replies {
			if patience > 0 && i+j > 0 { // each reply has the whole timeout of redigo's, all together have this one
				left = max(patience-time.Since(begin), time.Microsecond)
			}
			reply, err := receive(w.conn, left)
			if re, ok := err.(redis.Error); ok {
				if atDoor(re) && !w.heard { // of this wire nothing is carried out
					return fmt.Errorf("%w: %w", errNotSent, re)
				}
				reply, err = re, nil
				if readOnly(re) || atDoor(re) {
					c.demoted()
				}
			}
			if err != nil {
				return err
			}
			w.heard = true
			x.replies[j] = reply
		}
		if c.ended++; i > 0 {
			x.finish(nil) // from here on, x may be another's
		}
	}
	return nil
}

// mayRead looks whether the replies may still be read, and returns how long they may take.
func (c *call) mayRead() (patience time.Duration, err error) {
	w := c.wire
	c.mux.state.mu.Lock()
	defer c.mux.state.mu.Unlock()
	if w.broken == nil && c.leaving.Load() && len(c.batch) == 1 && len(w.flights) == 1 {
		return 0, errLeft // it stayed for those before it only
	}
	return w.patience, w.broken
}

// demoted has the next batch dial anew, perhaps a server that may write.
func (c *call) demoted() {
	c.mux.state.mu.Lock()
	c.wire.dead = true
	c.mux.state.mu.Unlock()
}

// over ends the batch: those without replies get err. Others may read, and write.
func (c *call) over(err error) {
	broken := err
	if errors.Is(err, errNotSent) && !c.reads { // else the server turned the wire away
		broken = nil
	}
	defer c.settle(err, broken) // also when cutting panics
	if broken != nil && c.wire != nil && c.wire.conn.Err() == nil {
		c.wire.cut() // replies are due still, which nobody else must read
	}
}

func (c *call) settle(err, broken error) {
	s, ln := &c.mux.state, c.lane
	s.mu.Lock()
	var reader *call
	if w := c.wire; w != nil {
		if broken != nil && w.broken == nil {
			w.dead, w.broken = true, broken
		}
		if c.reads {
			reader = w.nextTurn()
		}
	}
	unused := ln.leaveWire(c)
	ln.writing = ln.writing && !c.writes
	ln.flying--
	ln.note()
	ln.crowded = len(c.batch) > 1 || ln.flying > 0
	next := ln.next()
	s.mu.Unlock()
	for _, x := range []*call{reader, next} {
		if x != nil {
			x.wake <- struct{}{}
		}
	}
	for _, x := range c.batch[max(c.ended, 1):] {
		x.finish(err)
	}
	if c.ended > 0 {
		err = nil
	}
	c.finish(err)
	unused.close()
}
