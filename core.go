package redigolock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/crowd"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/held"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/renewal"
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
	tokens  names.Tokens

	closing  closing
	keeping  keeping
	cleaning cleaning
}

// A discipline is how the locks of a core are taken, renewed and given back: by trying (plain.go), in a
// queue (fair.go), or by the votes of several servers (quorum.go).
// Its methods send; a core keeps the time, counts, tells the Observer how calls end, and ends what it started.
type discipline interface {
	// check says what of w it cannot do, before anything is sent.
	check(w want) error
	// acquire obtains a lock, with its Deadline, and counts it as held. A lock that nobody is given it removes in the
	// background, also if a func of the user's panics.
	acquire(ctx context.Context, w want) (*Lock, error)
	// abandon has k removed in the background. It was obtained, and no caller has been given it.
	abandon(ctx context.Context, k *Lock)

	// verify asks whether k is held.
	verify(ctx context.Context, k *Lock) error
	// fence gets a fencing number for k.
	fence(ctx context.Context, k *Lock) (int64, error)
	// extend makes k last ttl from start on. It notes no Deadline, nor does it tell the Observer how it ended.
	extend(ctx context.Context, k *Lock, ttl time.Duration) (start time.Time, err error)
	// renewedAt are the nodes that renew k.
	renewedAt(k *Lock) []renewal.Node
	// verdict makes one vote of the votes of these nodes, which come in the order of renewedAt. It is zero until enough have voted.
	verdict(k *Lock, votes []renewal.Vote) renewal.Vote
	// extendOn extends k at one node, in one try, on a connection that its renewal has. It returns what is left of the ttl there.
	extendOn(ctx context.Context, c redis.Conn, k *Lock, ttl time.Duration) (left time.Duration, err error)
	// extension is how the renewer extends several.
	extension() *extension

	// release gives k back. ctx does not end, and nothing renews k any more. by bounds what it does before it sends the release. It
	// tells the Observer how each try ended, but leaves one that found nothing to its caller.
	release(ctx context.Context, k *Lock, by time.Time) error
	// freed is told that the clean-up has removed a token from a key.
	freed(key string)
	// moved is told that the Deadline of k is d now, by a command that was sent at start.
	moved(k *Lock, start, d time.Time)
	// lost is told that k is not held any more.
	lost(k *Lock)
	// close ends what the discipline has under way, for so long at most.
	close(most time.Duration)
}

// A want is what a call is to obtain.
type want struct {
	verb, key string
	ttl       time.Duration
	wait      bool // until ctx ends
}

// An extension is the script that extends locks: KEYS and ARGV are those of all locks, one after the other, ARGV ends for
// each with its token and the ttl in ms.
type extension struct {
	script *wire.Script
	most   int                             // how many locks it extends at a time
	keys   int                             // of each lock
	add    func(args []any, k *Lock) []any // adds a lock's KEYS, and what stands before all tokens
}

// A single is what the disciplines of one server have in common. It embeds its node, and that embeds the core: in a plain or a fair,
// p.ask is node.ask, p.handle is core.handle, and p.opTimeout is settings.opTimeout.
type single struct{ *node }

func (s single) verify(ctx context.Context, k *Lock) error {
	_, err := s.ask(ctx, &k.claim, "verify", func(c redis.Conn) error {
		_, err := Verify(ctx, c, k.key, k.token)
		return err
	})
	return err
}

func (s single) fence(ctx context.Context, k *Lock) (number int64, err error) {
	_, err = s.ask(ctx, &k.claim, "fence", func(c redis.Conn) (err error) {
		number, err = Fence(ctx, c, k.key, k.token)
		return err
	})
	return number, err
}

func (s single) renewedAt(k *Lock) []renewal.Node {
	if s.servers != nil {
		return []renewal.Node{s.node.renewedAt(k.key)}
	}
	return s.renews[:]
}

func (s single) verdict(_ *Lock, votes []renewal.Vote) renewal.Vote { return votes[0] }

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

// eachTry is how long each of the two tries of a release may take, where what comes before has until by: together they have the time of
// two. Where nothing was waited for, each is a whole OpTimeout, whose context is shared.
func (s *settings) eachTry(by time.Time) time.Duration {
	each := s.opTimeout()
	if waited := each - time.Until(by); waited > time.Millisecond { // for a renewal
		each -= waited / 2
	}
	return each
}

// setUp sets at the first use what does not change from then on.
func (c *core) setUp(by discipline, nodes ...*node) {
	c.by, c.nodes = by, nodes
	for _, n := range nodes {
		n.readyToRenew()
	}
	c.begun.Store(true)
}

// once calls prepare at the first use. prepare looks at the fields, and calls setUp; if it returns an error, the next use calls it again.
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
func (c *core) newID() string { return c.tokens.Draw(c.owner) }
