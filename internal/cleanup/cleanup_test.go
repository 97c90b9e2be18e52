package cleanup_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock/internal/cleanup"
)

const bound = time.Second

var (
	errAway    = errors.New("it is away")
	errSilent  = errors.New("it does not answer")
	errRefused = errors.New("refused for good")
)

// A node notes what it is asked, and answers as remove says.
type node struct {
	mu     sync.Mutex // protects what follows
	remove func(ctx context.Context, s *cleanup.Stray) error
	apart  bool
	group  func(key string) string // nil: all are at one server
	asked  map[string][]time.Time
	now    int // calls of Remove
	most   int // of those, at a time
	hungUp int

	place   string
	another chan struct{} // closed when place is another; nil: that is not known
}

func newNode(remove func(ctx context.Context, s *cleanup.Stray) error) *node {
	return &node{remove: remove, asked: map[string][]time.Time{}}
}

// gone is the answer of a node where nothing is left.
func gone(context.Context, *cleanup.Stray) error { return nil }

// hangs is that of one which answers nothing.
func hangs(ctx context.Context, _ *cleanup.Stray) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	<-ctx.Done()
	return errSilent
}

func (n *node) Remover() cleanup.Remover { return n }

func (n *node) Group(s *cleanup.Stray) any {
	switch {
	case n.apart:
		return nil
	case n.group != nil:
		return n.group(s.Key)
	}
	return "all"
}

func (n *node) Remove(ctx context.Context, s *cleanup.Stray) error {
	n.mu.Lock()
	n.asked[s.Key] = append(n.asked[s.Key], time.Now())
	n.now++
	n.most = max(n.most, n.now)
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.now--
	}()
	return n.remove(ctx, s)
}

func (n *node) Place(*cleanup.Stray) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.place
}

func (n *node) Another() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.another
}

// move makes the place another one.
func (n *node) move(to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.place = to
	close(n.another)
	n.another = make(chan struct{})
}

func (n *node) HangUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hungUp++
}

// counts are how many tries there were at a time, and how often it hung up.
func (n *node) counts() (most, hungUp int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.most, n.hungUp
}

func (n *node) times(key string) []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked[key])
}

// test runs in a bubble, whose end sees that no goroutine is left. told has the errors by their keys.
func test(t *testing.T, f func(t *testing.T, c *cleanup.Cleaner, told map[string][]error)) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told, c := map[string][]error{}, &cleanup.Cleaner{}
		c.Init(cleanup.Env{
			Bound: func() time.Duration { return bound },
			Read: func(err error) cleanup.Answer {
				switch err {
				case nil:
					return cleanup.Gone
				case errRefused:
					return cleanup.Refused
				case errSilent:
					return cleanup.Silent
				}
				return cleanup.Failed
			},
			Told: func(s *cleanup.Stray, err error) {
				mu.Lock()
				defer mu.Unlock()
				told[s.Key] = append(told[s.Key], err)
			},
		})
		f(t, c, told)
		synctest.Wait()
		if c.Running() || c.Owed() > 0 {
			t.Errorf("%d are owed at the end", c.Owed())
		}
	})
}

func stray(key string, left time.Duration) cleanup.Stray {
	now := time.Now()
	return cleanup.Stray{Key: key, Token: "token", Next: now, Until: now.Add(left)}
}

func TestStrayIsRemovedUntilItIsConfirmedTwice(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, told map[string][]error) {
		answers := []error{errAway, errAway, nil, errAway, nil}
		n := newNode(func(context.Context, *cleanup.Stray) error {
			err := answers[0]
			answers = answers[1:]
			return err
		})
		begin := time.Now()
		c.Add(n, stray("key", time.Hour))
		time.Sleep(time.Minute)
		var after []time.Duration
		for _, at := range n.times("key") {
			after = append(after, at.Sub(begin))
		}
		if want := []time.Duration{0, bound, 3 * bound, 4 * bound, 5 * bound}; !slices.Equal(after, want) {
			t.Errorf("tried after %v, not %v", after, want)
		}
		synctest.Wait()
		if _, hungUp := n.counts(); len(told["key"]) != 5 || hungUp != 5 {
			t.Errorf("told %v, hung up %d times", told["key"], hungUp)
		}
	})
}

// What was tried in vain is tried again soon after it is another's: at once, but a tenth of a second after the failure at the soonest.
// What was not, is not.
func TestStrayIsTriedSoonAfterItsPlaceIsAnother(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		n := newNode(nil)
		n.another = make(chan struct{})
		n.remove = func(_ context.Context, s *cleanup.Stray) error {
			if s.Key == "good" || n.Place(s) == "c" {
				return nil
			}
			time.Sleep(10 * time.Millisecond)
			return errAway
		}
		begin := time.Now()
		c.Add(n, stray("good", time.Hour))
		c.Add(n, stray("key", time.Hour))
		time.Sleep(500 * time.Millisecond)
		n.move("b") // at once, and in vain
		time.Sleep(30 * time.Millisecond)
		n.move("b") // it is no other
		n.move("c") // 110 ms after it began: a tenth of a second after it has failed
		time.Sleep(time.Minute)
		for key, want := range map[string][]time.Duration{"key": {0, 500, 610, 1610}, "good": {0, 1000}} {
			var after []time.Duration
			for _, at := range n.times(key) {
				after = append(after, at.Sub(begin)/time.Millisecond)
			}
			if key == "good" {
				after[1] = after[1].Round(100)
			}
			if !slices.Equal(after, want) {
				t.Errorf("%s was tried after %v ms, not %v", key, after, want)
			}
		}
	})
}

// A place that is another while the stray is being tried there is not missed.
func TestStrayWhosePlaceIsAnotherMeanwhileIsTriedSoon(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		n := newNode(nil)
		n.another = make(chan struct{})
		n.remove = func(_ context.Context, s *cleanup.Stray) error {
			if n.Place(s) == "b" {
				return nil
			}
			n.move("b")
			return errAway
		}
		begin := time.Now()
		c.Add(n, stray("key", time.Hour))
		time.Sleep(time.Minute)
		if at := n.times("key"); len(at) != 3 || at[1].Sub(begin) != 100*time.Millisecond {
			t.Errorf("it was tried at %v", at)
		}
	})
}

func TestStrayIsForgottenWhenItIsRefusedOrItsTimeIsOver(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		away := newNode(func(context.Context, *cleanup.Stray) error { return errAway })
		never := newNode(func(context.Context, *cleanup.Stray) error { return errRefused })
		c.Add(away, stray("key", 10*time.Second))
		c.Add(never, stray("key", time.Hour))
		late := stray("late", time.Second)
		late.Next = late.Until.Add(time.Millisecond)
		c.Add(never, late)
		time.Sleep(16 * time.Second)
		if n := len(away.times("key")); n != 5 { // after 0, 1, 3, 7 and 15 s
			t.Errorf("the node that is away was asked %d times", n)
		}
		if n, m := len(never.times("key")), len(never.times("late")); n != 1 || m != 0 {
			t.Errorf("the node that refuses was asked %d times, and %d times when it was too late", n, m)
		}
	})
}

func TestNodeThatHangsCostsNoOtherNodesStrays(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		ill, good := newNode(hangs), newNode(gone)
		for i := range 20 {
			c.Add(ill, stray(fmt.Sprint("key", i), 30*time.Second))
		}
		begin := time.Now()
		c.Add(good, stray("key", 30*time.Second))
		time.Sleep(2 * bound)
		if at := good.times("key"); len(at) != 2 || at[0] != begin || at[1] != begin.Add(bound) {
			t.Errorf("it was asked at %v", at)
		}
		time.Sleep(2 * time.Minute)
		if most, _ := ill.counts(); most != 1 {
			t.Errorf("%d tries at a time on one connection", most)
		}
	})
}

func TestStraysThatAreApartShareThePlaces(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		n := newNode(func(context.Context, *cleanup.Stray) error { time.Sleep(100 * time.Millisecond); return nil })
		n.apart = true
		for i := range 20 {
			c.Add(n, stray(fmt.Sprint("key", i), time.Minute))
		}
		time.Sleep(time.Minute)
		if most, _ := n.counts(); most != 8 || len(n.times("key19")) != 2 {
			t.Errorf("%d at a time, and the last was asked %d times", most, len(n.times("key19")))
		}
	})
}

// Strays at one server go one after the other on one connection. One that does not answer is not waited for by each of its strays, nor by those
// at another; and one stray that never gets an answer keeps no other for long.
func TestStraysAtOneServer(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		var silent atomic.Bool // the server b
		silent.Store(true)
		n := newNode(func(ctx context.Context, s *cleanup.Stray) error {
			if s.Key == "b0" || s.Key[0] == 'b' && silent.Load() {
				return hangs(ctx, s)
			}
			return nil
		})
		n.group = func(key string) string { return key[:1] }
		begin := time.Now().Add(10 * time.Millisecond)
		for i := range 20 {
			for _, server := range []string{"a", "b"} {
				x := stray(fmt.Sprint(server, i), time.Minute)
				x.Next = begin // all at once
				c.Add(n, x)
			}
		}
		time.Sleep(time.Until(begin) + time.Millisecond)
		for i := range 20 {
			if at := n.times(fmt.Sprint("a", i)); len(at) != 1 || at[0] != begin {
				t.Errorf("a%d was tried at %v", i, at)
			}
		}
		if _, hungUp := n.counts(); hungUp != 1 {
			t.Errorf("%d connections are done with", hungUp)
		}
		time.Sleep(3 * bound / 2)
		if n := len(n.times("b1")); n != 0 {
			t.Errorf("b1 was tried %d times behind one that got no answer", n)
		}
		silent.Store(false)
		time.Sleep(4 * bound)
		for i := range 19 {
			if at := n.times(fmt.Sprint("b", i+1)); len(at) != 2 {
				t.Errorf("b%d was tried at %v", i+1, at)
			}
		}
		time.Sleep(2 * time.Minute)
	})
}

func TestCloseWaitsForAllNodesTogetherAndThenEndsThem(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		c.Close(time.Hour) // there is nothing
		for range 3 {
			c.Add(newNode(hangs), stray("key", time.Hour))
		}
		begin := time.Now()
		c.Close(3 * bound)
		if took := time.Since(begin); took != bound { // after it was closed once, each stray has one try
			t.Errorf("it took %v", took)
		}
	})
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		for range 3 {
			c.Add(newNode(hangs), stray("key", time.Hour))
		}
		begin := time.Now()
		c.Close(3 * bound)
		if took := time.Since(begin); took != 3*bound {
			t.Errorf("it took %v", took)
		}
	})
}

// What is asked when Close ends its wait may take a moment to leave: Close waits for that, too, and nothing more is asked.
func TestCloseWaitsForWhatItEnds(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		n := newNode(func(ctx context.Context, _ *cleanup.Stray) error {
			<-ctx.Done()
			time.Sleep(bound / 4)
			return errAway
		})
		c.Add(n, stray("first", time.Hour))
		c.Add(n, stray("second", time.Hour))
		begin := time.Now()
		c.Close(3 * bound)
		if took := time.Since(begin); took != 3*bound+bound/4 || c.Running() {
			t.Errorf("it took %v, and it still runs: %v", took, c.Running())
		}
		if asked := len(n.times("first")) + len(n.times("second")); asked != 1 {
			t.Errorf("%d were asked", asked)
		}
	})
}

// Whoever is told of a try may end the goroutine: another goes on.
func TestCleanerGoesOnWhenItsGoroutineIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cleanup.Cleaner
		var tries atomic.Int32
		c.Init(cleanup.Env{
			Bound: func() time.Duration { return bound },
			Read:  func(error) cleanup.Answer { return cleanup.Gone },
			Told: func(*cleanup.Stray, error) {
				if tries.Add(1) == 1 {
					runtime.Goexit()
				}
			},
		})
		c.Add(newNode(gone), stray("key", time.Hour))
		time.Sleep(2 * bound)
		if n := tries.Load(); n != 2 || c.Owed() > 0 {
			t.Errorf("after %d tries %d are owed", n, c.Owed())
		}
	})
}

// What a node has said to be removed is removed once more where that may be undone: at what has taken over from it, or at itself when it is
// back. So it is as long as that could last, for the newest of each server, and one confirmation does.
func TestRemovalIsCarriedOutAgainWhenItsTenureEnds(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, told map[string][]error) {
		answers := []error{errAway, nil}
		n := newNode(nil)
		n.remove = func(_ context.Context, s *cleanup.Stray) error {
			if s.Key != "a4140" {
				return nil
			}
			err := answers[0]
			answers = answers[1:]
			return err
		}
		n.another = make(chan struct{})
		a, b := make(chan struct{}), make(chan struct{})
		until := time.Now().Add(10 * time.Second)
		for i := range 4141 {
			c.Removed(n, a, cleanup.Removal{Key: fmt.Sprint("a", i), Token: "token", Until: until})
		}
		c.Removed(n, a, cleanup.Removal{Key: "over", Token: "token", Until: time.Now().Add(time.Second)})
		c.Removed(n, b, cleanup.Removal{Key: "b", Token: "token", Until: until})
		if c.Owed() > 0 {
			t.Errorf("%d are owed", c.Owed())
		}
		time.Sleep(2 * time.Second)
		close(a)
		n.move("another")
		begin := time.Now()
		time.Sleep(3 * time.Second)
		for key, want := range map[string]int{"a0": 0, "a45": 0, "a46": 1, "a299": 1, "a4140": 2, "over": 0, "b": 0} {
			if at := n.times(key); len(at) != want || want > 0 && at[0] != begin {
				t.Errorf("%s was removed at %v, want %d times", key, at, want)
			}
		}
		close(b) // as if n.Another had been asked for in the moment before
		c.Removed(n, b, cleanup.Removal{Key: "late", Token: "token", Until: until})
		synctest.Wait()
		if x, y := len(n.times("b")), len(n.times("late")); x != 1 || y != 1 {
			t.Errorf("a tenure that has ended already: %d and %d", x, y)
		}
		time.Sleep(time.Minute)
		if c.Running() {
			t.Error("it remembers what is over")
		}
		if got := told["a4140"]; len(got) != 2 || got[1] != nil {
			t.Errorf("told %v", got)
		}
	})
}

// Nobody waits for what is only remembered.
func TestCloseForgetsRemovals(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		n := newNode(gone)
		tenure, begin := make(chan struct{}), time.Now()
		for range 2 {
			c.Removed(n, tenure, cleanup.Removal{Key: "key", Token: "token", Until: begin.Add(time.Hour)})
			c.Close(time.Minute)
		}
		close(tenure)
		time.Sleep(time.Second)
		if took := time.Since(begin); took != time.Second || c.Running() || len(n.times("key")) > 0 {
			t.Errorf("it ended after %v", took)
		}
	})
}

// Many removals that are carried out again hold up no stray, at whatever server.
func TestRemovalsGoBehindStrays(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		n := newNode(func(context.Context, *cleanup.Stray) error { time.Sleep(10 * time.Millisecond); return nil })
		n.group = func(key string) string { return key[:1] }
		n.another = make(chan struct{})
		tenure := make(chan struct{})
		for i := range 1000 {
			c.Removed(n, tenure, cleanup.Removal{Key: fmt.Sprint("a", i), Token: "token", Until: time.Now().Add(time.Hour)})
		}
		time.Sleep(time.Second)
		close(tenure)
		n.move("x")
		time.Sleep(time.Millisecond)
		begin := time.Now()
		c.Add(n, cleanup.Stray{Key: "b", Token: "token", Context: t.Context(), Next: begin, Until: begin.Add(time.Minute)})
		if owed := c.Owed(); owed != 1 {
			t.Errorf("%d are owed, want the stray", owed)
		}
		time.Sleep(time.Minute)
		if at := n.times("b"); len(at) == 0 || at[0].Sub(begin) > 50*time.Millisecond {
			t.Errorf("it was tried %v later, and the removals began at %v", at, begin)
		}
		if at := n.times("a999"); len(at) != 1 {
			t.Errorf("the last removal was carried out %d times again", len(at))
		}
	})
}

// Removals keep a goroutine for some minutes only, whatever their ttl, and for their own time, whatever that of earlier ones was.
func TestRemovalsAreForgotten(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		n := newNode(gone)
		n.another = make(chan struct{})
		removed := func(key string, left time.Duration) chan struct{} {
			tenure := make(chan struct{})
			c.Removed(n, tenure, cleanup.Removal{Key: key, Token: "token", Until: time.Now().Add(left)})
			return tenure
		}
		running := func(what string, after time.Duration, want bool) {
			t.Helper()
			if time.Sleep(after); c.Running() != want {
				t.Errorf("%s: it runs: %v", what, !want)
			}
		}
		removed("a", 24*time.Hour)
		running("one of a day", 4*time.Minute, true)
		running("one of a day", 2*time.Minute, false)
		close(removed("b", 24*time.Hour))
		n.move("x")
		running("one that was carried out again", time.Second, false)
		removed("c", 10*time.Second)
		running("one of ten seconds", 15*time.Second, false)
	})
}

// To remember one more costs no memory, once there are as many as may be.
func TestRemovedAllocatesNothing(t *testing.T) {
	test(t, func(t *testing.T, c *cleanup.Cleaner, _ map[string][]error) {
		n := newNode(gone)
		n.another = make(chan struct{})
		var tenure <-chan struct{} = make(chan struct{})
		x := cleanup.Removal{Key: "key", Token: "token", Until: time.Now().Add(time.Minute)}
		for range 5000 {
			c.Removed(n, tenure, x)
		}
		if n := testing.AllocsPerRun(100, func() { c.Removed(n, tenure, x) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		c.Close(time.Second)
	})
}
