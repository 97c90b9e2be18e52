package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wire"
)

// A timed is a connection that takes its time for each reply, and notes which timeouts it is given.
type timed struct {
	scripted
	takes    time.Duration
	timeouts []time.Duration
	noSend   int // the nth Send is refused, from 1; the connection lives on
}

func (c *timed) Send(cmd string, args ...any) error {
	if len(c.sent)+1 == c.noSend {
		return errors.New("no")
	}
	return c.scripted.Send(cmd, args...)
}

func (c *timed) reply(timeout time.Duration) (any, error) {
	c.timeouts = append(c.timeouts, timeout)
	time.Sleep(c.takes)
	return "OK", nil
}

func (c *timed) DoWithTimeout(timeout time.Duration, cmd string, args ...any) (any, error) {
	c.sent = append(c.sent, cmd)
	return c.reply(timeout)
}

func (c *timed) ReceiveWithTimeout(timeout time.Duration) (any, error) { return c.reply(timeout) }

func (c *timed) Do(string, ...any) (any, error) { panic("a command without a timeout") }
func (c *timed) Receive() (any, error)          { panic("a reply without a timeout") }

// requests are n commands.
func requests(n int) (reqs []wire.Request, replies []any) {
	return slices.Repeat([]wire.Request{{Cmd: "PING"}}, n), make([]any, n)
}

func exchange(ctx context.Context, c redis.Conn, n int) wire.Result {
	reqs, replies := requests(n)
	return wire.Exchange(ctx, c, reqs, replies)
}

// Each exchange, each command of a func of the user's, and each reply of a pipeline has what is left by then.
func TestEachHasWhatIsLeft(t *testing.T) {
	const takes = 300 * time.Millisecond
	bg := context.Background()
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(bg, time.Second/2)
		context.AfterFunc(ctx, cancel)
		return ctx
	}
	for name, tt := range map[string]struct {
		run  func(b *wire.Bound)
		want []time.Duration
	}{
		"exchanges, one after the other": {
			func(b *wire.Bound) { exchange(bg, b, 1); exchange(bg, b, 1) }, []time.Duration{time.Second, time.Second - takes},
		},
		"a func of the user's takes its time": {
			func(b *wire.Bound) { wire.Aged(b); time.Sleep(takes); exchange(bg, b, 1) }, []time.Duration{time.Second - takes},
		},
		"replies of a pipeline": {
			func(b *wire.Bound) { exchange(bg, b, 3) }, []time.Duration{time.Second, time.Second - takes, time.Second - 2*takes},
		},
		"replies that come too late": {
			func(b *wire.Bound) { exchange(bg, b, 5) },
			[]time.Duration{time.Second, 700 * time.Millisecond, 400 * time.Millisecond, 100 * time.Millisecond, time.Microsecond},
		},
		"the context ends earlier": {
			func(b *wire.Bound) { exchange(soon(), b, 1); exchange(soon(), b, 1) }, []time.Duration{time.Second / 2, time.Second / 2},
		},
		"commands of the user's": {
			func(b *wire.Bound) {
				_, _ = b.Do("PING")
				_, _ = b.DoWithTimeout(time.Minute, "PING")
				_, _ = b.DoWithTimeout(time.Millisecond, "PING")
			},
			[]time.Duration{time.Second, time.Second - takes, time.Millisecond},
		},
		"the user's next reply is late": {
			func(b *wire.Bound) { time.Sleep(time.Minute); _, _ = b.Receive() }, []time.Duration{time.Microsecond},
		},
		"the user's next command is late": {
			func(b *wire.Bound) { time.Sleep(time.Minute); _, _ = b.Do("PING") }, nil,
		},
		"an exchange is late": {
			func(b *wire.Bound) { wire.Aged(b); time.Sleep(time.Minute); exchange(bg, b, 1) }, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &timed{takes: takes}
				b, now := &wire.Bound{Conn: c}, time.Now()
				b.Begin(now, now.Add(time.Second), time.Minute)
				if tt.run(b); !slices.Equal(c.timeouts, tt.want) {
					t.Errorf("timeouts were %v, not %v", c.timeouts, tt.want)
				}
			})
		})
	}
}

// A connection that refuses the first command has sent nothing. One that refuses the second may have sent the first.
func TestSendThatIsRefusedInTheMiddleIsUnknown(t *testing.T) {
	for nth, unknown := range map[int]bool{1: false, 2: true} {
		c := &timed{noSend: nth}
		if res := exchange(context.Background(), c, 3); res.Err == nil || res.Sent != unknown {
			t.Errorf("command %d was refused: %+v", nth, res)
		}
	}
}

// A Carrier carries out at Flush what was sent: not after the end.
func TestFlushOfACarrierThatIsLateCarriesOutNothing(t *testing.T) {
	c := &carrier{scripted: &scripted{}}
	if err := wire.BoundBy(c, time.Now().Add(-time.Second)).Flush(); err == nil {
		t.Error("it was carried out")
	}
}

// What a func returns decides, unless it is about a connection that has broken after something was sent.
func TestOutcomeOfAFuncOfTheUsers(t *testing.T) {
	sentinels := []error{
		fault.Unknown, fault.Held, fault.NotHeld, fault.Conflict, fault.Expired, fault.Invalid, fault.Unsupported, fault.Unavailable,
		fault.NotReplicated,
	}
	for _, err := range append(sentinels, redis.Error("ERR no"), io.EOF) {
		err = fmt.Errorf("of the user's: %w", err)
		for _, broken := range []bool{false, true} {
			c := &scripted{}
			b := wire.BoundBy(c, time.Now().Add(time.Hour))
			_ = b.Send("PING")
			if broken {
				c.err = io.ErrUnexpectedEOF
			}
			got := b.Outcome(context.Background(), "acquire", "key", err)
			if isUnknown := broken && errors.Is(err, io.EOF); got != err && !isUnknown || isUnknown != (got != err && errors.Is(got, fault.Unknown)) {
				t.Errorf("%v, broken %v: %v", err, broken, got)
			}
		}
	}
}

// The pool has lent nothing: not so where a server has refused, or a connection was lent.
func TestNotLent(t *testing.T) {
	var none, some wire.Bound
	some.Conn = &scripted{}
	refused := fmt.Errorf("dial: %w", redis.Error("WRONGPASS no"))
	if !none.NotLent(io.EOF) || none.NotLent(refused) || some.NotLent(io.EOF) {
		t.Errorf("%v, %v, %v", none.NotLent(io.EOF), none.NotLent(refused), some.NotLent(io.EOF))
	}
}

// A func that panics in the middle of a command leaves a reply that is due.
func TestConnectionIsCutAfterAPanicOnlyIfSomethingWasSent(t *testing.T) {
	for _, sent := range []bool{false, true} {
		c := &scripted{}
		b := wire.BoundBy(c, time.Now().Add(time.Hour))
		if sent {
			_ = b.Send("PING")
		}
		if b.TakeBack(false, nil); (c.err != nil) != sent || c.closed != 1 {
			t.Errorf("sent %v: broken is %v", sent, c.err)
		}
	}
}
