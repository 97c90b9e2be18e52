package redigolock

import (
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// A command is one script to be sent for a slot. Whoever claims one from the slot sends it.
type command struct {
	kind  kind
	t     *ticket         // of TRY, ENTER, POKE, QUIT; of REL: the entry that goes along, nil for none
	o     *debt           // of REL
	h     *Lock           // of CHECK
	ttl   time.Duration   // of POKE: the heir's
	fresh bool            // on a connection of its own
	ctx   context.Context // for the Observer, where it is sent in the background; nil: nobody's
}

type kind int

const (
	nothing kind = iota
	try
	enter
	poke
	quit
	rel
	check // EXTEND by the shortest ttl: it tells whether a holder of the slot's own is one still, and hands on a free lock
)

// What the scripts say.
const (
	saysNone    = 0
	saysGranted = 1
	saysHeld    = 2 // TRY: held; else: queued
	saysNoSub   = 3
	saysGone    = 4
)

// A fairReply is what all scripts but EXTEND reply.
type fairReply struct {
	was    bool // the token was in the lock
	said   int64
	holder string
	left   time.Duration // the lock's PTTL; negative: it has none
	deaf   error         // the lock was handed on, but nobody could be told
}

// work is a goroutine that sends one command in the background. A command that hangs must not keep the others waiting.
func (l *Locker) work(s *slot, cmd command) {
	ctx := context.Background()
	if cmd.ctx != nil && l.Observer != nil {
		ctx = context.WithoutCancel(cmd.ctx)
	}
	f := &l.state.fair
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		s.users--
		s.settle()
	}()
	l.perform(ctx, s, cmd, nil)
}

// perform sends a command, on b or a borrowed connection, and has the slot go by the reply.
func (l *Locker) perform(ctx context.Context, s *slot, cmd command, b *boundConn) (fairReply, error) {
	r, held, err := l.sendAndGoBy(ctx, s, cmd, b)
	if err == nil && r.said == saysHeld && held != nil && (cmd.kind == try || cmd.kind == enter) {
		l.Observer.contended(ctx, s.key, held)
	}
	l.Observer.outcome(ctx, s.key, cmd.verb(), err)
	return r, err
}

// sendAndGoBy sends a command, and has the slot go by what became of it, also if the user's code panics meanwhile, in a pool, a
// connection or an Observer: then its outcome is unknown. held is what is known of the holder then.
func (l *Locker) sendAndGoBy(ctx context.Context, s *slot, cmd command, b *boundConn) (r fairReply, held *HeldError, err error) {
	var start time.Time
	returned := false
	defer func() {
		if !returned {
			err = fault.Of(ErrUnknown, cmd.verb(), s.key, "a pool, a connection or an Observer has panicked")
		}
		f := &l.state.fair
		f.mu.Lock()
		defer f.mu.Unlock()
		s.answered(ctx, cmd, start, r, err)
		held = s.held
		s.settle()
	}()
	start, r, err = l.send(ctx, s, cmd, b)
	returned = true
	return r, nil, err
}

// send sends a command and reads its reply. start is the time just before the send.
func (l *Locker) send(ctx context.Context, s *slot, cmd command, b *boundConn) (start time.Time, r fairReply, err error) {
	run := func(c redis.Conn) (err error) {
		start = l.now()
		if cmd.kind == check {
			_, err = cmd.h.extendOn(ctx, c, time.Millisecond)
			return err
		}
		s.sending(cmd, start)
		r, err = s.run(ctx, c, cmd)
		return err
	}
	verb, timeout := cmd.verb(), l.opTimeout()
	if cmd.kind == try || cmd.kind == enter {
		timeout = min(timeout, cmd.t.ttl)
	}
	if cmd.fresh {
		err = l.sendOwn(ctx, s, cmd, timeout, run)
		return start, r, err
	}
	if b == nil {
		b = &boundConn{key: s.keyArg}
	}
	_, err = l.exchangeOn(ctx, b, verb, s.key, timeout, run)
	return start, r, err
}

// sendOwn runs f on a connection that is not the pool's. After a break each key of a Locker wants one, so only a few are in
// use at a time, and the other commands wait for their turn; but a Release has its time, and no turn to wait for.
func (l *Locker) sendOwn(ctx context.Context, s *slot, cmd command, most time.Duration, f func(redis.Conn) error) error {
	by := time.Now().Add(l.opTimeout())
	if cmd.o == nil || !cmd.o.kept {
		limit, cancel := context.WithDeadline(ctx, by)
		defer cancel()
		places := l.state.fair.places
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-limit.Done():
			return fault.NoConnection(ctx, cmd.verb(), s.key, limit.Err())
		}
	}
	return l.onOwnBy(ctx, cmd.verb(), s.key, "", by, most, f)
}

// sending registers when a ticket is first sent: its message may overtake the reply.
func (s *slot) sending(cmd command, start time.Time) {
	if cmd.t == nil || cmd.kind == poke || cmd.kind == quit {
		return
	}
	f := &s.l.state.fair
	f.mu.Lock()
	cmd.t.basis = start
	f.mu.Unlock()
}

func (cmd command) verb() string {
	switch cmd.kind {
	case poke:
		return "poke"
	case quit:
		return "quit"
	case rel:
		return "release"
	case check:
		return "extend"
	}
	return "acquire"
}

// run runs the command's script.
func (s *slot) run(ctx context.Context, c redis.Conn, cmd command) (fairReply, error) {
	script, args := scriptRel, make([]any, 5, 7)
	switch cmd.kind {
	case try:
		script = scriptTry
		args = append(args, cmd.t.token, cmd.t.ttl.Milliseconds())
	case enter:
		script = scriptEnter
		args = append(args, cmd.t.entry)
	case poke:
		script = scriptPoke
		args = append(args, cmd.t.entry, cmd.ttl.Milliseconds())
	case quit:
		script = scriptQuit
		args = append(args, cmd.t.entry)
	case rel:
		args = append(args, cmd.o.token)
		if cmd.t != nil {
			args = append(args, cmd.t.entry)
		}
	}
	args[0], args[1], args[2], args[3], args[4] = script.hash, script.keys, s.keyArg, s.queueArg, s.l.shard()
	reply, err := script.run(ctx, c, cmd.verb(), s.key, args)
	if err != nil {
		return fairReply{}, err
	}
	r, ok := readFair(reply)
	if !ok {
		return r, maybeSet(unexpected(cmd.verb(), s.key, reply))
	}
	return r, nil
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
		r.deaf = redis.Error(told)
	}
	r.was, r.said, r.holder, r.left = was > 0, said, string(holder), fromMillis(left)
	return r, okWas && okSaid && okLeft && (okHolder || list[2] == nil) && (okTold || list[4] == nil)
}

// shard is ARGV[1] of the scripts.
func (l *Locker) shard() any {
	if l.state.fair.sharded {
		return sharded
	}
	return notSharded
}

var sharded, notSharded any = "S", ""

// A fate is what became of a command without a reply of its own.
type fate int

const (
	lost    fate = iota // it may have been carried out, or may be yet
	unsent              // it was not, and may be sent again
	refused             // it was not, nor will be
)

func fateOf(ctx context.Context, err error) fate {
	switch {
	case errors.Is(err, ErrUnknown):
		return lost
	case fault.Transient(err), ctx.Err() != nil:
		return unsent
	}
	return refused
}

// extendScript is what extends the Locker's locks.
func (l *Locker) extendScript() *script {
	if l.Fair {
		return &scriptFairExtend
	}
	return &scriptExtend
}

// extendOn extends the lock on c, by the script that goes with the Locker, and returns what is left.
func (k *Lock) extendOn(ctx context.Context, c redis.Conn, ttl time.Duration) (time.Duration, error) {
	if !k.locker.Fair {
		return extend(ctx, c, k.key, k.token, ttl)
	}
	s := scriptFairExtend
	queue, err := sibling("extend", k.key, queueName)
	if err != nil {
		return 0, err
	}
	args := []any{s.hash, s.keys, k.key, queue, k.locker.shard(), k.token, ttl.Milliseconds()}
	reply, err := s.run(ctx, c, "extend", k.key, args)
	if err != nil {
		return 0, err
	}
	left, err := reply0("extend", k.key, reply)
	return fromMillis(left), err
}
