// Package held counts locks that are held, each until its Deadline.
package held

import (
	"math"
	"sync"
	"time"
)

// A Set has the Deadlines of the locks that are held. A handle may be dropped without a Release, by those
// who let each lock expire: so it refers to no handle, and a place is used again once its time is over.
type Set struct {
	mu   sync.Mutex // protects what follows; taken for moments only, and nothing else under it
	base time.Time  // what the times are counted from
	ends []end
	free []int32 // places in ends
	hand int     // the place to look at next for one whose time is over
}

// An end is a Deadline by the monotonic clock, in ns since the set's base, and by the wall clock.
type end struct{ mono, wall int64 }

var freed = end{mono: math.MinInt64}

func (s *Set) endAt(t time.Time) end {
	return end{int64(t.Sub(s.base)), t.UnixNano()}
}

// passed says that an end has come, as soon as either clock says so.
func (e end) passed(now end) bool { return now.mono >= e.mono || now.wall >= e.wall }

// Add counts a lock until deadline, and returns its place plus 1.
func (s *Set) Add(now, deadline time.Time) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base.IsZero() {
		s.base = now
	}
	if len(s.free) == 0 {
		s.reclaim(s.endAt(now))
	}
	last := len(s.free) - 1
	if last < 0 {
		s.ends = append(s.ends, s.endAt(deadline))
		return int32(len(s.ends))
	}
	place := s.free[last]
	s.free = s.free[:last]
	s.ends[place] = s.endAt(deadline)
	return place + 1
}

// reclaim looks at a few places for such whose time is over: at two for each that is added, so that there are never many.
func (s *Set) reclaim(now end) {
	for range min(2, len(s.ends)) {
		s.hand = (s.hand + 1) % len(s.ends)
		if s.ends[s.hand].passed(now) {
			s.ends[s.hand] = freed
			s.free = append(s.free, int32(s.hand))
		}
	}
}

// Move has a lock count until another time, if it is still counted until from.
func (s *Set) Move(at int32, from, to time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has(at, from) {
		s.ends[at-1] = s.endAt(to)
	}
}

// Remove counts a lock no longer that counts until deadline.
func (s *Set) Remove(at int32, deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has(at, deadline) {
		s.ends[at-1] = freed
		s.free = append(s.free, at-1)
	}
}

// has reports whether the place is still that of a lock with this Deadline: once that has passed, it may be another's.
func (s *Set) has(at int32, deadline time.Time) bool {
	return at > 0 && s.ends[at-1] == s.endAt(deadline)
}

// Count counts those that are held now.
func (s *Set) Count(now time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.endAt(now)
	for _, e := range s.ends {
		if !e.passed(at) {
			n++
		}
	}
	return n
}

// Places is for how many locks there is room, for tests.
func (s *Set) Places() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ends)
}
