package renewal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/renewal"
)

// A node that hangs costs no lease that is known to be at another by then, also if that is found out while it hangs.
func TestLeasesOfANodeThatIsGone(t *testing.T) {
	for name, bad := range map[string]func(n *node){
		"hangs":             func(n *node) { n.extend = hang },
		"hangs in the dial": func(n *node) { n.ready = func(by time.Time) error { return hang(by, nil) } },
	} {
		t.Run(name, func(t *testing.T) {
			test(t, func(r *rig) {
				gone, heir := newNode(), newNode()
				bad(gone)
				for i := range 50 {
					r.keep(newLease(fmt.Sprint(i), 1), gone)
				}
				time.Sleep(ttl/2 + 100*time.Millisecond) // they have failed once, or hang
				gone.moves(heir, nil)
				time.Sleep(time.Minute)
				if n := len(r.losses()); n > 0 {
					t.Errorf("%d were lost though another node has them", n)
				}
				if n := heir.times("0"); n < 11 || n > 13 {
					t.Errorf("a lease was renewed %d times in a minute", n)
				}
				if gone.closed != 1 {
					t.Errorf("the node that is gone was closed %d times", gone.closed)
				}
			})
		})
	}
}

// What was found elsewhere before anything was sent does not wait for those that are not.
func TestLeaseThatIsElsewhereDoesNotWait(t *testing.T) {
	test(t, func(r *rig) {
		old, heir := newNode(), newNode()
		old.extend = hang
		moved, stays := r.keep(newLease("moved", 1), selective{old, "moved", heir}), newLease("stays", 1)
		r.keep(stays, selective{old, "moved", heir})
		time.Sleep(ttl/2 + 10*time.Millisecond)
		if heir.times("moved") != 1 || !moved.until().After(stays.until()) {
			t.Errorf("it was renewed %d times at its node", heir.times("moved"))
		}
		if old.times("moved") != 0 || old.times("stays") != 1 {
			t.Errorf("the old node was asked %d times for what it does not have, %d times for the other", old.times("moved"), old.times("stays"))
		}
	})
}

// A selective node does not have one of its leases.
type selective struct {
	*node
	name string
	home *node
}

func (n selective) Elsewhere(x renewal.Lease) renewal.Node {
	if x.(*lease).name == n.name {
		return n.home
	}
	return nil
}

// A lease follows what its node says when it is asked, after a pause, and that is neither a vote nor a failure of it.
func TestLeaseFollowsARedirect(t *testing.T) {
	test(t, func(r *rig) {
		old, heir := newNode(), newNode()
		x := r.keep(newLease("x", 1), old)
		old.moves(nil, heir)
		time.Sleep(ttl/2 + 100*time.Millisecond)
		if old.times("x") != 1 || heir.times("x") != 1 {
			t.Errorf("the old node was asked %d times, the new one %d times", old.times("x"), heir.times("x"))
		}
		x.mu.Lock()
		judged := len(x.judged)
		x.mu.Unlock()
		if judged != 1 {
			t.Errorf("it has judged %d votes, want that of the new node", judged)
		}
		time.Sleep(time.Minute)
		if len(r.losses()) > 0 || old.times("x") != 1 {
			t.Errorf("lost: %v; the old node was asked %d times", r.losses(), old.times("x"))
		}
	})
}

// Two nodes that send a lease to each other are asked less and less often.
func TestRedirectsInACircle(t *testing.T) {
	test(t, func(r *rig) {
		a, b := newNode(), newNode()
		a.moves(nil, b)
		b.moves(nil, a)
		r.keep(newLease("x", 1), a)
		time.Sleep(ttl + time.Second)
		if n := a.times("x") + b.times("x"); n < 10 || n > 60 {
			t.Errorf("they were asked %d times in %v", n, ttl/2)
		}
		if len(r.losses()) != 1 {
			t.Error("it is not lost")
		}
	})
}

// A lease goes to a node that is Apart and comes back, as while its slot moves; and that of several nodes moves at one of them.
func TestLeaseThatGoesApartForATime(t *testing.T) {
	test(t, func(r *rig) {
		fast, whole, other, third := newNode(), newNode(), newNode(), newNode()
		whole.apart = true
		fast.moves(nil, whole)
		whole.moves(nil, fast)
		r.keep(newLease("x", 1), fast)
		many := r.keep(newLease("many", 3), fast, other, third)
		time.Sleep(6 * ttl / 2)
		if n, m := fast.times("x"), whole.times("x"); n < 5 || n != m {
			t.Errorf("the fast node was asked %d times, the other %d times", n, m)
		}
		third.mu.Lock()
		third.extend = hang
		third.mu.Unlock()
		time.Sleep(2 * ttl)
		if len(r.losses()) > 0 || many.until().Before(time.Now().Add(ttl/2-time.Second)) {
			t.Errorf("lost %v; the lease of three nodes has %v left", r.losses(), time.Until(many.until()))
		}
	})
}

// A lease that is let go while its redirect is under way goes nowhere; one that is kept again elsewhere stays there. The node that has got
// none of them is let go of.
func TestLeaseThatIsLetGoWhileItIsRedirected(t *testing.T) {
	test(t, func(r *rig) {
		old, heir, chosen := newNode(), newNode(), newNode()
		slow := func(time.Time, *lease) error { time.Sleep(50 * time.Millisecond); return nil }
		old.extend = slow
		old.moves(nil, heir)
		x, y := r.keep(newLease("x", 1), old), r.keep(newLease("y", 1), old)
		time.Sleep(ttl/2 + 10*time.Millisecond)
		r.Remove(&x.Entry)
		r.Remove(&y.Entry)
		r.keep(y, chosen)
		time.Sleep(time.Minute)
		if heir.times("x")+heir.times("y") != 0 || chosen.times("y") < 11 || len(r.losses()) > 0 {
			t.Errorf("x, y at the heir: %d, %d times; y where it is kept: %d times; lost: %v",
				heir.times("x"), heir.times("y"), chosen.times("y"), r.losses())
		}
		if heir.closed == 0 || chosen.closed > 0 {
			t.Errorf("the heir was closed %d times, the node that is used %d times", heir.closed, chosen.closed)
		}
	})
}
