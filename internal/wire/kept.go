package wire

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A Kept is a connection that is not the pool's, and is kept from one use to the next. One goroutine at a time uses it.
type Kept struct {
	Dial  func(context.Context) (redis.Conn, error)
	Count *atomic.Int64 // of connections that there are

	conn redis.Conn
}

// Conn is the connection that Ready has seen to.
func (k *Kept) Conn() redis.Conn { return k.conn }

// Ready dials if there is no connection that works, by then.
func (k *Kept) Ready(ctx context.Context, by time.Time) error {
	if k.conn != nil && k.conn.Err() == nil {
		return nil
	}
	k.HangUp()
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	c, err := k.Dial(ctx)
	if err != nil {
		return err
	}
	k.conn = c
	k.Count.Add(1)
	return nil
}

// HangUp closes the connection, if there is one.
func (k *Kept) HangUp() {
	if k.conn != nil {
		_ = k.conn.Close()
		k.conn = nil
		k.Count.Add(-1)
	}
}
