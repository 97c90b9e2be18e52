package redigolock

import (
	"context"
	"reflect"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
)

// A Quorum obtains locks at a majority of several servers that know nothing of each other, as the Redlock algorithm has it:
// while fewer than half of them are down, locks are granted, and while none of them loses data, each to one holder at a time. Set
// its fields, then use it; they must not be changed after the first use, and the Quorum must not be copied. It is
// safe for concurrent use.
//
// What it promises rests on clocks: those of the servers, and of this host, must run at the same rate within 1 %. A server that
// restarts without its data has to stay away for the longest ttl, or it votes a second time, which is enough for two holders where a
// lock is at no more than a majority. docs/quorum.md says when a Quorum
// is worth its price, and what to use instead where a late holder must not do harm: [Lock.Fence] is [ErrUnsupported].
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
	// Observer is told what happens. Each node's outcome is told for itself, on a goroutine of the Quorum's own, and also after
	// the call has returned; several at a time. A panic of its funcs there ends the call, as one on the caller's goroutine
	// does; one that comes after the call has returned is dropped. Nil: nobody is told.
	Observer *Observer

	clock func() time.Time // nil: time.Now; for tests
	core  core
}

// TryAcquire asks all nodes at once to take the lock in for ttl, 10 ms to 24 h in whole milliseconds. It returns it as soon as
// a majority has, and gives the other nodes a moment to answer; those that answer later count too. The Deadline counts from
// before the first command was sent. If there is no majority, or none in time, it removes what it has obtained from all nodes
// before it returns, within another OpTimeout, and what does not answer in the background.
//
// It returns an error that is [ErrHeld] if others have the lock at so many nodes that there is no majority, [ErrNoQuorum] if
// that is for another reason; [ErrInvalid], [ErrClosed]; and the context's error and cause.
func (q *Quorum) TryAcquire(ctx context.Context, key string, ttl time.Duration) (*Lock, error) {
	return q.acquire(ctx, want{verb: "try acquire", key: key, ttl: ttl})
}

// Acquire tries to acquire the lock for ttl, as [Quorum.TryAcquire] does, until ctx ends. It pauses between tries as Retry says.
// Each try has a token of its own. What a majority refuses for good (NOAUTH, NOPERM, WRONGTYPE, OOM…) ends it at once. The calls
// of one Quorum that wait for the same key share what the servers say, as those of [Locker.Acquire] do.
//
// Once ctx has ended, errors.Is finds context.Cause(ctx) in the error; and ErrHeld if the lock was held by another; and
// ErrUnknown if a node did not answer, and then what it may have got is removed in the background.
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

// begin looks at the fields at the first use, and makes what they ask for.
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
	c.begin(newVoting(c, q, nodes), nodes...)
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
		if src.Check != nil {
			if err := src.Check(); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, newNode(&q.core, src))
	}
	return nodes, nil
}
