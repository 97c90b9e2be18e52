package bench

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// MaxDelay bounds the Delay of a Server, below the second after which commands are given up.
const MaxDelay = 500 * time.Millisecond

// Behind opens s once more, behind a link of 127.0.0.1 that adds delay to each round trip, as a network between a service
// and its Redis does: half of it on each way. Its URL is that of the link, so that all rivals on Redis, and the processes
// of a Contention, go through it. The processor time and the allocations of workloads in this process are not known then:
// the link works here. The server must be at a redis:// or unix:// URL. The caller closes both, s last.
func (s *Server) Behind(ctx context.Context, delay time.Duration) (*Server, error) {
	if delay <= 0 || delay > MaxDelay {
		return nil, badConfig("a delay of %v, allowed is above zero, up to %v", delay, MaxDelay)
	}
	network, addr, through, err := linked(s.rawURL)
	if err != nil {
		return nil, err
	}
	l, err := newLink(network, addr, delay/2)
	if err != nil {
		return nil, err
	}
	behind, err := Open(ctx, through(l.listener.Addr().String()), s.opts...)
	if err != nil {
		l.close()
		return nil, err
	}
	behind.Name, behind.Version, behind.Delay, behind.link = s.Name, s.Version, delay, l
	return behind, nil
}

// linked finds where the server of a URL listens, and makes the URL that goes through a link instead.
func linked(rawURL string) (network, addr string, through func(addr string) string, err error) {
	u, err := url.Parse(rawURL)
	if err != nil { // its text would show the password
		return "", "", nil, badConfig("a delay needs a redis:// or unix:// URL")
	}
	network, addr = "tcp", u.Host
	switch {
	case u.Scheme == "redis" && u.Port() == "":
		addr = net.JoinHostPort(u.Hostname(), "6379")
	case u.Scheme == "redis":
	case u.Scheme == "unix":
		network, addr = "unix", u.Path
		db := u.Query().Get("db")
		u.Scheme, u.Path, u.RawQuery = "redis", "", ""
		if db != "" { // some rivals refuse the empty name of a database
			u.Path = "/" + db
		}
	default:
		return "", "", nil, badConfig("a delay needs a redis:// or unix:// URL, not %s://", u.Scheme)
	}
	return network, addr, func(addr string) string { u.Host = addr; return u.String() }, nil
}

// suffix is what names end with: /delay=0.5ms, or nothing.
func (s *Server) suffix() string {
	if s.Delay == 0 {
		return ""
	}
	return "/delay=" + strconv.FormatFloat(s.Delay.Seconds()*1000, 'f', -1, 64) + "ms"
}

// busyHere says that this process does more than the workload: it has the server in it, or the link.
func (s *Server) busyHere() bool { return s.Embedded() || s.link != nil }

// A link forwards what comes on its connections, each piece after the same time. So all are due in the order in which
// they have come, and one goroutine waits for them.
type link struct {
	network, addr string // of the server
	oneWay        time.Duration
	listener      net.Listener
	pacer         *pacer
	pieces        chan piece
	readers       sync.WaitGroup
	delivered     chan struct{} // closed when deliver has returned

	mu     sync.Mutex // protects what follows
	conns  []net.Conn
	closed bool
}

// A piece is some bytes for a connection, or, without any, its end.
type piece struct {
	to   net.Conn
	data []byte
	due  time.Time
}

// linkRoom is how many pieces can be on their way.
const linkRoom = 1 << 16

func newLink(network, addr string, oneWay time.Duration) (*link, error) {
	p, err := newPacer()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("bench: open a link: %w", err)
	}
	l := &link{network: network, addr: addr, oneWay: oneWay, listener: listener, pacer: p,
		pieces: make(chan piece, linkRoom), delivered: make(chan struct{})}
	l.readers.Add(1)
	go l.accept()
	go l.deliver()
	return l, nil
}

func (l *link) accept() {
	defer l.readers.Done()
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.DialTimeout(l.network, l.addr, openTimeout)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !l.add(client, server) {
			return
		}
		go l.read(client, server)
		go l.read(server, client)
	}
}

// add is false once the link is closed.
func (l *link) add(pair ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		for _, c := range pair {
			_ = c.Close()
		}
		return false
	}
	l.conns = append(l.conns, pair...)
	l.readers.Add(len(pair))
	return true
}

// read takes what comes, and in the end has the other side end.
func (l *link) read(from, to net.Conn) {
	defer l.readers.Done()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			l.pieces <- piece{to, append([]byte(nil), buf[:n]...), time.Now().Add(l.oneWay)}
		}
		if err != nil {
			l.pieces <- piece{to, nil, time.Now().Add(l.oneWay)}
			return
		}
	}
}

// deliver writes each piece when it is due. One that cannot be written is lost with its connection.
func (l *link) deliver() {
	defer close(l.delivered)
	for p := range l.pieces {
		_ = l.pacer.until(p.due)
		if p.data == nil {
			_ = p.to.Close()
		} else {
			_, _ = p.to.Write(p.data)
		}
	}
}

// close ends all connections, and returns when the goroutines have ended.
func (l *link) close() {
	_ = l.listener.Close()
	l.mu.Lock()
	l.closed = true
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.pacer.stop() // what is on its way is not waited for
	l.readers.Wait()
	close(l.pieces)
	<-l.delivered
}
