package sim

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// A Copy is what a server had at a time.
type Copy struct {
	at   time.Time
	keys map[string]item
}

// An item is what a key had, and for how long; zero: for ever.
type item struct {
	text string
	list []string
	hash map[string]string
	left time.Duration
}

// Copy returns what the server has.
func (s *Server) Copy() *Copy {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.tick()
	return s.copy()
}

// Get returns the string of a key, "" if it has none, and when it ends; zero: never.
func (c *Copy) Get(key string) (value string, ends time.Time) {
	it := c.keys[key]
	if it.left > 0 {
		ends = c.at.Add(it.left)
	}
	return it.text, ends
}

// List returns the list of a key.
func (c *Copy) List(key string) []string { return c.keys[key].list }

// copy is Copy after tick. The caller holds turn.
func (s *Server) copy() *Copy {
	c := &Copy{time.Now(), map[string]item{}}
	for _, key := range s.redis.Keys() {
		it, err := itemOf(s.redis, key)
		if err != nil {
			panic(err)
		}
		c.keys[key] = it
	}
	return c
}

// restore has the server have what was copied, as far as it has not ended since, and nothing else. The caller holds turn.
func (s *Server) restore(c *Copy) {
	s.redis.FlushAll()
	age := time.Since(c.at)
	for key, it := range c.keys {
		if it.left == 0 || it.left > age {
			it.left = max(it.left-age, 0)
			it.put(s.redis, key)
		}
	}
}

// hand gives a key to another server, with what it has left, if it is there. The caller holds turn of both, after tick.
func (s *Server) hand(key string, to *Server) error {
	if !s.redis.Exists(key) || s == to {
		return nil
	}
	it, err := itemOf(s.redis, key)
	if err == nil {
		to.redis.Del(key)
		it.put(to.redis, key)
		s.redis.Del(key)
	}
	return err
}

func itemOf(m *miniredis.Miniredis, key string) (it item, err error) {
	it.left = m.TTL(key)
	switch m.Type(key) {
	case "string":
		it.text, err = m.Get(key)
	case "list":
		it.list, err = m.List(key)
	case "hash":
		it.hash = map[string]string{}
		fields, _ := m.HKeys(key)
		for _, f := range fields {
			it.hash[f] = m.HGet(key, f)
		}
	default:
		err = fmt.Errorf("sim: %s is a %s, which cannot be copied", key, m.Type(key))
	}
	return it, err
}

// put has a key that is not there have the item.
func (it item) put(m *miniredis.Miniredis, key string) {
	switch {
	case it.list != nil:
		_, _ = m.Push(key, it.list...)
	case it.hash != nil:
		for f, v := range it.hash {
			m.HSet(key, f, v)
		}
	default:
		_ = m.Set(key, it.text)
	}
	if it.left > 0 {
		m.SetTTL(key, it.left)
	}
}

// tick has what is left of each key be as of now. The caller holds turn.
func (s *Server) tick() {
	s.setTime()
	s.redis.Server().Dispatch(server.NewPeer(bufio.NewWriter(io.Discard)), []string{"PING"})
}
