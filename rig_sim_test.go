package redigolock_test

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

// newSimRig is a rig in a bubble, in virtual time: its server is a miniredis, and its network is in memory. A test that waits
// uses it, unless a real server is its subject.
func newSimRig(t *testing.T) *rig {
	t.Helper()
	r := bareSimRig(t)
	r.locker = &redigolock.Locker{Pool: r.proxy.Pool()}
	t.Cleanup(func() { r.locker.Close() })
	r.warm()
	return r
}

// newSimFairRig is a fairRig in a bubble.
func newSimFairRig(t *testing.T) *fairRig {
	t.Helper()
	r := bareSimRig(t)
	r.server.(*simServer).delay(fairDelay)
	return newFairRigOn(r)
}

// fairDelay lets the time go on while commands are exchanged, or those that contend for a second would never end.
const fairDelay = 50 * time.Microsecond

func bareSimRig(t *testing.T) *rig {
	t.Helper()
	s := newSim(t)
	server := &simServer{sim: s, past: s.NewLink("past the proxy"), t: t}
	return &rig{t: t, server: server, proxy: &simProxy{sim: s, past: server.past.Name(), t: t}}
}

// carriedOut is how many commands of this verb the server of a bubble has carried out.
func (r *rig) carriedOut(verb string) (n int) {
	for _, c := range r.server.(*simServer).sim.Log() {
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

// A simServer is what tests use of a redistest.Server.
type simServer struct {
	sim  *sim.Server
	past *sim.Link // past the rules
	t    *testing.T

	mu     sync.Mutex // protects goOn
	goOn   func()
	accept []func()
}

// Do knows CLIENT KILL besides what miniredis knows.
func (s *simServer) Do(cmd string, args ...any) (any, error) {
	if cmd == "CLIENT" && args[0] == "KILL" {
		for _, l := range []*sim.Link{s.sim.Link, s.past} {
			if args[2] == "pubsub" {
				l.CutSubscribers()
			} else {
				l.Cut()
			}
		}
		return "OK", nil
	}
	return s.sim.Do(cmd, args...)
}

func (s *simServer) Pool() *redis.Pool { return poolOf(s.t, s.past) }

func (s *simServer) Dial(opts ...redis.DialOption) (redis.Conn, error) {
	return s.past.DialRedis(context.Background(), opts...)
}

func (s *simServer) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.goOn = s.sim.Pause()
}

func (s *simServer) Resume() {
	s.mu.Lock()
	goOn := s.goOn
	s.mu.Unlock()
	goOn()
}

// delay is what each way takes from now on.
func (s *simServer) delay(d time.Duration) {
	s.sim.Delay(d)
	s.past.Delay(d)
}

// Calls counts the commands that were carried out, but not those of scripts.
func (s *simServer) Calls() (map[string]int64, error) {
	calls := map[string]int64{}
	for _, c := range s.sim.Log() {
		calls[strings.ToLower(c.Name)]++
	}
	return calls, nil
}

// Kill ends all connections, and refuses others.
func (s *simServer) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range []*sim.Link{s.sim.Link, s.past} {
		s.accept = append(s.accept, l.RefuseDials())
		l.CloseConns()
	}
}

// Restart starts it without its data.
func (s *simServer) Restart() error {
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
	sim  *sim.Server
	past string // the link that is not the proxy's
	t    *testing.T

	mu     sync.Mutex // protects accept
	accept func()
}

func (p *simProxy) Pool() *redis.Pool { return poolOf(p.t, p.sim.Link) }

func (p *simProxy) Dial(opts ...redis.DialOption) (redis.Conn, error) {
	return p.sim.DialRedis(context.Background(), opts...)
}

func (p *simProxy) Conns() int { return p.sim.Conns() }

// Refuse refuses the dials. A redistest.Proxy closes the new connections instead.
func (p *simProxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accept != nil {
		p.accept()
		p.accept = nil
	}
	if refuse {
		p.accept = p.sim.RefuseDials()
	}
}

func (p *simProxy) CutAll() { p.sim.CloseConns() }

func (p *simProxy) Requests() []redistest.Request {
	var list []redistest.Request
	for _, q := range p.sim.Requests() {
		if q.Link != p.past {
			list = append(list, redistest.Request{Conn: q.Conn, Name: q.Name, Args: q.Args})
		}
	}
	return list
}

func (p *simProxy) Rule(f func(redistest.Request) redistest.Action) {
	if f == nil {
		p.sim.Rule(nil)
		return
	}
	p.sim.Rule(func(q sim.Request) sim.Action {
		if q.Link == p.past {
			return sim.Pass()
		}
		return simAction(f(redistest.Request{Conn: q.Conn, Name: q.Name, Args: q.Args}))
	})
}

func simAction(a redistest.Action) sim.Action {
	switch a.Kind {
	case redistest.Drops:
		return sim.Drop()
	case redistest.Cuts:
		return sim.Cut()
	case redistest.Swallows:
		return sim.Swallow()
	case redistest.IsLate:
		return sim.LateUntil(a.Released)
	case redistest.Delays:
		return sim.Slow(a.For)
	case redistest.Holds:
		return sim.Hold(a.Released)
	case redistest.Replies:
		return sim.Answer(a.Raw)
	case redistest.Truncates:
		return sim.Truncate(a.N)
	}
	return sim.Pass()
}
