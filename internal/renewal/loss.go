package renewal

import (
	"container/heap"
	"time"

	"github.com/redigolock/redigolock/internal/wait"
)

const (
	lookAhead = 4   // of losses: ttl/4; leases are renewed before that, at half of the ttl
	maxLosses = 100 // that are signalled in one go
)

// judgeLosses is the goroutine that signals losses. last is when the first lease was known to be held. If an Observer ends it,
// another goes on.
func (r *Renewer) judgeLosses(last time.Time) {
	over := false
	defer func() {
		if !over {
			go r.judgeLosses(last)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := r.env.Now()
		suspended := now.Round(0).Sub(last.Round(0))-now.Sub(last) > time.Millisecond
		last = now
		next, none := r.loseDue(now, suspended)
		if over = none; over {
			return
		}
		timer.Reset(min(next.Sub(r.env.Now()), suspendTick))
		select {
		case <-timer.C:
		case <-r.wake:
		}
	}
}

// loseDue signals what is lost by now, and returns when to look again. With all it looks at every lease, whatever the agendas say.
// It does not take all that is lost in one go, so that nobody is kept waiting for mu.
func (r *Renewer) loseDue(now time.Time, all bool) (next time.Time, none bool) {
	for {
		lost, next, none := r.takeLost(now, all)
		if len(lost) == 0 {
			return next, none
		}
		r.env.Lost(lost)
		all = false
	}
}

// takeLost takes some of the lost leases away.
func (r *Renewer) takeLost(now time.Time, all bool) (lost []Loss, next time.Time, none bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if all {
		for _, n := range r.lines {
			n.reconsider(now)
		}
	}
	for _, n := range r.lines {
		lost = n.takeLost(now, lost)
		if len(n.loss.shares) == 0 {
			continue
		}
		if at := r.base.Add(n.loss.shares[0].when[toLose].at); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if r.kept == 0 && len(lost) == 0 {
		r.judging, none = false, true
	}
	return lost, next, none
}

// reconsider has each lease looked at, and renewed in time by the clock that ran while the machine was suspended. The caller holds
// mu.
func (n *line) reconsider(now time.Time) {
	at := n.r.at(now)
	for _, s := range n.loss.shares {
		s.when[toLose].at = at
	}
	for _, s := range n.due.shares {
		s.when[toRenew].at = min(s.when[toRenew].at, s.nextDue(now))
	}
	heap.Init(&n.due)
	wait.Wake(n.wake)
}

// takeLost takes the lost leases away, the earliest first. Of those that a while ago would have been lost soon, most have been
// renewed since: it looks at those of the next quarter of a ttl, so that it need not wake up for each. The caller holds mu.
func (n *line) takeLost(now time.Time, lost []Loss) []Loss {
	r := n.r
	for len(n.loss.shares) > 0 && len(lost) < maxLosses {
		s := n.loss.shares[0]
		e, at := s.entry, &s.when[toLose].at
		if *at > r.at(now.Add(e.lease.TTL()/lookAhead)) {
			break
		}
		next, cause := e.lease.Lost(now, e.last)
		if cause != nil {
			r.remove(e)
			lost = append(lost, Loss{e.lease, cause})
			continue
		}
		if !next.After(now) {
			next = now.Add(time.Millisecond)
		}
		moved := r.at(next) > *at
		*at = r.at(next)
		heap.Fix(&n.loss, 0)
		if !moved { // it is in danger: wait for it
			break
		}
	}
	return lost
}
