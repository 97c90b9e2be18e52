package ballot_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/ballot"
)

var begin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// at is so many seconds after the begin.
func at(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }

// since is a holding of ten seconds.
func since(seconds int) ballot.Holding {
	return ballot.Holding{Start: at(seconds), Left: 10 * time.Second, Ends: at(seconds + 10)}
}

// sought is a ballot of five nodes, of which some have the token from the begin on, and the others are sought still.
func sought(have ...int) (b *ballot.Ballot, owed *atomic.Int64) {
	owed = new(atomic.Int64)
	b = ballot.New(5, owed)
	for _, i := range have {
		b.Sought(i, since(0))
	}
	return b, owed
}

func TestCommon(t *testing.T) {
	b, _ := sought(0, 1)
	if h, _ := b.Common(3); h != (ballot.Holding{}) {
		t.Errorf("two of five: %v", h)
	}
	b.Sought(2, since(1))
	b.Has(0, since(4))
	if h, empty := b.Common(3); h != since(0) || empty != 0 {
		t.Errorf("three have it since 4, 1 and 0: %v, %d empty", h, empty)
	}
	b.Has(1, since(3))
	if h, _ := b.Common(3); h != since(1) {
		t.Errorf("three have it since 4, 3 and 1: %v", h)
	}
	b.Lacks(2, at(5))
	if h, empty := b.Common(3); h != (ballot.Holding{}) || empty != 1 {
		t.Errorf("one has lost it: %v, %d empty", h, empty)
	}
}

// What was asked earlier says nothing any more.
func TestLateAnswers(t *testing.T) {
	b, _ := sought(0)
	b.Lacks(0, at(2))
	b.Has(0, since(1))
	if b.Held(0) != (ballot.Holding{}) {
		t.Error("an extension of before the loss counts")
	}
	b.Has(0, since(3))
	b.Lacks(0, at(2))
	if b.Held(0) != since(3) {
		t.Error("a loss of before the extension counts")
	}
	short := ballot.Holding{Start: at(4), Left: time.Second, Ends: at(5)}
	b.Has(0, short)
	if b.Held(0) != since(3) {
		t.Error("a shorter extension has ended the longer one")
	}
}

// A node that came back empty is sought again once a majority has the token that was asked after that, and not before.
func TestRetake(t *testing.T) {
	b, _ := sought(0, 1, 2, 3, 4)
	b.Lacks(4, at(5))
	b.Has(0, since(4))
	b.Has(1, since(6))
	b.Has(2, since(6))
	if again := b.Retake(3); again != nil {
		t.Errorf("two of five have confirmed it: %v", again)
	}
	b.Lacks(4, at(7)) // it is empty since 5 still
	b.Has(3, since(6))
	if again := b.Retake(3); !slices.Equal(again, []int{4}) {
		t.Errorf("three have confirmed it: %v", again)
	}
	if again := b.Retake(3); again != nil {
		t.Errorf("it is sought already: %v", again)
	}
	b.Sought(4, since(8))
	if b.Held(4) != since(8) {
		t.Error("it has taken it in")
	}
	b.Lacks(3, at(9))
	b.End()
	for i := range 3 {
		b.Has(i, since(10))
	}
	if again := b.Retake(3); again != nil {
		t.Errorf("the ballot is over: %v", again)
	}
}

// Each seat is vacated once: by who ended the ballot, or by who sought it then.
func TestEnd(t *testing.T) {
	b, owed := sought(0, 2)
	if b.IsOver() {
		t.Error("it is over before its end")
	}
	if resting := b.End(); !slices.Equal(resting, []int{0, 2}) || !b.IsOver() {
		t.Errorf("the caller is to vacate %v", resting)
	}
	b.Lacks(2, at(1)) // as of an Extend that was not sent any more
	if b.Held(2) != since(0) {
		t.Error("a seat that nobody has vacated counts as empty")
	}
	b.Leaving(0)
	b.Returned()
	b.Returned()
	if n := owed.Load(); n != 4 {
		t.Errorf("%d are owed, want the three that are sought, and the one that leaves", n)
	}
	for _, i := range []int{1, 3, 4} {
		if !b.Sought(i, ballot.Holding{}) {
			t.Errorf("nobody vacates the seat of node %d", i)
		}
	}
	b.Left(0)
	b.Left(2)
	if n := owed.Load(); n != 0 {
		t.Errorf("%d are owed in the end", n)
	}
}
