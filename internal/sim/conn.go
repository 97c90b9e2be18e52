package sim

import (
	"net"
	"sync"
	"time"
)

// A conn is one end of a connection. Its waits are durably blocking, and its deadlines those of the bubble's clock.
type conn struct {
	in, out       *stream
	delay         func([]byte) time.Duration // of what this end writes
	extra         time.Duration              // beyond delay; changed by the writer only
	local, remote addr
	once          sync.Once
	closed        func() // called once, when this end is closed; nil: nothing
}

type addr string

func (addr) Network() string  { return "sim" }
func (a addr) String() string { return string(a) }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p, c.delay(p)+c.extra)
	return n, c.wrap("write", err)
}

// wrap gives an error the form that it has on a socket; io.EOF has none there.
func (c *conn) wrap(op string, err error) error {
	if err == nil || err.Error() == "EOF" {
		return err
	}
	return &net.OpError{Op: op, Net: "sim", Source: c.local, Addr: c.remote, Err: err}
}

// Close ends both directions. What was written still arrives.
func (c *conn) Close() error {
	err := c.wrap("close", net.ErrClosed)
	c.once.Do(func() {
		err = nil
		c.out.closeWrite(c.delay(nil))
		c.in.closeRead()
		if c.closed != nil {
			c.closed()
		}
	})
	return err
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.readBy = c.in.late(t) })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.change(func() { c.out.writeBy = c.out.late(t) })
	return nil
}
