package redigolock

import (
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

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
