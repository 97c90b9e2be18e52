package mux

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// outcome is what a connection returned, as text.
func outcome(reply any, err error) string { return fmt.Sprintf("%#v, %v", reply, err) }

// TestMuxConnBehavesAsRedigos has the same done with a connection of each.
func TestMuxConnBehavesAsRedigos(t *testing.T) {
	server := redistest.Start(t)
	m := newMux(t, server.Pool(), 0)
	send := func(c redis.Conn, cmds ...string) {
		for _, cmd := range cmds {
			if err := c.Send(cmd, "k"); err != nil {
				t.Error(cmd, err)
			}
		}
	}
	for name, use := range map[string]func(c redis.Conn) []string{
		"an error reply": func(c redis.Conn) []string {
			return []string{outcome(c.Do("LPUSH", "k", "x")), outcome(c.Do("GET", "k")), outcome(nil, c.Err())}
		},
		"nothing to do": func(c redis.Conn) []string {
			return []string{outcome(c.Do("")), outcome(nil, c.Flush()), outcome(c.Do(""))}
		},
		"Do of nothing takes all replies": func(c redis.Conn) []string {
			send(c, "GET", "LLEN", "STRLEN")
			return []string{outcome(c.Do("")), outcome(c.Do("")), outcome(c.Do("GET", "k"))}
		},
		"Do after Send": func(c redis.Conn) []string {
			send(c, "STRLEN", "LLEN", "HLEN")
			return []string{outcome(c.Do("GET", "k")), outcome(c.Do(""))}
		},
		"Do after Send and Flush": func(c redis.Conn) []string {
			send(c, "STRLEN", "LLEN")
			err := c.Flush()
			return []string{outcome(c.Do("GET", "k")), outcome(c.Do("STRLEN", "k")), outcome(nil, err)}
		},
		"Receive some, Do of nothing the rest": func(c redis.Conn) []string {
			send(c, "STRLEN", "LLEN", "GET")
			err := c.Flush()
			return []string{outcome(c.Receive()), outcome(c.Do("")), outcome(nil, err)}
		},
		"an error reply in the middle": func(c redis.Conn) []string {
			send(c, "GET", "LLEN", "STRLEN")
			err := c.Flush()
			return []string{outcome(c.Receive()), outcome(c.Receive()), outcome(c.Receive()), outcome(nil, err)}
		},
		"Send, Flush, Send, Flush, Receive": func(c redis.Conn) []string {
			send(c, "GET")
			first := c.Flush()
			send(c, "STRLEN")
			second := c.Flush()
			return []string{outcome(c.Receive()), outcome(c.Receive()), outcome(nil, first), outcome(nil, second)}
		},
		"a script that the server does not know": func(c redis.Conn) []string {
			_, _ = server.Do("SCRIPT", "FLUSH")
			return []string{outcome(c.Do("EVALSHA", "0123456789012345678901234567890123456789", 0)),
				outcome(redis.NewScript(1, numberScript).Do(c, "k", "v"))}
		},
		"arguments of all kinds": func(c redis.Conn) (all []string) {
			for _, arg := range []any{"s", []byte("b"), 1, int64(-2), uint8(3), 4.5, float32(5.25), true, false, nil, time.Second,
				argText("arg"), namedText("named"), redis.Args{1, "a"}, [2]int{1, 2}, errors.New("e"), []byte(nil), any(nil)} {
				all = append(all, outcome(c.Do("ECHO", arg)))
				if err := c.Send("ECHO", arg); err != nil {
					t.Error(err)
				}
			}
			return append(all, outcome(c.Do("")))
		},
		"closed": func(c redis.Conn) []string {
			err := c.Close()
			again := c.Close()
			_, doErr := c.Do("GET", "k")
			return []string{fmt.Sprint(err, again, doErr == nil, c.Err() == nil, c.Send("GET") == nil, c.Flush() == nil)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := server.Do("SET", "k", "value")
			if err != nil {
				t.Fatal(err)
			}
			p := server.Pool()
			real, muxed := p.Get(), m.Get()
			defer real.Close()
			defer muxed.Close()
			want, got := use(real), use(muxed)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("a Mux's gave\n%q\nredigo's\n%q", got, want)
			}
		})
	}
}

func TestMuxPipelineMayReuseItsArgumentsAfterSend(t *testing.T) {
	c := newMux(t, redistest.StartMini(t).Pool(), 0).Get()
	defer c.Close()
	b := []byte("first")
	args := []any{b}
	if err := c.Send("ECHO", args...); err != nil {
		t.Fatal(err)
	}
	copy(b, "XXXXX")
	args[0] = "YYYYY"
	if got, err := redis.Strings(c.Do("")); err != nil || got[0] != "first" {
		t.Error(got, err)
	}
}

func TestMuxConnClosedSendsWhatWasNotFlushed(t *testing.T) {
	r := newRig(t)
	c := newMux(t, r.Proxy.Pool(), 0).Get()
	r.OK(c.Send("SET", "key", "value"))
	r.OK(c.Close())
	if got := r.Get("key"); got != "value" {
		t.Errorf("the key is %q", got)
	}
}

func TestMuxDoContextSaysWhyItEnded(t *testing.T) {
	r := newRig(t)
	m := newMux(t, r.Proxy.Pool(), 0)
	r.Proxy.Rule(func(q redistest.Request) redistest.Action { return redistest.Swallow() })
	cause := errors.New("the cause")
	for name, use := range map[string]func(context.Context, redis.ConnWithContext) error{
		"DoContext": func(ctx context.Context, c redis.ConnWithContext) error {
			_, err := c.DoContext(ctx, "ECHO", "x")
			return err
		},
		"ReceiveContext": func(ctx context.Context, c redis.ConnWithContext) error {
			r.OK(c.Send("ECHO", "x"))
			_, err := c.ReceiveContext(ctx)
			return err
		},
	} {
		ctx, cancel := context.WithCancelCause(bg)
		before := len(r.Proxy.Requests())
		c := m.Get().(redis.ConnWithContext)
		done := inBackground(func() error { return use(ctx, c) })
		eventually(t, "it is sent", func() bool { return len(r.Proxy.Requests()) > before })
		cancel(cause)
		err := receive(t, name, done)
		wants(t, err, context.Canceled, cause)
		wantsNot(t, err, context.DeadlineExceeded)
		if c.Err() == nil {
			t.Error(name, "a connection whose reply was lost is usable")
		}
		ctx, stop := context.WithTimeout(bg, 10*time.Millisecond)
		c = m.Get().(redis.ConnWithContext)
		wants(t, receive(t, name, inBackground(func() error { return use(ctx, c) })), context.DeadlineExceeded)
		stop()
		r.Silent("an ended context", func() { wants(t, use(ctx, m.Get().(redis.ConnWithContext)), context.DeadlineExceeded) })
	}
}

func TestMuxThatCannotBeUsedSaysSo(t *testing.T) {
	for name, m := range map[string]*redigolock.Mux{
		"no pool":        {},
		"a nil pool":     {Pool: (*redis.Pool)(nil)},
		"no inner pool":  {Pool: &redigolock.Mux{}},
		"a nil Mux":      {Pool: (*redigolock.Mux)(nil)},
		"negative Conns": {Pool: &redis.Pool{}, Conns: -1},
		"too many Conns": {Pool: &redis.Pool{}, Conns: 1025},
	} {
		_, err := m.GetContext(bg)
		wants(t, err, redigolock.ErrInvalid)
		_, err = m.Get().Do("ECHO", "x")
		wants(t, err, redigolock.ErrInvalid)
		_, err = (&redigolock.Locker{Pool: m}).TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrInvalid)
		if err == nil || m.Close() != nil || m.Close() != nil {
			t.Error(name, err)
		}
	}
}

func TestMuxOverAMuxDialsByTheInnerPool(t *testing.T) {
	r := newRig(t)
	outer := newMux(t, newMux(t, r.Proxy.Pool(), 0), 0)
	r.Locker.Pool = outer
	k := r.Must(r.Locker.TryAcquire(bg, "key", time.Minute))
	r.OK(k.Release(bg))
	r.OK(outer.Close())
	eventually(t, "the connection is closed", func() bool { return r.Proxy.Conns() == 0 })
}
