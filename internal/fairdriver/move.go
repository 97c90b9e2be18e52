package fairdriver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fairqueue"
	"github.com/redigolock/redigolock/internal/fault"
)

// In a Redis Cluster a key's slot may move to another node, with the key and its queue. Meanwhile no node has both of them, and refuses
// the scripts, which are for both.

// isSplit reports whether a server refused a script for two keys because their slot is moving, or has moved: it has not both of them.
func isSplit(err error) bool {
	if errors.Is(err, errHalfway) {
		return true
	}
	re, isReply := fault.Reply(err)
	if !isReply || errors.Is(err, fault.Unknown) {
		return false
	}
	switch fault.Word(fault.Bare(re)) {
	case "TRYAGAIN", "MOVED", "ASK":
		return true
	}
	return false
}

// errHalfway is in the error of a script that has found a key missing in the middle, because its slot is moving. It is that of a
// Release: it has handed the lock to the last of the queue, and what was to follow is not queued.
var errHalfway = fmt.Errorf("%w: the slot is moving", fault.Unknown)

// splitHalfway is err, or one that is errHalfway.
func splitHalfway(verb, key string, err error) error {
	if re, isReply := fault.Reply(err); isReply && strings.Contains(string(re), "non local key") {
		return fault.Of(errHalfway, verb, key, string(re))
	}
	return err
}

// settleFor is how long after a slot of a cluster was seen to move no script may hand a lock of it on: those that wait for it must be
// subscribed at its new node, or their entries would be dropped as those of the dead.
const settleFor = 250 * time.Millisecond

var errMoved = redis.Error("TRYAGAIN the slot is moving, or has moved a moment ago")

// handsOn reports whether a command may hand the lock on at a node to which its slot has moved.
func (s *slot) handsOn(cmd *fairqueue.Command) bool {
	return s.d.env.Nodes != nil && !cmd.Alone && cmd.Kind != fairqueue.Check
}

// settled waits until the slot has not been seen to move for settleFor; if that is later than by, it does not wait. A Release does
// not wait: it is sent for the lock's key alone, and the next Poke of anybody hands the lock on.
func (s *slot) settled(ctx context.Context, cmd *fairqueue.Command, by time.Time) error {
	if !s.handsOn(cmd) {
		return nil
	}
	verb := verbOf(cmd.Kind)
	for {
		pause := s.unsettled()
		switch {
		case pause <= 0:
			return nil
		case cmd.Kind == fairqueue.Release, !time.Now().Add(pause).Before(by):
			return fault.Refused(verb, s.key, errMoved)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fault.Failed(verb, s.key, fault.OfContext(ctx))
		}
	}
}

// unsettled is how long it takes until the slot has settled. That the map has another node for the key is a move, too: others that
// share the pool were redirected, or a failover was seen.
func (s *slot) unsettled() time.Duration {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.env.Now()
	if node := d.env.Nodes.Where(s.key); node != "" && node != s.node {
		if s.node != "" {
			s.moved = now
		}
		s.node = node
	}
	return settleFor - now.Sub(s.moved)
}

// mayRepeat reports whether a command was refused because its slot is moving, and was not carried out, so that its token may be sent again.
func (d *Driver) mayRepeat(err error) bool {
	return d.env.Nodes != nil && isSplit(err) && !errors.Is(err, fault.Unknown)
}

// heedMove notes that a command was refused because the slot is moving.
func (s *slot) heedMove(err error) {
	d := s.d
	if d.env.Nodes == nil || !isSplit(err) || errors.Is(err, errMoved) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.moved = d.env.Now()
}

// countRare notes a slot that begins, or ends, to retry something seldom. While there is one, somebody watches for another server. The
// caller holds d.mu.
func (d *Driver) countRare(s *slot) {
	another := d.env.Another
	if another == nil {
		return
	}
	if !s.rare {
		d.rare = slices.DeleteFunc(d.rare, func(x *slot) bool { return x == s })
		if len(d.rare) == 0 && d.calm != nil {
			close(d.calm)
			d.calm = nil
		}
		return
	}
	s.place = d.env.Place(s.key)
	if d.rare = append(d.rare, s); d.calm == nil && another() != nil {
		d.calm = make(chan struct{})
		go d.watch(another, d.calm)
	}
}

// watch has what is retried seldom sent soon after its key is at another server, or its server is back.
func (d *Driver) watch(another func() <-chan struct{}, calm <-chan struct{}) {
	for {
		next := another()
		d.elsewhere()
		select {
		case <-next:
		case <-calm:
			return
		}
	}
}

func (d *Driver) elsewhere() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range slices.Clone(d.rare) {
		if place := d.env.Place(s.key); place != s.place {
			s.place = place
			now := d.env.Now()
			s.q.Elsewhere(now, &d.then)
			s.follow(now)
		}
	}
}
