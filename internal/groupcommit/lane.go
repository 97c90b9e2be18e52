package groupcommit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// A lane is the place of one connection. The Group's mu protects its fields.
type lane struct {
	group      *Group
	link       *link // nil: none
	connecting bool
	cancel     context.CancelFunc // of the dial under way
}

// connect has a goroutine test the old link, if there is one, and dial if that is not good. Callers who wait up to longest
// wait for it now.
func (ln *lane) connect(old *link, longest time.Duration) {
	g := ln.group
	ctx, cancel := context.WithTimeout(context.Background(), max(longest, g.env.Bound))
	ln.connecting, ln.cancel = true, cancel
	g.connecting++
	if old != nil {
		old.retire()
	}
	if longest == 0 {
		longest = g.env.Bound
	}
	go func() {
		defer cancel()
		ln.establish(ctx, old, longest/2)
	}()
}

// establish tests the old link for some time, so that time is left to dial.
func (ln *lane) establish(ctx context.Context, old *link, some time.Duration) {
	var lk *link
	err := errFinished
	var panicked any
	defer func() { // also when a func of the user's panics, or ends the goroutine
		if panicked = recover(); panicked != nil {
			lk, err = nil, fmt.Errorf("mux: the dial panicked: %v", panicked)
		}
		ln.connected(ctx, lk, old, err, panicked)
	}()
	if old != nil && old.good(ctx, some) {
		lk, err = old, nil
		return
	}
	old.discard()
	var conn redis.Conn
	if conn, err = ln.group.env.Dial(ctx); err == nil {
		lk = newLink(ln.group, conn, time.Now())
	}
}

// discard closes a link that nobody uses. lk may be nil, or closed.
func (lk *link) discard() {
	if lk == nil {
		return
	}
	lk.group.mu.Lock()
	unused := lk.unused()
	lk.group.mu.Unlock()
	unused.close()
}

// good tests a connection that was idle for long.
func (lk *link) good(ctx context.Context, some time.Duration) bool {
	g := lk.group
	g.mu.Lock()
	replace := lk.old(time.Now()) || lk.used.Before(g.brokeAt)
	used := lk.used
	g.mu.Unlock()
	if replace || lk.conn.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, some)
	defer cancel()
	stop := context.AfterFunc(ctx, lk.cut)
	defer stop()
	return g.env.Test(ctx, lk.conn, used)
}

// connected gives the lane its link, or those that wait the error.
func (ln *lane) connected(ctx context.Context, lk, old *link, err error, panicked any) {
	g := ln.group
	var leader *Call
	var failed []*Call
	var unused *link
	if lk != old {
		old.discard()
	}
	g.mu.Lock()
	if lk != nil && lk != old {
		g.open++
	}
	ln.connecting, ln.cancel = false, nil
	g.connecting--
	switch {
	case err == nil:
		lk.lane, ln.link = ln, lk
		lk.used = time.Now()
		if len(g.lanes) > 1 {
			lk.progress = lk.used
		}
		if g.closed {
			lk.retire()
			unused = lk.unused()
		}
		leader = lk.boardNext()
	case g.closed:
	default:
		failed = g.failed(ctx, err, panicked)
	}
	g.connectMore()
	g.mu.Unlock()
	wake(leader)
	wake(failed...)
	unused.close()
}

// failed is called when a dial has failed. Those that wait have the other lanes, or get the error; the first of them gets
// the panic. What it returns is to be woken.
func (g *Group) failed(ctx context.Context, err error, panicked any) (woken []*Call) {
	late := ctx.Err() != nil // the bound of the dial, not of those who wait: they may wait for another
	if panicked != nil && len(g.queue) > 0 {
		c := g.queue[0]
		g.queue = slices.Delete(g.queue, 0, 1)
		c.err, c.panicked = err, panicked
		c.stage.Store(stageDone)
		woken = append(woken, c)
	}
	if !late && g.connected() {
		now := time.Now()
		g.growAfter = now.Add(growthRest)
		for _, ln := range g.lanes {
			switch lk := ln.link; {
			case lk == nil:
			case lk.inFlight() > 0 || !lk.stale(now):
				woken = append(woken, lk.boardNext())
			case g.connecting < MaxConnecting:
				ln.connect(lk, 0)
			}
		}
		return woken
	}
	if !late && g.connecting > 0 { // the last to fail tells; to dial again meanwhile would be a loop
		g.growAfter = time.Now().Add(growthRest)
		return woken
	}
	rest := g.queue[:0]
	for _, c := range g.queue {
		if late && c.timeout > 0 {
			rest = append(rest, c)
			continue
		}
		c.err = g.env.Busy
		if !late {
			c.err = fmt.Errorf("%w: %w", fault.NotSent, err)
		}
		c.stage.Store(stageDone)
		woken = append(woken, c)
	}
	clear(g.queue[len(rest):])
	g.queue = rest
	return woken
}
