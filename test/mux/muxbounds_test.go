package mux

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/groupcommit"
	"github.com/redigolock/redigolock/internal/sim"
)

// A muxBubble is a Mux in a synctest bubble, so that bounds are exact.
type muxBubble struct {
	t      *testing.T
	server *sim.Server
	mux    *redigolock.Mux
}

func newMuxBubble(t *testing.T, conns int) *muxBubble {
	t.Helper()
	s := sim.NewServer(t)
	return &muxBubble{t: t, server: s, mux: newMux(t, patientPool(s), conns)}
}

// patientPool is a pool whose connections have no timeouts of their own.
func patientPool(s *sim.Server) *redis.Pool {
	p := s.Pool()
	p.DialContext = func(ctx context.Context) (redis.Conn, error) {
		return s.DialRedis(ctx, redis.DialReadTimeout(0), redis.DialWriteTimeout(0))
	}
	return p
}

// echo must be answered, at once.
func (b *muxBubble) echo(text string) {
	b.t.Helper()
	if got, err := redis.String(b.mux.Get().Do("ECHO", text)); got != text || err != nil {
		b.t.Errorf("%s got %q, %v", text, got, err)
	}
}

// A bound is what ends a caller's wait.
type bound struct {
	ctx    time.Duration // after so long its context is cancelled; 0: it has none
	limit  time.Duration // its timeout; 0: none
	expect time.Duration // when it returns
	reply  bool          // with its reply
}

func (b bound) String() string { return fmt.Sprintf("ctx %v, timeout %v", b.ctx, b.limit) }

// A boundedCall is a call under way.
type boundedCall struct {
	bound
	text string
	took time.Duration
	got  string
	err  error
	conn redis.Conn
}

// call starts an ECHO, and returns when nothing moves any more.
func (b *muxBubble) call(wg *sync.WaitGroup, text string, with bound) *boundedCall {
	x := &boundedCall{bound: with, text: text}
	x.conn = b.mux.Get()
	wg.Go(func() {
		begin := time.Now()
		ctx := context.Background()
		if x.ctx > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			defer cancel()
			time.AfterFunc(x.ctx, cancel)
		}
		var reply any
		if x.limit > 0 {
			reply, x.err = doBounded(ctx, x.conn, x.limit, "ECHO", text)
		} else {
			reply, x.err = x.conn.(redis.ConnWithContext).DoContext(ctx, "ECHO", text)
		}
		x.got, x.err = redis.String(reply, x.err)
		x.took = time.Since(begin)
	})
	synctest.Wait()
	return x
}

// check is called when the call is over.
func (x *boundedCall) check(t *testing.T) {
	t.Helper()
	if x.took != x.expect {
		t.Errorf("%s (%v) took %v, want %v", x.text, x.bound, x.took, x.expect)
	}
	if x.reply != (x.err == nil) || x.reply && x.got != x.text {
		t.Errorf("%s (%v) got %q, %v", x.text, x.bound, x.got, x.err)
	}
}

const ms = time.Millisecond

// share has a caller's ECHO in flight that is answered when release is closed, on a connection that others may share: it had
// to wait for one that kept the connection for itself.
func (b *muxBubble) share(wg *sync.WaitGroup, release <-chan struct{}) {
	lone := make(chan struct{})
	b.server.Next("echo", sim.Hold(lone), sim.Hold(release))
	b.call(wg, "lone", bound{})
	b.call(wg, "shared", bound{})
	if n := b.mux.Stats(); n != (redigolock.MuxStats{Conns: 1, InFlight: 1, Queued: 1}) {
		b.t.Errorf("%+v", n)
	}
	close(lone)
	synctest.Wait()
}

// fill has as many batches in flight as may be, which are answered when release is closed.
func (b *muxBubble) fill(wg *sync.WaitGroup, release <-chan struct{}) {
	b.share(wg, release)
	for i := range groupcommit.MaxFlying - 1 {
		b.call(wg, fmt.Sprint("fill ", i), bound{})
	}
	if n := b.mux.Stats(); n != (redigolock.MuxStats{Conns: 1, InFlight: groupcommit.MaxFlying}) {
		b.t.Errorf("%+v", n)
	}
}

// after is a channel that is closed after d.
func after(d time.Duration) <-chan struct{} {
	ch := make(chan struct{})
	time.AfterFunc(d, func() { close(ch) })
	return ch
}

// TestMuxCallersReturnAtTheirBoundsInEveryStage has callers that come one after the other, in each stage in which the
// network or the server may hold them, and each with bounds of its own.
func TestMuxCallersReturnAtTheirBoundsInEveryStage(t *testing.T) {
	held := bound{} // as long as what holds them up, and then they are answered
	half, timed := bound{ctx: 500 * ms, expect: 500 * ms}, bound{limit: 500 * ms, expect: 500 * ms}
	lists := map[string][]bound{
		"alone":          {half},
		"alone, timed":   {timed},
		"leads others":   {half, held, held},
		"timed, leads":   {timed, held, {limit: 900 * ms, expect: 900 * ms}},
		"follows":        {held, {ctx: 100 * ms, expect: 100 * ms}, {limit: 300 * ms, expect: 300 * ms}, held},
		"four of a kind": {timed, timed, timed, timed},
		"all leave":      {{ctx: 300 * ms, expect: 300 * ms}, {ctx: 200 * ms, expect: 200 * ms}, {limit: 400 * ms, expect: 400 * ms}},
	}
	const end = 5 * time.Second
	for _, stage := range []struct {
		name   string
		before func(b *muxBubble, wg *sync.WaitGroup) (then func()) // then: when the callers are there
		held   time.Duration                                        // when those without bounds are answered
	}{
		{"a dial that hangs", func(b *muxBubble, _ *sync.WaitGroup) func() {
			time.AfterFunc(1500*ms, b.server.HangDials())
			return nil
		}, 1500 * ms},
		{"a dial that takes long", func(b *muxBubble, _ *sync.WaitGroup) func() {
			b.server.SlowDials(1700 * ms)
			return nil
		}, 1700 * ms},
		{"a test that hangs", func(b *muxBubble, _ *sync.WaitGroup) func() {
			b.echo("warm")
			time.Sleep(time.Minute)
			time.AfterFunc(1500*ms, b.server.Pause())
			return nil
		}, 1500 * ms},
		{"a lone caller before them", func(b *muxBubble, wg *sync.WaitGroup) func() {
			b.server.Next("echo", sim.Hold(after(end)))
			b.call(wg, "before", bound{})
			return nil
		}, end},
		{"others before them", func(b *muxBubble, wg *sync.WaitGroup) func() {
			b.share(wg, after(end))
			return nil
		}, end},
		{"the queue", func(b *muxBubble, wg *sync.WaitGroup) func() {
			b.fill(wg, after(end))
			return nil
		}, end},
		{"one batch, sent", func(b *muxBubble, wg *sync.WaitGroup) func() {
			filled := make(chan struct{})
			b.fill(wg, filled)
			release := after(end)
			return func() {
				time.Sleep(50 * ms) // which count
				b.server.Next("echo", sim.Hold(release))
				close(filled)
			}
		}, end},
		{"idle, no reply", func(b *muxBubble, _ *sync.WaitGroup) func() {
			b.echo("warm")
			release := after(end)
			b.server.Rule(func(sim.Request) sim.Action { return sim.Hold(release) })
			return nil
		}, end},
	} {
		held.expect, held.reply = stage.held, true
		for name, list := range lists {
			t.Run(stage.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newMuxBubble(t, 0)
					var others, wg sync.WaitGroup
					then := stage.before(b, &others)
					var calls []*boundedCall
					for i, with := range list {
						if with == (bound{}) {
							with = held
						}
						calls = append(calls, b.call(&wg, fmt.Sprint("call ", i), with))
					}
					if then != nil {
						then()
					}
					wg.Wait()
					for _, x := range calls {
						x.check(t)
					}
					others.Wait()
					time.Sleep(2 * end)
					b.echo("at the end")
					if n := b.mux.Stats(); n != (redigolock.MuxStats{Conns: 1}) || b.server.Conns() != 1 {
						t.Errorf("what is left: %+v", n)
					}
				})
			})
		}
	}
}

// TestMuxMorePatientCallersDoNotBoardWhereAnImpatientReaderReads has a reader that waits for callers with short timeouts.
func TestMuxMorePatientCallersDoNotBoardWhereAnImpatientReaderReads(t *testing.T) {
	for name, patient := range map[string]bound{
		"much longer": {limit: time.Minute, expect: 10 * time.Second, reply: true}, "unbounded": {expect: 10 * time.Second, reply: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newMuxBubble(t, 0)
				var wg sync.WaitGroup
				lone := make(chan struct{})
				b.server.Next("echo", sim.Hold(lone))
				b.call(&wg, "lone", bound{})
				impatient := b.call(&wg, "impatient", bound{limit: 500 * ms, expect: 500 * ms})
				release := after(10 * time.Second)
				b.server.Rule(func(sim.Request) sim.Action { return sim.Hold(release) })
				close(lone)
				synctest.Wait()
				calls := []*boundedCall{impatient, b.call(&wg, "more patient", patient)}
				if n := b.mux.Stats(); n.InFlight != 1 || n.Queued != 1 {
					t.Errorf("%+v", n)
				}
				wg.Wait()
				for _, x := range calls {
					x.check(t)
				}
			})
		})
	}
}

// TestMuxConnectionThatAllHaveLeftIsCut has a server that never answers those who share a connection.
func TestMuxConnectionThatAllHaveLeftIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMuxBubble(t, 0)
		var wg sync.WaitGroup
		lone := make(chan struct{})
		b.server.Next("echo", sim.Hold(lone), sim.Swallow())
		b.call(&wg, "lone", bound{})
		calls := []*boundedCall{b.call(&wg, "shares", bound{ctx: 200 * ms, expect: 200 * ms})}
		close(lone)
		synctest.Wait()
		calls = append(calls, b.call(&wg, "shares, too", bound{limit: 300 * ms, expect: 300 * ms}))
		if n := b.mux.Stats(); n != (redigolock.MuxStats{Conns: 1, InFlight: 2}) {
			t.Errorf("%+v", n)
		}
		wg.Wait()
		for _, x := range calls {
			x.check(t)
		}
		b.echo("next")  // which the old connection would not answer
		synctest.Wait() // it is closed by a goroutine
		if n := b.mux.Stats(); n != (redigolock.MuxStats{Conns: 1}) || b.server.Conns() != 1 {
			t.Errorf("%+v, and %d connections", n, b.server.Conns())
		}
	})
}

// A server that is down: each lane's dial fails while the other's is under way.
func TestMuxOfTwoConnectionsDoesNotDialInALoop(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		m := &redigolock.Mux{Pool: simPool(t, s, "redis"), Conns: 2}
		t.Cleanup(func() { m.Close() })
		var callers sync.WaitGroup
		var dials atomic.Int32
		s.SlowDialsBy(func(context.Context) time.Duration { // never two at the same moment
			n := dials.Add(1)
			return time.Duration(10+n%2) * time.Millisecond
		})
		accept := s.RefuseDials()
		start := time.Now()
		for range 4 {
			callers.Go(func() {
				_, err := redis.DoWithTimeout(m.Get(), time.Minute, "PING")
				if took := time.Since(start); !errors.Is(err, syscall.ECONNREFUSED) || took > 100*time.Millisecond {
					t.Errorf("after %v: %v", took, err)
				}
			})
		}
		callers.Wait()
		if n := s.Dials(); n > 4 {
			t.Errorf("%d dials", n)
		}
		accept()
		if _, err := redis.DoWithTimeout(m.Get(), time.Minute, "PING"); err != nil {
			t.Error(err)
		}
	})
}
