package testbed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// An Untouchable connection fails the test when anything is done with it.
type Untouchable struct{ T *testing.T }

func (u Untouchable) touched(what string) error {
	u.T.Helper()
	u.T.Errorf("%s was called on the connection", what)
	return errors.New("touched")
}
func (u Untouchable) Close() error                         { return u.touched("Close") }
func (u Untouchable) Err() error                           { return u.touched("Err") }
func (u Untouchable) Do(cmd string, _ ...any) (any, error) { return nil, u.touched("Do " + cmd) }
func (u Untouchable) Send(cmd string, _ ...any) error      { return u.touched("Send " + cmd) }
func (u Untouchable) Flush() error                         { return u.touched("Flush") }
func (u Untouchable) Receive() (any, error)                { return nil, u.touched("Receive") }
func (u Untouchable) DoContext(context.Context, string, ...any) (any, error) {
	return nil, u.touched("DoContext")
}
func (u Untouchable) ReceiveContext(context.Context) (any, error) {
	return nil, u.touched("ReceiveContext")
}
func (u Untouchable) DoWithTimeout(time.Duration, string, ...any) (any, error) {
	return nil, u.touched("DoWithTimeout")
}
func (u Untouchable) ReceiveWithTimeout(time.Duration) (any, error) {
	return nil, u.touched("ReceiveWithTimeout")
}

// A ScriptedConn answers with the given replies in turn; a redis.Error among them is an error reply, another error
// breaks the connection. It has neither timeouts nor contexts, and reads the arguments as late as it may, at Flush.
type ScriptedConn struct {
	Replies  []any
	OnReply  func(n int) // called after the n-th reply, from 1; nil: nothing
	given    int
	held     []sentCommand
	Commands []string // the commands with their arguments, separated by spaces
	Broken   error
}

// A sentCommand is a command that was sent.
type sentCommand struct {
	name string
	args []any
}

func (c *ScriptedConn) Close() error { return nil }
func (c *ScriptedConn) Err() error   { return c.Broken }

func (c *ScriptedConn) Send(cmd string, args ...any) error {
	c.held = append(c.held, sentCommand{cmd, args})
	return nil
}

func (c *ScriptedConn) Flush() error {
	for _, h := range c.held {
		words := []string{h.name}
		for _, a := range h.args {
			words = append(words, argString(a))
		}
		c.Commands = append(c.Commands, strings.Join(words, " "))
	}
	c.held = nil
	return c.Broken
}

func (c *ScriptedConn) Receive() (any, error) {
	if c.Broken != nil {
		return nil, c.Broken
	}
	if c.given == len(c.Replies) {
		c.Broken = errors.New("the script of replies is over")
		return nil, c.Broken
	}
	reply := c.Replies[c.given]
	c.given++
	if c.OnReply != nil {
		c.OnReply(c.given)
	}
	switch reply := reply.(type) {
	case redis.Error:
		return nil, reply
	case error:
		c.Broken = reply
		return nil, reply
	}
	return reply, nil
}

func (c *ScriptedConn) Do(cmd string, args ...any) (any, error) {
	c.Send(cmd, args...)
	if err := c.Flush(); err != nil {
		return nil, err
	}
	return c.Receive()
}

// argString is what an argument looks like on the wire.
func argString(a any) string {
	if b, ok := a.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(a)
}

// A TurnedConn hands what comes for each command to Turn, and gives its caller what that returns.
type TurnedConn struct {
	redis.Conn
	Turn func(cmd string, args []any, reply any, err error) (any, error)

	mu   sync.Mutex // protects sent: a subscription is cut, and sent to, on other goroutines than it is received on
	sent []sentCommand
}

func (c *TurnedConn) Send(cmd string, args ...any) error {
	c.mu.Lock()
	c.sent = append(c.sent, sentCommand{cmd, args})
	c.mu.Unlock()
	return c.Conn.Send(cmd, args...)
}

func (c *TurnedConn) Do(cmd string, args ...any) (any, error) {
	reply, err := c.Conn.Do(cmd, args...)
	return c.Turn(cmd, args, reply, err)
}

func (c *TurnedConn) DoWithTimeout(d time.Duration, cmd string, args ...any) (any, error) {
	reply, err := redis.DoWithTimeout(c.Conn, d, cmd, args...)
	return c.Turn(cmd, args, reply, err)
}

func (c *TurnedConn) DoContext(ctx context.Context, cmd string, args ...any) (any, error) {
	reply, err := redis.DoContext(c.Conn, ctx, cmd, args...)
	return c.Turn(cmd, args, reply, err)
}

func (c *TurnedConn) Receive() (any, error) { return c.ReceiveWithTimeout(0) }

func (c *TurnedConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	reply, err := redis.ReceiveWithTimeout(c.Conn, d)
	return c.received(reply, err)
}

func (c *TurnedConn) ReceiveContext(ctx context.Context) (any, error) {
	reply, err := redis.ReceiveContext(c.Conn, ctx)
	return c.received(reply, err)
}

// received turns what came for the oldest of the commands that were sent, if there is one.
func (c *TurnedConn) received(reply any, err error) (any, error) {
	c.mu.Lock()
	if len(c.sent) == 0 {
		c.mu.Unlock()
		return reply, err
	}
	of := c.sent[0]
	c.sent = c.sent[1:]
	c.mu.Unlock()
	return c.Turn(of.name, of.args, reply, err)
}
