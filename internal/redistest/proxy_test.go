package redistest_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

// startProxied starts a server with a proxy before it, and returns a connection
// through the proxy.
func startProxied(t *testing.T) (*redistest.Server, *redistest.Proxy, redis.Conn) {
	t.Helper()
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	return s, p, get(t, p.Pool())
}

func TestProxyPassesAndRecords(t *testing.T) {
	_, p, c := startProxied(t)
	reply, err := c.Do("set", "k", "a\r\nb\x00", "PX", 60_000)
	want(t, "OK", reply, err)
	reply, err = c.Do("GET", "k")
	want(t, "a\r\nb\x00", reply, err)
	other, err := redis.DialURL(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	nested, err := other.Do("EVAL", "return {1, {'x', {}, false}, redis.status_reply('fine')}", 0)
	if err != nil || fmt.Sprint(nested) != "[1 [[120] [] <nil>] fine]" {
		t.Errorf("nested reply: %v, %v", nested, err)
	}
	if _, err := other.Do("NOSUCH"); !errors.As(err, new(redis.Error)) {
		t.Errorf("unknown command: %v; want the server's error", err)
	}
	got := p.Requests()
	seen := []redistest.Request{
		{Conn: 1, Name: "SET", Args: []string{"k", "a\r\nb\x00", "PX", "60000"}},
		{Conn: 1, Name: "GET", Args: []string{"k"}},
		{Conn: 2, Name: "EVAL", Args: []string{"return {1, {'x', {}, false}, redis.status_reply('fine')}", "0"}},
		{Conn: 2, Name: "NOSUCH", Args: []string{}},
	}
	if !reflect.DeepEqual(got, seen) {
		t.Errorf("recorded %v; want %v", got, seen)
	}
	got[0].Name = "changed"
	if p.Requests()[0].Name != "SET" {
		t.Error("Requests returned no copy")
	}
}

func TestProxyBeforeMini(t *testing.T) {
	m := redistest.StartMini(t)
	c := get(t, redistest.NewProxy(t, m.Addr()).Pool())
	reply, err := c.Do("SET", "k", "v")
	want(t, "OK", reply, err)
}

func TestProxyRuleSeesOneRequestAtATime(t *testing.T) {
	_, p, _ := startProxied(t)
	pool := p.Pool()
	n := 0 // no lock: -race finds out if the promise is broken
	p.Rule(func(redistest.Request) redistest.Action {
		n++
		return redistest.Pass()
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := pool.Get()
			defer c.Close()
			for range 50 {
				c.Do("PING")
			}
		})
	}
	wg.Wait()
	p.Rule(nil)
	if n != 400 || len(p.Requests()) != 400 {
		t.Errorf("the rule was asked %d times, and %d requests recorded; want 400", n, len(p.Requests()))
	}
}

func TestProxyCutAll(t *testing.T) {
	_, p, c := startProxied(t)
	d := get(t, p.Pool())
	for _, c := range []redis.Conn{c, d} {
		reply, err := c.Do("PING")
		want(t, "PONG", reply, err)
	}
	if p.Conns() != 2 {
		t.Errorf("%d connections; want 2", p.Conns())
	}
	p.CutAll()
	for _, c := range []redis.Conn{c, d} {
		if _, err := c.Do("PING"); err == nil {
			t.Error("a connection survived")
		}
	}
	eventually(t, "no connection is left", func() bool { return p.Conns() == 0 })
}

func TestProxyRefuse(t *testing.T) {
	_, p, c := startProxied(t)
	reply, err := c.Do("PING")
	want(t, "PONG", reply, err)
	p.Refuse(true)
	d, err := redis.DialURL(p.URL())
	if err == nil {
		_, err = d.Do("PING")
		d.Close()
	}
	if err == nil {
		t.Error("a new connection works")
	}
	reply, err = c.Do("PING") // the old one does
	want(t, "PONG", reply, err)
	p.Refuse(false)
	reply, err = get(t, p.Pool()).Do("PING")
	want(t, "PONG", reply, err)
}

func TestProxyCleanupWaits(t *testing.T) {
	s := redistest.Start(t)
	var f fakeTB
	var pool *redis.Pool
	asked, release := make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.run(func() {
			p := redistest.NewProxy(&f, s.Addr())
			p.Rule(func(redistest.Request) redistest.Action {
				close(asked)
				<-release // no rule should block; this one makes the wait visible
				return redistest.Pass()
			})
			pool = p.Pool()
			c := pool.Get()
			c.Send("PING")
			c.Flush()
			<-asked
		})
	}()
	select {
	case <-done:
		t.Error("the cleanup did not wait for the proxy's goroutines")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	<-done
	if err := pool.Get().Err(); err == nil || !strings.Contains(err.Error(), "closed pool") {
		t.Errorf("the pool is still open: %v", err)
	}
}
