// Package sentinel finds the master among Redis servers that Sentinels watch, and notices when there is another.
//
// Three things make it safe:
//   - All the Sentinels are asked at a time, and the highest configuration epoch wins: one that was cut off from the others
//     still names the old master. What is older than was known before counts only if most Sentinels have answered.
//   - A server that was dialled must say that it is a master, since Sentinels may name one too early or too late.
//   - A connection carries the generation in which it was made. When there is another master, the generation rises, and the
//     connections of before are cut, also those that wait for a reply: what the old master still accepts would be lost.
//
// A Group starts goroutines only while it dials or is asked to, and two while it watches.
package sentinel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/errands"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wait"
)

const (
	// earlyMost is how long a dial tries again while it is no master, though the Sentinels name it.
	earlyMost = time.Second
	// stepMost bounds one question to a Sentinel.
	stepMost = 2 * time.Second
	// askAgain is when a dial that takes long asks the Sentinels whether it leads to the master still.
	askAgain = 500 * time.Millisecond
)

// An Env is what a Group works with.
type Env struct {
	Addrs  []string // host:port of each Sentinel
	Master string   // its name at the Sentinels

	// They dial the master, and a Sentinel. They may ignore ctx: who waits for them does not.
	Dial, DialSentinel func(ctx context.Context, addr string) (redis.Conn, error)

	Watch bool // Subscribe to the Sentinels' messages about failovers while connections are out.
}

// A Group is the Sentinels that watch a master, and the connections to it.
type Group struct {
	env     Env
	life    context.Context // ends with Close
	end     context.CancelFunc
	turn    chan struct{} // capacity 1: who holds it asks the Sentinels
	again   chan struct{} // capacity 1: the Sentinels are to be asked, without a dial
	started sync.WaitGroup
	gen     atomic.Uint64
	tested  atomic.Int64 // when a connection was last asked for its role at a borrow, in ns since 1970

	mu      sync.Mutex // protects what follows; nothing is waited for under it
	addr    string     // the master's; "": not known, or it is one no more
	epoch   int64      // the configuration epoch that named it
	changed chan struct{}
	out     map[*Conn]struct{}        // connections that were not closed
	dials   map[string]*errands.Group // by address: those to one that hangs keep nobody from another
	asked   asked
	unwatch context.CancelFunc // ends the subscription; nil: there is none
	closed  bool
}

// asked is how the Sentinels' last answer is shared by those that came before they were asked.
type asked struct {
	begun, ended int // numbers of the last question that began, and of the last that ended
	err          error
}

// New makes a Group. It does no I/O.
func New(env Env) *Group {
	g := &Group{
		env: env, turn: make(chan struct{}, 1), again: make(chan struct{}, 1), changed: make(chan struct{}),
		out: map[*Conn]struct{}{}, dials: map[string]*errands.Group{},
	}
	g.life, g.end = context.WithCancel(context.Background())
	return g
}

// Epoch rises when there is another master, and when the one there was says that it is none any more.
func (g *Group) Epoch() uint64 { return g.gen.Load() }

// Changed returns a channel that is closed when the epoch rises.
func (g *Group) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Dial connects to the master. It returns when ctx ends, whatever the Env's funcs do.
func (g *Group) Dial(ctx context.Context) (redis.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.life, cancel)()
	begin, pause := time.Now(), 10*time.Millisecond
	var early error
	for {
		c, err := g.dialOnce(ctx)
		switch {
		case err == nil:
			return c, nil
		case g.life.Err() != nil:
			return nil, fault.Closed
		case ctx.Err() != nil:
			if early != nil {
				err = early
			}
			if !errors.Is(err, ctx.Err()) {
				err = fmt.Errorf("%w (%w)", err, ctx.Err())
			}
			return nil, err
		case errors.Is(err, errMoved):
			continue
		case !errors.Is(err, errEarly), time.Since(begin) > earlyMost:
			return nil, err
		}
		early = err
		sleep(ctx, pause/2+rand.N(pause/2))
		pause = min(2*pause, 200*time.Millisecond)
	}
}

var (
	errEarly    = errors.New("it is no master, though the Sentinels name it")
	errMoved    = errors.New("sentinel: there was another master before the dial was done")
	errOutdated = errors.New("sentinel: the connection is of before a failover")
	errPanicked = errors.New("sentinel: a Dial panicked")
)

func (g *Group) dialOnce(ctx context.Context) (redis.Conn, error) {
	if err := g.locate(ctx); err != nil {
		return nil, err
	}
	g.mu.Lock()
	addr, gen, changed := g.addr, g.gen.Load(), g.changed
	g.mu.Unlock()
	if addr == "" {
		return nil, errMoved
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := g.ask(ctx, changed, cancel)
	defer stop()
	c, err := g.connect(ctx, g.env.Dial, addr)
	if err == nil {
		err = role(ctx, c)
		if err != nil {
			_ = c.Close()
		}
	}
	switch {
	case wait.IsClosed(changed):
		if err == nil {
			_ = c.Close()
		}
		return nil, errMoved
	case err != nil:
		return nil, fmt.Errorf("sentinel: master %q at %s: %w", g.env.Master, addr, err)
	}
	return g.register(c, gen)
}

// connect dials, and returns when ctx ends, whatever dial does.
func (g *Group) connect(ctx context.Context, dial func(context.Context, string) (redis.Conn, error), addr string) (redis.Conn, error) {
	g.mu.Lock()
	dials := g.dials[addr]
	if dials == nil {
		dials = &errands.Group{Keyed: true}
		g.dials[addr] = dials
	}
	g.mu.Unlock()
	return dials.Fetch(ctx, func(ctx context.Context) (redis.Conn, error) { return dial(ctx, addr) })
}

// ask asks the Sentinels again and again while a dial takes long, and ends the dial when there is another master: the old one
// may hang.
func (g *Group) ask(ctx context.Context, changed <-chan struct{}, cancel context.CancelFunc) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(askAgain)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				cancel()
				return
			case <-ticks.C:
				_ = g.locateQuietly(ctx)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// role returns nil if the server says that it is a master, or may not say. NOPERM is no reason to refuse a server that the
// Sentinels name.
func role(ctx context.Context, c redis.Conn) error {
	values, err := redis.Values(do(ctx, c, "ROLE"))
	if re, ok := fault.Reply(err); ok && (fault.Word(re) == "NOPERM" || fault.UnknownCommand(re)) {
		return nil
	}
	if err != nil {
		return err
	}
	if name, _ := redis.String(first(values), nil); name != "master" {
		return errEarly
	}
	return nil
}

// learn takes what the Sentinels have named; majority: most of them have answered. An older configuration than was known
// is believed only then: it is that of one that was cut off, or the Sentinels were set up again.
func (g *Group) learn(addr string, epoch int64, majority bool) error {
	g.mu.Lock()
	if epoch < g.epoch && !majority {
		defer g.mu.Unlock()
		return fmt.Errorf("sentinel: master %q: too few Sentinels have answered, with a configuration that is older than was known",
			g.env.Master)
	}
	var old []*Conn
	g.epoch = epoch
	if addr != g.addr {
		if g.addr != "" {
			g.rise()
		}
		delete(g.dials, g.addr)
		g.addr = addr
		for c := range g.out {
			if c.gen != g.gen.Load() {
				old = append(old, c)
			}
		}
	}
	g.mu.Unlock()
	for _, c := range old {
		c.cut()
	}
	return nil
}

// outdate is told that a server of this generation is no master any more.
func (g *Group) outdate(gen uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gen != g.gen.Load() {
		return
	}
	g.rise()
	g.addr = ""
	g.askSoon()
}

// askSoon has the subscription's goroutine ask the Sentinels, if there is one.
func (g *Group) askSoon() {
	select {
	case g.again <- struct{}{}:
	default: // it has been told already
	}
}

// rise begins another generation. The caller holds mu.
func (g *Group) rise() {
	g.gen.Add(1)
	close(g.changed)
	g.changed = make(chan struct{})
}

// register makes a Conn of what was dialled in a generation, and starts the subscription if it is the first.
func (g *Group) register(inner redis.Conn, gen uint64) (redis.Conn, error) {
	c := &Conn{Conn: inner, group: g, gen: gen}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		_ = inner.Close()
		return nil, fault.Closed
	case gen != g.gen.Load():
		_ = inner.Close()
		return nil, errMoved
	}
	g.out[c] = struct{}{}
	if g.env.Watch && g.unwatch == nil {
		ctx, cancel := context.WithCancel(g.life)
		g.unwatch = cancel
		g.started.Go(func() { g.watch(ctx) })
	}
	if _, binds := inner.(binder); binds {
		return bindingConn{c}, nil
	}
	return c, nil
}

// forget ends the subscription with the last connection.
func (g *Group) forget(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.out, c)
	if len(g.out) == 0 && g.unwatch != nil {
		g.unwatch()
		g.unwatch = nil
	}
}

// Close ends the subscription, and every dial. Connections stay as they are.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.end()
	g.started.Wait()
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
