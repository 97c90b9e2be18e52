package redigolock

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"
)

// connectAlone connects, and meanwhile lets its followers leave, for nothing of theirs is being written. What it takes is
// taken from the batch's time.
func (c *call) connectAlone(now time.Time) error {
	s := &c.mux.state
	var left []*call
	s.mu.Lock()
	for _, x := range slices.Clone(c.batch[1:]) {
		x.leader = c
		x.stage.Store(stageBoarded) // before leaving is looked at: see leave
		if x.leaving.Load() && c.putOff(x) {
			left = append(left, x)
		}
	}
	s.mu.Unlock()
	for _, x := range left {
		x.end(stageLeft, errMuxBusy)
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, x := range c.batch[1:] {
			x.stage.Store(stageWriting)
		}
	}()
	if err := c.connect(now); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.patience > 0 {
		if c.patience -= time.Since(now); c.patience <= 0 {
			return errBusyPool
		}
	}
	if len(c.batch) == 1 && c.leaving.Load() {
		return errBusyPool
	}
	return nil
}

// putOff takes a follower out of the batch if it is in there. The caller holds state.mu.
func (c *call) putOff(x *call) bool {
	i := slices.Index(c.batch, x)
	if i < 0 {
		return false
	}
	c.batch = slices.Delete(c.batch, i, i+1)
	if len(c.batch) == 1 && c.leaving.Load() && c.cancel != nil {
		c.cancel()
	}
	return true
}

// connect gives the batch a wire, if it has none that works.
func (c *call) connect(now time.Time) error {
	s, ln := &c.mux.state, c.lane
	timeout := c.patience
	if timeout == 0 {
		timeout = DefaultOpTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.mu.Lock()
	w := c.wire
	idle := w != nil && len(w.flights) == 1
	c.cancel = cancel
	if c.leaving.Load() && len(c.batch) == 1 {
		cancel()
	}
	s.mu.Unlock()
	if w != nil && w.conn.Err() == nil && !c.mux.source().tooOld(ln.made, now) && (!idle || ln.answers(ctx, w.conn, now)) {
		return nil
	}
	s.mu.Lock()
	if w != nil {
		w.dead = true
	}
	unused := ln.leaveWire(c)
	s.mu.Unlock()
	unused.close()
	conn, err := c.mux.source().dial(ctx)
	if err == nil {
		if c.mux.source().binds() {
			_ = conn.Close()
			err = invalid("mux", "Mux.Pool leads to a cluster: each key would need its own node's connection")
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return errBusyPool // the limit is not the context of those who wait
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ln.wire, ln.made = &wire{conn: conn, dead: s.closed}, now
	ln.board(c, ln.wire)
	return nil
}

// stale reports whether the connection must be looked at before it is used. Only the writer calls it.
func (ln *lane) stale(now time.Time) bool {
	src := ln.mux.source()
	return now.Sub(ln.used) >= poolTestAfter || src.tooOld(ln.made, now) || src.idleTooLong(ln.used, now)
}

// answers tests a connection that was idle for long, by the pool's own rules where it has any.
func (ln *lane) answers(ctx context.Context, conn redis.Conn, now time.Time) bool {
	src := ln.mux.source()
	return !src.idleTooLong(ln.used, now) && src.test(ctx, conn, ln.used) == nil
}
