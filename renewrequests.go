package redigolock

import (
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// groupMost is how many locks one request extends. A redis-server 7.0.15 does nothing else meanwhile, for 0.12 to 0.17
// ms; with 64 locks it was twice that, and neither side used less processor time for a lock.
const groupMost = 32

// renewRequests are the requests of a batch, each for one lock or for several, and what they are built from.
type renewRequests struct {
	picked   []int // the keepers that are sent for, by their place in the batch
	sizes    []int // how many of picked each request is for
	requests []request
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

// size is how many locks a request is for at most. The script of a fair Locker takes one, as some servers do.
func (n *renewLine) size(l *Locker) int {
	if n.alone || l.Fair {
		return 1
	}
	return groupMost
}

// pickAll picks all keepers of a batch.
func (n *renewLine) pickAll(keepers []*keeper) {
	n.picked = n.picked[:0]
	for i := range keepers {
		n.picked = append(n.picked, i)
	}
	n.replies = noAnswers(n.replies, len(keepers))
}

// pickRefused picks those that were sent for together with others and not extended, and forgets their replies. What the
// server says to everybody for a while, as when it loads its data, stands.
func (n *renewLine) pickRefused() {
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

// fill builds the requests for the picked keepers, each for up to size of them. One whose last renewal has failed has
// one of its own.
func (n *renewLine) fill(keepers []*keeper, size int) {
	n.requests, n.sizes, n.args = n.requests[:0], n.sizes[:0], make([]any, 0, cap(n.args)) // a connection may have recorded the last ones
	for left := n.picked; len(left) > 0; {
		of := 1
		for of < min(size, len(left)) && keepers[left[0]].failures+keepers[left[of]].failures == 0 {
			of++
		}
		n.add(keepers, left[:of])
		left = left[of:]
	}
	n.answers = noAnswers(n.answers, len(n.requests))
}

// add builds the request for the keepers at these places.
func (n *renewLine) add(keepers []*keeper, places []int) {
	at, l := len(n.args), keepers[places[0]].k.locker
	script, keys := l.extendScript(), any(len(places))
	if l.Fair {
		keys = script.keys
	}
	n.args = append(n.args, script.hash, keys)
	for _, i := range places {
		k := keepers[i].k
		n.args = append(n.args, k.conn.key)
		if l.Fair {
			queue, _ := sibling("extend", k.key, queueName) // checkFair has asked
			n.args = append(n.args, queue, l.shard())
		}
	}
	for _, i := range places {
		k := keepers[i].k
		if k.ttl != n.ttl {
			n.ttl, n.ms = k.ttl, k.ttl.Milliseconds()
		}
		n.args = append(n.args, k.conn.token, n.ms)
	}
	n.sizes = append(n.sizes, len(places))
	n.requests = append(n.requests, request{"EVALSHA", n.args[at:len(n.args):len(n.args)]})
}

// unpack gives each of the picked keepers the answer to its request, or its part of it. A list of another length says
// nothing about any of them.
func (n *renewLine) unpack() {
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

func isNoScript(reply any) bool {
	re, ok := reply.(redis.Error)
	return ok && fault.Word(re) == "NOSCRIPT"
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
	return isNoScript(re) || fault.TransientReply(re) && fault.Word(re) != "TRYAGAIN" // which is about several keys
}
