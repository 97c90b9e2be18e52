package redistest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/sim"
)

// Proxy stands between clients and a server, on a TCP port of 127.0.0.1. It
// pairs each request with its reply, pipelines included, records the requests,
// and does to each what the rule says.
//
// It speaks RESP2 and knows subscriptions, but neither RESP3, nor CLIENT REPLY,
// nor MONITOR, nor the replication protocol. A client that the proxy cannot
// connect to its server sees its connection closed, not refused.
type Proxy struct {
	target   string
	listener net.Listener
	refuse   atomic.Bool
	closing  chan struct{} // closed by close
	wg       sync.WaitGroup

	ruleMu sync.Mutex // protects rule; held while it runs, so that it sees one request at a time
	rule   func(Request) Action

	mu    sync.Mutex // protects the fields below
	seen  []Request
	links map[*link]bool
	conns int // ever accepted
	over  bool

	pools pools
}

// NewProxy starts a proxy before the server at target, host:port. When the test
// ends, the proxy is closed with all its connections and the pools of
// [Proxy.Pool], and its goroutines have ended.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{
		target:   target,
		listener: l,
		closing:  make(chan struct{}),
		links:    make(map[*link]bool),
	}
	p.wg.Add(1)
	go p.accept()
	tb.Cleanup(p.close)
	return p
}

// Addr returns host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL returns the proxy's address as redis://host:port.
func (p *Proxy) URL() string { return "redis://" + p.Addr() }

// Pool returns a new unbounded pool of connections through the proxy whose
// connect, read and write are bounded by 5 s each. The caller or the end of the
// test closes it.
func (p *Proxy) Pool() *redis.Pool { return p.pools.open(p.Addr()) }

// Dial opens a connection through the proxy, as [Server.Dial] does to the
// server. The caller closes it.
func (p *Proxy) Dial(opts ...redis.DialOption) (redis.Conn, error) {
	return dial("tcp", p.Addr(), opts...)
}

// Rule makes f decide about every request from now on; nil passes everything.
// It is called once for each request, in the order in which they arrive, one at
// a time; so f may count without a lock. When Rule returns, the rule before has
// run for the last time. f must not block and must not call Rule.
func (p *Proxy) Rule(f func(Request) Action) {
	p.ruleMu.Lock()
	defer p.ruleMu.Unlock()
	p.rule = f
}

// Requests returns all requests that have come, in their order, also those that
// were not forwarded.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Request(nil), p.seen...)
}

// Conns returns how many connections are open now. One whose client has gone
// counts until the server has answered what was sent on it.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Refuse makes the proxy close new connections at once while refuse is true. A
// connection is surely no longer new when a reply has come on it.
func (p *Proxy) Refuse(refuse bool) { p.refuse.Store(refuse) }

// CutAll closes the clients' side of all present connections. What has arrived
// on them is still carried out. A connection is surely among them when a reply
// has come on it.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.client.Close()
	}
}

// decide records the request and asks the rule what to do with it.
func (p *Proxy) decide(r Request) Action {
	p.ruleMu.Lock()
	defer p.ruleMu.Unlock()
	p.mu.Lock()
	p.seen = append(p.seen, r)
	p.mu.Unlock()
	if p.rule == nil {
		return Pass()
	}
	act := p.rule(r)
	if !known[act.Kind] || act.Kind == sim.IsLate && act.For > 0 {
		panic("redistest: a Proxy has no such action")
	}
	return act
}

// accept serves connections until the listener is closed.
func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.refuse.Load() {
			client.Close()
			continue
		}
		p.wg.Add(1)
		go p.serve(client)
	}
}

// serve connects the client to the server and returns when both sides are
// closed.
func (p *Proxy) serve(client net.Conn) {
	defer p.wg.Done()
	defer client.Close()
	server, err := net.DialTimeout("tcp", p.target, ioTimeout)
	if err != nil {
		return
	}
	defer server.Close()
	l := newLink(p, client, server)
	if !p.add(l) {
		return
	}
	defer p.remove(l)
	l.run()
}

// add enters the link among the open ones, unless the proxy is closed.
func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	p.conns++
	l.id = p.conns
	p.links[l] = true
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// close ends the proxy and waits for its goroutines.
func (p *Proxy) close() {
	p.pools.close()
	p.listener.Close()
	p.mu.Lock()
	p.over = true
	close(p.closing)
	for l := range p.links {
		l.client.Close()
		l.server.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}
