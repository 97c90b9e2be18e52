package fairqueue

import (
	"context"
	"slices"
	"time"
)

// A debt is a token whose Release is not confirmed yet.
type debt struct {
	n        uint64
	token    string
	ctx      context.Context // of the call that left it; nil: not known
	until    time.Time       // its lease is over
	next     time.Time       // of the next Release
	busy     bool            // one is in flight
	kept     bool            // by Lock.Release, which tries again itself
	alone    bool            // without the queue, as the slot was moving between servers
	own      bool            // its Releases dial, as all clean-ups of what was lost do; as many at once as Trys were in flight
	confirm  int             // how often the server must confirm
	failures int             // in a row
}

// A grave is what is remembered of a token that is not used any more.
type grave struct {
	ttl   time.Duration   // the longest that was asked for
	until time.Time       // remembered
	ctx   context.Context // as a ticket's
}

// owe has the token released, by a Release that is repeated until it is confirmed or the lease of at most ttl must be over.
func (s *Slot) owe(now time.Time, ctx context.Context, token string, ttl time.Duration) *debt {
	s.debts++
	s.owed = append(s.owed, debt{n: s.debts, token: token, ctx: ctx, until: now.Add(ttl + s.cfg.OpTimeout), next: now, confirm: 1})
	return &s.owed[len(s.owed)-1]
}

// oweLate has the token of a lost Try released, which may still be on its way: by a Release that must be confirmed twice. If the
// Try is carried out later still, the next reply names a token that is remembered as dead.
func (s *Slot) oweLate(now time.Time, t *ticket) {
	o := s.owe(now, t.ctx, t.token, t.longest())
	o.confirm, o.own = 2, true
	s.bury(now, t)
}

// oweAgain is called when the server has said that the token is not there. If it was sent by a command without an answer, that may be
// carried out yet, and take the lock for nobody: so the token is released once more, an OpTimeout later, as oweLate has it.
func (s *Slot) oweAgain(now time.Time, t *ticket) {
	if t.late {
		o := s.owe(now, t.ctx, t.token, t.longest())
		o.next, o.own = now.Add(s.cfg.OpTimeout), true
	}
}

func (s *Slot) owes(token string) bool {
	return slices.ContainsFunc(s.owed, func(o debt) bool { return o.token == token })
}

// owesNow is owes for a token that was seen to have the lock: what was to be released later, in case, is released now.
func (s *Slot) owesNow(now time.Time, token string) bool {
	for i := range s.owed {
		if o := &s.owed[i]; o.token == token && o.failures == 0 && o.next.After(now) {
			o.next = now
		}
	}
	return s.owes(token)
}

// settled takes a debt off the list.
func (s *Slot) settled(n uint64) {
	s.owed = slices.DeleteFunc(s.owed, func(o debt) bool { return o.n == n })
}

// debtOf is the debt of that number, nil if there is none any more.
func (s *Slot) debtOf(n uint64) *debt {
	for i := range s.owed {
		if s.owed[i].n == n {
			return &s.owed[i]
		}
	}
	return nil
}

// bury remembers a token that will not be used any more, for a ttl.
func (s *Slot) bury(now time.Time, t *ticket) {
	if s.dead == nil {
		s.dead = map[string]grave{}
	}
	g := grave{ttl: t.longest(), until: now.Add(t.longest() + s.cfg.OpTimeout), ctx: t.ctx}
	s.dead[t.token] = g
	if len(s.dead) == 1 || g.until.Before(s.deadAt) {
		s.deadAt = g.until
	}
}

// forgetDead forgets the dead whose ttl is over. It looks at all of them, so not at every change: waiters that give up may
// have left thousands.
func (s *Slot) forgetDead(now time.Time) {
	if len(s.dead) == 0 || now.Before(s.deadAt) {
		return
	}
	s.deadAt = time.Time{}
	for token, g := range s.dead {
		if !g.until.After(now) {
			delete(s.dead, token)
		} else {
			s.deadAt = earlier(s.deadAt, g.until)
		}
	}
	if soonest := now.Add(lookAtDead); s.deadAt.Before(soonest) {
		s.deadAt = soonest
	}
}
