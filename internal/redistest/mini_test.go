package redistest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

// A key lives as long as its TTL, however long the server had been idle before: else a lock would expire under its holder.
func TestMiniTTLsRun(t *testing.T) {
	m := redistest.StartMini(t)
	c := get(t, m.Pool())
	time.Sleep(30 * time.Millisecond) // the idle time is the subject
	start := time.Now()
	if _, err := c.Do("SET", "k", "v", "PX", 50); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key expires", func() bool {
		held, err := redis.Bool(c.Do("EXISTS", "k"))
		return err == nil && !held
	})
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Errorf("a key of 50 ms lived only for %v", d)
	}
}

func TestMiniStop(t *testing.T) {
	m := redistest.StartMini(t)
	c, err := redis.DialURL(m.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := m.Pool()
	m.Stop()
	m.Stop()
	if _, err := c.Do("PING"); err == nil {
		t.Error("a stopped server answers")
	}
	if err := p.Get().Err(); err == nil || !strings.Contains(err.Error(), "closed pool") {
		t.Errorf("the pool is still open: %v", err)
	}
}
