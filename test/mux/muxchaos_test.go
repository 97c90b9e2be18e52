package mux

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// newMux is a Mux that the test closes.
func newMux(t *testing.T, pool redigolock.Pool, conns int) *redigolock.Mux {
	m := &redigolock.Mux{Pool: pool, Conns: conns}
	t.Cleanup(func() { m.Close() })
	return m
}

// A muxStorm counts what came of the requests of many goroutines, each of which carries a number of its own.
type muxStorm struct {
	mux                    *redigolock.Mux
	number                 atomic.Int64
	answered, left, broken atomic.Int64
}

const numberScript = "return {KEYS[1], ARGV[1]}"

// ask sends one request of a random kind, and checks that the reply is its own.
func (s *muxStorm) ask(ctx context.Context, kind int) (err error) {
	own := fmt.Sprint("number ", s.number.Add(1))
	c := s.mux.Get().(redis.ConnWithContext)
	defer c.Close()
	var reply any
	var want string
	switch kind {
	case 0:
		want = own
		reply, err = c.DoContext(ctx, "ECHO", own)
	case 1:
		want = fmt.Sprintf("[%s %s]", own, own)
		script := redis.NewScript(1, numberScript)
		reply, err = redis.Strings(script.DoContext(ctx, c, own, own))
	case 2:
		want = fmt.Sprintf("[OK %s %s]", own, own)
		reply, err = s.pipeline(ctx, c, own)
	case 3:
		want = own
		reply, err = redis.DoWithTimeout(c, rand.N(3*time.Second)+time.Microsecond, "ECHO", []byte(own))
	}
	if err != nil {
		return err
	}
	if b, ok := reply.([]byte); ok {
		reply = string(b)
	}
	if got := fmt.Sprint(reply); got != want {
		return errWrongReply{got, want}
	}
	return nil
}

// pipeline sets a key, makes an error, gets the key, and echoes.
func (s *muxStorm) pipeline(ctx context.Context, c redis.ConnWithContext, own string) (texts []string, err error) {
	for _, args := range [][]any{{"SET", own, own, "PX", 60_000}, {"LPUSH", own, "x"}, {"GET", own}, {"ECHO", own}} {
		if err := c.Send(args[0].(string), args[1:]...); err != nil {
			return nil, err
		}
	}
	for i := range 4 {
		text, err := redis.String(c.ReceiveContext(ctx))
		if _, isReply := err.(redis.Error); isReply != (i == 1) && (err == nil || isReply) {
			return nil, errWrongReply{fmt.Sprint(text, err), own}
		}
		if i == 1 && err != nil {
			if _, isReply := err.(redis.Error); isReply {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

type errWrongReply struct{ got, want string }

func (e errWrongReply) Error() string { return fmt.Sprintf("the reply is %s, want %s", e.got, e.want) }

// goesOn reports whether the time is not over, or nothing much has happened yet, on a machine that is busy.
func (s *muxStorm) goesOn(until time.Time) bool {
	late := time.Since(until)
	much := s.answered.Load() >= 1000 && s.left.Load() >= 100 && s.broken.Load() >= 10
	return late < 0 || !much && late < 30*time.Second
}

// run asks again and again until the time is over. Each caller leaves at random.
func (s *muxStorm) run(t *testing.T, until time.Time) {
	for s.goesOn(until) {
		ctx, cancel := context.WithTimeout(bg, 8*time.Second)
		switch rand.IntN(8) {
		case 0:
			time.AfterFunc(rand.N(200*time.Millisecond), cancel)
		case 1:
			ctx, cancel = context.WithTimeout(ctx, rand.N(200*time.Millisecond))
		}
		err := s.ask(ctx, rand.IntN(9)%4)
		var wrong errWrongReply
		switch {
		case errors.As(err, &wrong):
			t.Error(err)
			cancel()
			return
		case err == nil:
			s.answered.Add(1)
		case ctx.Err() != nil:
			s.left.Add(1)
		default:
			s.broken.Add(1)
		}
		cancel()
	}
}

// TestChaosNoReplyReachesTheWrongCallerOfAMux has a thousand goroutines that leave at random, and connections that break at
// random, in the middle of a reply, too.
func TestChaosNoReplyReachesTheWrongCallerOfAMux(t *testing.T) {
	for _, conns := range []int{1, 3} {
		t.Run(fmt.Sprint("conns=", conns), func(t *testing.T) { muxChaos(t, conns) })
	}
}

func muxChaos(t *testing.T, conns int) {
	period := testbed.Length(1500*time.Millisecond, 30*time.Second)
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	goroutines := runtime.NumGoroutine()
	s := &muxStorm{mux: &redigolock.Mux{Pool: proxy.Pool(), Conns: conns}}
	proxy.Rule(func(redistest.Request) redistest.Action {
		switch rand.IntN(20_000) {
		case 0:
			return redistest.Cut()
		case 1:
			return redistest.Drop()
		case 2:
			return redistest.Truncate(3)
		case 3, 4, 5, 6:
			return redistest.Delay(rand.N(5 * time.Millisecond))
		}
		return redistest.Pass()
	})
	until := time.Now().Add(period)
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() { s.run(t, until) })
	}
	for s.goesOn(until) {
		time.Sleep(rand.N(time.Second)) // not to wait for anything: at random
		proxy.CutAll()
	}
	wg.Wait()
	t.Logf("answered %d, left %d, broken %d", s.answered.Load(), s.left.Load(), s.broken.Load())
	if s.answered.Load() < 1000 || s.left.Load() < 100 || s.broken.Load() < 10 {
		t.Error("that was no storm")
	}
	proxy.Rule(nil)
	for i := 0; s.ask(bg, 1) != nil; i++ { // it finds each connection that was cut
		if i >= conns {
			t.Error("no answer after the storm")
			break
		}
	}
	s.mux.Close()
	eventually(t, "no connection is left", func() bool { return proxy.Conns() == 0 })
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines+1 })
}
