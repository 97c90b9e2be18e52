package redigolock

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wait"
	"github.com/redigolock/redigolock/internal/wire"
)

// A line is the subscription of a fair Locker: one connection for the channels of all its slots, with two goroutines, of
// which one dials, sends and closes, and the other receives. They live while somebody waits, and linger for a moment. A
// connection that breaks is made anew, with pauses; then each slot asks what it has missed.
type line struct {
	l       *fair
	slots   map[string]*slot // by channel
	pending []question       // what is not answered, in order
	asks    uint64           // how many SUBSCRIBEs were sent
	joining []*slot          // to subscribe to on conn
	leaving []string         // channels to unsubscribe from
	wake    chan struct{}    // capacity 1: something is to be sent, or the end
	conn    redis.Conn       // the present one
	done    chan struct{}    // closed when the goroutines have ended; nil while there are none
	ending  bool
	untold  []refusal // what the Observer is still to be told
}

// A refusal is a subscription that a waiter did not get.
type refusal struct {
	ctx context.Context // the waiter's
	key string
	err error
}

// A question is what was sent on the connection: a SUBSCRIBE with its number, or the zero value for anything else.
type question struct {
	channel string
	ask     uint64
}

// pingEvery is how often the line asks whether its server still answers; it then waits for an OpTimeout more.
const pingEvery = time.Second

// want has the line hear a slot's channel. The caller holds f.mu.
func (n *line) want(s *slot) {
	if n.ending {
		return
	}
	s.ask = 0
	if n.slots == nil {
		n.slots, n.wake = map[string]*slot{}, make(chan struct{}, 1)
	}
	n.slots[s.channel] = s
	if n.conn != nil { // else serve takes all slots
		n.joining = append(n.joining, s)
	}
	if n.done == nil {
		n.done = make(chan struct{})
		go n.run(n.done, 0)
	}
	wait.Wake(n.wake)
}

// renew makes a new connection: the server that answers does not hear this one. The caller holds f.mu.
func (n *line) renew() {
	if n.conn != nil {
		hangUp(n.conn)
	}
}

// hangUp lets a Receive on another goroutine return.
func hangUp(c redis.Conn) {
	if cc, ok := c.(redis.ConnWithContext); ok {
		wire.Cut(cc)
		return
	}
	_ = c.Close()
}

// end ends the line, and returns what is closed when it has ended, nil if it has. The caller holds f.mu.
func (n *line) end(now time.Time) <-chan struct{} {
	n.ending = true
	for _, s := range n.inOrder() {
		n.silence(s, now)
	}
	if n.done == nil {
		return nil
	}
	wait.Wake(n.wake)
	return n.done
}

// forget drops a slot that nobody waits for, or that cannot be heard. The caller holds f.mu, and tells the queue.
func (n *line) forget(s *slot) {
	delete(n.slots, s.channel)
	if s.ask != 0 {
		n.leaving = append(n.leaving, s.channel)
	}
	s.ask = 0
}

// silence drops a slot that nobody waits for.
func (n *line) silence(s *slot, now time.Time) {
	n.forget(s)
	s.q.Silenced(now, &n.l.then)
	s.follow(now)
}

// run dials, and dials again. If the user's code ends its goroutine, another goes on.
func (n *line) run(done chan<- struct{}, failures int) {
	over := false
	defer func() {
		if !over {
			go n.goOn(done, failures)
		}
	}()
	for !over {
		began := time.Now()
		if c, err := n.dial(); err != nil {
			n.failed(err)
		} else {
			n.serve(c)
		}
		if time.Since(began) > pingEvery {
			failures = 0
		}
		over = n.rest(failures)
		failures++
	}
	close(done)
}

// goOn goes on for a goroutine that was ended.
func (n *line) goOn(done chan<- struct{}, failures int) {
	if n.rest(failures) {
		close(done)
		return
	}
	n.run(done, failures+1)
}

// rest pauses after so many failures in a row, and says whether nobody needs the line any more.
func (n *line) rest(failures int) (over bool) {
	f := n.l
	pause := time.NewTimer(wait.Pause(failures))
	defer pause.Stop()
	for {
		f.mu.Lock()
		if over = n.over(); over {
			n.done = nil
		}
		f.mu.Unlock()
		if over {
			return true
		}
		select {
		case <-pause.C:
			return false
		case <-n.wake:
		}
	}
}

// inOrder is n.slots by their keys. The caller holds f.mu.
func (n *line) inOrder() []*slot { return inOrder(n.slots) }

// inOrder is slots by their keys, so that what follows for all of them is the same each time.
func inOrder(slots map[string]*slot) []*slot {
	list := slices.Collect(maps.Values(slots))
	slices.SortFunc(list, func(a, b *slot) int { return strings.Compare(a.key, b.key) })
	return list
}

// over lets go of the slots that nobody has waited for, for long. The caller holds f.mu.
func (n *line) over() bool {
	now := n.l.now()
	for _, s := range n.inOrder() {
		if s.q.Rests(now) {
			n.silence(s, now)
		}
	}
	return len(n.slots) == 0
}

func (n *line) dial() (redis.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), n.l.opTimeout())
	defer cancel()
	c, err := n.l.source.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("redigolock: subscribe: %w", err)
	}
	if n.l.source.binds() {
		_ = c.Close()
		return nil, fmt.Errorf("%w: subscribe: a fair Locker on a pool whose connections are bound to a node", ErrUnsupported)
	}
	return c, nil
}

// failed tells those that wait that no subscription can be had.
func (n *line) failed(err error) {
	f := n.l
	defer n.tell()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range n.inOrder() {
		n.refused(s, err)
	}
}

// refused goes by what a slot cannot be heard for. The caller holds f.mu.
func (n *line) refused(s *slot, err error) {
	if x, waits := s.q.First(); waits && x.Ctx != nil {
		n.untold = append(n.untold, refusal{context.WithoutCancel(x.Ctx), s.key, err})
	}
	now, forGood := n.l.now(), !fault.Transient(err)
	if forGood {
		n.forget(s)
	}
	s.q.Refused(now, err, forGood, &n.l.then)
	s.follow(now)
}

// tell tells the Observer what was refused. The caller does not hold f.mu.
func (n *line) tell() {
	f := n.l
	f.mu.Lock()
	untold := n.untold
	n.untold = nil
	f.mu.Unlock()
	for _, r := range untold {
		n.l.observer.outcome(r.ctx, r.key, "subscribe", r.err)
	}
}

// serve uses one connection until it breaks, or nobody needs it any more.
func (n *line) serve(c redis.Conn) {
	f := n.l
	f.mu.Lock()
	n.conn, n.pending, n.joining, n.leaving = c, nil, n.inOrder(), nil
	f.mu.Unlock()
	broken := make(chan struct{})
	n.l.conns.Add(1)
	defer n.ended(c, broken) // also if the user's code ends this goroutine
	go n.receive(c, broken)
	n.attend(c, broken)
}

// ended closes a connection, and has all slots wait for the next.
func (n *line) ended(c redis.Conn, broken <-chan struct{}) {
	hangUp(c)
	<-broken
	_ = c.Close()
	n.l.conns.Add(-1)
	f := n.l
	f.mu.Lock()
	defer f.mu.Unlock()
	n.conn, n.pending, n.joining, n.leaving = nil, nil, nil, nil
	now := n.l.now()
	for _, s := range n.inOrder() {
		s.ask = 0
		s.q.Unheard(now, &f.then)
		s.follow(now)
	}
}

// What goes over one connection of a line: two goroutines, of which attend sends and receive receives.

// attend sends what is to be sent.
func (n *line) attend(c redis.Conn, broken <-chan struct{}) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	f := n.l
	for due := false; ; {
		f.mu.Lock()
		over := len(n.slots) == 0 || due && n.over() // first: what it forgets is told to the server at once
		requests := n.requests(due)
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
func (n *line) requests(ping bool) (all []wire.Request) {
	subscribe, unsubscribe := "SUBSCRIBE", "UNSUBSCRIBE"
	if n.l.sharded {
		subscribe, unsubscribe = "SSUBSCRIBE", "SUNSUBSCRIBE"
	}
	for _, channel := range n.leaving {
		n.pending = append(n.pending, question{})
		all = append(all, wire.Request{Cmd: unsubscribe, Args: []any{channel}})
	}
	for _, s := range n.joining {
		if s.q.Hearing() == fairqueue.Making && s.ask == 0 {
			n.asks++
			s.ask = n.asks
			n.pending = append(n.pending, question{s.channel, s.ask})
			all = append(all, wire.Request{Cmd: subscribe, Args: []any{s.channel}})
		}
	}
	n.joining, n.leaving = nil, nil
	if ping {
		n.pending = append(n.pending, question{})
		all = append(all, wire.Request{Cmd: "PING"})
	}
	return all
}

func sendAll(c redis.Conn, requests []wire.Request) error {
	if len(requests) == 0 {
		return nil
	}
	for _, r := range requests {
		if err := c.Send(r.Cmd, r.Args...); err != nil {
			return err
		}
	}
	return c.Flush()
}

// receive is the goroutine that receives.
func (n *line) receive(c redis.Conn, broken chan<- struct{}) {
	defer close(broken)
	f := n.l
	for {
		reply, err := wire.Receive(c, pingEvery+n.l.opTimeout())
		re, isReply := fault.Reply(err)
		if err != nil && !isReply {
			return
		}
		f.mu.Lock()
		ok := n.take(reply, re)
		f.mu.Unlock()
		if re != "" {
			n.tell()
		}
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
			now := n.l.now()
			s.q.Told(now, string(token), &n.l.then)
			s.follow(now)
		}
	case "subscribe", "ssubscribe":
		q := n.answered()
		if q.channel != string(channel) {
			return false // the answers are out of step
		}
		if s != nil && s.ask == q.ask { // else the channel was left meanwhile: if it is wanted again, its answer is to come
			now := n.l.now()
			s.q.Heard(now, &n.l.then)
			s.follow(now)
		}
	case "unsubscribe", "sunsubscribe":
		return n.answered().ask == 0 && (s == nil || s.ask == 0 || s.q.Hearing() == fairqueue.Making) // else the key has moved
	}
	return true
}

// answered returns the oldest of what was not answered.
func (n *line) answered() (q question) {
	if len(n.pending) > 0 {
		q, n.pending = n.pending[0], n.pending[1:]
	}
	return q
}

// takeOther finds what was refused. A PING that is not allowed is an answer like any other.
func (n *line) takeOther(refusal redis.Error) bool {
	q := n.answered()
	s := n.slots[q.channel]
	if refusal == "" || s == nil || s.ask != q.ask {
		return true
	}
	s.ask = 0
	n.refused(s, fault.Refused("subscribe", s.key, refusal))
	return !fault.TransientReply(refusal)
}
