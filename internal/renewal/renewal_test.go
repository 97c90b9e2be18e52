package renewal_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock/internal/renewal"
)

const ttl = 10 * time.Second

// A lease counts until most of its nodes could have let it go.
type lease struct {
	renewal.Entry
	name  string
	nodes int
	ttl   time.Duration

	mu       sync.Mutex // protects what follows
	deadline time.Time
	gone     error
	judged   []time.Time // when its votes were judged
}

func newLease(name string, nodes int) *lease {
	return newLeaseOf(ttl, name, nodes)
}

func newLeaseOf(ttl time.Duration, name string, nodes int) *lease {
	return &lease{name: name, nodes: nodes, ttl: ttl, deadline: time.Now().Add(ttl)}
}

func (x *lease) TTL() time.Duration { return x.ttl }

func (x *lease) Due(time.Time, int) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.deadline.Add(-x.ttl / 2)
}

func (x *lease) Lost(now time.Time, last error) (time.Time, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.gone != nil:
		return now, x.gone
	case !now.Before(x.deadline):
		return now, fmt.Errorf("nobody has renewed it: %w", last)
	}
	return x.deadline, nil
}

func (x *lease) Judge(votes []renewal.Vote) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.judged = append(x.judged, time.Now())
	var ends []time.Time
	var errs []error
	for _, v := range votes {
		if v.Err == nil && !v.Start.IsZero() {
			ends = append(ends, v.Start.Add(v.Left))
		}
		errs = append(errs, v.Err)
	}
	slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) })
	if most := x.nodes/2 + 1; len(ends) >= most && ends[most-1].After(x.deadline) {
		x.deadline = ends[most-1]
	}
	return errors.Join(errs...)
}

func (x *lease) until() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.deadline
}

// A node extends what it is asked for, unless told otherwise.
type node struct {
	mu      sync.Mutex // protects what follows
	busy    bool
	extend  func(by time.Time, x *lease) error // nil: it takes a millisecond
	ready   func(by time.Time) error
	apart   bool
	home    *node // that has its leases by now; nil: it has them
	leads   *node // where it says, when it is asked, that they are; nil: it renews them
	another chan struct{}
	ctx     context.Context // of what it is to do
	asked   map[string][]time.Time
	flights []int
	closed  int
}

func newNode() *node { return &node{asked: map[string][]time.Time{}} }

var errHangs = errors.New("it hangs")

// hang is what a node does that answers nothing.
func hang(by time.Time, _ *lease) error {
	time.Sleep(time.Until(by))
	return errHangs
}

// hangOnce is what a node does whose connection is dead: it answers nothing until that is given up.
func (n *node) hangOnce() func(by time.Time) error {
	hung := false
	return func(by time.Time) error {
		if hung {
			return nil
		}
		hung = true
		timer := time.NewTimer(time.Until(by))
		defer timer.Stop()
		select {
		case <-n.ctx.Done():
		case <-timer.C:
		}
		return errHangs
	}
}

func (n *node) Apart() bool { return n.apart }

func (n *node) Another() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.another
}

// becomesAnother has the node be another server.
func (n *node) becomesAnother() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.another != nil {
		close(n.another)
	}
	n.another = make(chan struct{})
}

func (n *node) Place() string { return "" }

func (n *node) Elsewhere(renewal.Lease) renewal.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.home != nil {
		return n.home
	}
	return nil
}

// moves has a node's leases be at another, which it says, if at all, when it is asked.
func (n *node) moves(home, leads *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.home, n.leads = home, leads
}

// redirect is the Vote that a lease is elsewhere.
func (n *node) redirect(v *renewal.Vote) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leads != nil {
		*v = renewal.Vote{At: n.leads}
	}
	return n.leads != nil
}

func (n *node) Ready(ctx context.Context, by time.Time) error {
	n.ctx = ctx
	if n.ready != nil {
		return n.ready(by)
	}
	return nil
}

func (n *node) Extend(ctx context.Context, by time.Time, asks []renewal.Ask) error {
	n.ctx = ctx
	n.mu.Lock()
	if n.busy {
		panic("two flights at a time")
	}
	n.busy = true
	n.flights = append(n.flights, len(asks))
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.busy = false
	}()
	time.Sleep(time.Millisecond)
	for i := range asks {
		x := asks[i].Lease.(*lease)
		if err := n.ask(by, x); err != nil {
			return err
		}
		if n.redirect(&asks[i].Vote) {
			continue
		}
		asks[i].Vote = renewal.Vote{Left: x.ttl, Answered: true}
	}
	return nil
}

func (n *node) ask(by time.Time, x *lease) error {
	n.mu.Lock()
	n.asked[x.name] = append(n.asked[x.name], time.Now())
	extend := n.extend
	n.mu.Unlock()
	if extend == nil {
		return nil
	}
	return extend(by, x)
}

func (n *node) ExtendAlone(x renewal.Lease, within time.Duration, _ bool) renewal.Vote {
	v := renewal.Vote{Start: time.Now(), Left: x.TTL(), Answered: true}
	v.Err = n.ask(time.Now().Add(within), x.(*lease))
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leads != nil && v.Err == nil {
		v.At = n.leads
	}
	return v
}

func (n *node) Close() { n.closed++ }

func (n *node) times(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked[name])
}

// A rig has a Renewer whose losses it collects.
type rig struct {
	*testing.T
	renewal.Renewer
	mu   sync.Mutex
	lost map[string]error
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, lost: map[string]error{}}
	r.Init(renewal.Env{
		Now:   time.Now,
		Bound: func() time.Duration { return time.Second },
		Lost: func(lost []renewal.Loss) {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, x := range lost {
				r.lost[x.Lease.(*lease).name] = x.Cause
			}
		},
	})
	return r
}

func (r *rig) keep(x *lease, nodes ...renewal.Node) *lease {
	r.Helper()
	if !r.Add(&x.Entry, x, nodes...) {
		r.Errorf("%s is not kept", x.name)
	}
	return x
}

// losses are the causes by the names of what was lost.
func (r *rig) losses() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.lost)
}

// test runs in a bubble, whose end sees that no goroutine is left once nothing is kept.
func test(t *testing.T, f func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		f(r)
		r.Close()
		r.AwaitEnd(3 * time.Hour)
	})
}

func TestNodeThatHangsOrFailsCostsNoOtherNodesLeases(t *testing.T) {
	for name, bad := range map[string]func(n *node){
		"hangs":              func(n *node) { n.extend = hang },
		"fails":              func(n *node) { n.extend = func(time.Time, *lease) error { return errHangs } },
		"hangs in the dial":  func(n *node) { n.ready = func(by time.Time) error { return hang(by, nil) } },
		"a dial without end": func(n *node) { n.ready = func(time.Time) error { time.Sleep(10 * time.Minute); return errHangs } },
	} {
		t.Run(name, func(t *testing.T) {
			test(t, func(r *rig) {
				good, ill := newNode(), newNode()
				bad(ill)
				var healthy []*lease
				for i := range 50 {
					healthy = append(healthy, r.keep(newLease(fmt.Sprint("good", i), 1), good))
					r.keep(newLease(fmt.Sprint("ill", i), 1), ill)
				}
				for range 60 {
					time.Sleep(time.Second)
					for _, x := range healthy {
						if left := time.Until(x.until()); left < ttl/2-2*time.Millisecond {
							t.Fatalf("%s: %v left", x.name, left)
						}
					}
				}
				if n := len(r.losses()); n != 50 {
					t.Errorf("%d were lost of the 50 at the other node", n)
				}
				for name, cause := range r.losses() {
					if name[:3] != "ill" || name != "" && ill.ready == nil && !errors.Is(cause, errHangs) {
						t.Errorf("%s: %v", name, cause)
					}
				}
				if n := good.times("good0"); n < 11 || n > 13 {
					t.Errorf("a lease at the good node was renewed %d times in a minute", n)
				}
			})
		})
	}
}

func TestLeaseOfSeveralNodesIsRenewedByMostOfThem(t *testing.T) {
	test(t, func(r *rig) {
		nodes := []*node{newNode(), newNode(), newNode()}
		nodes[1].extend = hang
		x := r.keep(newLease("x", 3), nodes[0], nodes[1], nodes[2])
		time.Sleep(time.Minute)
		if lost := r.losses(); len(lost) > 0 {
			t.Errorf("it was lost though two of three nodes are well: %v", lost)
		}
		if left := time.Until(x.until()); left < ttl/2-time.Millisecond {
			t.Errorf("%v left", left)
		}
		for i, least := range []int{11, 20, 11} { // one that fails is asked again, after a pause
			if n := nodes[i].times("x"); n < least || least == 11 && n > 13 {
				t.Errorf("node %d was asked %d times in a minute", i, n)
			}
		}
		nodes[2].mu.Lock()
		nodes[2].extend = hang
		nodes[2].mu.Unlock()
		until := x.until()
		time.Sleep(ttl)
		if n := len(r.losses()); n != 1 {
			t.Error("it is not lost though one of three nodes renews it")
		}
		if n := x.until().Sub(until); n > ttl/2 {
			t.Errorf("one node has moved its Deadline by %v", n)
		}
	})
}

// A node that has voted is not asked again and again while the others hang.
func TestNodeThatHasVotedWaitsForItsOwnHalf(t *testing.T) {
	test(t, func(r *rig) {
		nodes := []*node{newNode(), newNode(), newNode()}
		nodes[1].extend, nodes[2].extend = hang, hang
		r.keep(newLease("x", 3), nodes[0], nodes[1], nodes[2])
		time.Sleep(ttl - time.Millisecond)
		if n := nodes[0].times("x"); n != 1 {
			t.Errorf("it was asked %d times", n)
		}
	})
}

func TestLeaseThatIsKeptAgainWhileItsRenewalIsUnderWay(t *testing.T) {
	test(t, func(r *rig) {
		n := newNode()
		n.extend = func(time.Time, *lease) error { time.Sleep(50 * time.Millisecond); return nil }
		x := r.keep(newLease("x", 1), n)
		time.Sleep(ttl/2 + 10*time.Millisecond)
		for range 3 {
			r.Remove(&x.Entry)
			r.keep(x, n)
		}
		if !r.Flying(&x.Entry) || r.Kept() != 1 {
			t.Error("no renewal is under way, or it is kept more than once: this test proves nothing")
		}
		r.Await(&x.Entry, time.Minute)
		if r.Flying(&x.Entry) || n.times("x") != 1 {
			t.Errorf("Await came back early, or it was renewed %d times", n.times("x"))
		}
		time.Sleep(time.Minute)
		if got := n.times("x"); got < 12 || got > 14 || len(r.losses()) > 0 {
			t.Errorf("it was renewed %d times in a minute, lost: %v", got, r.losses())
		}
	})
}

func TestAwaitIsBoundedAndNothingIsSentAfterRemove(t *testing.T) {
	test(t, func(r *rig) {
		nodes := []*node{newNode(), newNode()}
		nodes[0].extend = func(time.Time, *lease) error { time.Sleep(time.Hour); return nil }
		x := r.keep(newLease("x", 2), nodes[0], nodes[1])
		time.Sleep(ttl/2 + time.Millisecond)
		r.Remove(&x.Entry)
		begin := time.Now()
		r.Await(&x.Entry, 300*time.Millisecond)
		if took := time.Since(begin); took != 300*time.Millisecond {
			t.Errorf("it waited %v", took)
		}
		asked := nodes[1].times("x")
		time.Sleep(2 * time.Hour)
		if n := nodes[1].times("x"); n != asked || nodes[0].times("x") != 1 {
			t.Errorf("it was renewed after Remove")
		}
	})
}

func TestLeasesThatAreApartShareThePlaces(t *testing.T) {
	test(t, func(r *rig) {
		n := newNode()
		n.apart = true
		n.extend = func(by time.Time, x *lease) error {
			if x.name[:3] == "ill" {
				return hang(by, x)
			}
			return nil
		}
		for i := range 64 {
			r.keep(newLease(fmt.Sprint("ill", i), 1), n)
		}
		for i := range 8 {
			r.keep(newLease(fmt.Sprint("good", i), 1), n)
		}
		time.Sleep(time.Minute)
		for name := range r.losses() {
			if name[:3] != "ill" {
				t.Errorf("%s was lost", name)
			}
		}
		if n := len(r.losses()); n != 64 {
			t.Errorf("%d are lost, not 64", n)
		}
	})
}

// A lease that is added while a dial or a flight hangs, whose time is shorter than that of all others, does not wait for its end. One that
// has more time does, and a node that answers is not cut.
func TestShortLeaseIsAddedWhileOthersHang(t *testing.T) {
	for _, what := range []string{"flight", "dial"} {
		for left, wantTries := range map[time.Duration]int{300 * time.Millisecond: 2, 4 * time.Second: 2, 0: 1} {
			t.Run(fmt.Sprint(what, " ", left), func(t *testing.T) {
				test(t, func(r *rig) {
					n := newNode()
					hangs := n.hangOnce()
					if left == 0 { // it answers, late
						left, hangs = 300*time.Millisecond, func(time.Time) error { time.Sleep(100 * time.Millisecond); return nil }
					}
					first := true
					n.extend = func(by time.Time, _ *lease) error {
						if what == "flight" {
							return hangs(by)
						}
						return nil
					}
					n.ready = func(by time.Time) error {
						if what == "dial" && first {
							first = wantTries > 1
							return hangs(by)
						}
						return nil
					}
					r.keep(newLease("long", 1), n)
					time.Sleep(ttl/2 + 10*time.Millisecond) // it hangs, for a second
					short := newLease("short", 1)
					short.deadline = time.Now().Add(left)
					begin := time.Now()
					r.keep(short, n)
					time.Sleep(left)
					if lost := r.losses(); len(lost) > 0 {
						t.Errorf("lost: %v", lost)
					}
					long := n.times("long")
					n.mu.Lock()
					defer n.mu.Unlock()
					at := n.asked["short"]
					if len(at) == 0 {
						t.Error("it was not renewed")
						return
					}
					took := at[0].Sub(begin)
					switch {
					case wantTries == 1 && (long != 1 && what == "flight" || took > 110*time.Millisecond):
						t.Errorf("a node that answers was asked %d times; the lease came after %v", long, took)
					case wantTries == 2 && left < time.Second && took > left/2+20*time.Millisecond:
						t.Errorf("it was renewed after %v", took)
					case left > time.Second && took < 900*time.Millisecond:
						t.Errorf("others were cut %v after it had come, though it had time", took)
					}
				})
			})
		}
	}
}

// A lease that is added while only a renewal of one that is kept no longer is under way does not wait for that.
func TestLeaseThatIsAddedWhileTheLastOneHangsApart(t *testing.T) {
	test(t, func(r *rig) {
		n := newNode()
		n.apart = true
		n.extend = func(by time.Time, x *lease) error {
			if x.name == "ill" {
				return hang(by, x)
			}
			return nil
		}
		ill := r.keep(newLease("ill", 1), n)
		time.Sleep(ttl/2 + 10*time.Millisecond) // it hangs, for a second
		r.Remove(&ill.Entry)
		time.Sleep(time.Millisecond)
		good := newLease("good", 1)
		good.deadline = time.Now().Add(300 * time.Millisecond)
		r.keep(good, n)
		time.Sleep(time.Minute)
		if lost := r.losses(); len(lost) > 0 || n.times("ill") != 1 {
			t.Errorf("lost: %v; the other was renewed %d times", lost, n.times("ill"))
		}
		if n.closed != 0 {
			t.Errorf("the node was closed %d times though a lease is kept", n.closed)
		}
	})
}

// Leases that hang in all places do not cost one that has less time, be it kept before or since.
func TestShortLeaseThatIsApartWhileOthersHang(t *testing.T) {
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprint("before ", before), func(t *testing.T) {
			test(t, func(r *rig) {
				n := newNode()
				n.apart = true
				n.extend = func(by time.Time, x *lease) error {
					if x.name != "short" {
						return hang(by, x)
					}
					return nil
				}
				keepShort := func() { r.keep(newLeaseOf(300*time.Millisecond, "short", 1), n) }
				if before {
					keepShort()
				}
				for i := range 20 {
					r.keep(newLease(fmt.Sprint("ill", i), 1), n)
				}
				time.Sleep(ttl/2 + 10*time.Millisecond) // 8 of them hang, for a second
				if !before {
					keepShort()
				}
				time.Sleep(time.Minute)
				lost := r.losses()
				if lost["short"] != nil || len(lost) != 20 {
					t.Errorf("%d were lost, the short one by %v", len(lost), lost["short"])
				}
			})
		})
	}
}

func TestCloseReturnsWhatItHasKeptAndKeepsNothingMore(t *testing.T) {
	test(t, func(r *rig) {
		a, b := newNode(), newNode()
		r.keep(newLease("one", 1), a)
		r.keep(newLease("two", 2), a, b)
		if kept := r.Close(); len(kept) != 2 || r.Kept() != 0 {
			t.Errorf("%d, and %d left", len(kept), r.Kept())
		}
		if x := newLease("late", 1); r.Add(&x.Entry, x, a) {
			t.Error("it keeps one more")
		}
		r.AwaitEnd(time.Minute)
		if a.closed != 1 || b.closed != 1 {
			t.Errorf("the nodes were closed %d and %d times", a.closed, b.closed)
		}
		if n := len(r.Close()); n > 0 {
			t.Errorf("%d the second time", n)
		}
	})
}

// A node that is another server may not have the leases: all are renewed at once, also what is in flight, and what waits after a
// failure.
func TestNodeThatBecomesAnotherServer(t *testing.T) {
	test(t, func(r *rig) {
		n := newNode()
		n.becomesAnother()
		for i := range 3 {
			r.keep(newLease(fmt.Sprint(i), 1), n)
		}
		time.Sleep(time.Second)
		n.becomesAnother()
		time.Sleep(2 * time.Millisecond)
		for i := range 3 {
			if n.times(fmt.Sprint(i)) != 1 {
				t := n.times(fmt.Sprint(i))
				r.Errorf("a lease was renewed %d times, want at once", t)
			}
		}
		time.Sleep(ttl/2 - 3*time.Millisecond)
		if got := n.times("0"); got != 1 {
			r.Errorf("then it was renewed %d times before that was due", got-1)
		}
		time.Sleep(2 * time.Millisecond) // a flight is under way
		n.becomesAnother()
		time.Sleep(2 * time.Millisecond)
		if got := n.times("0"); got != 3 {
			r.Errorf("what was in flight was renewed %d times in all, want 3", got)
		}

		var fails atomic.Bool
		fails.Store(true)
		n.mu.Lock()
		n.extend = func(time.Time, *lease) error {
			if fails.Load() {
				return errHangs
			}
			return nil
		}
		n.mu.Unlock()
		time.Sleep(ttl/2 + ttl/4) // the pauses are long by now
		fails.Store(false)
		before := n.times("0")
		n.becomesAnother()
		time.Sleep(2 * time.Millisecond)
		if n.times("0") == before { // it may have been due just then, too
			r.Error("after failures nothing was sent at once")
		}
		if lost := r.losses(); len(lost) > 0 {
			r.Error(lost)
		}
	})
}

// A node that was made for what is kept already, or is kept no more, is closed.
func TestAddClosesANodeThatItDoesNotNeed(t *testing.T) {
	test(t, func(r *rig) {
		a, b, c := newNode(), newNode(), newNode()
		x := r.keep(newLease("x", 1), a)
		r.keep(x, b)
		time.Sleep(time.Second)
		r.Remove(&x.Entry)
		time.Sleep(time.Second)
		r.Close()
		y := newLease("y", 1)
		r.Add(&y.Entry, y, c)
		if a.closed != 1 || b.closed != 1 || c.closed != 1 {
			t.Errorf("closed: %d, %d, %d", a.closed, b.closed, c.closed)
		}
	})
}
