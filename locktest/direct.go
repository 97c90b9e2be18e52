package locktest

import (
	"errors"

	"github.com/redigolock/redigolock/internal/sim"
)

// A direct connection leads to the server past its network and all faults.
type direct struct {
	server  *sim.Server
	replies []any
}

func (c *direct) Do(cmd string, args ...any) (any, error) {
	if cmd == "" {
		return nil, nil
	}
	return c.server.Do(cmd, args...)
}

func (c *direct) Send(cmd string, args ...any) error {
	reply, err := c.server.Do(cmd, args...)
	if err != nil {
		reply = err
	}
	c.replies = append(c.replies, reply)
	return nil
}

func (c *direct) Receive() (any, error) {
	if len(c.replies) == 0 {
		return nil, errors.New("locktest: no reply is to come")
	}
	reply := c.replies[0]
	c.replies = c.replies[1:]
	if err, ok := reply.(error); ok {
		return nil, err
	}
	return reply, nil
}

func (c *direct) Flush() error { return nil }
func (c *direct) Close() error { return nil }
func (c *direct) Err() error   { return nil }
