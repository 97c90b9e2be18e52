package redistest_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

// It breaks once, and whoever waits returns then.
func TestFakeConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replies := make(chan any, 1)
		replies <- "x"
		c := redistest.NewFakeConn()
		if reply, err := c.Await(time.Second, replies); reply != "x" || err != nil || c.Err() != nil {
			t.Errorf("%v, %v, %v", reply, err, c.Err())
		}
		time.AfterFunc(time.Second, func() { c.Break(io.EOF) })
		begin := time.Now()
		if _, err := c.Await(time.Hour, replies); err != io.EOF || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		c.Close()
		if c.Err() != io.EOF || c.Flush() != io.EOF {
			t.Errorf("%v: it broke twice", c.Err())
		}
		hung := redistest.NewFakeConn()
		var ne net.Error
		if _, err := hung.Await(time.Second, nil); !errors.As(err, &ne) || !ne.Timeout() || hung.Err() != err {
			t.Errorf("a reply that never comes: %v", err)
		}
	})
}
