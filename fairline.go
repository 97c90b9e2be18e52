package redigolock

import (
	"context"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A line is the subscription of a fair Locker: one connection for the channels of all its slots, with two goroutines, of
// which one dials, sends and closes, and the other receives. They live while somebody waits, and linger for a moment. A
// connection that breaks is made anew, with pauses; then each slot asks what it has missed.
type line struct {
	l       *Locker
	slots   map[string]*slot // by channel
	pending []string         // what is not answered, in order: the channel of a SUBSCRIBE, "" for anything else
	joining []*slot          // to subscribe to
	leaving []string         // channels to unsubscribe from
	wake    chan struct{}    // capacity 1: something is to be sent, or the end
	conn    redis.Conn       // the present one
	done    chan struct{}    // closed when the goroutines have ended; nil while there are none
	ending  bool
}

// pingEvery is how often the line asks whether its server still answers; it then waits for an OpTimeout more.
const pingEvery = time.Second

// want has the line hear a slot's channel. The caller holds f.mu.
func (n *line) want(s *slot, now time.Time) {
	if n.ending {
		return
	}
	s.sub, s.asked, s.tries = making, false, 0
	s.tryAt = now.Add(pauseAfter(0))
	if n.slots == nil {
		n.slots, n.wake = map[string]*slot{}, make(chan struct{}, 1)
	}
	n.slots[s.channel] = s
	n.joining = append(n.joining, s)
	if n.done == nil {
		n.done = make(chan struct{})
		go n.run(n.done)
	}
	wake(n.wake)
}

// renew makes a new connection: on this one the server that answers does not hear s. The caller holds f.mu.
func (n *line) renew(s *slot) {
	if s.sub == confirmed && n.conn != nil {
		s.sub = making
		hangUp(n.conn)
	}
}

// hangUp lets a Receive on another goroutine return.
func hangUp(c redis.Conn) {
	if cc, ok := c.(redis.ConnWithContext); ok {
		cut(cc)
		return
	}
	_ = c.Close()
}

// end ends the line, and returns what is closed when it has ended, nil if it has. The caller holds f.mu.
func (n *line) end() <-chan struct{} {
	n.ending = true
	for _, s := range n.slots {
		n.forget(s)
	}
	if n.done == nil {
		return nil
	}
	wake(n.wake)
	return n.done
}

// forget drops a slot that nobody waits for. The caller holds f.mu.
func (n *line) forget(s *slot) {
	delete(n.slots, s.channel)
	if s.asked {
		n.leaving = append(n.leaving, s.channel)
	}
	s.sub, s.asked = deaf, false
}

// run dials, and dials again.
func (n *line) run(done chan<- struct{}) {
	defer close(done)
	f := &n.l.state.fair
	for failures := 0; ; {
		began := time.Now()
		if c, err := n.dial(); err != nil {
			n.failed(err)
		} else {
			n.serve(c)
		}
		if time.Since(began) > pingEvery {
			failures = 0
		}
		pause := time.NewTimer(pauseAfter(failures))
		failures++
		for waiting := true; waiting; {
			f.mu.Lock()
			if n.over() {
				n.done = nil
				f.mu.Unlock()
				pause.Stop()
				return
			}
			f.mu.Unlock()
			select {
			case <-pause.C:
				waiting = false
			case <-n.wake:
			}
		}
	}
}

// over lets go of the slots that nobody has waited for, for long. The caller holds f.mu.
func (n *line) over() bool {
	now := time.Now()
	for _, s := range n.slots {
		if s.head == nil && s.w == nil && s.quit == nil && now.Sub(s.waited) > linger {
			n.forget(s)
			s.settle()
		}
	}
	return len(n.slots) == 0
}

func (n *line) dial() (redis.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), n.l.opTimeout())
	defer cancel()
	c, err := dialOwn(ctx, n.l.Pool)
	if err != nil {
		return nil, fmt.Errorf("redigolock: subscribe: %w", err)
	}
	if _, binds := c.(interface{ Bind(keys ...string) error }); binds {
		_ = c.Close()
		return nil, fmt.Errorf("%w: subscribe: a fair Locker on a pool whose connections are bound to a node", ErrUnsupported)
	}
	return c, nil
}

// failed tells those that wait that no subscription can be had.
func (n *line) failed(err error) {
	f := &n.l.state.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range n.slots {
		n.refused(s, err)
	}
}

// refused goes by what a slot cannot be heard for. The caller holds f.mu.
func (n *line) refused(s *slot, err error) {
	s.trouble = err
	if !transient(err) {
		s.failAll(err)
		n.forget(s)
	}
	s.settle()
}

// serve uses one connection until it breaks, or nobody needs it any more.
func (n *line) serve(c redis.Conn) {
	f := &n.l.state.fair
	f.mu.Lock()
	n.conn, n.pending, n.joining, n.leaving = c, nil, nil, nil
	for _, s := range n.slots {
		n.joining = append(n.joining, s)
	}
	f.mu.Unlock()
	broken := make(chan struct{})
	go n.receive(c, broken)
	n.attend(c, broken)
	hangUp(c)
	<-broken
	_ = c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	n.conn = nil
	now := time.Now()
	for _, s := range n.slots {
		s.sub, s.asked, s.tryAt = making, false, now.Add(pauseAfter(s.tries))
		s.settle()
	}
}

// attend sends what is to be sent.
func (n *line) attend(c redis.Conn, broken <-chan struct{}) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	f := &n.l.state.fair
	for due := false; ; {
		f.mu.Lock()
		requests := n.requests(due)
		over := len(n.slots) == 0 || due && n.over()
		f.mu.Unlock()
		if over || sendAll(c, requests) != nil {
			return
		}
		due = false
		select {
		case <-n.wake:
		case <-ping.C:
			due = true
		case <-broken:
			return
		}
	}
}

// requests takes what is to be sent. Channels are left first: one of them may be wanted again. The caller holds f.mu.
func (n *line) requests(ping bool) (all []request) {
	subscribe, unsubscribe := "SUBSCRIBE", "UNSUBSCRIBE"
	if n.l.state.fair.sharded {
		subscribe, unsubscribe = "SSUBSCRIBE", "SUNSUBSCRIBE"
	}
	for _, channel := range n.leaving {
		n.pending = append(n.pending, "")
		all = append(all, request{unsubscribe, []any{channel}})
	}
	for _, s := range n.joining {
		if s.sub == making && !s.asked {
			s.asked = true
			n.pending = append(n.pending, s.channel)
			all = append(all, request{subscribe, []any{s.channel}})
		}
	}
	n.joining, n.leaving = nil, nil
	if ping {
		n.pending = append(n.pending, "")
		all = append(all, request{"PING", nil})
	}
	return all
}

func sendAll(c redis.Conn, requests []request) error {
	if len(requests) == 0 {
		return nil
	}
	for _, r := range requests {
		if err := c.Send(r.cmd, r.args...); err != nil {
			return err
		}
	}
	return c.Flush()
}

// receive is the goroutine that receives.
func (n *line) receive(c redis.Conn, broken chan<- struct{}) {
	defer close(broken)
	f := &n.l.state.fair
	for {
		reply, err := receive(c, pingEvery+n.l.opTimeout())
		re, isReply := err.(redis.Error)
		if err != nil && !isReply {
			return
		}
		f.mu.Lock()
		ok := n.take(reply, re)
		f.mu.Unlock()
		if !ok {
			return
		}
	}
}

// take goes by what the connection has brought, and says whether it can go on. The caller holds f.mu.
func (n *line) take(reply any, refusal redis.Error) bool {
	list, _ := reply.([]any)
	if len(list) != 3 { // of a PING, or refused
		return n.takeOther(refusal)
	}
	kind, _ := list[0].([]byte)
	channel, _ := list[1].([]byte)
	s := n.slots[string(channel)]
	switch string(kind) {
	case "message", "smessage":
		if token, ok := list[2].([]byte); ok && s != nil {
			s.message(string(token))
			s.settle()
		}
	case "subscribe", "ssubscribe":
		n.answered()
		if s != nil && s.asked {
			s.heardNow()
			s.settle()
		}
	case "unsubscribe", "sunsubscribe":
		return n.answered() == "" && (s == nil || !s.asked || s.sub == making) // else the server did it: the key has moved
	}
	return true
}

// answered returns the oldest of what was not answered.
func (n *line) answered() (channel string) {
	if len(n.pending) > 0 {
		channel, n.pending = n.pending[0], n.pending[1:]
	}
	return channel
}

// takeOther finds what was refused. A PING that is not allowed is an answer like any other.
func (n *line) takeOther(refusal redis.Error) bool {
	s := n.slots[n.answered()]
	if refusal == "" || s == nil || !s.asked {
		return true
	}
	s.asked = false
	n.refused(s, serverError("subscribe", s.key, refusal))
	return !transientReply(refusal)
}
