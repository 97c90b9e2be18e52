package sim

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// A visitor is a connection as the server sees it: one goroutine, which reads a command, does what is decided about it, and
// answers.
type visitor struct {
	server  *Server
	pair    *pair
	r       *bufio.Reader
	peer    *server.Peer
	out     *output
	resumed bool // was let go on after a pause, and keeps the turn until all that had come is carried out
}

// An output is what the server writes to one connection: replies, which its goroutine takes to see what becomes of them, and
// published messages, which come on another goroutine, and wait until that has been seen.
type output struct {
	mu     sync.Mutex // protects what follows
	conn   net.Conn
	taking bool
	buf    bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taking {
		return o.buf.Write(p)
	}
	return o.conn.Write(p)
}

// take has what is written from now on wait.
func (o *output) take() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taking = true
}

// taken is what has been written since take.
func (o *output) taken() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := bytes.Clone(o.buf.Bytes())
	o.buf.Reset()
	return b
}

// give writes on what waits.
func (o *output) give() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taking = false
	if o.buf.Len() > 0 {
		_, _ = o.conn.Write(o.buf.Bytes())
		o.buf.Reset()
	}
}

// serve returns when the connection has ended.
func (v *visitor) serve() {
	defer v.pair.server.Close()
	var nc net.Conn = v.pair.server
	v.r = bufio.NewReader(nc)
	first, err := v.r.Peek(1)
	if err != nil {
		return
	}
	if first[0] == 0x16 { // a TLS handshake
		if !v.handshakeMayBegin() {
			return
		}
		secure := tls.Server(&peeked{nc, v.r}, &tls.Config{Certificates: []tls.Certificate{certificate()}})
		defer secure.Close()
		if secure.Handshake() != nil {
			return
		}
		nc, v.r = secure, bufio.NewReader(secure)
	}
	v.out = &output{conn: nc}
	v.peer = server.NewPeer(bufio.NewWriter(v.out))
	defer v.leave()
	for {
		words, err := ReadCommand(v.r)
		if err != nil || !v.command(words) {
			return
		}
	}
}

// handshakeMayBegin waits until nothing holds handshakes back; false: the connection has ended.
func (v *visitor) handshakeMayBegin() bool {
	l := v.pair.link
	for gate := l.tlsGates.first(&l.mu); gate != nil; gate = l.tlsGates.first(&l.mu) {
		select {
		case <-gate:
		case <-v.pair.gone:
			return false
		case <-v.server.over:
			return false
		}
	}
	return true
}

// peeked is a connection of which something has been read ahead.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// command does what is decided about a command, and reports whether the connection goes on.
func (v *visitor) command(words []string) bool {
	r, a := v.server.request(v.pair, words)
	defer v.handOn()
	switch a.Kind {
	case Cuts:
		v.pair.cut()
		return false
	case Loses:
		v.handOn()
		_, _ = io.Copy(io.Discard, v.r)
		return false
	case IsLate:
		if !v.sleep(a) {
			return false
		}
	}
	if !v.resumed {
		v.resumed = v.server.stand()
	}
	if v.server.ended() || v.server.isKilled(r.Conn) {
		return false
	}
	switch a.Kind {
	case Refuses:
		v.out.conn.Write([]byte("-" + a.Text + "\r\n"))
		return a.N == 0
	case Answers:
		v.out.conn.Write([]byte(a.Text))
		return true
	}
	v.out.take()
	defer v.out.give()
	reply := v.server.carryOut(v, r, words)
	return v.answer(a, reply) && !v.peer.Closed()
}

// sleep waits as long as a says, also when the client has gone; false: the server has ended.
func (v *visitor) sleep(a Action) bool {
	release := a.Release
	var timer <-chan time.Time
	if a.For > 0 {
		timer = time.After(a.For)
	}
	select {
	case <-timer:
	case <-release:
	case <-v.server.over:
		return false
	}
	return true
}

// handOn lets the next connection go on after a pause, if this one has no more to carry out.
func (v *visitor) handOn() {
	if !v.resumed || v.r.Buffered() > 0 || v.pair.server.in.readable() {
		return
	}
	v.resumed = false
	select {
	case v.server.stepped <- struct{}{}:
	case <-v.server.over:
	}
}

// answer sends the reply as a says, and reports whether the connection goes on.
func (v *visitor) answer(a Action, reply []byte) bool {
	down := v.pair.server.out
	nc := v.out.conn
	switch a.Kind {
	case Drops:
		v.pair.cut()
		return false
	case Truncates:
		nc.Write(reply[:min(a.N, len(reply))])
		v.pair.server.Close()
		return false
	case Swallows:
		down.hold()
	case Stops:
		nc.Write(reply[:min(a.N, len(reply))])
		reply = reply[min(a.N, len(reply)):]
		down.hold()
	case Holds:
		v.release(down.hold(), a.Release)
	case IsSlow:
		v.pair.server.extra = a.For
	case Trickles:
		for len(reply) > 1 {
			nc.Write(reply[:1])
			reply = reply[1:]
			v.pair.server.extra += a.For
		}
	}
	defer func() { v.pair.server.extra = 0 }()
	_, _ = nc.Write(reply) // of a client that has gone, what it had sent is carried out all the same
	return true
}

// release calls open when ch is closed.
func (v *visitor) release(open func(), ch <-chan struct{}) {
	if ch == nil {
		return
	}
	v.server.conns.Go(func() {
		select {
		case <-ch:
			open()
		case <-v.pair.gone:
		case <-v.server.over:
		}
	})
}

// leave ends the subscriptions of a connection that has ended.
func (v *visitor) leave() {
	v.out.take() // nobody reads it any more
	if v.pair.subscribed.Load() {
		v.server.dispatch(v.peer, []string{"UNSUBSCRIBE"})
		v.server.dispatch(v.peer, []string{"PUNSUBSCRIBE"})
	}
	if v.resumed {
		v.resumed = false
		select {
		case v.server.stepped <- struct{}{}:
		case <-v.server.over:
		}
	}
}

func (s *Server) dispatch(peer *server.Peer, words []string) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.setTime()
	s.redis.Server().Dispatch(peer, words)
}

// setTime moves the server's clock, if it is not the bubble's. The caller holds turn.
func (s *Server) setTime() {
	s.mu.Lock()
	clock := s.clock
	s.mu.Unlock()
	if clock != nil {
		s.redis.SetTime(clock())
	}
}

// carryOut carries a command out, logs it, and returns the reply.
func (s *Server) carryOut(v *visitor, r Request, words []string) []byte {
	s.turn.Lock()
	defer s.turn.Unlock()
	switch r.Name {
	case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE":
		v.pair.subscribed.Store(true)
	}
	s.mu.Lock()
	around := s.around
	s.mu.Unlock()
	var reply []byte
	s.setTime()
	carry := func() string {
		if s.gate != nil {
			if instead, ok := s.gate(r); ok {
				if instead == aborted {
					s.redis.Server().Dispatch(v.peer, []string{"DISCARD"})
					v.peer.Flush()
					v.out.taken()
				}
				reply = []byte(instead)
				return instead
			}
		}
		s.redis.Server().Dispatch(v.peer, words)
		v.peer.Flush()
		reply = v.out.taken()
		return string(reply)
	}
	if around == nil {
		carry()
	} else {
		around(r, carry)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.noLog {
		s.carried = append(s.carried, Carried{Request: r, Ran: time.Now(), Reply: string(reply)})
	}
	return reply
}

func (s *Server) ended() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// ReadCommand reads a command as clients send it: an array of bulk strings.
func ReadCommand(r *bufio.Reader) ([]string, error) {
	n, err := readLen(r, '*')
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		size, err := readLen(r, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		words[i] = string(b[:size])
	}
	return words, nil
}

func readLen(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" || line[0] != kind {
		return 0, fmt.Errorf("sim: a command begins with %q", line)
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 || kind == '*' && n == 0 || n > 512<<20 {
		return 0, fmt.Errorf("sim: a command has the length %q", line)
	}
	return n, nil
}
