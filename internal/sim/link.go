package sim

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A Link is the network between one process and the server. Its faults concern the connections that there are and those to
// come, unless it says otherwise. All methods may be called at any time.
type Link struct {
	server *Server
	name   string

	mu       sync.Mutex // protects what follows
	conns    []*pair    // whose client has not closed, in the order of their dials
	dials    int
	refusing int
	gates    gates               // closed while dials hang
	tlsGates gates               // closed while TLS handshakes hang
	hidden   map[*blackHole]bool // what vanishes
	latency  func(Direction, []byte) time.Duration
	connect  func(context.Context) time.Duration // how long a dial takes; nil: no time
}

// A Direction is one of the two of a connection.
type Direction int

// Both directions: requests travel to the server, replies to the client.
const (
	ToServer Direction = iota
	ToClient
)

// A pair is a connection with both ends.
type pair struct {
	link           *Link
	id             int // counts from 1, over all links of the server
	client, server *conn
	gone           chan struct{} // closed when the client has closed
	subscribed     atomic.Bool   // it has sent SUBSCRIBE
}

type blackHole struct{ to [2]bool }

// ConnectTimeout is how long a dial hangs at most where its context lets it; as NewPool sets it.
const ConnectTimeout = 2 * time.Second

// serverRoom is what a server takes in at most before it has read it, so that a client of one that hangs waits in a write.
const serverRoom = 1 << 20

// Name is what [Server.Link] was given; "" for the Server's own.
func (l *Link) Name() string { return l.name }

// Dial connects. It does not return before the network lets it, ctx ends, or [ConnectTimeout] is over.
func (l *Link) Dial(ctx context.Context) (net.Conn, error) {
	l.mu.Lock()
	l.dials++
	nth := l.dials
	connect := l.connect
	l.mu.Unlock()
	var takes time.Duration
	if connect != nil {
		takes = connect(ctx)
	}
	timer := time.NewTimer(ConnectTimeout)
	defer timer.Stop()
	if err := l.reach(ctx, nth, takes, timer.C); err != nil {
		return nil, dialError(err)
	}
	p, err := l.server.connect(l)
	if err != nil {
		return nil, dialError(err)
	}
	return p.client, nil
}

// reach waits until the network lets the nth dial through.
func (l *Link) reach(ctx context.Context, nth int, takes time.Duration, timeout <-chan time.Time) error {
	if takes > 0 {
		way := time.NewTimer(takes)
		defer way.Stop()
		select {
		case <-way.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return os.ErrDeadlineExceeded
		case <-l.server.over:
			return syscall.ECONNREFUSED
		}
	}
	for gate := l.gates.first(&l.mu); gate != nil; gate = l.gates.first(&l.mu) {
		select {
		case <-gate:
			l.server.part("dial "+l.name, nth, 0)
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return os.ErrDeadlineExceeded
		case <-l.server.over:
			return syscall.ECONNREFUSED
		}
	}
	return ctx.Err()
}

func dialError(err error) error {
	return &net.OpError{Op: "dial", Net: "sim", Addr: addr("sim:6379"), Err: err}
}

// add makes a connection, unless the link refuses it.
func (l *Link) add(id int) (*pair, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusing > 0 {
		return nil, syscall.ECONNREFUSED
	}
	up, down := newStream(serverRoom), newStream(0)
	gap := func(d Direction) func(time.Time) time.Duration {
		return func(at time.Time) time.Duration { return l.server.gap(at, l.name, id, int(d)) }
	}
	up.gap, down.gap = gap(ToServer), gap(ToClient)
	p := &pair{link: l, id: id, gone: make(chan struct{})}
	client, srv := addr("sim:"+l.name), addr("sim:6379")
	p.client = &conn{in: down, out: up, delay: func(b []byte) time.Duration { return l.delay(ToServer, b) }, local: client, remote: srv, closed: func() { l.remove(p) }}
	p.server = &conn{in: up, out: down, delay: func(b []byte) time.Duration { return l.delay(ToClient, b) }, local: srv, remote: client}
	l.conns = append(l.conns, p)
	l.freeze(p)
	return p, nil
}

// remove is called when the client has closed.
func (l *Link) remove(p *pair) {
	close(p.gone)
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.conns, p); i >= 0 {
		l.conns = slices.Delete(l.conns, i, i+1)
	}
}

// delay is how long a write of b takes; an empty b is the end of the connection.
func (l *Link) delay(d Direction, b []byte) time.Duration {
	l.mu.Lock()
	latency := l.latency
	l.mu.Unlock()
	if latency == nil {
		return 0
	}
	return latency(d, b)
}

// Conns is how many connections are open, as the client sees it: dialled and not closed by it.
func (l *Link) Conns() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Dials is how many dials have begun.
func (l *Link) Dials() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dials
}

// Delay lets everything take d each way.
func (l *Link) Delay(d time.Duration) {
	l.DelayBy(func(Direction, []byte) time.Duration { return d })
}

// DelayBy asks f how long each write of these bytes takes (none: the end of the connection); nil: no time. Nothing overtakes.
func (l *Link) DelayBy(f func(Direction, []byte) time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latency = f
}

// SlowDials lets each dial take d.
func (l *Link) SlowDials(d time.Duration) {
	l.SlowDialsBy(func(context.Context) time.Duration { return d })
}

// SlowDialsBy asks f how long each dial takes; nil: no time. ctx is what Dial was called with.
func (l *Link) SlowDialsBy(f func(ctx context.Context) time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connect = f
}

// HangDials lets every dial from now on hang until goOn, its context, or [ConnectTimeout].
func (l *Link) HangDials() (goOn func()) { return l.gates.close(&l.mu) }

// HangHandshakes lets the server begin no TLS handshake before goOn. A connection without TLS does not see it.
func (l *Link) HangHandshakes() (goOn func()) { return l.tlsGates.close(&l.mu) }

// RefuseDials refuses every dial until accept.
func (l *Link) RefuseDials() (accept func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusing++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.refusing--
	})
}

// BlackHole keeps everything that travels in these directions (none given: both) until heal: no data, no end, no dial.
// After heal it arrives, in order, as a network's retransmissions have it, but on connections that were closed meanwhile.
func (l *Link) BlackHole(to ...Direction) (heal func()) {
	h := &blackHole{}
	if len(to) == 0 {
		to = []Direction{ToServer, ToClient}
	}
	for _, d := range to {
		h.to[d] = true
	}
	l.hide(h, true)
	goOn := l.HangDials()
	return sync.OnceFunc(func() {
		l.hide(h, false)
		goOn()
	})
}

func (l *Link) hide(h *blackHole, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hidden == nil {
		l.hidden = map[*blackHole]bool{}
	}
	l.hidden[h] = on
	if !on {
		delete(l.hidden, h)
	}
	for _, p := range l.conns {
		l.freeze(p)
	}
}

// freeze tells a connection which directions are closed. The caller holds mu.
func (l *Link) freeze(p *pair) {
	var frozen [2]bool
	for h := range l.hidden {
		frozen[ToServer] = frozen[ToServer] || h.to[ToServer]
		frozen[ToClient] = frozen[ToClient] || h.to[ToClient]
	}
	up, down := p.client.out, p.client.in
	up.freeze(frozen[ToServer])
	down.freeze(frozen[ToClient])
}

// HalfOpen makes the connections that there are half-open for good, as a middlebox does that has forgotten them: whatever is
// sent vanishes, and nobody sees an end. Later connections work.
func (l *Link) HalfOpen() {
	for _, p := range l.present() {
		p.halfOpen()
	}
}

// HalfOpenSubscribers is HalfOpen of the connections that have subscribed: what is published is lost, and nobody sees an end.
func (l *Link) HalfOpenSubscribers() {
	for _, p := range l.present() {
		if p.subscribed.Load() {
			p.halfOpen()
		}
	}
}

func (p *pair) halfOpen() {
	p.client.out.hold()
	p.client.in.hold()
}

// Cut resets the connections that there are. What had come to the server by then is carried out.
func (l *Link) Cut() {
	for _, p := range l.present() {
		p.cut()
		l.server.part(l.name, p.id, 0)
	}
}

// CloseConns closes the server's end of the connections that there are, as its timeout does: the client reads what is under way,
// and then the end.
func (l *Link) CloseConns() {
	for _, p := range l.present() {
		p.server.Close()
		l.server.part(l.name, p.id, 0)
	}
}

// CutSubscribers is Cut of the connections that have subscribed.
func (l *Link) CutSubscribers() {
	for _, p := range l.present() {
		if p.subscribed.Load() {
			p.cut()
			l.server.part(l.name, p.id, 0)
		}
	}
}

func (p *pair) cut() {
	p.client.in.cut(false)
	p.client.out.cut(true)
}

// present is the list of the connections whose client has not closed.
func (l *Link) present() []*pair {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.conns)
}

// DialRedis is Dial for a redis.Pool's DialContext. Reads and writes take 3 s at most, as with NewPool.
func (l *Link) DialRedis(ctx context.Context, opts ...redis.DialOption) (redis.Conn, error) {
	all := append([]redis.DialOption{redis.DialReadTimeout(3 * time.Second), redis.DialWriteTimeout(3 * time.Second)}, l.Options()...)
	return redis.DialContext(ctx, "tcp", "sim:6379", append(all, opts...)...)
}

// Options lead a redigo connection, and what NewPool("redis://sim") or NewPool("rediss://sim") makes, to the server.
func (l *Link) Options() []redis.DialOption {
	return []redis.DialOption{
		redis.DialContextFunc(func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }),
		redis.DialTLSConfig(&tls.Config{RootCAs: authority(), ServerName: "sim", MinVersion: tls.VersionTLS12}),
	}
}

// Pool is a new pool without a bound on its connections. The end of the test closes it.
func (l *Link) Pool() *redis.Pool {
	p := &redis.Pool{MaxIdle: 64, DialContext: func(ctx context.Context) (redis.Conn, error) { return l.DialRedis(ctx) }}
	l.server.CleanUp(func() { _ = p.Close() })
	return p
}

// gates are what must all be open to pass.
type gates []chan struct{}

func (g *gates) close(mu *sync.Mutex) (open func()) {
	mu.Lock()
	defer mu.Unlock()
	gate := make(chan struct{})
	*g = append(*g, gate)
	return sync.OnceFunc(func() {
		mu.Lock()
		defer mu.Unlock()
		*g = slices.DeleteFunc(*g, func(c chan struct{}) bool { return c == gate })
		close(gate)
	})
}

// first is a gate that is closed; nil: all are open.
func (g *gates) first(mu *sync.Mutex) <-chan struct{} {
	mu.Lock()
	defer mu.Unlock()
	if len(*g) == 0 {
		return nil
	}
	return (*g)[0]
}
