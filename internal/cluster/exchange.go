package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// Exchange sends the requests and reads their replies: see [wire.Carrier]. As far as they are redirected they go to another node.
func (x *Conn) Exchange(ctx context.Context, now, by time.Time, reqs []wire.Request, replies []any) wire.Result {
	slot, err := x.slotOf(reqs)
	if err != nil {
		return wire.Result{Err: err}
	}
	stays := false
	for i := range reqs {
		stays = stays || reqs[i].Script != nil && reqs[i].Script.Stays
		reqs[i].Script = nil // its text may have to go elsewhere than to the node that does not know it
	}
	limit := ctx
	if !by.IsZero() {
		var cancel context.CancelFunc
		limit, cancel = context.WithDeadline(ctx, by)
		defer cancel()
	}
	if err := x.reach(limit, slot); err != nil {
		return wire.Result{Err: err}
	}
	res := x.exchange(ctx, by, reqs, replies)
	first := 0
	for hop := 0; res.Err == nil && hop < hopsMost; hop++ {
		i, r, ok := x.redirected(reqs, replies, first)
		if i == len(reqs) {
			break
		}
		if stays || !ok {
			x.learn(r)
			break
		}
		next, err := x.follow(ctx, limit, by, r, reqs[i:], replies[i:])
		if err != nil && i == 0 {
			return wire.Result{Err: err}
		}
		if err != nil {
			break // what was refused stands beside what was carried out
		}
		res = wire.Result{Answered: i + next.Answered, Sent: next.Sent || i > 0, Err: next.Err}
		first = i
	}
	if res.Err == nil {
		x.judge(reqs, replies)
	}
	return res
}

// slotOf is the slot that an exchange goes to: that of its first key, which must be that of Bind; −1: there is none.
func (x *Conn) slotOf(reqs []wire.Request) (int, error) {
	for i := range reqs {
		key, ok := keyOf(reqs[i].Cmd, reqs[i].Args)
		if !ok {
			continue
		}
		slot := names.Slot(key)
		if x.slot >= 0 && x.slot != slot {
			return 0, fmt.Errorf("%w: %s %s: it is in another slot than the key that the connection is bound to",
				fault.Invalid, reqs[i].Cmd, fault.Quote(key))
		}
		for _, other := range scriptKeys(reqs[i].Cmd, reqs[i].Args) {
			if other := argument(other); names.Slot(other) != slot {
				return 0, fmt.Errorf("%w: %s %s: it is in another slot than %s: give both a hash tag, as in {x}a and {x}b",
					fault.Invalid, reqs[i].Cmd, fault.Quote(other), fault.Quote(key))
			}
		}
		return slot, nil
	}
	return x.slot, nil
}

// exchange is one with the node that the connection leads to.
func (x *Conn) exchange(ctx context.Context, by time.Time, reqs []wire.Request, replies []any) wire.Result {
	res := exchangeOn(ctx, &x.bound, x.conn, by, reqs, replies)
	switch {
	case res.Err == nil:
		x.node.answered(replies)
	case res.Sent:
		x.node.failed(ctx, res.Err)
	}
	return res
}

// exchangeOn is one on a connection to a node.
func exchangeOn(ctx context.Context, b *wire.Bound, c redis.Conn, by time.Time, reqs []wire.Request, replies []any) wire.Result {
	if by.IsZero() {
		return wire.Exchange(ctx, c, reqs, replies)
	}
	b.Conn = c
	now := time.Now()
	b.Begin(now, by, by.Sub(now))
	return wire.Exchange(ctx, b, reqs, replies)
}

// redirected finds the requests that a node did not serve: reqs[i:], of which it has redirected the first; there is none if i is
// len(reqs). They may go to another node only if none of them was carried out: else not ok, and the replies stand. A transaction is
// its node's, and is not led elsewhere, but for a WATCH that begins one.
func (x *Conn) redirected(reqs []wire.Request, replies []any, first int) (i int, r redirect, ok bool) {
	for i = first; i < len(reqs); i++ {
		if r, ok = redirectOf(replies[i], x.node.addr); ok {
			break
		}
	}
	if !ok || x.tx {
		return i, r, false
	}
	for j := i; j < len(reqs); j++ {
		kind := kindOf(reqs[j].Cmd)
		if !unserved(replies[j]) && kind != harmless && kind != unwatch || inTransaction(kind) || kind == watch && r.ask {
			return i, r, false
		}
	}
	return i, r, true
}

// unserved reports whether a node says that it did not carry out a command, which another one may.
func unserved(reply any) bool {
	re, ok := reply.(redis.Error)
	if !ok {
		return false
	}
	word := fault.Word(re)
	return fault.UnknownCommand(re) || word == "ASK" || word == "NOSCRIPT" || word == "LOADING" || stirs(re)
}

// follow repeats requests that were redirected. An error says that this was not begun.
func (x *Conn) follow(ctx, limit context.Context, by time.Time, r redirect, reqs []wire.Request, replies []any) (res wire.Result, err error) {
	from := x.node
	to, err := x.c.heed(from, r)
	switch {
	case err != nil:
		return res, err
	case r.ask:
		return x.ask(ctx, limit, by, to, reqs, replies)
	case to == from:
		x.dropStale()
	}
	if err := x.lead(limit, to); err != nil {
		return res, err
	}
	res = x.exchange(ctx, by, reqs, replies)
	if res.Err != nil && !res.Sent && res.Answered == 0 {
		return res, res.Err
	}
	return res, nil
}

// learn goes by a redirect that is not followed. In a transaction the connection stays what it is.
func (x *Conn) learn(r redirect) {
	from := x.node
	if to, err := x.c.heed(from, r); err == nil && to == from && !r.ask && !x.tx {
		x.dropStale()
	}
}

// dropStale is for a slot that was moved to the address of its node: another server is there by now, and must be dialled.
func (x *Conn) dropStale() {
	x.node.broken.Store(time.Now().UnixNano())
	wire.Cut(x.conn)
	x.let()
}

// ask sends the requests to a node that imports the slot. ASKING holds for one command.
func (x *Conn) ask(ctx, limit context.Context, by time.Time, to *node, reqs []wire.Request, replies []any) (res wire.Result, err error) {
	conn, err := to.borrow(limit, x.own)
	if err != nil {
		x.c.Refresh()
		return res, err
	}
	defer conn.Close()
	all, answers := make([]wire.Request, 0, 2*len(reqs)), make([]any, 2*len(reqs))
	for _, r := range reqs {
		all = append(all, wire.Request{Cmd: "ASKING"}, r)
	}
	var b wire.Bound
	res = exchangeOn(ctx, &b, conn, by, all, answers)
	res.Answered /= 2
	for i := range res.Answered {
		replies[i] = answers[2*i+1]
	}
	switch {
	case res.Err != nil && res.Sent:
		to.failed(ctx, res.Err)
		x.breaks(res.Err)
	case res.Err != nil && res.Answered == 0:
		return res, res.Err
	}
	return res, nil
}

// judge goes by what was answered.
func (x *Conn) judge(reqs []wire.Request, replies []any) {
	for i := range reqs {
		re, refused := replies[i].(redis.Error)
		if refused && stirs(re) && fault.Word(fault.Bare(re)) != "TRYAGAIN" { // no map has a slot that is moving at its next node
			x.c.Refresh()
		}
		switch kind := kindOf(reqs[i].Cmd); {
		case kind == execute && refused:
			x.tx = x.tx && fault.Word(re) == "ERR" // without MULTI: a WATCH still holds. Any other refusal ends the transaction
		case refused:
		case kind == watch || kind == begin:
			x.tx = true
		case kind == execute || kind == discard || kind == unwatch:
			x.tx = false
		}
	}
}

// stirs reports whether a node says that the cluster changes.
func stirs(err redis.Error) bool {
	switch fault.Word(fault.Bare(err)) {
	case "MOVED", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY":
		return true
	}
	return false
}
