package redistest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
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

// broken fails the test unless the error says that the connection has ended.
func broken(t *testing.T, err error) {
	t.Helper()
	if err == nil || isTimeout(err) {
		t.Errorf("%v; want a broken connection", err)
	}
}

// raw opens a connection through the proxy, and sends bytes on it.
func raw(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
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

// A SET and then a GET are sent at once, and something is done to the GET only, or to the SET only.
func TestProxyActions(t *testing.T) {
	for name, c := range map[string]struct {
		act      redistest.Action
		get      string // the reply to GET; "" if it must fail
		executed bool   // the SET, if it happens to that
	}{
		"pass":     {redistest.Pass(), "v", true},
		"reply":    {redistest.Reply("$1\r\nx\r\n"), "x", false},
		"delay":    {redistest.Delay(time.Millisecond), "v", true},
		"drop":     {redistest.Drop(), "", true},
		"cut":      {redistest.Cut(), "", false},
		"truncate": {redistest.Truncate(3), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			s, p, conn := startProxied(t)
			p.Rule(only("GET", c.act))
			conn.Send("SET", "k", "v")
			conn.Send("GET", "k")
			conn.Flush()
			reply, err := conn.Receive()
			want(t, "OK", reply, err)
			if reply, err = conn.Receive(); c.get != "" {
				want(t, c.get, reply, err)
			} else {
				broken(t, err)
			}
			p.Rule(only("SET", c.act))
			_, err = get(t, p.Pool()).Do("SET", "l", "w")
			if c.get == "" {
				broken(t, err)
				eventually(t, "the connections are gone", func() bool { return p.Conns() == 0 })
			}
			if holds(t, s, "l", "w") != c.executed {
				t.Errorf("the server carried it out: %v", !c.executed)
			}
		})
	}
}

func TestProxyCutDoesNotWaitForTheServer(t *testing.T) {
	s, p, c := startProxied(t)
	reply, err := c.Do("PING")
	want(t, "PONG", reply, err)
	p.Rule(only("SET", redistest.Cut()))
	s.Pause()
	_, err = c.Do("SET", "k", "v")
	broken(t, err)
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

// What is late is forwarded even if the client has gone, and holds back what follows.
func TestProxyLate(t *testing.T) {
	s, p, c := startProxied(t)
	release := make(chan struct{})
	p.Rule(only("SET", redistest.Late(release)))
	gone := get(t, p.Pool())
	if _, err := redis.DoWithTimeout(gone, 20*time.Millisecond, "SET", "l", "w"); !isTimeout(err) {
		t.Fatalf("SET: %v; want a timeout", err)
	}
	gone.Close()
	c.Send("PING")
	c.Send("SET", "k", "v")
	c.Send("EXISTS", "k")
	c.Flush()
	reply, err := c.Receive()
	want(t, "PONG", reply, err)
	calls, err := s.Calls()
	if err != nil || calls["exists"] != 0 || calls["set"] != 0 {
		t.Errorf("%v were executed, %v; want none yet", calls, err)
	}
	close(release)
	reply, err = c.Receive()
	want(t, "OK", reply, err)
	if n, err := redis.Int(c.Receive()); n != 1 || err != nil {
		t.Errorf("EXISTS: %d, %v", n, err)
	}
	eventually(t, "the other key appears", func() bool { return holds(t, s, "l", "w") })
}

func TestProxyDelayOfAPipelineIsOne(t *testing.T) {
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
	if n, err := redis.Int(s.Do("PUBLISH", "b", "hello")); err != nil || n != 1 {
		t.Fatalf("%d receivers, %v", n, err)
	}
	if m, ok := ps.Receive().(redis.Message); !ok || string(m.Data) != "hello" {
		t.Fatalf("got %v; want the message", m)
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

// One request has as many answers as channels, and only when all have come is it the turn of the next; but one
// refusal is the answer for all of them.
func TestProxySubscriptionAnswersEachChannel(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	p := redistest.NewProxy(t, s.Addr())
	p.Rule(only("PING", redistest.Reply("+mine\r\n")))
	for _, password := range []string{"", "secret"} {
		c, err := p.Dial(redis.DialPassword(password))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Send("SUBSCRIBE", "a", "b", "c")
		c.Send("PING")
		c.Flush()
		if password == "" {
			if _, err := c.Receive(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
				t.Errorf("SUBSCRIBE: %v; want NOAUTH", err)
			}
		} else {
			for range 3 {
				if _, err := c.Receive(); err != nil {
					t.Fatal(err)
				}
			}
		}
		reply, err := c.Receive()
		want(t, "mine", reply, err)
	}
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
	const requests = "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n"
	c := raw(t, p.Addr(), requests)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := io.ReadFull(server, make([]byte, len(requests))); err != nil {
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

// Connections are cut, refused, and end with their server; later ones work.
func TestProxyCutAllAndRefuseAndADeadServer(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	works := func(c redis.Conn) redis.Conn {
		t.Helper()
		reply, err := c.Do("PING")
		want(t, "PONG", reply, err)
		return c
	}
	ends := func(list ...redis.Conn) {
		t.Helper()
		for _, c := range list {
			_, err := c.Do("PING")
			broken(t, err)
		}
		eventually(t, "no connection is left", func() bool { return p.Conns() == 0 })
	}
	a, b := works(get(t, p.Pool())), works(get(t, p.Pool()))
	if p.Conns() != 2 {
		t.Errorf("%d connections; want 2", p.Conns())
	}
	p.CutAll()
	ends(a, b)
	c := works(get(t, p.Pool()))
	p.Refuse(true)
	if refused, err := p.Dial(); err == nil {
		_, err = refused.Do("PING")
		broken(t, err)
		refused.Close()
	}
	works(c)
	p.Refuse(false)
	d := works(get(t, p.Pool()))
	s.Kill()
	ends(c, d)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	works(get(t, p.Pool()))
}

// A test may end in the midst of anything: the cleanup must not hang on it.
func TestProxyClosesInTheMidstOfAnything(t *testing.T) {
	for name, act := range map[string]redistest.Action{
		"late": redistest.Late(nil), "hold": redistest.Hold(nil), "delay": redistest.Delay(time.Hour),
		"swallow": redistest.Swallow(), "pass": redistest.Pass(),
	} {
		t.Run(name, func(t *testing.T) {
			s, p, _ := startProxied(t)
			p.Rule(only("PING", act))
			if act == redistest.Pass() {
				s.Pause()
			}
			raw(t, p.Addr(), "*1\r\n$4\r\nPING\r\n")
			eventually(t, "the request has come", func() bool { return len(p.Requests()) == 1 })
		})
	}
}
