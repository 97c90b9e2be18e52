package redistest

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// FakeSentinels are Sentinels in memory, all of one mind: they name a host, at port 6379, as the master. Its methods may be called from
// several goroutines.
type FakeSentinels struct {
	mu        sync.Mutex // protects what follows
	host      string
	epoch     int
	listeners map[*fakeSentinel]bool
}

// Name has them name another master, at another epoch.
func (s *FakeSentinels) Name(host string, epoch int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host, s.epoch = host, epoch
}

// Tell sends a +switch-master to those that listen, if hears returns true.
func (s *FakeSentinels) Tell(hears func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.listeners {
		if hears() {
			c.heard <- []any{[]byte("message"), []byte("+switch-master"), []byte(s.host)}
		}
	}
}

// Dial returns a connection to one of them.
func (s *FakeSentinels) Dial() redis.Conn {
	return &fakeSentinel{NewFakeConn(), s, make(chan any, 1000)}
}

type fakeSentinel struct {
	*FakeConn
	of    *FakeSentinels
	heard chan any
}

func (c *fakeSentinel) Do(cmd string, args ...any) (any, error) {
	s := c.of
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case cmd == "SUBSCRIBE":
		if s.listeners == nil {
			s.listeners = map[*fakeSentinel]bool{}
		}
		s.listeners[c] = true
		return []any{[]byte("subscribe")}, nil
	case fmt.Sprint(args[0]) == "MASTER":
		return []any{[]byte("config-epoch"), []byte(strconv.Itoa(s.epoch))}, nil
	}
	return []any{[]byte(s.host), []byte("6379")}, nil
}

func (c *fakeSentinel) DoWithTimeout(_ time.Duration, cmd string, args ...any) (any, error) {
	return c.Do(cmd, args...)
}

// Send is a PING of one that listens.
func (c *fakeSentinel) Send(string, ...any) error {
	c.heard <- []any{[]byte("pong"), []byte("")}
	return nil
}

func (c *fakeSentinel) Receive() (any, error) { return c.ReceiveWithTimeout(time.Hour) }

func (c *fakeSentinel) ReceiveWithTimeout(timeout time.Duration) (any, error) {
	return c.Await(timeout, c.heard)
}

func (c *fakeSentinel) Close() error {
	c.of.mu.Lock()
	delete(c.of.listeners, c)
	c.of.mu.Unlock()
	return c.FakeConn.Close()
}
