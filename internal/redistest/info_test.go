package redistest_test

import (
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestServerCounts(t *testing.T) {
	s := redistest.Start(t)
	c := get(t, s.Pool())
	if _, err := c.Do("PING"); err != nil {
		t.Fatal(err)
	}
	before, err := s.Reads()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c.Send("SET", "k", "v")
		c.Send("CLIENT", "GETNAME")
		if _, err := c.Do("EVAL", "return redis.call('GET', KEYS[1])", 1, "k"); err != nil {
			t.Fatal(err)
		}
	}
	after, err := s.Reads()
	if err != nil || after-before != 10+2 {
		t.Errorf("%d reads, %v; want 10 for the pipelines and 2 for the asking", after-before, err)
	}
	calls, err := s.Calls()
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int64{"set": 10, "get": 10, "eval": 10, "client|getname": 10} {
		if calls[name] != n {
			t.Errorf("%d calls of %s; want %d", calls[name], name, n)
		}
	}
}

func TestServerVersion(t *testing.T) {
	s := redistest.Start(t)
	if v := s.Version(); !strings.HasPrefix(v, "redis ") && !strings.HasPrefix(v, "valkey ") {
		t.Errorf("version %q", v)
	}
	s.Kill()
	if v := s.Version(); v != "" {
		t.Errorf("version of a dead server: %q", v)
	}
}
