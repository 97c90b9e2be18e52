package redigolock

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/crowd"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/quorum"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wait"
	"github.com/redigolock/redigolock/internal/wire"
)

// A Quorum obtains locks at a majority of several servers that know nothing of each other, as the Redlock algorithm does.
// While fewer than half of them are down, locks are granted. While none of them loses data, each lock has one holder at a
// time. At each server the Quorum uses the commands of a Locker without AcquireWith and ReleaseWith. Set its fields, then use
// it; they must not be changed after the first use, and the Quorum must not be copied. It is safe for concurrent use.
//
// What it promises rests on clocks: those of the servers, and of this host, must run at the same rate within 1 %. A server that
// restarts without its data must stay away for the longest ttl, or it votes a second time; if only a bare majority has the
// lock, two can hold it then. [Lock.Fence] is [ErrUnsupported]. docs/quorum.md says when a Quorum is worth its price, and
// what to use instead where a late holder must not do harm.
type Quorum struct {
	// Pools lead to the servers: an odd number, 3 or 5, of independent masters, none the replica of another. Required. The same
	// server must not be there twice, be it under two names or with two of its databases: an acquire that finds out is
	// [ErrInvalid]. Each server is asked for its run_id (INFO server) before its first vote; the user need not have the right to.
	Pools []Pool
	// Retry says how long Acquire pauses between tries. It should have a random part, so that those who split the votes do not
	// split them again. Nil: DefaultRetry.
	Retry RetryFunc
	// OpTimeout bounds a command at each node, as Locker.OpTimeout does. It should be far below the ttl. At most 24 h. Zero: 50
	// ms, for an acquire at most a tenth of its ttl.
	OpTimeout time.Duration
	// MaxHold is how long after the acquire KeepAlive gives up. Zero: never.
	MaxHold time.Duration
	// Owner is a readable prefix of the tokens, as Locker.Owner is. Empty: none.
	Owner string
	// Observer is told what happens. Each node's outcome is told by itself, on a goroutine of the Quorum, several at a time, and
	// also after the call has returned. If one of its funcs panics there, the panic ends the call, as one on the caller's
	// goroutine does; after the call has returned it is dropped. Nil: nobody is told.
	Observer *Observer

	clock func() time.Time // nil: time.Now; for tests
	core  core
}

// TryAcquire asks all nodes at once to grant the lock for ttl, 10 ms to 24 h in whole milliseconds. Once a majority has
// granted it, TryAcquire gives the other nodes a moment to answer, and returns the lock; those that answer later count too.
// The Deadline counts from before the first command was sent. If there is no majority, or none in time, it removes what it has
// obtained before it returns, within another OpTimeout; at nodes that do not answer it does so in the background.
//
// It returns an error that is [ErrHeld] if others have the lock at so many nodes that there is no majority; [ErrNoQuorum] if
// there is none for another reason; [ErrInvalid]; [ErrClosed]; or the context's error and cause.
func (q *Quorum) TryAcquire(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	return q.acquire(ctx, want{verb: "try acquire", key: key, ttl: ttl})
}

// Acquire tries to acquire the lock for ttl, as [Quorum.TryAcquire] does, until ctx ends. It pauses between tries as Retry says.
// Each try has a token of its own. What a majority refuses for good (NOAUTH, NOPERM, WRONGTYPE, OOM…) ends it at once. The calls
// of one Quorum that wait for the same key share what the servers say, as those of [Locker.Acquire] do.
//
// Once ctx has ended, errors.Is finds context.Cause(ctx) in the error; ErrHeld, too, if another held the lock; and ErrUnknown
// if a node did not answer: what a try may have left there is removed in the background.
func (q *Quorum) Acquire(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	return q.acquire(ctx, want{verb: "acquire", key: key, ttl: ttl, wait: true})
}

func (q *Quorum) acquire(ctx context.Context, w want) (*Lock, error) {
	c, err := q.begin(w.verb)
	if err != nil {
		return nil, err
	}
	return c.acquire(ctx, w)
}

// Do acquires the lock as [Quorum.Acquire] does, keeps it alive while fn runs, and releases it, as [Locker.Do] does.
func (q *Quorum) Do(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *Lock) error) error {
	return obtainAndRun(ctx, "do", fn, func() (*Lock, error) { return q.Acquire(ctx, key, ttl) })
}

// TryDo is [Quorum.Do] without the wait. fn is not called on any error of the acquire.
func (q *Quorum) TryDo(ctx context.Context, key string, ttl time.Duration, fn func(context.Context, *Lock) error) error {
	return obtainAndRun(ctx, "try do", fn, func() (*Lock, error) { return q.TryAcquire(ctx, key, ttl) })
}

// Stats returns the counts of this moment. A lock counts once, Owed and Conns count at all nodes. It sends nothing.
func (q *Quorum) Stats() Stats { return q.core.stats() }

// Close ends the Quorum as [Locker.Close] does. It waits for what nodes have not answered yet, too.
func (q *Quorum) Close() error { return q.core.close() }

// quorumOpTimeout is OpTimeout where it is zero.
const quorumOpTimeout = 50 * time.Millisecond

// begin returns the core. At the first use it looks at the fields, and makes what they ask for.
func (q *Quorum) begin(verb string) (*core, error) {
	return q.core.once(func() error { return q.prepare(verb) })
}

func (q *Quorum) prepare(verb string) error {
	c := &q.core
	s := settings{owner: q.Owner, timeout: q.OpTimeout, maxHold: q.MaxHold, observer: q.Observer, clock: q.clock}
	if err := s.check(verb, "Quorum"); err != nil {
		return err
	}
	if s.timeout == 0 {
		s.timeout = quorumOpTimeout
	}
	nodes, err := q.nodes(verb)
	if err != nil {
		return err
	}
	c.settings = s
	c.setUp(newVoting(c, q, nodes), nodes...)
	return nil
}

// nodes are those that Pools lead to.
func (q *Quorum) nodes(verb string) (nodes []*node, err error) {
	if len(q.Pools) == 0 {
		return nil, fault.Invalidf(verb, "Quorum.Pools is empty")
	}
	for i, p := range q.Pools {
		src := newSource(p)
		if src == nil {
			return nil, fault.Invalidf(verb, "Quorum.Pools[%d] is nil", i)
		}
		for j, other := range q.Pools[:i] {
			if reflect.ValueOf(p).Comparable() && p == other {
				return nil, fault.Invalidf(verb, "Quorum.Pools[%d] and [%d] are the same", j, i)
			}
		}
		src.Place = strconv.Itoa(i)
		if src.Check != nil {
			if err := src.Check(); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, newNode(&q.core, src))
	}
	return nodes, nil
}

// A voting is the discipline of a Quorum: a lock is what a majority of the nodes has (internal/quorum).
type voting struct {
	*core
	isAuto bool // OpTimeout is zero
	crowds crowd.Crowds
	voters quorum.Voters
	met    quorum.Acquaintances
}

func newVoting(c *core, q *Quorum, nodes []*node) *voting {
	v := &voting{core: c, isAuto: q.OpTimeout == 0}
	v.met.Init(len(nodes))
	v.voters.Init(quorum.Env{
		Now:    c.now,
		Ends:   deadline,
		Owed:   &c.owed,
		Held:   func(key, holder string) error { return &HeldError{Key: key, Holder: holder} },
		Holder: heldIn,
		Told:   c.told,
	}, len(nodes))
	asking := 0 // at a time
	for _, n := range nodes {
		if most := n.source.Polls; most > 0 && (asking == 0 || most < asking) {
			asking = most
		}
	}
	v.initCrowds(&v.crowds, q.Retry, asking)
	return v
}

// patience is how long each node has, for a lock with this ttl.
func (v *voting) patience(ttl time.Duration) time.Duration {
	most := min(v.opTimeout(), ttl)
	if v.isAuto {
		most = min(most, ttl/10)
	}
	return most
}

func (v *voting) check(want) error { return v.met.Refused() }

func (v *voting) acquire(ctx context.Context, w want) (*Lock, error) {
	call := &votingCall{v: v, w: w}
	if w.wait {
		err := v.crowds.Acquire(ctx, &call.w.key, call)
		if err != nil && call.isOwed && !errors.Is(err, ErrUnknown) {
			err = fault.Followed(err, "and a try of it: ", ErrUnknown)
		}
		return call.k, err
	}
	err := call.Try(ctx, nil, 0)
	return call.k, err
}

// A votingCall is a call that obtains a lock, as its crowd sees it.
type votingCall struct {
	v     *voting
	w     want
	k     *Lock // it got this
	final bool  // to try again would be in vain

	isOwed bool // a node gave no answer to a try
}

func (x *votingCall) Try(ctx context.Context, _ *crowd.Holder, _ time.Duration) (err error) {
	x.k, x.final, err = x.v.try(ctx, x.w)
	x.isOwed = x.isOwed || errors.Is(err, ErrUnknown)
	return err
}

// Uncertain: a try that has failed has nothing more to win.
func (x *votingCall) Uncertain() bool { return false }

func (x *votingCall) Final(ctx context.Context, err error) bool {
	return err == nil || x.final && ctx.Err() == nil
}

func (x *votingCall) Shared(ctx context.Context, err error) bool {
	return err == nil || errors.Is(err, ErrHeld)
}

func (x *votingCall) Won() (holder string, until time.Time, held error) {
	holder = names.Holder(x.k.token)
	return holder, x.k.acquired.Add(x.w.ttl), &HeldError{Key: x.w.key, Holder: holder, TTL: x.w.ttl}
}

// try is one try of an acquire. final says that others would be in vain.
func (v *voting) try(ctx context.Context, w want) (_ *Lock, final bool, err error) {
	k := v.handle(w, v.newToken()) // no result, which a late answer would find changed
	k.votes = v.voters.New(ctx, k.key, k.ttl, v.patience(k.ttl), v.seats(k))
	begin := v.now()
	final, err = k.votes.Take(ctx, func() error {
		k.acquired, k.deadline = begin, deadline(begin, k.ttl)
		now := v.now()
		if k.latched(now) {
			return fault.Of(ErrNoQuorum, "acquire", k.key, fmt.Sprintf("the answers took longer than the ttl of %v is good for", k.ttl))
		}
		k.countHeld(now)
		return nil
	})
	if err != nil {
		return nil, final, err
	}
	return k, false, nil
}

func (v *voting) abandon(_ context.Context, k *Lock) {
	k.latch()
	k.votes.End(0)
}

func (v *voting) release(ctx context.Context, k *Lock, by time.Time) error {
	err := k.votes.Release(ctx, v.eachTry(by))
	if err == nil || errors.Is(err, ErrNotHeld) {
		v.freed(k.key)
	}
	return err
}

func (v *voting) verify(ctx context.Context, k *Lock) error { return k.votes.Verify(ctx) }

func (v *voting) extend(ctx context.Context, k *Lock, ttl time.Duration) (start time.Time, err error) {
	k.asking(ttl)
	return k.votes.Extend(ctx, ttl)
}

func (v *voting) fence(_ context.Context, k *Lock) (int64, error) {
	return 0, fault.Of(ErrUnsupported, "fence", k.key, "the counters of several servers do not rise together: see docs/quorum.md")
}

func (v *voting) renewedAt(k *Lock) (all []renewal.Node) {
	for _, n := range v.nodes {
		all = append(all, n.renewedAt(k.key))
	}
	return all
}

func (v *voting) verdict(k *Lock, votes []renewal.Vote) renewal.Vote {
	return k.votes.Verdict(votes, k.Deadline())
}

func (v *voting) extendOn(ctx context.Context, c redis.Conn, k *Lock, ttl time.Duration) (time.Duration, error) {
	return extend(ctx, c, k.key, k.token, ttl)
}

func (v *voting) extension() *extension { return &plainExtension }

func (v *voting) freed(key string) { v.crowds.Freed(key) }

func (v *voting) moved(k *Lock, _, _ time.Time) { k.votes.Retake() }

func (v *voting) lost(*Lock) {}

func (v *voting) close(most time.Duration) { wait.For(most, v.voters.Ended()) }

// A seat is the claim of a lock at a node, as the quorum.Seat of it.
type seat struct {
	claim
	*node
	k     *Lock
	met   *quorum.Acquaintances
	place int // of the node
}

func (v *voting) seats(k *Lock) (all []quorum.Seat) {
	seats := make([]seat, len(v.nodes))
	for i := range seats {
		s := &seats[i]
		s.node, s.k, s.met, s.place = v.nodes[i], k, &v.met, i
		s.key, s.token, s.ttl = k.key, k.token, k.ttl
		s.conn.Key, s.conn.Token, s.conn.TTL = k.conn.Key, k.conn.Token, k.conn.TTL
		all = append(all, s)
	}
	return all
}

func (s *seat) Take(ctx context.Context, within time.Duration) (start time.Time, err error) {
	return s.try(ctx, &s.claim, s.setNew, nil, within)
}

// setNew is setNXKnown that does not take a token which is there already for a vote, unless a try at this very node may have
// put it there: then it says that the key is held, and node.try finds out by whom.
func (s *seat) setNew(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	if err := s.meet(ctx, c, key); err != nil {
		return err
	}
	isNew, err := setNXKnown(ctx, c, key, token, ttl)
	switch {
	case err != nil || isNew:
		return err
	case s.lostTry != nil:
		return &HeldError{Key: key}
	}
	return fault.Invalidf("acquire", "two of Quorum.Pools lead to the same server: the token for one of them is there already")
}

// meet asks the server of the node, before its first vote, by which name it has run since its start.
func (s *seat) meet(ctx context.Context, c redis.Conn, key string) error {
	if s.met.Known(s.place) {
		return nil
	}
	reply, err := wire.Do(ctx, c, "acquire", key, "INFO", "server")
	re, refused := err.(redis.Error)
	switch {
	case refused && fault.TransientReply(re):
		return fault.Refused("acquire", key, re)
	case err != nil && !refused:
		return err
	}
	text, _ := redis.String(reply, err)
	return s.met.Meet(s.place, text)
}

func (s *seat) Extend(ctx context.Context, ttl, within time.Duration, isOver func() bool) (time.Time, error) {
	return s.askBy(ctx, &s.claim, "extend", time.Now().Add(within), func(c redis.Conn) error {
		if isOver() {
			return fault.Gone("extend", s.key)
		}
		return Extend(ctx, c, s.key, s.token, ttl)
	})
}

func (s *seat) Verify(ctx context.Context, within time.Duration) error {
	_, err := s.askBy(ctx, &s.claim, "verify", time.Now().Add(within), func(c redis.Conn) error {
		_, err := Verify(ctx, c, s.key, s.token)
		return err
	})
	return err
}

func (s *seat) Remove(ctx context.Context) error {
	_, err := s.onLent(ctx, &s.conn, "release", s.key, s.opTimeout(), func(c redis.Conn) error {
		return undo(ctx, c, s.key, s.token)
	})
	return err
}

func (s *seat) Release(ctx context.Context, each time.Duration) error {
	return s.free(ctx, &s.claim, each, releaseKnown, s.k.isOver)
}

func (s *seat) Stray(ctx context.Context) { s.stray(ctx) }

func (s *seat) HasStray() bool { return s.lostTry != nil }

func (s *seat) Owe() {
	now := time.Now()
	s.oweUntil(&s.claim, now, now.Add(s.k.longest()))
}
