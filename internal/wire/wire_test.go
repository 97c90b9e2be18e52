package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// A scripted is a connection that notes what it is sent, and replies what it was told to. An error that is no reply breaks it.
type scripted struct {
	replies []any
	sent    []string
	args    [][]any // as they were given
	err     error
	closed  int
}

func (c *scripted) Close() error { c.closed++; return nil }
func (c *scripted) Err() error   { return c.err }
func (c *scripted) Flush() error { return c.err }

func (c *scripted) Send(cmd string, args ...any) error {
	c.sent = append(c.sent, strings.TrimSpace(fmt.Sprintln(slices.Concat([]any{cmd}, args)...)))
	c.args = append(c.args, args)
	return nil
}

func (c *scripted) Receive() (any, error) {
	if len(c.replies) == 0 {
		c.err = io.EOF
		return nil, io.EOF
	}
	reply := c.replies[0]
	c.replies = c.replies[1:]
	if re, ok := reply.(redis.Error); ok {
		return nil, re
	}
	if err, ok := reply.(error); ok {
		c.err = err
		return nil, err
	}
	return reply, nil
}

func (c *scripted) Do(cmd string, args ...any) (any, error) {
	_ = c.Send(cmd, args...)
	return c.Receive()
}

// ReceiveContext is how a connection is cut.
func (c *scripted) ReceiveContext(context.Context) (any, error) {
	c.err = errCut
	return nil, errCut
}

func (c *scripted) DoContext(context.Context, string, ...any) (any, error) { panic("not used") }

var errCut = errors.New("cut")

// A carrier is a Carrier over a scripted connection.
type carrier struct {
	*scripted
	by time.Time
}

func (c *carrier) FlushWithTimeout(time.Duration) error { return nil }

func (c *carrier) Exchange(_ context.Context, _, by time.Time, reqs []wire.Request, replies []any) (res wire.Result) {
	c.by = by
	for i, r := range reqs {
		reply, err := c.Do(r.Cmd, r.Args...)
		if _, isReply := err.(redis.Error); err != nil && !isReply {
			return wire.Result{Answered: i, Sent: true, Err: err}
		} else if isReply {
			reply = err
		}
		replies[i] = reply
		res.Answered++
	}
	return res
}

var (
	one   = &wire.Script{Text: "text1", Digest: "sha1", Keys: 1}
	two   = &wire.Script{Text: "text2", Digest: "sha2", Keys: 1}
	again = redis.Error("NOSCRIPT No matching script")
)

func TestExchangeTellsEachScriptOnceToAServerThatForgotIt(t *testing.T) {
	for name, tt := range map[string]struct {
		replies  []any
		sent     []string // after the first round
		got      []any
		answered int
		broken   bool
	}{
		"known":         {[]any{1, 2, 3, 4}, nil, []any{1, 2, 3, 4}, 4, false},
		"forgotten":     {[]any{again, again, again, 4, 5, 6, 7}, []string{"EVAL text1 1 a", "EVALSHA sha1 1 b", "EVAL text2 1 c"}, []any{5, 6, 7, 4}, 4, false},
		"in the middle": {[]any{1, again, 3, 4, 5}, []string{"EVAL text1 1 b"}, []any{1, 5, 3, 4}, 4, false},
		"for ever":      {[]any{1, again, 3, 4, again}, []string{"EVAL text1 1 b"}, []any{1, again, 3, 4}, 4, false},
		"then it breaks": {[]any{1, again, again, 4, 5, io.EOF}, []string{"EVAL text1 1 b", "EVAL text2 1 c"},
			[]any{1, 5}, 2, true},
		"then nothing is sent": {[]any{1, again, 3, 4, fault.NotSent}, []string{"EVAL text1 1 b"}, []any{1}, 1, true},
		"it breaks before":     {[]any{again, io.EOF}, nil, []any{again}, 1, true},
	} {
		for _, kind := range []string{"plain", "bound", "carrier"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				c := &scripted{replies: tt.replies}
				var conn redis.Conn = c
				if kind != "plain" {
					conn = wire.BoundBy(&carrier{scripted: c}, time.Now().Add(time.Hour))
				}
				if kind == "bound" {
					conn = wire.BoundBy(c, time.Now().Add(time.Hour))
				}
				reqs := []wire.Request{
					one.Request([]any{"sha1", 1, "a"}), one.Request([]any{"sha1", 1, "b"}), two.Request([]any{"sha2", 1, "c"}), {Cmd: "PING"},
				}
				replies := make([]any, len(reqs))
				res := wire.Exchange(context.Background(), conn, reqs, replies)
				if res.Answered != tt.answered || (res.Err != nil) != tt.broken || tt.broken && !res.Sent {
					t.Errorf("%+v", res)
				}
				if got := replies[:res.Answered]; !slices.Equal(got, tt.got) {
					t.Errorf("replies %v, want %v", got, tt.got)
				}
				first := []string{"EVALSHA sha1 1 a", "EVALSHA sha1 1 b", "EVALSHA sha2 1 c", "PING"}
				if kind == "carrier" && name == "it breaks before" {
					first = first[:2]
				}
				if want := slices.Concat(first, tt.sent); !slices.Equal(c.sent, want) {
					t.Errorf("sent %q, want %q", c.sent, want)
				}
				if c.args[0][0] != "sha1" {
					t.Error("arguments that a connection may have kept were changed")
				}
			})
		}
	}
}

func TestExchangeSaysWhetherAnythingMayHaveBeenCarriedOut(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	door := redis.Error("ERR max number of clients reached")
	for name, tt := range map[string]struct {
		ctx     context.Context
		conn    *scripted
		by      time.Duration
		is      error
		sends   int
		mayHave bool
	}{
		"ctx has ended":      {ended, &scripted{}, time.Hour, context.Canceled, 0, false},
		"no time is left":    {context.Background(), &scripted{}, -time.Second, nil, 0, false},
		"broken before":      {context.Background(), &scripted{err: io.ErrUnexpectedEOF}, time.Hour, io.ErrUnexpectedEOF, 0, false},
		"turned away":        {context.Background(), &scripted{replies: []any{door}}, time.Hour, door, 1, false},
		"turned away in TLS": {context.Background(), &scripted{replies: []any{fault.NotSent}}, time.Hour, fault.NotSent, 1, false},
		"no reply":           {context.Background(), &scripted{replies: []any{io.EOF}}, time.Hour, io.EOF, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			var replies [1]any
			res := wire.Exchange(tt.ctx, wire.BoundBy(tt.conn, time.Now().Add(tt.by)), []wire.Request{{Cmd: "PING"}}, replies[:])
			if res.Err == nil || res.Answered != 0 || res.Sent != tt.mayHave || tt.is != nil && !errors.Is(res.Err, tt.is) {
				t.Errorf("%+v", res)
			}
			if len(tt.conn.sent) != tt.sends {
				t.Errorf("sent %q", tt.conn.sent)
			}
			if tt.sends > 0 && !errors.Is(res.Err, fault.NotSent) && tt.conn.err == nil {
				t.Error("the connection, with a reply due, lives on")
			}
		})
	}
}

// A server that did not know the script has carried out nothing, and nor has one that was not told it.
func TestScriptThatCouldNotBeToldWasNotCarriedOut(t *testing.T) {
	c := &scripted{replies: []any{again, fault.NotSent}}
	var replies [1]any
	res := wire.Exchange(context.Background(), c, []wire.Request{one.Request([]any{"sha1", 1, "a"})}, replies[:])
	if res.Sent || !errors.Is(res.Err, fault.NotSent) || len(c.sent) != 2 {
		t.Errorf("%+v after %q", res, c.sent)
	}
}

func TestWhatWasGivenBackIsUsedNoMore(t *testing.T) {
	c := &scripted{}
	b := wire.BoundBy(c, time.Now().Add(time.Hour))
	b.GiveBack(nil)
	b.GiveBack(nil)
	if _, err := b.Do("PING"); err == nil || len(c.sent) > 0 || c.closed != 1 {
		t.Errorf("%v, sent %q, closed %d times", err, c.sent, c.closed)
	}
}

func TestReadOnlyConnectionIsCutWhenItGoesBack(t *testing.T) {
	for _, err := range []error{nil, redis.Error("ERR x"), redis.Error("READONLY You can't write")} {
		c := &scripted{}
		wire.BoundBy(c, time.Now()).GiveBack(err)
		if cut := c.err != nil; cut != (err == redis.Error("READONLY You can't write")) {
			t.Errorf("after %v it is cut: %v", err, cut)
		}
	}
}
