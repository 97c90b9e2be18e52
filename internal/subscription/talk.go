package subscription

import (
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// What goes over one connection of a line: two goroutines, of which attend sends and receive receives.

// serve uses one connection until it breaks, or nobody needs it any more.
func (n *line) serve(c redis.Conn) {
	env := &n.of.env
	env.Mutex.Lock()
	n.conn, n.joining = c, inOrder(n.channels) // nothing is left of the last connection: see forgetConn
	env.Mutex.Unlock()
	broken := make(chan struct{})
	env.Conns.Add(1)
	defer n.ended(c, broken) // also if the user's code ends this goroutine
	go n.receive(c, broken)
	n.attend(c, broken)
}

// ended closes a connection, and has all channels wait for the next.
func (n *line) ended(c redis.Conn, broken <-chan struct{}) {
	hangUp(c)
	<-broken
	n.forgetConn()
	_ = c.Close() // last: it may be the user's code, and end this goroutine
}

func (n *line) forgetConn() {
	env := &n.of.env
	env.Conns.Add(-1)
	env.Mutex.Lock()
	defer env.Mutex.Unlock()
	n.conn, n.pending, n.joining, n.leaving = nil, nil, nil, nil
	now := env.Now()
	for _, c := range inOrder(n.channels) {
		c.ask = 0
		c.Ear.Unheard(now)
	}
	n.scatter()
}

// attend sends what is to be sent.
func (n *line) attend(c redis.Conn, broken <-chan struct{}) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	mu := n.of.env.Mutex
	for due := false; ; {
		mu.Lock()
		over := len(n.channels) == 0 || due && n.over() // first: what it forgets is told to the server at once
		requests := n.requests(due)
		mu.Unlock()
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

// requests takes what is to be sent. Channels are left first: one of them may be wanted again.
func (n *line) requests(ping bool) (all []wire.Request) {
	subscribe, unsubscribe := "SUBSCRIBE", "UNSUBSCRIBE"
	if n.of.sharded() {
		subscribe, unsubscribe = "SSUBSCRIBE", "SUNSUBSCRIBE"
	}
	for _, channel := range n.leaving {
		n.pending = append(n.pending, question{channel: channel})
		all = append(all, wire.Request{Cmd: unsubscribe, Args: []any{channel}})
	}
	for _, c := range n.joining {
		if c.line == n && c.ask == 0 && c.Ear.Wants() {
			n.of.asks++
			c.ask = n.of.asks
			n.pending = append(n.pending, question{c.Name, c.ask})
			all = append(all, wire.Request{Cmd: subscribe, Args: []any{c.Name}})
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
	mu := n.of.env.Mutex
	for {
		reply, err := wire.Receive(c, pingEvery+n.of.env.Bound)
		re, isReply := fault.Reply(err)
		if err != nil && !isReply {
			return
		}
		mu.Lock()
		ok := n.take(reply, re)
		mu.Unlock()
		if re != "" {
			n.of.tell()
		}
		if !ok {
			return
		}
	}
}

// take goes by what the connection has brought, and says whether it can go on.
func (n *line) take(reply any, refusal redis.Error) bool {
	list, _ := reply.([]any)
	if len(list) != 3 { // of a PING, or refused
		return n.takeOther(refusal)
	}
	kind, _ := list[0].([]byte)
	name, _ := list[1].([]byte)
	c := n.channels[string(name)]
	switch string(kind) {
	case "message", "smessage":
		if message, ok := list[2].([]byte); ok && c != nil {
			c.Ear.Told(n.of.env.Now(), string(message))
		}
	case "subscribe", "ssubscribe":
		q := n.answered()
		if q.channel != string(name) || q.ask == 0 {
			return false // the answers are out of step
		}
		if c != nil && c.ask == q.ask { // else it was left meanwhile: if it is wanted again, its answer is to come
			c.astray = 0
			c.Ear.Heard(n.of.env.Now())
		}
	case "unsubscribe", "sunsubscribe":
		if len(n.pending) > 0 && n.pending[0] == (question{channel: string(name)}) {
			n.answered()
			return true
		}
		return n.takenAway(c)
	}
	return true
}

// takenAway goes by an unsubscribe that nobody has asked for: the slot of the channel has moved.
func (n *line) takenAway(c *Channel) bool {
	switch {
	case !n.of.sharded():
		return false
	case c == nil: // it was left
		return true
	}
	c.ask = 0 // there is nothing to take back
	now := n.of.env.Now()
	c.Ear.Moved(now)
	c.Ear.Unheard(now)
	n.of.stray(c)
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
	c := n.channels[q.channel]
	if refusal == "" || c == nil || q.ask == 0 || c.ask != q.ask {
		return true
	}
	c.ask = 0
	if n.of.sharded() && n.of.env.Nodes.Redirected(n.server, refusal) {
		c.Ear.Moved(n.of.env.Now())
		n.of.stray(c)
		return true
	}
	n.refused(c, fault.Refused("subscribe", c.Key, refusal))
	return !fault.TransientReply(refusal)
}
