// Package errands fetches connections from where a context may not be honoured: a dial that takes none, a TLS handshake, a
// pool's own test of what was idle. Each errand runs on a goroutine of its own, so that its caller can leave when its context
// ends. An errand that was left goes on until its own timeouts end it, and what it then brings goes to whoever seeks a
// connection longest, even if that one has an errand of its own under way.
package errands

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// A Group runs errands, and bounds how many of them go on for nobody. Its fields must not be changed after first use, and it
// must not be copied.
//
// While maxLeft errands go on for nobody, no other begins: a server that swallows every dial must not collect a goroutine
// and a socket for each call. Whoever seeks a connection then waits for one of those, for as long as its context lets it.
// More than maxLeft can go on only if they began together, before any of them was left.
//
// There are two exceptions. What is idle in the pool needs no dial, so it is fetched by one errand more, one after the other.
// And a dial that no timeout ends must not end the Locker: what has gone on for nobody for stuckAfter counts no longer, but
// only one of them in each stuckAfter, since its goroutine and its socket are lost.
type Group struct {
	Dial  bool        // They dial; else they borrow: see begin and place.
	Keyed bool        // What they bring is of use to their own callers only.
	Most  int         // At most so many at a time. Zero: no limit.
	Idle  func() bool // The pool has an idle connection. Nil: it does not say; nor does one that panics.

	mu                 sync.Mutex // protects what follows; taken for moments only, and never while a func of the pool's runs
	running            int        // but for those that are stuck
	left               int        // of running: whose callers have left, or were served by another's
	looking, lookAgain bool       // somebody asks the pool what is idle; somebody else has had reason to, since
	extra              *seeker    // whose errand is for what is idle, and has begun although enough are left; nil: none
	gaveUp             time.Time  // when one of them was last found to be stuck
	seeking            []*seeker
	waiting            []*seeker // of these: whose errand has not begun
	spare              []*spare
	unused             []*seeker
	closed             bool
	calm               chan struct{} // closed when none is left; nil unless somebody waits for that
}

const (
	maxLeft = 4

	maxUnused = 64

	// spareFor is how long a dialled connection that came too late is kept for the next who needs one.
	spareFor = time.Second
	// EndLate is how long after its caller has left the context of a dial ends, if nothing has ended the dial before: it
	// may have no timeout but that.
	EndLate = 5 * time.Second
	// stuckAfter is how long after its caller has left an errand is taken for one that never ends. It is longer than the
	// timeouts that people set.
	stuckAfter = time.Minute
)

// A seeker is a call that waits for a connection.
type seeker struct {
	ctx    context.Context // for its errand
	cancel context.CancelFunc
	fetch  func(context.Context) (redis.Conn, error)
	got    chan fetched // capacity 1
	begun  bool
	served bool        // it needs its errand no more: it was served, or has left
	left   bool        // its errand counts among those that are left
	stuck  bool        // its errand counts no longer
	end    *time.Timer // calls cancel, once it is left
	doubt  *time.Timer // finds it stuck, once it is left
}

// A spare is a dialled connection that came too late.
type spare struct{ conn redis.Conn }

// A fetched is what an errand ended with.
type fetched struct {
	conn  redis.Conn
	err   error
	own   bool // by the seeker's own errand, which has ended
	panic any  // what the pool's func panicked with; nil: it did not
}

var errNoReturn = fmt.Errorf("%w: the dial ended its goroutine", fault.Unavailable)

// Fetch fetches a connection. It returns when ctx ends, whatever fetch does.
func (e *Group) Fetch(ctx context.Context, fetch func(context.Context) (redis.Conn, error)) (redis.Conn, error) {
	e.mu.Lock()
	if c := e.takeSpare(); c != nil {
		e.mu.Unlock()
		return c, nil
	}
	x := e.newSeeker()
	x.ctx, x.fetch = ctx, fetch
	e.seeking, e.waiting = append(e.seeking, x), append(e.waiting, x)
	e.begin()
	begun := x.begun
	e.mu.Unlock()
	if !begun {
		e.FetchIdle()
	}
	select {
	case r := <-x.got:
		if r.own {
			e.reuse(x)
		}
		return r.result()
	case <-ctx.Done():
	}
	e.mu.Lock()
	e.leave(x)
	e.mu.Unlock()
	select {
	case r := <-x.got: // in the same moment
		return r.result()
	default:
		return nil, fmt.Errorf("no connection yet: %w", ctx.Err())
	}
}

// newSeeker is one that was used before, with its channel, if there is one. The caller holds mu.
func (e *Group) newSeeker() *seeker {
	if n := len(e.unused); n > 0 {
		x := e.unused[n-1]
		e.unused = e.unused[:n-1]
		return x
	}
	return &seeker{got: make(chan fetched, 1)}
}

// reuse is for a seeker whose own errand has ended, so that nobody else knows it any more.
func (e *Group) reuse(x *seeker) {
	*x = seeker{got: x.got}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.unused) < maxUnused {
		e.unused = append(e.unused, x)
	}
}

// result passes a panic of the pool's func on to the goroutine that called for it.
func (r fetched) result() (redis.Conn, error) {
	if r.panic != nil {
		panic(r.panic)
	}
	return r.conn, r.err
}

// begin starts the errands that may be started. A dial does not see its caller's end, or it would be thrown away when
// it takes longer than one call may; a borrow does, since a pool that honours it leaves nothing behind. The caller
// holds mu.
func (e *Group) begin() {
	for len(e.waiting) > 0 && e.left < e.room() && (e.Most == 0 || e.running < e.Most) {
		e.beginFirst()
	}
}

// beginFirst starts the errand of the one that has waited longest. The caller holds mu.
func (e *Group) beginFirst() {
	x := e.waiting[0]
	e.waiting = slices.Delete(e.waiting, 0, 1)
	if e.Dial {
		x.ctx, x.cancel = context.WithCancel(context.WithoutCancel(x.ctx))
	}
	x.begun = true
	e.running++
	go e.do(x)
}

// FetchIdle starts one errand for what is idle where those that are left keep others from beginning. It is called when
// somebody waits, when an errand has ended or is stuck, and when a connection went back to the pool.
func (e *Group) FetchIdle() {
	if e.Idle == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.looking {
		e.lookAgain = true
		return
	}
	for e.full() {
		switch idle := e.look(); {
		case idle && e.full():
			e.extra = e.waiting[0]
			e.beginFirst()
		case !idle && !e.lookAgain:
			return
		}
	}
}

// look asks the pool whether something is idle. Only one does so at a time: between the answer and the errand another's errand
// might take what is idle, and this one would dial. The caller holds mu, which is given back meanwhile.
func (e *Group) look() (idle bool) {
	e.looking, e.lookAgain = true, false
	e.mu.Unlock()
	defer func() {
		_ = recover() // of a func of the user's, on a goroutine that may be nobody's
		e.mu.Lock()
		e.looking = false
	}()
	return e.Idle()
}

// full reports whether somebody waits because of those that are left, and there is no extra. The caller holds mu.
func (e *Group) full() bool {
	return len(e.waiting) > 0 && e.left >= e.room() && e.extra == nil
}

// room is how many errands may go on for nobody. Keyed ones have more of it, for they lead to many nodes, and one that
// hangs must not keep callers from the others. It still does when so many hang there: a place for each node would be the
// remedy.
func (e *Group) room() int {
	if e.Keyed {
		return 16 * maxLeft
	}
	return maxLeft
}

// forget takes x out of those who seek. The caller holds mu.
func (e *Group) forget(x *seeker) {
	x.served = true
	if i := slices.Index(e.seeking, x); i >= 0 {
		e.seeking = slices.Delete(e.seeking, i, i+1)
	}
	if x.begun {
		return
	}
	if i := slices.Index(e.waiting, x); i >= 0 {
		e.waiting = slices.Delete(e.waiting, i, i+1)
	}
}

// leave is for a seeker that needs its errand no more, which may go on. The caller holds mu.
func (e *Group) leave(x *seeker) {
	if x.served {
		return
	}
	e.forget(x)
	if !x.begun {
		return
	}
	e.isLeft(x)
	if x.cancel != nil {
		x.end = time.AfterFunc(EndLate, x.cancel)
	}
}

// isLeft counts an errand that goes on for nobody. The caller holds mu.
func (e *Group) isLeft(x *seeker) {
	x.left = true
	e.left++
	x.doubt = time.AfterFunc(stuckAfter, func() { e.giveUpOn(x) })
}

// giveUpOn no longer counts an errand that has not ended, so that another may begin.
func (e *Group) giveUpOn(x *seeker) {
	if e.isStuck(x) {
		e.FetchIdle()
	}
}

// isStuck is false for an errand that has ended, and for one that counts until another minute is over.
func (e *Group) isStuck(x *seeker) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !x.left {
		return false
	}
	if wait := time.Until(e.gaveUp.Add(stuckAfter)); wait > 0 {
		x.doubt.Reset(wait)
		return false
	}
	e.gaveUp = time.Now()
	e.uncount(x)
	x.stuck = true
	e.goOn()
	return true
}

// uncount is for an errand that has ended, or is stuck. The caller holds mu.
func (e *Group) uncount(x *seeker) {
	if x.stuck {
		return
	}
	if e.extra == x {
		e.extra = nil
	}
	e.running--
	if x.left {
		x.left = false
		x.doubt.Stop()
		e.left--
	}
}

// do is the goroutine of an errand.
func (e *Group) do(x *seeker) {
	r := fetched{err: errNoReturn}
	defer func() { e.done(x, r) }()
	defer func() {
		if p := recover(); p != nil {
			r = fetched{err: errNoReturn, panic: p}
		}
	}()
	r.conn, r.err = x.fetch(x.ctx)
}

// done hands over what an errand has brought.
func (e *Group) done(x *seeker, r fetched) {
	if x.cancel != nil {
		x.cancel()
	}
	e.mu.Lock()
	if x.end != nil {
		x.end.Stop()
	}
	e.uncount(x)
	var unwanted redis.Conn
	switch {
	case !x.served:
		e.forget(x)
		r.own = true
		x.got <- r
	case r.err == nil:
		unwanted = e.place(r.conn)
	default:
		unwanted = r.conn
	}
	e.goOn()
	e.mu.Unlock()
	if unwanted != nil {
		_ = unwanted.Close() // one that was borrowed goes back to its pool
	}
	e.FetchIdle()
}

// goOn is called when an errand has ended. The caller holds mu.
func (e *Group) goOn() {
	e.begin()
	if e.left == 0 && e.calm != nil {
		close(e.calm)
		e.calm = nil
	}
}

// Aside runs f as an errand that nobody waits for.
func (e *Group) Aside(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := &seeker{}
	e.running++
	e.isLeft(x)
	go func() {
		defer func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.uncount(x)
			e.goOn()
		}()
		f()
	}()
}

// place gives a late connection to the one that seeks one longest, keeps it for a moment, or returns it. The caller holds mu.
func (e *Group) place(c redis.Conn) (unwanted redis.Conn) {
	switch {
	case len(e.seeking) > 0 && !e.Keyed:
		x := e.seeking[0]
		e.leave(x)
		x.got <- fetched{conn: c}
		return nil
	case e.Dial && !e.closed:
		late := &spare{c}
		e.spare = append(e.spare, late)
		time.AfterFunc(spareFor, func() { e.drop(late) })
		return nil
	}
	return c
}

// takeSpare returns a late connection that was kept, nil if there is none. The caller holds mu.
func (e *Group) takeSpare() redis.Conn {
	if len(e.spare) == 0 {
		return nil
	}
	late := e.spare[0]
	e.spare = slices.Delete(e.spare, 0, 1)
	return late.conn
}

// drop closes a connection that was kept, if nobody has taken it.
func (e *Group) drop(late *spare) {
	e.mu.Lock()
	i := slices.Index(e.spare, late)
	if i >= 0 {
		e.spare = slices.Delete(e.spare, i, i+1)
	}
	e.mu.Unlock()
	if i >= 0 {
		_ = late.conn.Close()
	}
}

// Close keeps no more late connections.
func (e *Group) Close() {
	e.mu.Lock()
	spare := e.spare
	e.spare, e.closed = nil, true
	e.mu.Unlock()
	for _, late := range spare {
		_ = late.conn.Close()
	}
}

// Calm returns a channel that is closed when no errand goes on for nobody.
func (e *Group) Calm() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left == 0 {
		calm := make(chan struct{})
		close(calm)
		return calm
	}
	if e.calm == nil {
		e.calm = make(chan struct{})
	}
	return e.calm
}

// Seeking is how many calls wait for a connection, and how many of these for their errand to begin.
func (e *Group) Seeking() (all, notBegun int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.seeking), len(e.waiting)
}
