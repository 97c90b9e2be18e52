package redistest_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

// only makes a rule that does act to the commands of one name, and passes the
// others.
func only(name string, act redistest.Action) func(redistest.Request) redistest.Action {
	return func(r redistest.Request) redistest.Action {
		if r.Name == name {
			return act
		}
		return redistest.Pass()
	}
}

// holds says whether the server has value at key.
func holds(t *testing.T, s *redistest.Server, key, value string) bool {
	t.Helper()
	v, err := redis.String(s.Do("GET", key))
	if err != nil && !errors.Is(err, redis.ErrNil) {
		t.Fatal(err)
	}
	return v == value && err == nil
}

func TestProxyDropIsExecuted(t *testing.T) {
	s, p, c := startProxied(t)
	p.Rule(only("SET", redistest.Drop()))
	if _, err := c.Do("SET", "k", "v"); err == nil || isTimeout(err) {
		t.Errorf("SET: %v; want a broken connection", err)
	}
	if !holds(t, s, "k", "v") {
		t.Error("the server did not carry it out")
	}
	eventually(t, "the connection is gone", func() bool { return p.Conns() == 0 })
}

func TestProxyCutIsNotExecuted(t *testing.T) {
	s, p, c := startProxied(t)
	p.Rule(only("SET", redistest.Cut()))
	if _, err := c.Do("SET", "k", "v"); err == nil || isTimeout(err) {
		t.Errorf("SET: %v; want a broken connection", err)
	}
	eventually(t, "the connection is gone", func() bool { return p.Conns() == 0 })
	if holds(t, s, "k", "v") {
		t.Error("the server carried it out")
	}
	if got := p.Requests(); len(got) != 1 {
		t.Errorf("recorded %v; want the SET", got)
	}
}

func TestProxyCutDoesNotWaitForTheServer(t *testing.T) {
	s, p, c := startProxied(t)
	reply, err := c.Do("PING")
	want(t, "PONG", reply, err)
	p.Rule(only("SET", redistest.Cut()))
	s.Pause()
	if _, err := c.Do("SET", "k", "v"); err == nil || isTimeout(err) {
		t.Errorf("SET: %v; want a broken connection", err)
	}
}

func TestProxySwallowHangs(t *testing.T) {
	s, p, c := startProxied(t)
	p.Rule(only("SET", redistest.Swallow()))
	c.Send("SET", "k", "v")
	c.Send("SET", "l", "w")
	c.Send("PING")
	c.Flush()
	if reply, err := redis.ReceiveWithTimeout(c, 50*time.Millisecond); !isTimeout(err) {
		t.Errorf("SET: %v, %v; want a timeout", reply, err)
	}
	eventually(t, "the server has carried them out", func() bool { return holds(t, s, "k", "v") && holds(t, s, "l", "w") })
}

func TestProxyLateAfterTheClientHasGone(t *testing.T) {
	s, p, c := startProxied(t)
	release := make(chan struct{})
	p.Rule(only("SET", redistest.Late(release)))
	if _, err := redis.DoWithTimeout(c, 20*time.Millisecond, "SET", "k", "v"); !isTimeout(err) {
		t.Fatalf("SET: %v; want a timeout", err)
	}
	c.Close()
	if holds(t, s, "k", "v") {
		t.Fatal("forwarded before its time")
	}
	close(release)
	eventually(t, "the key appears", func() bool { return holds(t, s, "k", "v") })
	eventually(t, "the connection is gone", func() bool { return p.Conns() == 0 })
}

func TestProxyLateHoldsBackWhatFollows(t *testing.T) {
	s, p, c := startProxied(t)
	release := make(chan struct{})
	p.Rule(only("SET", redistest.Late(release)))
	c.Send("PING")
	c.Send("SET", "k", "v")
	c.Send("GET", "k")
	c.Flush()
	reply, err := c.Receive()
	want(t, "PONG", reply, err)
	calls, err := s.Calls()
	if err != nil || calls["get"] != 0 {
		t.Errorf("%d GETs executed, %v; want none yet", calls["get"], err)
	}
	close(release)
	for _, text := range []string{"OK", "v"} {
		reply, err := c.Receive()
		want(t, text, reply, err)
	}
}

func TestProxyDelay(t *testing.T) {
	_, p, c := startProxied(t)
	const d = 50 * time.Millisecond
	p.Rule(func(redistest.Request) redistest.Action { return redistest.Delay(d) })
	start := time.Now()
	for range 100 {
		c.Send("PING")
	}
	c.Flush()
	for range 100 {
		reply, err := c.Receive()
		want(t, "PONG", reply, err)
	}
	if took := time.Since(start); took < d || took > 50*d {
		t.Errorf("a pipeline of 100 took %v; want about one delay, %v", took, d)
	}
}

func TestProxyHold(t *testing.T) {
	s, p, c := startProxied(t)
	release := make(chan struct{})
	p.Rule(only("SET", redistest.Hold(release)))
	c.Send("SET", "k", "v")
	c.Send("PING")
	c.Flush()
	eventually(t, "the key appears", func() bool { return holds(t, s, "k", "v") })
	answered := make(chan error, 1)
	go func() {
		_, err := c.Receive()
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("answered before the release (%v)", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	reply, err := c.Receive()
	want(t, "PONG", reply, err)
}

func TestProxyReplyIsNotForwarded(t *testing.T) {
	s, p, c := startProxied(t)
	p.Rule(only("SET", redistest.Reply("-LOADING not yet\r\n")))
	_, err := c.Do("SET", "k", "v")
	if err == nil || err.Error() != "LOADING not yet" {
		t.Errorf("SET: %v; want the rule's error", err)
	}
	if holds(t, s, "k", "v") {
		t.Error("the server carried it out")
	}
}

func TestProxyTruncate(t *testing.T) {
	for _, n := range []int{-1, 0, 3, 1000} {
		s, p, _ := startProxied(t)
		p.Rule(only("SET", redistest.Truncate(n)))
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("SET k v\r\n")); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		want(t, "+OK\r\n"[:min(max(n, 0), 5)], string(got), err)
		if !holds(t, s, "k", "v") {
			t.Error("the server did not carry it out")
		}
	}
}
