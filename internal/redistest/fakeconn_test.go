package redistest_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

// It breaks once, and whoever waits returns then.
func TestFakeConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := any("x")
		c := redistest.NewFakeConn(func(string, []any) any { return answer })
		if reply, err := c.Do("GET"); reply != "x" || err != nil || c.Send("GET") != nil {
			t.Errorf("%v, %v, %v", reply, err, c.Err())
		}
		if reply, err := c.Receive(); reply != "x" || err != nil {
			t.Errorf("%v, %v", reply, err)
		}
		answer = redis.Error("NOPERM")
		if reply, err := c.Do("GET"); reply != nil || err != answer || c.Err() != nil {
			t.Errorf("%v, %v, %v", reply, err, c.Err())
		}
		time.AfterFunc(time.Second, func() { c.Break(io.EOF) })
		begin := time.Now()
		if _, err := c.Receive(); err != io.EOF || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		c.Close()
		if c.Err() != io.EOF || c.Flush() != io.EOF || c.Send("GET") != io.EOF {
			t.Errorf("%v: it broke twice", c.Err())
		}
		hung := redistest.NewFakeConn(func(string, []any) any { return redistest.Hang })
		var ne net.Error
		if _, err := hung.DoWithTimeout(time.Second, "GET"); !errors.As(err, &ne) || !ne.Timeout() || hung.Err() != err {
			t.Errorf("a reply that never comes: %v", err)
		}
	})
}
