package mux

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/groupcommit"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A muxRig has a Mux on a proxy that holds back the reply to each ECHO whose text begins with "hold", until let is called
// with it.
type muxRig struct {
	*testbed.Rig
	mux  *redigolock.Mux
	mu   sync.Mutex // protects held
	held map[string]chan struct{}
}

func newMuxRig(t *testing.T, conns int) *muxRig {
	t.Helper()
	return newMuxRigOn(testbed.New(t), conns)
}

// newSimMuxRig is a muxRig in a bubble.
func newSimMuxRig(t *testing.T, conns int) *muxRig {
	t.Helper()
	return newMuxRigOn(testbed.NewSim(t), conns)
}

func newMuxRigOn(bare *testbed.Rig, conns int) *muxRig {
	t := bare.T
	t.Helper()
	r := &muxRig{Rig: bare, held: map[string]chan struct{}{}}
	r.mux = newMux(t, r.Proxy.Pool(), conns)
	r.Locker.Pool = r.mux
	r.Proxy.Rule(func(q redistest.Request) redistest.Action {
		if q.Name != "ECHO" || len(q.Args[0]) < 4 || q.Args[0][:4] != "hold" {
			return redistest.Pass()
		}
		return redistest.Hold(r.gate(q.Args[0]))
	})
	return r
}

func (r *muxRig) gate(text string) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[text] == nil {
		r.held[text] = make(chan struct{})
	}
	return r.held[text]
}

func (r *muxRig) let(texts ...string) {
	for _, text := range texts {
		close(r.gate(text))
	}
}

// An echo is what an ECHO came to.
type echo struct {
	text string
	err  error
	conn redis.Conn
}

// echo starts an ECHO under ctx, with a timeout if it is not 0.
func (r *muxRig) echo(ctx context.Context, timeout time.Duration, text string) <-chan echo {
	c := r.mux.Get().(redis.ConnWithContext)
	return inBackground(func() echo {
		var reply any
		var err error
		if timeout > 0 {
			reply, err = redis.DoWithTimeout(c, timeout, "ECHO", text)
		} else {
			reply, err = c.DoContext(ctx, "ECHO", text)
		}
		got, err := redis.String(reply, err)
		return echo{got, err, c}
	})
}

// answered checks that an ECHO gets its own reply.
func (r *muxRig) answered(text string, ch <-chan echo) {
	r.T.Helper()
	if got := receive(r.T, text, ch); got.text != text || got.err != nil {
		r.T.Errorf("%s got %q, %v", text, got.text, got.err)
	}
}

// arrived waits until the proxy has the ECHO.
func (r *muxRig) arrived(text string) {
	r.T.Helper()
	eventually(r.T, text+" arrives", func() bool {
		for _, q := range r.Sent("echo") {
			if q.Args[0] == text {
				return true
			}
		}
		return false
	})
}

// fill has as many batches in flight as a lane takes, each of one ECHO, and returns how to let them be answered.
func (r *muxRig) fill() (let func()) {
	r.T.Helper()
	var all []<-chan echo
	texts := r.fillWith(func(text string) { all = append(all, r.echo(bg, 0, text)) })
	return func() {
		r.T.Helper()
		r.let(texts...)
		for i, ch := range all {
			r.answered(texts[i], ch)
		}
	}
}

// fillWith starts an ECHO by ask for each batch. The first is preceded by one that keeps the lane to itself, so that the lane
// is shared from then on.
func (r *muxRig) fillWith(ask func(text string)) (texts []string) {
	r.T.Helper()
	first := fmt.Sprint("hold first ", len(r.Sent("echo")))
	lone := r.echo(bg, 0, first)
	r.arrived(first)
	for i := range groupcommit.MaxFlying {
		text := fmt.Sprint("hold fill ", i)
		texts = append(texts, text)
		ask(text)
		if i == 0 {
			eventually(r.T, text+" has come", func() bool {
				s := r.mux.Stats()
				return s.InFlight+s.Queued == 2
			})
			r.let(first)
			r.answered(first, lone)
		}
		r.arrived(text)
	}
	return texts
}

// queue starts an ECHO that has to wait for its turn.
func (r *muxRig) queue(ctx context.Context, timeout time.Duration, text string) <-chan echo {
	r.T.Helper()
	n := r.mux.Stats().Queued
	ch := r.echo(ctx, timeout, text)
	eventually(r.T, text+" is queued", func() bool { return r.mux.Stats().Queued == n+1 })
	return ch
}

func TestMuxLeaderAloneLeavesAtOnceAndTheNextDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		ctx, cancel := context.WithCancel(bg)
		done := r.echo(ctx, 0, "hold")
		r.arrived("hold")
		cancel()
		wants(t, receive(t, "the leader leaves", done).err, context.Canceled)
		r.answered("next", r.echo(bg, 0, "next"))
		r.let("hold")
		r.answered("later", r.echo(bg, 0, "later"))
		eventually(t, "one connection is left", func() bool { return r.Proxy.Conns() == 1 })
	})
}

func TestMuxQueuedCallerLeavesAndSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		let := r.fill()
		ctx, cancel := context.WithCancel(bg)
		first := r.queue(ctx, 0, "first")
		second := r.queue(bg, shortOp, "second")
		third := r.queue(bg, 0, "third")
		locked := inBackground(func() error { _, err := r.Locker.TryAcquire(ctx, "key", time.Minute); return err })
		eventually(t, "all are queued", func() bool { return r.mux.Stats().Queued >= 3 })
		got := receive(t, "the timeout", second)
		if got.err == nil || got.conn.Err() != nil {
			t.Errorf("%v; the connection: %v", got.err, got.conn.Err())
		}
		cancel()
		got = receive(t, "the cancelled", first)
		wants(t, got.err, context.Canceled)
		r.OK(got.conn.Err())
		err := receive(t, "the locker", locked)
		wants(t, err, context.Canceled)
		wantsNot(t, err, redigolock.ErrUnknown)
		let()
		r.answered("third", third)
		for _, q := range r.Sent("echo") {
			if q.Args[0] == "first" || q.Args[0] == "second" {
				t.Error("sent though its caller had left:", q)
			}
		}
		if n := len(r.Sent("set")); n > 0 {
			t.Error("a SET was sent though its caller had left")
		}
		if text, err := redis.String(got.conn.Do("ECHO", "usable")); text != "usable" {
			t.Error(text, err)
		}
	})
}

// batch has a batch of three in flight whose first reply is held. The second leaves with leave.
func (r *muxRig) batch(leader, second context.Context, timeouts [3]time.Duration) (a, b, c <-chan echo) {
	r.T.Helper()
	let := r.fill()
	a = r.queue(leader, timeouts[0], "hold a")
	b = r.queue(second, timeouts[1], "b")
	c = r.queue(bg, timeouts[2], "c")
	let()
	r.arrived("c")
	return a, b, c
}

func TestMuxFollowerLeavesAndTheOthersGetTheirReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		ctx, cancel := context.WithCancel(bg)
		a, b, c := r.batch(bg, ctx, [3]time.Duration{})
		cancel()
		got := receive(t, "the follower leaves", b)
		wants(t, got.err, context.Canceled)
		wantsNot(t, got.err, context.DeadlineExceeded)
		if got.conn.Err() == nil {
			t.Error("a connection whose reply was lost is usable")
		}
		r.let("hold a")
		r.answered("hold a", a)
		r.answered("c", c)
		if n := r.Proxy.Conns(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestMuxLeaderWithFollowersLeavesWithoutHarmToThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		ctx, cancel := context.WithCancel(bg)
		a, b, c := r.batch(ctx, bg, [3]time.Duration{})
		cancel()
		wants(t, receive(t, "the leader leaves", a).err, context.Canceled)
		r.let("hold a")
		r.answered("b", b)
		r.answered("c", c)
		r.answered("next", r.echo(bg, 0, "next"))
		for _, q := range r.Proxy.Requests() {
			if q.Name == "ECHO" && q.Conn != r.Sent("echo")[0].Conn {
				t.Fatal("the connection was cut")
			}
		}
	})
}

func TestMuxShortTimeoutsDoTheOthersNoHarm(t *testing.T) {
	const short = shortOp
	t.Run("of a follower, the leader having none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newSimMuxRig(t, 0)
			const timeout = time.Second // within which the batch is surely written
			a, b, c := r.batch(bg, bg, [3]time.Duration{0, timeout, 0})
			if err := receive(t, "the follower", b).err; err == nil {
				t.Error("no error")
			}
			start := time.Now()
			eventually(t, "a reader with this timeout would be gone", func() bool { return time.Since(start) > timeout+timeout/10 })
			r.let("hold a")
			r.answered("hold a", a)
			r.answered("c", c)
		})
	})
	t.Run("of the leader before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newSimMuxRig(t, 0)
			a := r.echo(bg, short, "hold a")
			r.arrived("hold a")
			b := r.echo(bg, 0, "b") // must not share its connection's end
			if err := receive(t, "the leader", a).err; err == nil {
				t.Error("no error")
			}
			r.answered("b", b)
		})
	})
	t.Run("of the leader behind", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newSimMuxRig(t, 0)
			first := r.echo(bg, 0, "hold first")
			r.arrived("hold first")
			a := r.queue(bg, 0, "hold a")
			r.let("hold first")
			r.answered("hold first", first)
			r.arrived("hold a")
			b := r.echo(bg, short, "b")
			r.arrived("b")
			if err := receive(t, "the leader behind", b).err; err == nil {
				t.Error("no error")
			}
			r.let("hold a")
			r.answered("hold a", a)
			r.answered("c", r.echo(bg, 0, "c"))
		})
	})
}

func TestMuxBatchOfSlowCommandsIsBoundedAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimMuxRig(t, 0)
		const each, n = 150 * time.Millisecond, 12
		c := r.mux.Get()
		for i := range n {
			r.OK(c.Send("ECHO", fmt.Sprint("hold ", i)))
		}
		let := inBackground(func() error {
			for i := range n {
				time.Sleep(each) // how slow the server is
				r.let(fmt.Sprint("hold ", i))
			}
			return nil
		})
		start := time.Now()
		_, err := redis.DoWithTimeout(c, 3*each, "")
		if took := time.Since(start); err == nil || took > 8*each {
			t.Errorf("%v after %v, with a timeout of %v", err, took, 3*each)
		}
		r.OK(receive(t, "the server's end", let))
	})
}

// A lateConn keeps the arguments until Flush, as a connection may, and has the Flush wait for open, if it is not nil.
type lateConn struct {
	redis.Conn
	pool *latePool
	kept [][]any
}

type latePool struct {
	pool     *redis.Pool
	mu       sync.Mutex // protects open
	open     chan struct{}
	flushing chan struct{}
}

func (p *latePool) Get() redis.Conn { return &lateConn{Conn: p.pool.Get(), pool: p} }

func (p *latePool) arm(open chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = open
}

func (c *lateConn) Send(cmd string, args ...any) error {
	c.kept = append(c.kept, append([]any{cmd}, args...))
	return nil
}

func (c *lateConn) Flush() error {
	c.pool.mu.Lock()
	open := c.pool.open
	c.pool.mu.Unlock()
	if open != nil {
		c.pool.flushing <- struct{}{}
		<-open
	}
	for _, cmd := range c.kept {
		if err := c.Conn.Send(cmd[0].(string), cmd[1:]...); err != nil {
			return err
		}
	}
	c.kept = nil
	return c.Conn.Flush()
}

// TestMuxCallersLeaveWhileTheyAreWrittenAndTheirArgumentsStay has a connection that keeps the arguments until Flush.
func TestMuxCallersLeaveWhileTheyAreWrittenAndTheirArgumentsStay(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		synctest.Test(t, func(t *testing.T) {
			r := newSimMuxRig(t, 0)
			pool := &latePool{pool: r.Proxy.Pool(), flushing: make(chan struct{}, 1)}
			r.mux = newMux(t, pool, 0)
			let := r.fill()
			ctx, cancel := context.WithCancel(bg)
			leaving := func() error {
				text := []byte("original")
				_, err := r.mux.Get().(redis.ConnWithContext).DoContext(ctx, "ECHO", text)
				copy(text, "OVERWRITTEN")
				return err
			}
			staying := func() error {
				_, err := r.mux.Get().Do("ECHO", "other")
				return err
			}
			first, second := staying, leaving
			if who == "leader" {
				first, second = leaving, staying
			}
			n := r.mux.Stats().Queued
			one := inBackground(first)
			eventually(t, "the first is queued", func() bool { return r.mux.Stats().Queued == n+1 })
			two := inBackground(second)
			eventually(t, "the second is queued", func() bool { return r.mux.Stats().Queued == n+2 })
			left, other := two, one
			if who == "leader" {
				left, other = one, two
			}
			open := make(chan struct{})
			pool.arm(open)
			let()
			receive(t, "the batch is written", pool.flushing)
			pool.arm(nil)
			cancel()
			wants(t, receive(t, who, left), context.Canceled)
			close(open)
			r.OK(receive(t, "the other", other))
			r.arrived("original")
		})
	}
}
