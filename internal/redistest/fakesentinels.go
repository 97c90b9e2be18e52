package redistest

import (
	"fmt"
	"strconv"
	"sync"

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
			c.Push([]any{[]byte("message"), []byte("+switch-master"), []byte(s.host)})
		}
	}
}

// Dial returns a connection to one of them.
func (s *FakeSentinels) Dial() redis.Conn {
	c := &fakeSentinel{of: s}
	c.FakeConn = NewFakeConn(c.answer)
	return c
}

type fakeSentinel struct {
	*FakeConn
	of *FakeSentinels
}

func (c *fakeSentinel) answer(cmd string, args []any) any {
	s := c.of
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case cmd == "PING":
		return []any{[]byte("pong"), []byte("")}
	case cmd == "SUBSCRIBE":
		if s.listeners == nil {
			s.listeners = map[*fakeSentinel]bool{}
		}
		s.listeners[c] = true
		return []any{[]byte("subscribe")}
	case fmt.Sprint(args[0]) == "MASTER":
		return []any{[]byte("config-epoch"), []byte(strconv.Itoa(s.epoch))}
	}
	return []any{[]byte(s.host), []byte("6379")}
}

func (c *fakeSentinel) Close() error {
	c.of.mu.Lock()
	delete(c.of.listeners, c)
	c.of.mu.Unlock()
	return c.FakeConn.Close()
}
