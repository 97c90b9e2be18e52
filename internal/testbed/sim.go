package testbed

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// NewSim is a rig in a bubble, in virtual time: its server is a miniredis, and its network is in memory. A test that waits
// uses it, unless a real server is its subject.
func NewSim(t *testing.T) *Rig {
	t.Helper()
	r := NewBareSim(t)
	r.Locker = &redigolock.Locker{Pool: r.Proxy.Pool()}
	t.Cleanup(func() { r.Locker.Close() })
	r.Warm()
	return r
}

// NewBareSim is such a rig without a Locker.
func NewBareSim(t *testing.T) *Rig {
	t.Helper()
	s := NewSimServer(t)
	server := &SimServer{Sim: s, past: s.NewLink("past the proxy"), T: t}
	return &Rig{T: t, Server: server, Proxy: &simProxy{Sim: s, past: server.past.Name(), T: t}}
}

// CarriedOut is how many commands of this verb the server of a bubble has carried out.
func (r *Rig) CarriedOut(verb string) (n int) {
	for _, c := range r.Server.(*SimServer).Sim.Log() {
		if c.Verb == verb {
			n++
		}
	}
	return n
}

// poolOf makes a pool as redistest has them: it dials without a context.
func poolOf(t *testing.T, l *sim.Link) *redis.Pool {
	p := &redis.Pool{MaxIdle: 256, Dial: func() (redis.Conn, error) { return l.DialRedis(context.Background()) }}
	t.Cleanup(func() { p.Close() })
	return p
}

// A SimServer is what tests use of a redistest.Server.
type SimServer struct {
	Sim  *sim.Server
	past *sim.Link // past the rules
	T    *testing.T

	mu     sync.Mutex // protects goOn
	goOn   func()
	accept []func()
}

// Do knows CLIENT KILL besides what miniredis knows.
func (s *SimServer) Do(cmd string, args ...any) (any, error) {
	if cmd == "CLIENT" && args[0] == "KILL" {
		for _, l := range []*sim.Link{s.Sim.Link, s.past} {
			if args[2] == "pubsub" {
				l.CutSubscribers()
			} else {
				l.Cut()
			}
		}
		return "OK", nil
	}
	return s.Sim.Do(cmd, args...)
}

func (s *SimServer) Pool() *redis.Pool { return poolOf(s.T, s.past) }

func (s *SimServer) Dial(opts ...redis.DialOption) (redis.Conn, error) {
	return s.past.DialRedis(context.Background(), opts...)
}

func (s *SimServer) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.goOn = s.Sim.Pause()
}

func (s *SimServer) Resume() {
	s.mu.Lock()
	goOn := s.goOn
	s.mu.Unlock()
	goOn()
}

// Delay is what each way takes from now on.
func (s *SimServer) Delay(d time.Duration) {
	s.Sim.Delay(d)
	s.past.Delay(d)
}

// Calls counts the commands that were carried out, but not those of scripts.
func (s *SimServer) Calls() (map[string]int64, error) {
	calls := map[string]int64{}
	for _, c := range s.Sim.Log() {
		calls[strings.ToLower(c.Name)]++
	}
	return calls, nil
}

// Kill ends all connections, and refuses others.
func (s *SimServer) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range []*sim.Link{s.Sim.Link, s.past} {
		s.accept = append(s.accept, l.RefuseDials())
		l.CloseConns()
	}
}

// Restart starts it without its data.
func (s *SimServer) Restart() error {
	s.Kill()
	_, _ = s.Do("FLUSHALL")
	_, _ = s.Do("SCRIPT", "FLUSH")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, accept := range s.accept {
		accept()
	}
	s.accept = nil
	return nil
}

// A simProxy is what tests use of a redistest.Proxy.
type simProxy struct {
	Sim  *sim.Server
	past string // the link that is not the proxy's
	T    *testing.T

	mu     sync.Mutex // protects accept
	accept func()
}

func (p *simProxy) Pool() *redis.Pool { return poolOf(p.T, p.Sim.Link) }

func (p *simProxy) Dial(opts ...redis.DialOption) (redis.Conn, error) {
	return p.Sim.DialRedis(context.Background(), opts...)
}

func (p *simProxy) Conns() int { return p.Sim.Conns() }

// Refuse refuses the dials. A redistest.Proxy closes the new connections instead.
func (p *simProxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accept != nil {
		p.accept()
		p.accept = nil
	}
	if refuse {
		p.accept = p.Sim.RefuseDials()
	}
}

func (p *simProxy) CutAll() { p.Sim.CloseConns() }

func (p *simProxy) Requests() (list []redistest.Request) {
	for _, q := range p.Sim.Requests() {
		if q.Link != p.past {
			list = append(list, q)
		}
	}
	return list
}

func (p *simProxy) Rule(f func(redistest.Request) redistest.Action) {
	if f == nil {
		p.Sim.Rule(nil)
		return
	}
	p.Sim.Rule(func(q sim.Request) sim.Action {
		if q.Link == p.past {
			return sim.Pass()
		}
		return f(q)
	})
}
