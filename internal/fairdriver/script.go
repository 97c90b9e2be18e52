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
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// Scripts are those of the queue. What they have in common is in luascript.go of the root.
type Scripts struct{ Try, Enter, Release, Poke, Quit, Extend *wire.Script }

// A Reply is what all scripts but Extend reply.
type Reply struct {
	fairqueue.Reply
	Was bool // the token was in the lock
}

// run runs the command's script.
func (s *slot) run(ctx context.Context, c redis.Conn, cmd *fairqueue.Command) (Reply, error) {
	r, err := s.runOnce(ctx, c, cmd)
	if cmd.Beat && isSplit(err) { // while the slot moves, what does not exist yet cannot be had together with what does
		still := *cmd
		still.Beat = false
		return s.runOnce(ctx, c, &still)
	}
	return r, err
}

func (s *slot) runOnce(ctx context.Context, c redis.Conn, cmd *fairqueue.Command) (Reply, error) {
	if cmd.Alone {
		return s.freeAlone(ctx, c, cmd.Owed)
	}
	all := &s.d.env.Scripts
	script, args := all.Release, make([]any, 5, 8)
	switch cmd.Kind {
	case fairqueue.Try:
		script = all.Try
		args = append(args, cmd.Token, cmd.TTL.Milliseconds())
	case fairqueue.Enter:
		script = all.Enter
		args = append(args, cmd.Entry)
	case fairqueue.Poke:
		script = all.Poke
		args = append(args, cmd.Entry, cmd.TTL.Milliseconds())
	case fairqueue.Quit:
		script = all.Quit
		args = append(args, cmd.Entry)
	case fairqueue.Release:
		args = append(args, cmd.Owed)
		if cmd.Entry != "" {
			args = append(args, cmd.Entry)
		}
	}
	args[0], args[1], args[2], args[3], args[4] = script.Digest, script.Keys, s.keyArg, s.queueArg, s.d.shard()
	if cmd.Beat {
		args[1] = threeKeys
		args = slices.Insert(args, 4, s.beatsArg)
	}
	verb := verbOf(cmd.Kind)
	reply, err := wire.Eval(ctx, c, verb, s.key, script, args)
	if err != nil {
		return Reply{}, splitHalfway(verb, s.key, s.d.tooOld(verb, s.key, err))
	}
	r, ok := Read(reply)
	if !ok {
		return r, fault.MaybeSet(fault.Unexpected(verb, s.key, reply))
	}
	if cmd.Beat && r.Was {
		s.muted(&r)
	}
	return r, nil
}

var threeKeys any = 3

// muted goes by the reply to a POKE whose beat was refused: for good, or only now.
func (s *slot) muted(r *Reply) {
	var re redis.Error
	errors.As(r.Err, &re)
	if r.Err = nil; !fault.TransientReply(re) && fault.Word(re) != "OOM" {
		r.Said, r.Err = fairqueue.Mute, fault.Refused("poke", s.key, re)
	}
}

// freeAlone releases a token without a look at the queue. Whoever waits there finds the lock free at the next poke.
func (s *slot) freeAlone(ctx context.Context, c redis.Conn, token string) (r Reply, err error) {
	switch err = s.d.env.Release(ctx, c, s.key, token); {
	case err == nil:
		r.Was = true
	case errors.Is(err, fault.NotHeld):
		err = nil
	}
	return r, err
}

// Read reads {was, said, holder, PTTL, deaf}.
func Read(reply any) (r Reply, ok bool) {
	list, _ := reply.([]any)
	if len(list) != 5 {
		return r, false
	}
	was, okWas := list[0].(int64)
	said, okSaid := list[1].(int64)
	holder, okHolder := list[2].([]byte)
	left, okLeft := list[3].(int64)
	told, okTold := list[4].([]byte)
	if okTold {
		r.Err = redis.Error(told)
	}
	r.Was, r.Said, r.Holder, r.Left = was > 0, fairqueue.Said(said), string(holder), wire.FromMillis(left)
	return r, okWas && okSaid && said >= 0 && said < int64(fairqueue.Mute) && okLeft && (okHolder || list[2] == nil) && (okTold || list[4] == nil)
}

// shard is ARGV[1] of the scripts.
func (d *Driver) shard() any {
	if d.env.Nodes != nil {
		return sharded
	}
	return notSharded
}

var sharded, notSharded any = "S", ""

// tooOld is err, or Unsupported if it says that a node knows no sharded messages.
func (d *Driver) tooOld(verb, key string, err error) error {
	re, isReply := fault.Reply(err)
	if d.env.Nodes == nil || !isReply || !fault.UnknownCommand(re) && !strings.Contains(string(re), "SHARDNUMSUB") {
		return err
	}
	return fmt.Errorf("%w: %s %s: a fair Locker in a cluster needs sharded messages, of Redis 7.0 or any Valkey: %w",
		fault.Unsupported, verb, fault.Quote(key), fault.InLine(err))
}

// Extend extends a token's lock, and returns what is left.
func (d *Driver) Extend(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) (time.Duration, error) {
	queue, _ := names.Sibling(key, names.Queue)
	return d.extend(ctx, c, key, queue, token, ttl)
}

// extend is Extend with boxed keys. In a cluster it looks at the lock's key alone: a slot that is moving has not both, so a lock could be
// lost by that, and where it has moved a moment ago nobody need be subscribed yet, so a lock that is free must not be handed on.
func (d *Driver) extend(ctx context.Context, c redis.Conn, key, queue any, token string, ttl time.Duration) (time.Duration, error) {
	s, name := d.env.Scripts.Extend, key.(string)
	if d.env.Nodes != nil {
		return d.env.Extend(ctx, c, name, token, ttl)
	}
	args := []any{s.Digest, s.Keys, key, queue, notSharded, token, ttl.Milliseconds()}
	reply, err := wire.Eval(ctx, c, "extend", name, s, args)
	if err != nil {
		return 0, err
	}
	left, err := wire.ReadHeld("extend", name, reply)
	return wire.FromMillis(left), err
}
