package subscription_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/internal/subscription"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A network is some servers in a bubble, and the map of a cluster of them.
type network struct {
	mu    sync.Mutex // the owner's, too
	t     *testing.T
	lines subscription.Lines
	conns atomic.Int64
	owner map[string]string // of keys, as the map has it
	real  map[string]string // as the servers have it, where that differs
	down  map[string]bool
	links []*link
	sent  []string
}

func inBubble(t *testing.T, f func(n *network)) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, owner: map[string]string{}, real: map[string]string{}, down: map[string]bool{}}
		nodes := &subscription.Nodes{
			Of: func(_ context.Context, key string) (string, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				if n.owner[key] == "" {
					return "", io.EOF
				}
				return n.owner[key], nil
			},
			Redirected: func(_ string, re redis.Error) bool { // "MOVED key server"
				var key, server string
				_, err := fmt.Sscanf(string(re), "MOVED %s %s", &key, &server)
				if err == nil {
					n.owner[key] = server
				}
				return err == nil
			},
		}
		n.lines.Init(subscription.Env{Mutex: &n.mu, Now: time.Now, Bound: time.Second, Conns: &n.conns, Dial: n.dial, Nodes: nodes})
		f(n)
		n.mu.Lock()
		done := n.lines.End(time.Now())
		n.mu.Unlock()
		for _, d := range done {
			<-d
		}
		synctest.Wait()
		if n.conns.Load() != 0 || n.lines.Alive() {
			t.Error("something lives on")
		}
	})
}

func (n *network) dial(_ context.Context, server string) (redis.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent = append(n.sent, "dial "+server)
	if n.down[server] {
		return nil, io.EOF
	}
	l := &link{n: n, server: server, replies: make(chan any, 64), cut: make(chan struct{})}
	n.links = append(n.links, l)
	return l, nil
}

// took returns what was sent since the last call, but for PINGs, and after a millisecond.
func (n *network) took() (sent []string) {
	time.Sleep(time.Millisecond)
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	sent, n.sent = n.sent, nil
	return sent
}

func (n *network) wantTook(want ...string) {
	n.t.Helper()
	if sent := n.took(); !slices.Equal(sent, want) {
		n.t.Errorf("sent %q, want %q", sent, want)
	}
}

// A link is a connection to a server of the network.
type link struct {
	n       *network
	server  string
	replies chan any
	cut     chan struct{}
	once    sync.Once
}

func (l *link) Close() error { l.once.Do(func() { close(l.cut) }); return nil }
func (l *link) Err() error   { return nil }
func (l *link) Flush() error { return nil }
func (l *link) Do(string, ...any) (any, error) {
	return nil, errors.New("no Do")
}

func (l *link) Send(cmd string, args ...any) error {
	if cmd == "PING" {
		l.replies <- "PONG"
		return nil
	}
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	name := args[0].(string)
	l.n.sent = append(l.n.sent, fmt.Sprint(cmd, " ", name, " ", l.server))
	key := name[1:]
	if at := l.n.real[key]; at != "" && at != l.server {
		l.replies <- redis.Error(fmt.Sprint("MOVED ", key, " ", at))
		return nil
	}
	kind := map[string]string{"SSUBSCRIBE": "ssubscribe", "SUNSUBSCRIBE": "sunsubscribe"}[cmd]
	l.replies <- []any{[]byte(kind), []byte(name), int64(1)}
	return nil
}

func (l *link) Receive() (any, error) {
	select {
	case r := <-l.replies:
		if re, ok := r.(redis.Error); ok {
			return nil, re
		}
		return r, nil
	case <-l.cut:
		return nil, errors.New("cut")
	}
}

// An ear notes what it hears.
type ear struct {
	subscription.Channel
	heard, wants, rests bool
	told                []string
}

func (n *network) ear(key string) *ear {
	e := &ear{wants: true}
	e.Channel = subscription.Channel{Key: key, Name: "c" + key, Ear: e}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines.Want(&e.Channel)
	return e
}

func (e *ear) note(what string) { e.told = append(e.told, what) }

func (e *ear) Heard(time.Time)                { e.heard, e.wants = true, false; e.note("heard") }
func (e *ear) Unheard(time.Time)              { e.heard, e.wants = false, true; e.note("unheard") }
func (e *ear) Silenced(time.Time)             { e.heard, e.wants = false, false; e.note("silenced") }
func (e *ear) Moved(time.Time)                { e.note("moved") }
func (e *ear) Told(_ time.Time, m string)     { e.note("told " + m) }
func (e *ear) Refused(time.Time, error, bool) { e.note("refused") }
func (e *ear) Wants() bool                    { return e.wants }
func (e *ear) Rests(time.Time) bool           { return e.rests }

func (n *network) wantTold(e *ear, want ...string) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(e.told, want) {
		n.t.Errorf("%s was told %q, want %q", e.Key, e.told, want)
	}
	e.told = nil
}

// push has a server send what nobody has asked it for.
func (n *network) push(l *link, reply ...any) {
	l.replies <- reply
	synctest.Wait()
}

// TestOneLineForEachNode: channels of a node share a connection, and each SSUBSCRIBE has one channel.
func TestOneLineForEachNode(t *testing.T) {
	inBubble(t, func(n *network) {
		n.owner = map[string]string{"a": "A", "b": "B", "c": "A"}
		a := n.ear("a")
		n.wantTook("dial A", "SSUBSCRIBE ca A")
		b, c := n.ear("b"), n.ear("c")
		sent := n.took()
		slices.Sort(sent)
		if want := []string{"SSUBSCRIBE cb B", "SSUBSCRIBE cc A", "dial B"}; !slices.Equal(sent, want) {
			t.Errorf("sent %q", sent)
		}
		n.push(n.links[0], []byte("smessage"), []byte("ca"), []byte("m"))
		n.wantTold(a, "heard", "told m")
		n.wantTold(b, "heard")
		n.wantTold(c, "heard")
		if n.conns.Load() != 2 {
			t.Errorf("%d connections", n.conns.Load())
		}
	})
}

// TestSunsubscribe: what a node ends because the slot has moved is subscribed to at the new one, at once, and nothing else is.
func TestSunsubscribe(t *testing.T) {
	inBubble(t, func(n *network) {
		n.owner = map[string]string{"a": "A", "b": "A"}
		a := n.ear("a")
		n.took()
		b := n.ear("b")
		n.wantTook("SSUBSCRIBE cb A")
		n.mu.Lock()
		n.real["a"] = "B" // the map does not know it yet
		n.mu.Unlock()
		n.push(n.links[0], []byte("sunsubscribe"), []byte("ca"), int64(1))
		n.wantTook("SSUBSCRIBE ca A", "dial B", "SSUBSCRIBE ca B")
		n.wantTold(a, "heard", "moved", "unheard", "moved", "heard")
		n.wantTold(b, "heard")
	})
}

// TestSunsubscribeThatWasAskedFor is none that moves the channel.
func TestSunsubscribeThatWasAskedFor(t *testing.T) {
	inBubble(t, func(n *network) {
		n.owner = map[string]string{"a": "A", "b": "A"}
		a, b := n.ear("a"), n.ear("b")
		n.took()
		n.mu.Lock()
		a.rests = true
		n.mu.Unlock()
		time.Sleep(time.Second) // with the PING
		n.wantTook("SUNSUBSCRIBE ca A")
		n.wantTold(a, "heard", "silenced")
		n.wantTold(b, "heard")
		n.mu.Lock()
		a.rests, a.wants = false, true
		n.lines.Want(&a.Channel)
		n.mu.Unlock()
		n.wantTook("SSUBSCRIBE ca A")
		n.wantTold(a, "heard")
	})
}

// TestNodeDies: its channels go where the map says by then, and are not lost while it says nothing new.
func TestNodeDies(t *testing.T) {
	inBubble(t, func(n *network) {
		n.owner = map[string]string{"a": "A"}
		a := n.ear("a")
		n.took()
		n.mu.Lock()
		n.down["A"] = true
		n.mu.Unlock()
		n.links[0].Close()
		time.Sleep(10 * time.Second)
		if dials := len(n.took()); dials < 20 || dials > 90 {
			t.Errorf("%d dials in 10 s", dials)
		}
		n.mu.Lock()
		n.owner["a"], a.told = "B", nil
		n.mu.Unlock()
		time.Sleep(300 * time.Millisecond)
		n.wantTold(a, "heard")
	})
}

// TestNoMap: those that wait are told why they are not heard, again and again, and are as soon as there is a map.
func TestNoMap(t *testing.T) {
	inBubble(t, func(n *network) {
		a := n.ear("a")
		time.Sleep(time.Second)
		n.mu.Lock()
		if len(a.told) < 3 || a.told[0] != "refused" {
			t.Errorf("%q", a.told)
		}
		n.owner["a"], a.told = "A", nil
		n.mu.Unlock()
		time.Sleep(300 * time.Millisecond)
		n.wantTold(a, "heard")
	})
}

// TestRenewOfOneChannel: where a node does not hear it that the map does not name any more, the others keep their connection; where it
// is the same node, that is asked over a new one.
func TestRenewOfOneChannel(t *testing.T) {
	inBubble(t, func(n *network) {
		n.owner = map[string]string{"a": "A", "b": "A"}
		a, b := n.ear("a"), n.ear("b")
		n.took()
		n.mu.Lock()
		n.owner["a"], a.wants = "B", true
		n.lines.Renew(&a.Channel)
		n.mu.Unlock()
		sent := n.took()
		slices.Sort(sent)
		if want := []string{"SSUBSCRIBE ca B", "SUNSUBSCRIBE ca A", "dial B"}; !slices.Equal(sent, want) {
			t.Errorf("sent %q", sent)
		}
		n.wantTold(b, "heard")
		n.mu.Lock()
		a.wants, a.told = true, nil
		n.lines.Renew(&a.Channel)
		n.mu.Unlock()
		time.Sleep(300 * time.Millisecond)
		if sent := n.took(); !slices.Contains(sent, "dial B") {
			t.Errorf("sent %q", sent)
		}
		n.mu.Lock()
		if !a.heard {
			t.Errorf("%q", a.told)
		}
		n.mu.Unlock()
	})
}
