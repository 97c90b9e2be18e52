package redigolock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redigolock/redigolock/internal/crowd"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/held"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wait"
	"github.com/redigolock/redigolock/internal/wire"
)

// A core is what all kinds of lockers have in common: their settings, their clock, the locks that are held and kept alive,
// the clean-up in the background, and their end. How a lock is taken, renewed and given back is for its discipline to say.
// A Lock belongs to a core.
type core struct {
	settings
	by    discipline
	nodes []*node // where its commands go

	first   sync.Mutex // of those who begin at the same time
	begun   atomic.Bool
	closed  atomic.Bool
	waiting atomic.Int64 // calls that are to obtain a lock
	conns   atomic.Int64 // of its own
	owed    atomic.Int64 // what the discipline itself is to remove in the background
	held    held.Set
	ttl     atomic.Pointer[wire.TTL] // of the newest handle: most have the same
	tokens  tokens

	closing  closing
	keeping  keeping
	cleaning cleaning
}

// settings are what the fields of a Locker say, as they were at its first use.
type settings struct {
	owner    string
	timeout  time.Duration // of an operation; zero: DefaultOpTimeout
	maxHold  time.Duration
	replicas int // that must acknowledge; 0: none
	observer *Observer
	clock    func() time.Time // nil: time.Now
}

// check says what of the settings is not allowed; of is the struct whose fields they are.
func (s settings) check(verb, of string) error {
	if err := names.CheckOwner(s.owner); err != nil {
		return fault.Invalidf(verb, "%v", err)
	}
	switch {
	case s.timeout < 0:
		return fault.Invalidf(verb, "%s.OpTimeout is negative", of)
	case s.timeout > maxTTL:
		return fault.Invalidf(verb, "%s.OpTimeout is %v, allowed is up to %v", of, s.timeout, maxTTL)
	case s.maxHold < 0:
		return fault.Invalidf(verb, "%s.MaxHold is negative", of)
	}
	return nil
}

func (s *settings) now() time.Time {
	if s.clock != nil {
		return s.clock()
	}
	return s.host()
}

// host is the time by the clocks of this host.
func (s *settings) host() time.Time { return hooks.Now(s.owner) }

func (s *settings) opTimeout() time.Duration {
	if s.timeout > 0 {
		return s.timeout
	}
	return DefaultOpTimeout
}

// begin sets at the first use what does not change from then on.
func (c *core) begin(by discipline, nodes ...*node) {
	c.by, c.nodes = by, nodes
	for _, n := range nodes {
		n.readyToRenew()
	}
	c.begun.Store(true)
}

// once has prepare look at the fields at the first use that is allowed, and call begin.
func (c *core) once(prepare func() error) (*core, error) {
	if c.begun.Load() {
		return c, nil
	}
	c.first.Lock()
	defer c.first.Unlock()
	if c.begun.Load() {
		return c, nil
	}
	if err := prepare(); err != nil {
		return nil, err
	}
	return c, nil
}

// initCrowds readies the crowds of calls that wait. polls is how many may ask at a time, 0 any number.
func (c *core) initCrowds(cs *crowd.Crowds, retry RetryFunc, polls int) {
	if retry == nil {
		retry = DefaultRetry
	}
	cs.Init(crowd.Env{
		Now:     c.now,
		Bound:   c.opTimeout(),
		Closing: c.closingChan,
		Polls:   polls,
		Retry:   retry,
		Own:     isOwn(retry),
		Holder:  heldIn,
	})
}

// hasBegun is for a Close: what begins later sees that it is closed.
func (c *core) hasBegun() bool {
	c.first.Lock()
	defer c.first.Unlock()
	return c.begun.Load()
}

// acquire is a call of TryAcquire or Acquire.
func (c *core) acquire(ctx context.Context, w want) (*Lock, error) {
	if err := c.check(ctx, w); err != nil {
		return nil, err
	}
	return c.obtain(ctx, w, func(ctx context.Context) (*Lock, error) { return c.by.acquire(ctx, w) })
}

// check looks at what a call wants, before anything is sent.
func (c *core) check(ctx context.Context, w want) error {
	if ctx == nil {
		return fault.Invalidf(w.verb, "ctx is nil")
	}
	if err := checkKey(w.verb, w.key); err != nil {
		return err
	}
	if err := checkTTL(w.verb, w.ttl, minLockerTTL); err != nil {
		return err
	}
	if err := c.by.check(w); err != nil {
		return err
	}
	if c.closed.Load() {
		return fmt.Errorf("%w: %s %s", ErrClosed, w.verb, fault.Quote(w.key))
	}
	if ctx.Err() != nil {
		return fault.Failed(w.verb, w.key, fault.OfContext(ctx))
	}
	return nil
}

// handle makes the handle of what is to be obtained. The token serves the whole call.
func (c *core) handle(w want, token string) *Lock {
	k := &Lock{core: c, claim: claim{key: w.key, token: token, ttl: w.ttl}}
	k.conn.Key, k.conn.Token = w.key, token
	k.conn.TTL = c.ttl.Load()
	if b := k.conn.TTL; b == nil || b.TTL != w.ttl {
		k.conn.TTL = wire.BoxTTL(w.ttl)
		c.ttl.Store(k.conn.TTL)
	}
	return k
}

// obtain runs one call that is to obtain a lock: the Observer and Stats see it begin and end, also if f panics.
func (c *core) obtain(ctx context.Context, w want, f func(context.Context) (*Lock, error)) (k *Lock, err error) {
	ctx, begin := c.observer.waiting(ctx, w.key, w.verb), c.beginning()
	c.waiting.Add(1)
	err = errPanicked
	defer func() {
		c.waiting.Add(-1)
		if err != nil || c.observer != nil {
			c.obtained(ctx, w, begin, k, err)
		}
	}()
	return f(ctx)
}

// obtained tells how a call ended. A lock that its caller does not get, since the Observer panicked, is given back.
func (c *core) obtained(ctx context.Context, w want, begin time.Time, k *Lock, err error) {
	switch {
	case err == errPanicked:
		c.observer.gaveUp(ctx, w.key, c.since(begin), fault.Failed(w.verb, w.key, err))
	case err != nil:
		c.observer.gaveUp(ctx, w.key, c.since(begin), err)
	case c.observer != nil:
		told := false
		defer func() {
			if !told {
				c.by.abandon(ctx, k)
			}
		}()
		c.observer.acquired(ctx, k, c.since(begin))
		told = true
	}
}

// errPanicked is what an acquire ends with for its Observer when a func of the user's has panicked.
var errPanicked = errors.New("a func that it called panicked")

// beginning is the time for an Observer. Without one nobody asks for it.
func (c *core) beginning() (t time.Time) {
	if c.observer != nil {
		t = c.now()
	}
	return t
}

// since is for what beginning returned.
func (c *core) since(begin time.Time) (d time.Duration) {
	if c.observer != nil {
		d = c.now().Sub(begin)
	}
	return d
}

// close ends the core, as Locker.Close says.
func (c *core) close() error {
	if c.closed.Swap(true) {
		return nil
	}
	close(c.closingChan())
	if !c.hasBegun() {
		return nil
	}
	begin, most := time.Now(), 3*c.opTimeout()
	for _, x := range c.renewer().Close() {
		keeperOf(x).end(ErrClosed)
	}
	c.renewer().AwaitEnd(c.opTimeout())
	c.by.close(most)
	c.cleaner().Close(most)
	var calm []<-chan struct{}
	for _, n := range c.nodes {
		calm = append(calm, n.source.Close()...)
	}
	wait.For(most-time.Since(begin), calm...)
	return nil
}

// A closing is told to those who wait.
type closing struct {
	once sync.Once // for ch
	ch   chan struct{}
}

// closingChan is closed by Close.
func (c *core) closingChan() chan struct{} {
	x := &c.closing
	x.once.Do(func() { x.ch = make(chan struct{}) })
	return x.ch
}

// newToken is NewToken with the owner in front, as Locker.Owner describes it.
func (c *core) newToken() string {
	if c.owner == "" {
		return c.newID()
	}
	return c.owner + "|" + c.newID()
}

// newID is NewToken, from the stock.
func (c *core) newID() string { return c.tokens.draw(c.owner) }
