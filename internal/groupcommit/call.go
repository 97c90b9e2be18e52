package groupcommit

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/wire"
)

// A Call is what one caller wants: a command, or a pipeline. Its stages, and who moves it on:
//
//	queued   waits for a lane                    whoever boards it (to leading or boarded), or who leaves
//	leading  is to write its batch, and is woken  its caller (to working, or to boarded)
//	working  its caller writes, or reads          its caller (to sent or done)
//	boarded  is in a batch, and not yet written   the writer (to sent), or who leaves
//	sent     its replies are due                   the reader (to done), or who leaves
//	done     replies and err are there
//	left     its caller has given up; replies are thrown away
type Call struct {
	// Replies are those to the requests, in their order; valid after Do has returned nil, until Recycle.
	Replies []any

	group    *Group
	requests []wire.Request
	args     []any // the room of the requests' arguments
	room     [2]any
	timeout  time.Duration // zero: none
	fickle   bool          // its caller may leave before that
	start    time.Time
	left     time.Duration // of timeout, when its caller was last woken
	err      error         // of who moved it to done or left, for its caller
	panicked any           // what a dial has panicked with, which is its caller's business
	batch    *batch        // since it boarded; protected by the Group's mu

	stage   atomic.Int32
	leaving atomic.Bool   // to be left as soon as possible
	wake    chan struct{} // capacity 1: it leads, is done, or is left
	timer   *time.Timer   // runs while it waits
	late    bool          // the timer has fired, and may still look at the call: not to be used again
}

const (
	stageUnused int32 = iota
	stageQueued
	stageLeading
	stageWorking
	stageBoarded
	stageSent
	stageDone
	stageLeft
)

// NewCall is a call without any request, that begins at start. Timeout 0 is none. A fickle caller may leave at any time.
func (g *Group) NewCall(start time.Time, timeout time.Duration, fickle bool) *Call {
	c, _ := g.calls.Get().(*Call)
	if c == nil {
		c = &Call{group: g, wake: make(chan struct{}, 1)}
	}
	c.start, c.timeout, c.fickle = start, min(max(timeout, 0), maxTimeout), fickle
	return c
}

// Add adds a request, and returns the call's own copy of its arguments. What redigo's writer would make text of, by a method
// that may be the user's and may panic, is made text here, on the caller's goroutine.
func (c *Call) Add(cmd string, args []any) []any {
	from := len(c.args)
	for _, arg := range args {
		c.args = append(c.args, copied(arg))
	}
	args = c.args[from:len(c.args):len(c.args)]
	c.requests = append(c.requests, wire.Request{Cmd: cmd, Args: args})
	return args
}

func copied(arg any) any {
	switch a := arg.(type) {
	case string, int, int64, float64, bool, nil:
		return arg
	case []byte:
		return bytes.Clone(a)
	case redis.Argument:
		switch text := a.RedisArg().(type) {
		case string, int, int64, float64, bool, nil:
			return text
		case []byte:
			return bytes.Clone(text)
		default:
			return fmt.Append(nil, text)
		}
	}
	return fmt.Append(nil, arg)
}

func (c *Call) begin() {
	c.left = c.timeout
	if n := len(c.requests); n <= len(c.room) {
		c.Replies = c.room[:n]
	} else {
		c.Replies = make([]any, n)
	}
}

// Recycle gives the call back, to be used again. Nobody may call Leave any more.
func (c *Call) Recycle() {
	if c.late || c.stage.Load() == stageLeft {
		return // the timer, or whoever reads for those who have left, may still look at it
	}
	clear(c.requests)
	clear(c.args)
	*c = Call{group: c.group, requests: c.requests[:0], args: c.args[:0], wake: c.wake, timer: c.timer}
	c.group.calls.Put(c)
}

// wait returns when the call has been woken.
func (c *Call) wait() {
	timed := c.timeout > 0 && !c.late
	switch {
	case !timed:
	case c.timer == nil:
		c.timer = time.AfterFunc(c.remains(), func() { c.Leave(errLate) })
	default:
		c.timer.Reset(c.remains())
	}
	<-c.wake
	if timed {
		c.late = !c.timer.Stop()
	}
	if c.timeout > 0 && c.stage.Load() == stageLeading {
		c.left = c.timeout - time.Since(c.start)
	}
}

// remains is what remains of a timeout that is not 0.
func (c *Call) remains() time.Duration {
	if c.stage.Load() == stageQueued {
		return c.timeout // it has just begun
	}
	return max(c.timeout-time.Since(c.start), 0)
}

// Leave gives the call up for its caller, from another goroutine. Do then returns at once; the reason is in its error if the
// outcome is not known.
func (c *Call) Leave(why error) {
	g := c.group
	c.leaving.Store(true) // before the stage is looked at; who changes the stage does it the other way round
	g.mu.Lock()
	var doomed *link
	switch stage := c.stage.Load(); stage {
	case stageQueued:
		if i := slices.Index(g.queue, c); i >= 0 {
			g.queue = slices.Delete(g.queue, i, i+1)
			defer c.wakeCaller(stageLeft, g.env.Busy)
		}
	case stageBoarded:
		lk := c.batch.link
		if c.stage.CompareAndSwap(stageBoarded, stageLeft) {
			if lk.waiting.Add(-1) == 0 && len(lk.sent) > 0 {
				doomed = lk
			}
			defer c.wakeCaller(stageLeft, g.env.Busy)
			break
		}
		fallthrough // it was just being written
	case stageSent:
		lk := c.batch.link
		if c.stage.CompareAndSwap(stageSent, stageLeft) {
			if lk.waiting.Add(-1) == 0 {
				doomed = lk
			}
			defer c.wakeCaller(stageLeft, why)
		}
	case stageWorking:
		if lk := c.batch.link; lk.waiting.Load() == 1 {
			doomed = lk
		}
	}
	if doomed != nil {
		doomed.doom(why)
		go doomed.cut() // closing TLS may take a while; its caller does not wait for that
	}
	g.mu.Unlock()
}

// wakeCaller ends the wait. Whoever has moved the call to stage calls it, once.
func (c *Call) wakeCaller(stage int32, err error) {
	c.err = err
	c.stage.Store(stage)
	c.wake <- struct{}{}
}

// finish tells the caller that the replies are there, or why they are not. From here on, the call may be another's.
func (c *Call) finish(err error) {
	lk := c.batch.link
	switch {
	case c.stage.CompareAndSwap(stageSent, stageDone), c.stage.CompareAndSwap(stageBoarded, stageDone):
		lk.waiting.Add(-1)
		c.wakeCaller(stageDone, err)
	case c.stage.CompareAndSwap(stageWorking, stageDone): // its own caller does this
		lk.waiting.Add(-1)
		c.err = err
	}
}

// outcome is what Do returns for a call that others have ended.
func (c *Call) outcome() error {
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.err
}
