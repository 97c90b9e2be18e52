package redigolock

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

// A fairReply is what all scripts but EXTEND reply.
type fairReply struct {
	fairqueue.Reply
	was bool // the token was in the lock
}

// work is a goroutine that sends one command in the background. A command that hangs must not keep the others waiting.
func (s *slot) work(cmd fairqueue.Command) {
	ctx := context.Background()
	if cmd.Ctx != nil {
		ctx = context.WithoutCancel(cmd.Ctx)
	}
	f := s.l
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		s.users--
		s.look()
	}()
	s.l.perform(ctx, s, &cmd, nil)
}

// perform sends a command, on b or a borrowed connection, and has the slot go by the reply.
func (l *fair) perform(ctx context.Context, s *slot, cmd *fairqueue.Command, b *wire.Bound) (fairReply, error) {
	r, err := l.sendAndGoBy(ctx, s, cmd, b)
	if err == nil && r.Said == fairqueue.Held && l.observer != nil && (cmd.Kind == fairqueue.Try || cmd.Kind == fairqueue.Enter) {
		l.observer.contended(ctx, s.key, &HeldError{Key: s.key, Holder: names.Holder(r.Holder), TTL: max(r.Left, 0)})
	}
	l.observer.outcome(ctx, s.key, verbOfFair(cmd.Kind), err)
	return r, err
}

// sendAndGoBy sends a command, and has the slot go by what became of it, also if the user's code panics meanwhile, in a pool, a
// connection or an Observer: then its outcome is unknown.
func (l *fair) sendAndGoBy(ctx context.Context, s *slot, cmd *fairqueue.Command, b *wire.Bound) (r fairReply, err error) {
	var start time.Time
	returned := false
	defer func() {
		if !returned {
			err = fault.Of(ErrUnknown, verbOfFair(cmd.Kind), s.key, "a pool, a connection or an Observer has panicked")
		}
		said, failure := r.Reply, outcomeOf(ctx, err)
		if cmd.Kind == fairqueue.Check && fault.IsLoss(err) {
			said = fairqueue.Reply{Said: fairqueue.NotMine, Err: err}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		now := l.now()
		if err == nil || said.Said == fairqueue.NotMine {
			s.q.Replied(now, cmd, start, said, &l.then)
		} else {
			s.q.Failed(now, cmd, failure, &l.then)
		}
		s.follow(now)
	}()
	start, r, err = l.send(ctx, s, cmd, b)
	returned = true
	return r, err
}

// outcomeOf is what became of a command that ended with err.
func outcomeOf(ctx context.Context, err error) (o fairqueue.Outcome) {
	if err == nil {
		return o
	}
	o = fairqueue.Outcome{Err: err, Left: ctx.Err() != nil, Unread: errors.Is(err, fault.Unread), NoneLent: errors.Is(err, ErrUnavailable)}
	o.Split = isSplit(err)
	switch {
	case errors.Is(err, ErrUnknown):
		o.Fate = fairqueue.Lost
	case fault.Transient(err), o.Left:
		o.Fate = fairqueue.Unsent
	default:
		o.Fate = fairqueue.Refused
	}
	return o
}

// isSplit reports whether a server refused a script for two keys because their slot is moving, or has moved: it has not both of them.
func isSplit(err error) bool {
	if errors.Is(err, errHalfway) {
		return true
	}
	re, isReply := fault.Reply(err)
	if !isReply || errors.Is(err, ErrUnknown) {
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
var errHalfway = fmt.Errorf("%w: the slot is moving", ErrUnknown)

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

var errMoved = redis.Error("TRYAGAIN the slot has moved, and not all that wait are subscribed at its new node yet")

// settled waits until the slot has not been seen to move for settleFor. A Release does not wait: it is sent for the lock's key alone,
// and the next Poke of anybody hands the lock on.
func (s *slot) settled(ctx context.Context, cmd *fairqueue.Command) error {
	f := s.l
	if f.nodes == nil || cmd.Alone || cmd.Kind == fairqueue.Check {
		return nil
	}
	verb, by := verbOfFair(cmd.Kind), time.Now().Add(f.opTimeout())
	for {
		f.mu.Lock()
		pause := settleFor - f.now().Sub(s.moved)
		f.mu.Unlock()
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

// heedMove notes that a command was refused because the slot is moving.
func (s *slot) heedMove(err error) {
	f := s.l
	if f.nodes == nil || err == nil || !isSplit(err) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.moved = f.now()
}

// send sends a command and reads its reply. start is the time just before the send.
func (l *fair) send(ctx context.Context, s *slot, cmd *fairqueue.Command, b *wire.Bound) (start time.Time, r fairReply, err error) {
	run := func(c redis.Conn) (err error) {
		start = l.now()
		if cmd.Kind == fairqueue.Check {
			_, err = l.extendToken(ctx, c, s.keyArg, s.queueArg, cmd.Token, cmd.TTL)
			return err
		}
		s.sending(cmd, start)
		r, err = s.run(ctx, c, cmd)
		return err
	}
	if err := s.settled(ctx, cmd); err != nil {
		return start, r, err
	}
	defer func() { s.heedMove(err) }()
	verb, timeout := verbOfFair(cmd.Kind), l.opTimeout()
	if cmd.Kind == fairqueue.Try || cmd.Kind == fairqueue.Enter {
		timeout = min(timeout, cmd.TTL)
	}
	if cmd.Own {
		err = l.sendOwn(ctx, s, cmd, timeout, run)
		return start, r, err
	}
	if b == nil {
		b = &wire.Bound{Key: s.keyArg}
	}
	_, err = l.onLent(ctx, b, verb, s.key, timeout, run)
	return start, r, err
}

// sendOwn runs f on a connection that is not the pool's. After a break each key of a Locker wants one, so only a few are in
// use at a time, and the other commands wait for their turn; but a Release has its time, and no turn to wait for.
func (l *fair) sendOwn(ctx context.Context, s *slot, cmd *fairqueue.Command, most time.Duration, f func(redis.Conn) error) error {
	verb, by := verbOfFair(cmd.Kind), time.Now().Add(l.opTimeout())
	if !cmd.Kept {
		limit, cancel := context.WithDeadline(ctx, by)
		defer cancel()
		places := l.places
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-limit.Done():
			return fault.NoConnection(ctx, verb, s.key, limit.Err())
		}
	}
	return l.onOwnBy(ctx, verb, s.key, "", by, most, f)
}

// sending registers when a token is first sent, for its message may overtake the reply, and when it beats.
func (s *slot) sending(cmd *fairqueue.Command, start time.Time) {
	if cmd.Token == "" || cmd.Kind == fairqueue.Poke && !cmd.Beat || cmd.Kind == fairqueue.Quit {
		return
	}
	f := s.l
	f.mu.Lock()
	s.q.Sent(cmd, start)
	f.mu.Unlock()
}

// verbOfFair is a command's name for errors and the Observer.
func verbOfFair(kind fairqueue.Kind) string {
	switch kind {
	case fairqueue.Poke:
		return "poke"
	case fairqueue.Quit:
		return "quit"
	case fairqueue.Release:
		return "release"
	case fairqueue.Check:
		return "extend"
	}
	return "acquire"
}

// run runs the command's script.
func (s *slot) run(ctx context.Context, c redis.Conn, cmd *fairqueue.Command) (fairReply, error) {
	r, err := s.runOnce(ctx, c, cmd)
	if cmd.Beat && isSplit(err) { // while the slot moves, what does not exist yet cannot be had together with what does
		still := *cmd
		still.Beat = false
		return s.runOnce(ctx, c, &still)
	}
	return r, err
}

func (s *slot) runOnce(ctx context.Context, c redis.Conn, cmd *fairqueue.Command) (fairReply, error) {
	if cmd.Alone {
		return s.freeAlone(ctx, c, cmd.Owed)
	}
	script, args := scriptRel, make([]any, 5, 8)
	switch cmd.Kind {
	case fairqueue.Try:
		script = scriptTry
		args = append(args, cmd.Token, cmd.TTL.Milliseconds())
	case fairqueue.Enter:
		script = scriptEnter
		args = append(args, cmd.Entry)
	case fairqueue.Poke:
		script = scriptPoke
		args = append(args, cmd.Entry, cmd.TTL.Milliseconds())
	case fairqueue.Quit:
		script = scriptQuit
		args = append(args, cmd.Entry)
	case fairqueue.Release:
		args = append(args, cmd.Owed)
		if cmd.Entry != "" {
			args = append(args, cmd.Entry)
		}
	}
	args[0], args[1], args[2], args[3], args[4] = script.Digest, script.Keys, s.keyArg, s.queueArg, s.l.shard()
	if cmd.Beat {
		args[1] = threeKeys
		args = slices.Insert(args, 4, s.beatsArg)
	}
	verb := verbOfFair(cmd.Kind)
	reply, err := wire.Eval(ctx, c, verb, s.key, script, args)
	if err != nil {
		return fairReply{}, splitHalfway(verb, s.key, s.l.tooOld(verb, s.key, err))
	}
	r, ok := readFair(reply)
	if !ok {
		return r, fault.MaybeSet(fault.Unexpected(verb, s.key, reply))
	}
	if cmd.Beat && r.was {
		s.muted(&r)
	}
	return r, nil
}

var threeKeys any = 3

// muted goes by the reply to a POKE whose beat was refused: for good, or only now.
func (s *slot) muted(r *fairReply) {
	var re redis.Error
	errors.As(r.Err, &re)
	if r.Err = nil; !fault.TransientReply(re) && fault.Word(re) != "OOM" {
		r.Said, r.Err = fairqueue.Mute, fault.Refused("poke", s.key, re)
	}
}

// freeAlone releases a token without a look at the queue. Whoever waits there finds the lock free at the next poke.
func (s *slot) freeAlone(ctx context.Context, c redis.Conn, token string) (r fairReply, err error) {
	switch err = Release(ctx, c, s.key, token); {
	case err == nil:
		r.was = true
	case errors.Is(err, ErrNotHeld):
		err = nil
	}
	return r, err
}

// readFair reads {was, said, holder, PTTL, deaf}.
func readFair(reply any) (r fairReply, ok bool) {
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
	r.was, r.Said, r.Holder, r.Left = was > 0, fairqueue.Said(said), string(holder), wire.FromMillis(left)
	return r, okWas && okSaid && said >= 0 && said < int64(fairqueue.Mute) && okLeft && (okHolder || list[2] == nil) && (okTold || list[4] == nil)
}

// shard is ARGV[1] of the scripts.
func (l *fair) shard() any {
	if l.nodes != nil {
		return sharded
	}
	return notSharded
}

// tooOld is err, or ErrUnsupported if it says that a node knows no sharded messages.
func (l *fair) tooOld(verb, key string, err error) error {
	re, isReply := fault.Reply(err)
	if l.nodes == nil || !isReply || !fault.UnknownCommand(re) && !strings.Contains(string(re), "SHARDNUMSUB") {
		return err
	}
	return fmt.Errorf("%w: %s %s: a fair Locker in a cluster needs sharded messages, of Redis 7.0 or any Valkey: %w",
		ErrUnsupported, verb, fault.Quote(key), fault.InLine(err))
}

var sharded, notSharded any = "S", ""

func (l *fair) extend(ctx context.Context, k *Lock, ttl time.Duration) (time.Time, error) {
	k.asked(ttl)
	return l.ask(ctx, &k.claim, "extend", func(c redis.Conn) error {
		_, err := l.extendOn(ctx, c, k, ttl)
		return err
	})
}

func (l *fair) extendOn(ctx context.Context, c redis.Conn, k *Lock, ttl time.Duration) (time.Duration, error) {
	queue, err := sibling("extend", k.key, names.Queue)
	if err != nil {
		return 0, err
	}
	return l.extendToken(ctx, c, k.key, queue, k.token, ttl)
}

// extendToken extends a token's lock, and returns what is left.
func (l *fair) extendToken(ctx context.Context, c redis.Conn, key, queue any, token string, ttl time.Duration) (time.Duration, error) {
	s, name := scriptFairExtend, key.(string)
	args := []any{s.Digest, s.Keys, key, queue, l.shard(), token, ttl.Milliseconds()}
	reply, err := wire.Eval(ctx, c, "extend", name, s, args)
	if l.nodes != nil && err != nil && isSplit(err) { // a lock must not be lost because its slot takes long to move
		return extend(ctx, c, name, token, ttl)
	}
	if err != nil {
		return 0, l.tooOld("extend", name, err)
	}
	left, err := wire.ReadHeld("extend", name, reply)
	return wire.FromMillis(left), err
}

// extension: the script takes one lock.
func (l *fair) extension() *extension { return &l.extends }

// addTo adds what the script takes of a lock before its token.
func (l *fair) addTo(args []any, k *Lock) []any {
	queue, _ := sibling("extend", k.key, names.Queue) // check has asked
	return append(args, k.conn.Key, queue, l.shard())
}
