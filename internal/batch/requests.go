package batch

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wire"
)

// send sends the renewals of the picked locks and reads their replies.
func (n *Node) send(ctx context.Context, b *wire.Bound, asks []renewal.Ask, size int) error {
	n.fill(asks, size)
	defer n.unpack()
	res := wire.Exchange(ctx, b, n.pipeline, n.answers)
	for i := res.Answered; i < len(n.answers); i++ {
		n.answers[i] = noAnswer{}
	}
	if res.Err != nil {
		return fault.Unheard{Err: orCut(ctx, res.Err), Sent: res.Sent}
	}
	return nil
}

// requests are the requests of a flight, each for one lock or for several, and what they are built from.
type requests struct {
	picked   []int // the locks that are sent for, by their place in the flight
	sizes    []int // how many of picked each request is for
	pipeline []wire.Request
	args     []any
	answers  []any         // one for each request
	ttl      time.Duration // boxed as ms
	ms       any
}

// noAnswer stands where none has come: nil would be one.
type noAnswer struct{}

func isAnswer(reply any) bool {
	_, none := reply.(noAnswer)
	return !none
}

func noAnswers(replies []any, n int) []any {
	replies = replies[:0]
	for range n {
		replies = append(replies, noAnswer{})
	}
	return replies
}

// size is how many locks a request is for at most. Some servers take one, as some scripts do.
func (n *Node) size() int {
	if n.alone {
		return 1
	}
	return n.env.Extension.Most
}

// pickAll picks all locks of a flight.
func (n *Node) pickAll(locks int) {
	n.picked = n.picked[:0]
	for i := range locks {
		n.picked = append(n.picked, i)
	}
	n.replies = noAnswers(n.replies, locks)
}

// pickRefused picks those that were sent for together with others and not extended, and forgets their replies. What the
// server says to everybody for a while, as when it loads its data, stands.
func (n *Node) pickRefused() {
	left, at := n.picked[:0], 0
	for _, size := range n.sizes {
		for _, i := range n.picked[at : at+size] {
			if size > 1 && !isExtended(n.replies[i]) && !isPassing(n.replies[i]) {
				n.replies[i] = noAnswer{}
				left = append(left, i)
			}
		}
		at += size
	}
	n.picked = left
}

// fill builds the requests for the picked locks, each for up to size of them. One whose last renewal has failed has
// one of its own.
func (n *Node) fill(asks []renewal.Ask, size int) {
	n.pipeline, n.sizes, n.args = n.pipeline[:0], n.sizes[:0], make([]any, 0, cap(n.args)) // a connection may have recorded the last ones
	for left := n.picked; len(left) > 0; {
		of := 1
		for of < min(size, len(left)) && !asks[left[0]].Failed && !asks[left[of]].Failed {
			of++
		}
		n.add(asks, left[:of])
		left = left[of:]
	}
	n.answers = noAnswers(n.answers, len(n.pipeline))
}

// add builds the request for the locks at these places.
func (n *Node) add(asks []renewal.Ask, places []int) {
	at, x := len(n.args), n.env.Extension
	n.args = append(n.args, x.Script.Digest, x.Keys*len(places))
	for _, i := range places {
		n.args = lockOf(&asks[i]).AddKeys(n.args)
	}
	for _, i := range places {
		k := lockOf(&asks[i])
		if ttl := k.TTL(); ttl != n.ttl {
			n.ttl, n.ms = ttl, ttl.Milliseconds()
		}
		n.args = append(n.args, k.Token(), n.ms)
	}
	n.sizes = append(n.sizes, len(places))
	n.pipeline = append(n.pipeline, x.Script.Request(n.args[at:len(n.args):len(n.args)]))
}

// unpack gives each of the picked locks the answer to its request, or its part of it. A list of another length says
// nothing about any of them.
func (n *Node) unpack() {
	at := 0
	for r, size := range n.sizes {
		answer := n.answers[r]
		list, _ := answer.([]any)
		_, isError := answer.(redis.Error)
		for j, i := range n.picked[at : at+size] {
			switch {
			case size == 1 || isError || !isAnswer(answer):
				n.replies[i] = answer
			case len(list) == size:
				n.replies[i] = list[j]
			default:
				n.replies[i] = nil
			}
		}
		at += size
	}
}

func isExtended(reply any) bool {
	left, ok := reply.(int64)
	return ok && left > 0
}

func isReadOnly(reply any) bool {
	re, ok := reply.(redis.Error)
	return ok && fault.ReadOnly(fault.Bare(re))
}

// isPassing reports whether to ask again at once would be in vain, alone too.
func isPassing(reply any) bool {
	re, ok := reply.(redis.Error)
	if !ok {
		return !isAnswer(reply)
	}
	re = fault.Bare(re)
	switch fault.Word(re) {
	case "NOSCRIPT":
		return true
	case "TRYAGAIN": // which is about several keys
		return false
	}
	return fault.TransientReply(re)
}
