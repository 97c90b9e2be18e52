package poll_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock/internal/poll"
)

var (
	errSilent = errors.New("silent")
	errNo     = errors.New("no")
)

// TestAsk asks five voters, of which each takes a while and then agrees, or does not.
func TestAsk(t *testing.T) {
	const ms, ever = time.Millisecond, time.Hour
	for name, c := range map[string]struct {
		first bool
		after []time.Duration // negative: it refuses
		takes time.Duration
		yes   int
	}{
		"all at once":                     {after: []time.Duration{ms, ms, ms, ms, ms}, takes: ms, yes: 5},
		"one hangs":                       {after: []time.Duration{ms, ms, ms, ms, ever}, takes: 2 * ms, yes: 4},
		"two hang, the third is slow":     {after: []time.Duration{ms, ms, 7 * ms, ever, ever}, takes: 14 * ms, yes: 3},
		"a slow one has as long again":    {after: []time.Duration{5 * ms, 5 * ms, 5 * ms, 9 * ms, ever}, takes: 10 * ms, yes: 4},
		"a moment is left to the quick":   {after: []time.Duration{0, 0, 0, ms / 2, ever}, takes: ms, yes: 4},
		"three refuse":                    {after: []time.Duration{-ms, -ms, -ms, ever, ever}, takes: 2 * ms},
		"three hang":                      {after: []time.Duration{ms, ms, ever, ever, ever}, takes: 50 * ms, yes: 2},
		"decided at the end":              {after: []time.Duration{ms, ms, 49 * ms, ever, ever}, takes: 50 * ms, yes: 3},
		"the first poll has all the time": {first: true, after: []time.Duration{ms, ms, ms, ms, ever}, takes: 50 * ms, yes: 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &poll.Group{Voters: 5, Needed: 3}
				if !c.first {
					g.Ask(time.Second, errSilent, func(int) error { return nil })
				}
				begin := time.Now()
				answers := g.Ask(50*time.Millisecond, errSilent, func(voter int) error {
					if c.after[voter] < 0 {
						time.Sleep(-c.after[voter])
						return errNo
					}
					time.Sleep(c.after[voter])
					return nil
				})
				if took := time.Since(begin); took != c.takes {
					t.Errorf("it took %v, want %v", took, c.takes)
				}
				yes := 0
				for i, err := range answers {
					switch {
					case err == nil:
						yes++
					case c.after[i] < 0 && err != errNo, c.after[i] >= 0 && err != errSilent:
						t.Errorf("voter %d: %v", i, err)
					}
				}
				if yes != c.yes {
					t.Errorf("%d agree, want %d", yes, c.yes)
				}
				<-g.Ended() // hangs for an hour at most
			})
		})
	}
}

func TestEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &poll.Group{}
		<-g.Ended() // nothing runs
		begin := time.Now()
		for i := range 3 {
			g.Go(func() { time.Sleep(time.Duration(i) * time.Second) })
		}
		first, second := g.Ended(), g.Ended()
		<-first
		<-second
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("it ended after %v", took)
		}
		<-g.Ended()
	})
}

// A panic of a voter reaches its poll, if that goes on; it ends no other goroutine.
func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &poll.Group{Voters: 3, Needed: 2}
		ask := func(after [3]time.Duration) (fell any) {
			defer func() { fell = recover() }()
			g.Ask(time.Second, errSilent, func(voter int) error {
				time.Sleep(after[voter])
				if voter == 2 {
					panic("mine")
				}
				return nil
			})
			return nil
		}
		if fell := ask([3]time.Duration{time.Minute, time.Minute, time.Millisecond}); fell != "mine" {
			t.Errorf("while the poll goes on: %v", fell)
		}
		if fell := ask([3]time.Duration{0, 0, time.Minute}); fell != nil {
			t.Errorf("after the poll: %v", fell)
		}
		g.Go(func() { panic("nobody's") })
		g.Go(runtime.Goexit)
		<-g.Ended()
		answers := g.Ask(time.Second, errSilent, func(voter int) error {
			if voter == 2 {
				runtime.Goexit()
			}
			return nil
		})
		if answers[0] != nil || answers[1] != nil || answers[2] != errSilent {
			t.Errorf("one has ended its goroutine: %v", answers)
		}
	})
}

// workers is how many goroutines of Groups there are. Other goroutines come and go.
func workers() int {
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "poll.(*Group).work(")
}

// A goroutine that is done runs what comes next, for a while, and not beyond the end.
func TestGoroutinesAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &poll.Group{Voters: 3, Needed: 2}
		ask := func(int) error { // so long that none asks two
			time.Sleep(time.Millisecond)
			return nil
		}
		wait := func(d time.Duration, want int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if n := workers(); n != want {
				t.Errorf("%d goroutines wait, want %d", n, want)
			}
		}
		for range 4 {
			g.Ask(time.Second, errSilent, ask)
			wait(40*time.Millisecond, 3)
		}
		wait(11*time.Millisecond, 0)
		g.Ask(time.Second, errSilent, ask)
		wait(0, 3)
		<-g.Ended()
		wait(0, 0)
		g.Go(func() {})
		wait(0, 0)
	})
}
