package redistest_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

// Two requests are sent at once, and something is done to the second only.
func TestProxyPairsPipelines(t *testing.T) {
	for name, c := range map[string]struct {
		act redistest.Action
		get string // the reply to GET; "" if it must fail
	}{
		"pass":     {redistest.Pass(), "v"},
		"reply":    {redistest.Reply("$1\r\nx\r\n"), "x"},
		"delay":    {redistest.Delay(time.Millisecond), "v"},
		"drop":     {redistest.Drop(), ""},
		"cut":      {redistest.Cut(), ""},
		"truncate": {redistest.Truncate(5), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, p, conn := startProxied(t)
			p.Rule(only("GET", c.act))
			conn.Send("SET", "k", "v")
			conn.Send("GET", "k")
			conn.Flush()
			reply, err := conn.Receive()
			want(t, "OK", reply, err)
			reply, err = conn.Receive()
			if c.get != "" {
				want(t, c.get, reply, err)
			} else if err == nil || isTimeout(err) {
				t.Errorf("GET: %v, %v; want a broken connection", reply, err)
			}
		})
	}
}

func TestProxyPairsWhateverIsBetween(t *testing.T) {
	_, p, c := startProxied(t)
	p.Rule(only("PING", redistest.Reply("+mine\r\n")))
	for i := range 100 {
		c.Send("SET", "k", i)
		c.Send("PING")
		c.Send("GET", "k")
		c.Send("PING")
	}
	c.Flush()
	for i := range 100 {
		for _, text := range []string{"OK", "mine", fmt.Sprint(i), "mine"} {
			reply, err := c.Receive()
			want(t, text, reply, err)
		}
	}
}

func TestProxySubscription(t *testing.T) {
	s, p, c := startProxied(t)
	p.Rule(only("PING", redistest.Reply("*2\r\n$4\r\npong\r\n$4\r\nmine\r\n")))
	ps := redis.PubSubConn{Conn: c}
	if err := ps.Subscribe("a", "b"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if v, ok := ps.Receive().(redis.Subscription); !ok {
			t.Fatalf("got %v; want a subscription", v)
		}
	}
	for range 3 {
		if n, err := redis.Int(s.Do("PUBLISH", "b", "hello")); err != nil || n != 1 {
			t.Fatalf("%d receivers, %v", n, err)
		}
		if m, ok := ps.Receive().(redis.Message); !ok || string(m.Data) != "hello" {
			t.Fatalf("got %v; want the message", m)
		}
	}
	ps.Ping("")
	if m, ok := ps.Receive().(redis.Pong); !ok || m.Data != "mine" {
		t.Errorf("got %v; want the rule's pong", m)
	}
	ps.Unsubscribe()
	for range 2 {
		if v, ok := ps.Receive().(redis.Subscription); !ok || v.Kind != "unsubscribe" {
			t.Fatalf("got %v; want an unsubscription", v)
		}
	}
}

// One request has as many answers as channels. Only when all have come is it
// the turn of the next.
func TestProxySubscriptionAnswersEachChannel(t *testing.T) {
	_, p, c := startProxied(t)
	p.Rule(only("PING", redistest.Drop()))
	c.Send("SUBSCRIBE", "a", "b", "c")
	c.Send("PING")
	c.Flush()
	for range 3 {
		if _, err := c.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Receive(); err == nil || isTimeout(err) {
		t.Errorf("PING: %v; want a broken connection", err)
	}
}

func TestProxySubscriptionRefused(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	p := redistest.NewProxy(t, s.Addr())
	p.Rule(only("PING", redistest.Reply("+mine\r\n")))
	c := get(t, p.Pool())
	c.Send("SUBSCRIBE", "a", "b", "c") // one error for the three
	c.Send("PING")
	c.Flush()
	if _, err := c.Receive(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("SUBSCRIBE: %v; want NOAUTH", err)
	}
	reply, err := c.Receive()
	want(t, "mine", reply, err)
}

// A message may come after a request has left and before its answer. A server
// made of a script is the only one that does so on demand.
func TestProxyMessageAnswersNoRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := redistest.NewProxy(t, l.Addr().String())
	p.Rule(only("PING", redistest.Drop()))
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("SUBSCRIBE a\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := io.ReadFull(server, make([]byte, len("SUBSCRIBE a\r\nPING\r\n"))); err != nil {
		t.Fatal(err)
	}
	const subscribed = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
	const message = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n"
	if _, err := io.WriteString(server, subscribed+message+"*2\r\n$4\r\npong\r\n$0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	want(t, subscribed+message, string(got), err)
}

func TestProxyOfADeadServer(t *testing.T) {
	s, p, c := startProxied(t)
	reply, err := c.Do("PING")
	want(t, "PONG", reply, err)
	s.Kill()
	if _, err := c.Do("PING"); err == nil || isTimeout(err) {
		t.Errorf("PING: %v; want a broken connection", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	reply, err = get(t, p.Pool()).Do("PING")
	want(t, "PONG", reply, err)
}

// A test may end in the midst of anything: the cleanup must not hang on it.
func TestProxyClosesInTheMidstOfAnything(t *testing.T) {
	for name, act := range map[string]redistest.Action{
		"late":    redistest.Late(nil),
		"hold":    redistest.Hold(nil),
		"delay":   redistest.Delay(time.Hour),
		"swallow": redistest.Swallow(),
		"pass":    redistest.Pass(),
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t)
			p := redistest.NewProxy(t, s.Addr())
			p.Rule(only("PING", act))
			if act == redistest.Pass() {
				s.Pause()
			}
			c, err := net.Dial("tcp", p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("PING\r\n")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the request has come", func() bool { return len(p.Requests()) == 1 })
		})
	}
}
