package quorum_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/quorum"
	"github.com/redigolock/redigolock/internal/renewal"
)

const (
	ttl    = 10 * time.Second
	within = 50 * time.Millisecond
	ms     = time.Millisecond
)

// A seat is a node in memory.
type seat struct {
	takes time.Duration // each call
	err   error         // of each Take
	gone  bool          // Extend and Verify say so
	none  bool          // Remove and Release say that nobody answers

	has      atomic.Bool
	stray    atomic.Bool
	took     atomic.Int64 // calls of Take
	removals atomic.Int64
	owed     atomic.Int64
}

var errDown = errors.New("down")

func (s *seat) Take(context.Context, time.Duration) (time.Time, error) {
	start := time.Now()
	s.took.Add(1)
	time.Sleep(s.takes)
	s.has.Store(s.err == nil)
	return start, s.err
}

func (s *seat) Extend(_ context.Context, _, _ time.Duration, isOver func() bool) (time.Time, error) {
	start := time.Now()
	time.Sleep(s.takes)
	if s.gone || isOver() {
		return start, fault.NotHeld
	}
	return start, nil
}

func (s *seat) Verify(ctx context.Context, within time.Duration) error {
	_, err := s.Extend(ctx, 0, within, func() bool { return false })
	return err
}

func (s *seat) Remove(context.Context) error {
	s.removals.Add(1)
	time.Sleep(s.takes)
	if s.none {
		return errDown
	}
	s.has.Store(false)
	return nil
}

func (s *seat) Release(ctx context.Context, _ time.Duration) error { return s.Remove(ctx) }
func (s *seat) Stray(context.Context)                              { s.stray.Store(true) }
func (s *seat) HasStray() bool                                     { return s.stray.Load() }
func (s *seat) Owe()                                               { s.owed.Add(1) }

type heldError struct{ holder string }

func (e heldError) Error() string        { return "held by " + e.holder }
func (e heldError) Is(target error) bool { return target == fault.Held }

// A rig is Voters over seats.
type rig struct {
	quorum.Voters
	seats []*seat
	owed  atomic.Int64
	told  func(verb string, err error)
	keep  error
}

// run runs f in virtual time, over nodes that have been polled before, and waits until all is quiet.
func run(t *testing.T, f func(r *rig), seats ...*seat) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{seats: seats, told: func(string, error) {}}
		r.Init(quorum.Env{
			Now:  time.Now,
			Ends: func(start time.Time, left time.Duration) time.Time { return start.Add(left) },
			Owed: &r.owed,
			Held: func(_, holder string) error { return heldError{holder} },
			Holder: func(err error) (string, time.Duration, bool) {
				var held heldError
				ok := errors.As(err, &held)
				return held.holder, 0, ok
			},
			Told: func(_ context.Context, _, verb string, err error) { r.told(verb, err) },
		}, len(seats))
		f(r)
		<-r.Ended()
		if n := r.owed.Load(); n != 0 {
			t.Errorf("%d are owed in the end", n)
		}
	})
}

func (r *rig) take(ctx context.Context) (b *quorum.Votes, final bool, err error) {
	var all []quorum.Seat
	for _, s := range r.seats {
		all = append(all, s)
	}
	b = r.New(ctx, "key", ttl, within, all)
	final, err = b.Take(ctx, func() error { return r.keep })
	return b, final, err
}

// have are the nodes that have the token.
func (r *rig) have() (nodes []int) {
	for i, s := range r.seats {
		if s.has.Load() {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// Without a majority nothing is left, neither at nodes that were quick nor at one that answers after the call has returned.
func TestTakeWithoutAMajority(t *testing.T) {
	late := &seat{takes: time.Second}
	seats := []*seat{{}, {err: errDown}, {err: errDown}, {}, late}
	run(t, func(r *rig) {
		_, _, err := r.take(t.Context())
		if !errors.Is(err, fault.NoQuorum) || !errors.Is(err, errDown) || !errors.Is(err, fault.Unknown) {
			t.Errorf("it says %v", err)
		}
		if have := r.have(); have != nil {
			t.Errorf("it has returned, and %v have the token", have)
		}
		if n := r.owed.Load(); n != 1 {
			t.Errorf("%d are owed, want the one that has not answered", n)
		}
		<-r.Ended()
		if have := r.have(); have != nil || late.removals.Load() != 1 {
			t.Errorf("%v have the token; it was removed from the late one %d times", have, late.removals.Load())
		}
	}, seats...)
}

// A node that does not confirm the removal is left to the clean-up.
func TestTakeThatIsNotKept(t *testing.T) {
	seats := []*seat{{}, {}, {none: true}}
	run(t, func(r *rig) {
		r.keep = fault.Expired
		if _, _, err := r.take(t.Context()); !errors.Is(err, fault.Expired) {
			t.Errorf("it says %v", err)
		}
		if have := r.have(); !slices.Equal(have, []int{2}) || seats[2].owed.Load() != 1 || seats[0].owed.Load() != 0 {
			t.Errorf("%v have the token; it was owed %d and %d times", have, seats[0].owed.Load(), seats[2].owed.Load())
		}
	}, seats...)
}

func TestWhoHoldsIt(t *testing.T) {
	a, b := heldError{"a"}, heldError{"b"}
	run(t, func(r *rig) {
		_, final, err := r.take(t.Context())
		var held heldError
		if !errors.As(err, &held) || held.holder != "b" || final {
			t.Errorf("it says %v, final %v", err, final)
		}
	}, &seat{err: a}, &seat{err: b}, &seat{err: b}, &seat{}, &seat{err: errDown})
}

func TestFinal(t *testing.T) {
	for name, c := range map[string]struct {
		third error
		final bool
	}{"two of three refuse for good": {fault.Unsupported, true}, "one of three does": {fault.Unavailable, false}} {
		t.Run(name, func(t *testing.T) {
			run(t, func(r *rig) {
				if _, final, err := r.take(t.Context()); final != c.final || !errors.Is(err, fault.NoQuorum) {
					t.Errorf("final is %v: %v", final, err)
				}
			}, &seat{}, &seat{err: fault.Unsupported}, &seat{err: c.third})
		})
	}
}

// Only nodes that may have the token are asked to remove it.
func TestRelease(t *testing.T) {
	seats := []*seat{{}, {}, {err: errDown}}
	run(t, func(r *rig) {
		b, _, err := r.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Release(t.Context(), within); err != nil {
			t.Error(err)
		}
		if n := seats[2].removals.Load(); r.have() != nil || n != 0 {
			t.Errorf("%v have it; the node without it was asked %d times", r.have(), n)
		}
	}, seats...)
}

// What a node says of an extension that was sent before the Release, and asks for its connection only after it, is not sent.
func TestExtendAfterRelease(t *testing.T) {
	seats := []*seat{{}, {}, {}}
	run(t, func(r *rig) {
		b, _, err := r.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seats[0].takes, seats[1].takes = 2*ms, 2*ms
		extended := make(chan error)
		go func() {
			_, err := b.Extend(t.Context(), ttl)
			extended <- err
		}()
		time.Sleep(ms)
		if err := b.Release(t.Context(), within); err != nil {
			t.Error(err)
		}
		if err := <-extended; !errors.Is(err, fault.NotHeld) {
			t.Errorf("the Extend says %v", err)
		}
	}, seats...)
}

// The lock lasts as long as a majority has it; a node that came back empty takes it in again once the others have confirmed it.
func TestVerdict(t *testing.T) {
	seats := []*seat{{}, {}, {}}
	run(t, func(r *rig) {
		b, _, err := r.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		until := begin.Add(ttl)
		vote := func(after time.Duration) renewal.Vote {
			return renewal.Vote{Start: begin.Add(after), Left: ttl, Answered: true}
		}
		lost := renewal.Vote{Start: begin.Add(ms), Answered: true, Err: fault.NotHeld}
		if v := b.Verdict([]renewal.Vote{vote(2 * ms), {}, {}}, until); v != (renewal.Vote{}) {
			t.Errorf("one of three has it for longer: %v", v)
		}
		if v := b.Verdict([]renewal.Vote{vote(2 * ms), vote(3 * ms), lost}, until); !v.Answered || !v.Start.Equal(begin.Add(2*ms)) {
			t.Errorf("two of three have it for longer: %v", v)
		}
		seats[2].has.Store(false)
		b.Retake()
		<-r.Ended()
		if n := seats[2].took.Load(); n != 2 || len(r.have()) != 3 {
			t.Errorf("the empty node was asked %d times, and %v have it", n, r.have())
		}
		later := renewal.Vote{Start: begin.Add(4 * ms), Answered: true, Err: fault.NotHeld}
		if v := b.Verdict([]renewal.Vote{later, later, {}}, until); !errors.Is(v.Err, fault.NotHeld) {
			t.Errorf("two of three have lost it: %v", v)
		}
		b.End(0)
	}, seats...)
}

// A func of the user's that panics leaves no seat without somebody who vacates it.
func TestToldPanics(t *testing.T) {
	seats := []*seat{{}, {err: errDown}, {}}
	run(t, func(r *rig) {
		r.told = func(_ string, err error) {
			if err != nil {
				panic("told")
			}
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the caller is not told")
				}
			}()
			_, _, _ = r.take(t.Context())
		}()
		<-r.Ended()
		if have := r.have(); have != nil {
			t.Errorf("%v have the token", have)
		}
	}, seats...)
}

func TestAcquaintances(t *testing.T) {
	var a quorum.Acquaintances
	a.Init(3)
	if err := a.Meet(0, "# Server\r\nrun_id:abc\r\n"); err != nil || !a.Known(0) || a.Known(1) {
		t.Errorf("%v; known %v %v", err, a.Known(0), a.Known(1))
	}
	for _, untold := range []string{"", "# Server\r\nrun_id:000\r\n"} {
		if err := a.Meet(1, untold); err != nil {
			t.Errorf("a server that does not tell: %v", err)
		}
		if err := a.Meet(2, untold); err != nil {
			t.Errorf("two that do not tell: %v", err)
		}
	}
	err := a.Meet(2, "# Server\r\nrun_id:abc\r\n")
	if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "Quorum.Pools[0] and [2]") || a.Refused() != err {
		t.Errorf("the same server twice: %v, then %v", err, a.Refused())
	}
}
