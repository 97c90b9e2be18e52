package redigolock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/ballot"
	"github.com/redigolock/redigolock/internal/crowd"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/poll"
	"github.com/redigolock/redigolock/internal/renewal"
	"github.com/redigolock/redigolock/internal/wait"
	"github.com/redigolock/redigolock/internal/wire"
)

// The discipline of a Quorum: a lock is what a majority of the nodes has. A node's vote is that its own SET put this try's
// token into the key, or that it has it still. Each try has a new token, and each node is asked by a goroutine of its own, which
// ends within an OpTimeout or two. So a call never waits for a node that hangs longer than it must:
//
//	poll     asks nodes at once, and returns when the outcome is settled and the others have had a moment
//	try      one try of an acquire: a poll, and if there is no majority the end of its ballot
//	seek     asks one node to take the lock in, also later, when a node has come back empty
//	vacate   removes the token from one node
//
// A ballot (internal/ballot) says where the token may be. Once it is over, nothing may be left: whoever ends asking a node, or ends the
// ballot while nobody asks that node, vacates that seat. What does not answer then goes to the clean-up in the background. A node that is
// known not to have the token is not asked.
type voting struct {
	*core
	isAuto bool // OpTimeout is zero
	crowds crowd.Crowds
	polls  poll.Group // one voter for each node
	met    acquaintances
}

// Acquaintances are the servers that the nodes have turned out to lead to.
type acquaintances struct {
	known []atomic.Bool // of each node: it has been asked
	twice atomic.Pointer[error]

	mu     sync.Mutex // protects what follows
	runIDs []string   // "": the server does not tell
}

// Votes are where a lock stands at the nodes.
type votes struct {
	*ballot.Ballot
	ctx   context.Context // of the acquire, without its end
	seats []seat          // one for each node, of who seeks it, and then of who vacates it
}

// A seat is the claim at a node.
type seat struct{ claim }

// holding is what a node has that has said so when it was asked at start.
func holding(start time.Time, left time.Duration) ballot.Holding {
	return ballot.Holding{Start: start, Left: left, Ends: deadline(start, left)}
}

func newVoting(c *core, q *Quorum, nodes []*node) *voting {
	v := &voting{core: c, isAuto: q.OpTimeout == 0}
	v.polls.Voters, v.polls.Needed = len(nodes), len(nodes)/2+1
	v.met.known, v.met.runIDs = make([]atomic.Bool, len(nodes)), make([]string, len(nodes))
	asking := 0 // at a time
	for _, n := range nodes {
		if most := n.source.Polls; most > 0 && (asking == 0 || most < asking) {
			asking = most
		}
	}
	v.initCrowds(&v.crowds, q.Retry, asking)
	return v
}

// majority is how many votes decide.
func (v *voting) majority() int { return v.polls.Needed }

// patience is how long each node has, for a lock with this ttl.
func (v *voting) patience(ttl time.Duration) time.Duration {
	most := min(v.opTimeout(), ttl)
	if v.isAuto {
		most = min(most, ttl/10)
	}
	return most
}

func (v *voting) check(want) error {
	if twice := v.met.twice.Load(); twice != nil {
		return *twice
	}
	return nil
}

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
	b := v.newVotes(ctx, k)
	k.votes = b
	won := false
	defer func() {
		if !won {
			v.end(b, v.patience(w.ttl))
		}
	}()
	begin := v.now()
	answers := v.poll(v.patience(w.ttl), func(i int) error { return v.seek(ctx, k, i) })
	if err, final = v.judge(ctx, "acquire", w.key, answers); err != nil {
		return nil, final, err
	}
	k.acquired, k.deadline = begin, deadline(begin, w.ttl)
	now := v.now()
	if k.latched(now) {
		return nil, false, fault.Of(ErrNoQuorum, "acquire", w.key, fmt.Sprintf("the answers took longer than the ttl of %v is good for", w.ttl))
	}
	k.countHeld(now)
	won = true
	return k, false, nil
}

func (v *voting) newVotes(ctx context.Context, k *Lock) *votes {
	b := &votes{ballot.New(len(v.nodes), &v.owed), context.WithoutCancel(ctx), make([]seat, len(v.nodes))}
	for i := range b.seats {
		s := &b.seats[i]
		s.key, s.token, s.ttl = k.key, k.token, k.ttl
		s.conn.Key, s.conn.Token, s.conn.TTL = k.conn.Key, k.conn.Token, k.conn.TTL
	}
	return b
}

// seek asks a node to take the lock in.
func (v *voting) seek(ctx context.Context, k *Lock, i int) (err error) {
	var start time.Time
	b := k.votes
	s := &b.seats[i]
	err = errPanicked
	defer func() {
		if err == errPanicked {
			s.stray(ctx)
		}
		var h ballot.Holding
		if err == nil {
			h = holding(start, k.ttl)
		}
		if b.Sought(i, h) {
			v.vacate(b, i)
		}
	}()
	start, err = v.nodes[i].try(ctx, &s.claim, func(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
		if err := v.met.meet(ctx, c, i, key); err != nil {
			return err
		}
		return s.setNew(ctx, c, key, token, ttl)
	}, nil, v.patience(k.ttl))
	v.observer.outcome(ctx, k.key, "acquire", err)
	return err
}

// meet asks the server of a node, before its first vote, by which name it has run since its start, and refuses that of another node:
// two databases of one server would vote twice. A server that does not tell, or may not be asked, is taken for another.
func (m *acquaintances) meet(ctx context.Context, c redis.Conn, i int, key string) error {
	if m.known[i].Load() {
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
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runIDs[i] = runID(text)
	for j, id := range m.runIDs {
		if j != i && id != "" && id == m.runIDs[i] {
			err := fault.Invalidf("acquire", "Quorum.Pools[%d] and [%d] lead to the same server", min(i, j), max(i, j))
			m.twice.Store(&err)
			return err
		}
	}
	m.known[i].Store(true)
	return nil
}

// runID finds the name of a run of a server in its INFO; "": it is not there.
func runID(info string) string {
	_, id, _ := strings.Cut(info, "\nrun_id:")
	id, _, _ = strings.Cut(id, "\n")
	return strings.Trim(id, "\r0") // a proxy may say 000…
}

// setNew is SetNXVerified that does not take a token which is there already for a vote, unless a try at this very node may have
// put it there: then it says that the key is held, and node.try finds out by whom.
func (s *seat) setNew(ctx context.Context, c redis.Conn, key, token string, ttl time.Duration) error {
	isNew, err := setNXVerified(ctx, c, "acquire", key, token, ttl)
	switch {
	case err != nil || isNew:
		return err
	case s.lostTry != nil:
		return &HeldError{Key: key}
	}
	return fault.Invalidf("acquire", "two of Quorum.Pools lead to the same server: the token for one of them is there already")
}

// end ends a ballot, and waits a while for what has to be removed for it.
func (v *voting) end(b *votes, most time.Duration) {
	var vacated []<-chan struct{}
	for _, i := range b.End() {
		vacated = append(vacated, v.vacate(b, i))
	}
	b.Returned()
	wait.For(most, vacated...)
}

// vacate has a token removed from a node that may have it. The seat is the caller's. What it returns is closed when the node has answered,
// or has been left to the clean-up.
func (v *voting) vacate(b *votes, i int) <-chan struct{} {
	s, n, done := &b.seats[i], v.nodes[i], make(chan struct{})
	if b.Held(i) == (ballot.Holding{}) {
		if s.lostTry != nil {
			n.owe(&s.claim, time.Now())
		}
		close(done)
		return done
	}
	v.owed.Add(1)
	v.polls.Go(func() {
		defer close(done)
		defer v.owed.Add(-1)
		err := errPanicked
		defer func() { v.oweUnless(isGone(err), b, i) }()
		_, err = n.onLent(b.ctx, &s.conn, "release", s.key, v.opTimeout(), func(c redis.Conn) error {
			return undo(b.ctx, c, s.key, s.token)
		})
		n.tellRelease(b.ctx, &s.claim, err)
	})
	return done
}

// oweUnless leaves a node to the clean-up which may have the token still, or may get it yet.
func (v *voting) oweUnless(isGone bool, b *votes, i int) {
	s := &b.seats[i]
	if !isGone {
		s.stray(b.ctx)
	}
	if s.lostTry != nil {
		v.nodes[i].owe(&s.claim, time.Now())
	}
}

func (v *voting) abandon(_ context.Context, k *Lock) {
	k.latch()
	v.end(k.votes, 0)
}

// release deletes the key at all nodes that may have it.
func (v *voting) release(ctx context.Context, k *Lock, _ time.Time) error {
	b := k.votes
	mayHave := make([]bool, len(b.seats)) // and their seats are this call's
	for _, i := range b.End() {
		mayHave[i] = b.Held(i) != (ballot.Holding{}) || b.seats[i].lostTry != nil
		if mayHave[i] {
			b.Leaving(i)
		}
	}
	defer b.Returned()
	answers := v.poll(2*v.opTimeout(), func(i int) (err error) {
		if !mayHave[i] {
			return fault.Gone("release", k.key)
		}
		s := &b.seats[i]
		err = errPanicked
		defer func() {
			v.oweUnless(isGone(err), b, i)
			b.Left(i)
		}()
		err = v.nodes[i].free(ctx, &s.claim, v.opTimeout(), Release, k.isOver)
		return err
	})
	err, _ := v.judge(ctx, "release", k.key, answers)
	if err == nil || errors.Is(err, ErrNotHeld) {
		v.freed(k.key)
	}
	return err
}

func (v *voting) verify(ctx context.Context, k *Lock) error {
	answers := v.poll(v.patience(k.ttl), func(i int) error {
		_, err := v.askHolder(ctx, k, i, "verify", func(c redis.Conn) error {
			_, err := Verify(ctx, c, k.key, k.token)
			return err
		})
		return err
	})
	err, _ := v.judge(ctx, "verify", k.key, answers)
	return err
}

func (v *voting) extend(ctx context.Context, k *Lock, ttl time.Duration) (start time.Time, err error) {
	start = v.now()
	answers := v.poll(v.patience(k.ttl), func(i int) error {
		start, err := v.askHolder(ctx, k, i, "extend", func(c redis.Conn) error {
			if k.votes.IsOver() { // this is late, and a Release may have returned
				return fault.Gone("extend", k.key)
			}
			return Extend(ctx, c, k.key, k.token, ttl)
		})
		k.votes.note(i, renewal.Vote{Start: start, Left: ttl, Answered: true, Err: err})
		return err
	})
	err, _ = v.judge(ctx, "extend", k.key, answers)
	return start, err
}

// askHolder asks one node for the holder.
func (v *voting) askHolder(ctx context.Context, k *Lock, i int, verb string, f func(redis.Conn) error) (time.Time, error) {
	return v.nodes[i].askBy(ctx, &k.claim, verb, time.Now().Add(v.patience(k.ttl)), f)
}

func (v *voting) fence(_ context.Context, k *Lock) (int64, error) {
	return 0, fault.Of(ErrUnsupported, "fence", k.key, "the counters of several servers do not rise together: see docs/quorum.md")
}

func (v *voting) voters(*Lock) (all []renewal.Node) {
	for _, n := range v.nodes {
		all = append(all, &n.renew)
	}
	return all
}

// verdict: the lock lasts for as long as a majority has it, whenever each of them was asked.
func (v *voting) verdict(k *Lock, votes []renewal.Vote) renewal.Vote {
	b, most := k.votes, len(v.nodes)-v.majority()
	answers, failures := make([]error, len(votes)), 0
	for i, x := range votes {
		b.note(i, x)
		if answers[i] = unkept(b.ctx, k.key, x.Err); x.Err != nil {
			failures++
		} else if x.Start.IsZero() {
			answers[i] = errNotAsked
		}
	}
	h, empty := b.Common(v.majority())
	switch {
	case empty > most:
		return renewal.Vote{Answered: true, Err: fault.Of(ErrNotHeld, "extend", k.key, "a majority of the nodes does not have it")}
	case h != (ballot.Holding{}) && h.Ends.After(k.Deadline()):
		return renewal.Vote{Answered: true, Start: h.Start, Left: h.Left}
	case failures > most:
		return renewal.Vote{Err: v.noQuorum("extend", k.key, answers)}
	}
	return renewal.Vote{}
}

// note notes what a node has said of an extension.
func (b *votes) note(i int, x renewal.Vote) {
	switch {
	case x.Err == nil:
		b.Has(i, holding(x.Start, x.Left))
	case fault.IsLoss(x.Err):
		b.Lacks(i, x.Start)
	}
}

func (v *voting) extendOn(ctx context.Context, c redis.Conn, k *Lock, ttl time.Duration) (time.Duration, error) {
	return extend(ctx, c, k.key, k.token, ttl)
}

func (v *voting) extension() *extension { return &plainExtension }

func (v *voting) freed(key string) { v.crowds.Freed(key) }

// moved has nodes that came back empty take the lock in again.
func (v *voting) moved(k *Lock, _, _ time.Time) {
	for _, i := range k.votes.Retake(v.majority()) {
		v.polls.Go(func() { _ = v.seek(k.votes.ctx, k, i) })
	}
}

func (v *voting) lost(*Lock) {}

func (v *voting) close(most time.Duration) { wait.For(most, v.polls.Ended()) }

var (
	errNotAsked = errors.New("not asked yet")
	errNoAnswer = errors.New("it has not answered in time")
)

// poll asks all nodes at once, for so long at most; see poll.Group.
func (v *voting) poll(most time.Duration, ask func(i int) error) []error {
	return v.polls.Ask(most, fmt.Errorf("%w: %w", ErrUnknown, errNoAnswer), ask)
}

// judge says what the answers of the nodes come to: nil if a majority agrees; ErrHeld or ErrNotHeld if so many say so that there
// can be none; else ErrNoQuorum. final says that it would be the same if they were asked again.
func (v *voting) judge(ctx context.Context, verb, key string, answers []error) (err error, final bool) {
	yes, held, lost, lasting := 0, 0, 0, 0
	holders := map[string]int{}
	most := &HeldError{Key: key}
	for _, err := range answers {
		var h *HeldError
		switch {
		case err == nil:
			yes++
		case errors.Is(err, ErrInvalid):
			return err, true
		case errors.As(err, &h):
			held++
			if holders[h.Holder]++; most.Holder == "" || holders[h.Holder] > holders[most.Holder] {
				most.Holder = h.Holder
			}
		case verb != "acquire" && fault.IsLoss(err):
			lost++
		case !fault.Transient(err) && !errors.Is(err, ErrExpired):
			lasting++
		}
	}
	need := v.majority()
	switch {
	case yes >= need:
		return nil, false
	case held > 0 && yes+held >= need:
		return most, false
	case lost > len(answers)-need:
		return fault.Of(ErrNotHeld, verb, key, "a majority of the nodes does not have it"), true
	}
	return v.noQuorum(verb, key, answers), lasting > len(answers)-need && ctx.Err() == nil
}

// noQuorum says what each node has said. errors.Is finds it, but for who holds the lock, and that a node does not have it: that
// says nothing of the lock.
func (v *voting) noQuorum(verb, key string, answers []error) error {
	yes, errs := 0, []error{ErrNoQuorum}
	var text strings.Builder
	for i, err := range answers {
		if err == nil {
			yes++
			continue
		}
		fmt.Fprintf(&text, "; Pools[%d]: %v", i, fault.InLine(err))
		if !errors.Is(err, ErrHeld) && (verb == "acquire" || !fault.IsLoss(err)) {
			errs = append(errs, err)
		}
	}
	return fault.Said(fmt.Sprintf("%v: %s %s: %d of %d nodes, %d are needed%s",
		ErrNoQuorum, verb, fault.Quote(key), yes, len(answers), v.majority(), &text), errs...)
}
