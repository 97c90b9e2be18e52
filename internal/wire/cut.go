package wire

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Past is a context whose deadline has passed. No timer belongs to it, and its channel is closed already, so that it may be
// shared by all goroutines, also those of several testing/synctest bubbles.
var Past, _ = context.WithDeadline(context.Background(), time.Unix(1, 0))

// cutOnCancel cuts the connection's socket when ctx ends while a reply is awaited, which lets the reader return.
// The func that it returns must be called before the connection is used again.
//
// redigo's own way, DoContext, starts a goroutine and makes a channel for every command; and its goroutine still
// uses the connection after DoContext has returned, which is a data race with Close. ReceiveContext with a context
// that is past its deadline does one thing only: it closes the socket, under redigo's mutex. redigo does not promise
// that, so TestCutOnCancelDoesNotRace pins it. Measured by BenchmarkCancellable, one SET to a redis-server 7.0.15 by TCP
// over loopback: plain 25.6 µs and no allocation, this 30.1 µs and 5, DoContext 48.0 µs and 4. These are medians of 60
// interleaved rounds on a busy machine of 2 cores. Paired within a round, this took 0.69 × DoContext (quartiles 0.54 to
// 1.02) and 1.14 × plain (0.93 to 2.37: what it costs beside plain is less than the noise).
func cutOnCancel(ctx context.Context, c redis.Conn) (uncut func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	cc, ok := c.(redis.ConnWithContext)
	if !ok {
		return func() {}
	}
	return OnCancel(ctx, func() { cut(cc) })
}

// OnCancel has f called when ctx ends, which it has not yet, until the func that it returns is called. That waits for f where
// it has begun.
func OnCancel(ctx context.Context, f func()) (end func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	return func() {
		if !stop() {
			<-done // else it would race with Close
		}
	}
}

// Cut makes a connection of redigo's unusable at once: see cutOnCancel. Of others, what they make of that.
func Cut(c redis.Conn) {
	if cc, ok := c.(redis.ConnWithContext); ok {
		cut(cc)
	}
}

func cut(cc redis.ConnWithContext) { _, _ = cc.ReceiveContext(Past) }

// CutLive cuts a connection that is not dead yet, whose state nobody knows.
func CutLive(c redis.Conn) {
	if c.Err() == nil {
		Cut(c)
	}
}
