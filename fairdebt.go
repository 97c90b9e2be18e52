package redigolock

import (
	"context"
	"time"
)

// A debt is a token whose REL is not confirmed yet.
type debt struct {
	token    string
	ctx      context.Context // of the call that left it, for the Observer; nil: not known
	until    time.Time       // its lease is over
	next     time.Time       // of the next REL
	busy     bool            // one is in flight
	kept     bool            // by Release, which tries again itself
	own      bool            // its RELs dial, as all clean-ups of what was lost do; as many at once as TRYs were in flight
	confirm  int             // how often the server must confirm
	failures int             // in a row
}

// A grave is what is remembered of a token that is not used any more.
type grave struct {
	ttl   time.Duration   // the longest that was asked for
	until time.Time       // remembered
	ctx   context.Context // as a ticket's; nil: there is no Observer
}

// owe has the token released, by a REL that is repeated until it is confirmed or the lease of at most ttl must be over.
func (s *slot) owe(ctx context.Context, token string, ttl time.Duration) *debt {
	now := time.Now()
	o := &debt{token: token, ctx: ctx, until: now.Add(ttl + s.l.opTimeout()), next: now, confirm: 1}
	s.owed = append(s.owed, o)
	return o
}

// oweLate has the token of a lost TRY released, which may still be on its way: by a REL that must be confirmed twice. If the
// TRY is carried out later still, the next reply names a token that is remembered as dead.
func (s *slot) oweLate(t *ticket) {
	o := s.owe(t.ctx, t.token, t.longest())
	o.confirm, o.own = 2, true
	s.bury(t)
}

func (s *slot) owes(token string) bool {
	for _, o := range s.owed {
		if o.token == token {
			return true
		}
	}
	return false
}

// bury remembers a token that will not be used any more, for a ttl.
func (s *slot) bury(t *ticket) {
	if s.dead == nil {
		s.dead = map[string]grave{}
	}
	g := grave{ttl: t.longest(), until: time.Now().Add(t.longest() + s.l.opTimeout())}
	if s.l.Observer != nil {
		g.ctx = t.ctx
	}
	s.dead[t.token] = g
	if len(s.dead) == 1 || g.until.Before(s.deadAt) {
		s.deadAt = g.until
	}
}

// forgetDead forgets the dead whose ttl is over. It looks at all of them, so not at every change: waiters that give up may
// have left thousands.
func (s *slot) forgetDead(now time.Time) {
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
