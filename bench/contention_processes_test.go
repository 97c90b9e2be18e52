package bench_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
)

// everyWay is a Contention of each, over several processes, and the fair ones through a Mux.
func everyWay(s *bench.Server, d time.Duration) []bench.Contention {
	var list []bench.Contention
	for _, way := range bench.ContentionWays() {
		list = append(list, bench.Contention{Server: s, Way: way, Waiters: 8, Processes: 3, Time: d})
	}
	return append(list, bench.Contention{Server: s, Way: "fair", Lanes: 2, Waiters: 2, Processes: 2, Time: d},
		bench.Contention{Server: s, Way: "cohort", Lanes: 1, Waiters: 4, Time: d, Hold: time.Millisecond})
}

func TestEveryWayContendsInProcessesAndLeavesNoKey(t *testing.T) {
	s, r := realServer(t)
	for _, c := range everyWay(s, 150*time.Millisecond) {
		once(t, func() error { return contends(t, c) }) // a round of polling may have no hand-off
		if keys := keysOf(t, r); len(keys) > 0 {
			t.Errorf("%s left %q", c.Name(), keys)
		}
	}
}

// contends returns an error if there was no hand-off.
func contends(t *testing.T, c bench.Contention) error {
	res, err := c.Run(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", c.Name(), err)
	}
	con := res.Contest
	handoffs := con.Inside.TotalCount() + con.Across.TotalCount()
	if handoffs != con.Handoff.TotalCount() {
		t.Errorf("%s: %d hand-offs, %d inside and across", c.Name(), con.Handoff.TotalCount(), handoffs)
	}
	if con.WaitP99 <= 0 || con.WaitP99 > con.Longest || con.WaitBeyond < 0 || con.WaitBeyond >= 1 || con.Round <= 0 {
		t.Errorf("%s: wait p99 %v of at most %v, %v beyond, a round of %v", c.Name(), con.WaitP99, con.Longest, con.WaitBeyond, con.Round)
	}
	if res.CPU.Client <= 0 || con.Calls < con.EvalSha {
		t.Errorf("%s: %+v, %v calls with %v of EVALSHA", c.Name(), *res.CPU, con.Calls, con.EvalSha)
	}
	if handoffs == 0 {
		return fmt.Errorf("%s: no hand-off among %d acquisitions", c.Name(), res.Ops)
	}
	return nil
}

func TestEveryWayContendsOnMiniredis(t *testing.T) {
	s := miniServer(t)
	for _, c := range everyWay(s, 4*short) {
		if res, err := c.Run(context.Background()); err != nil || res.Ops < 1 {
			t.Errorf("%s: %d ops, %v", c.Name(), res.Ops, err)
		}
	}
	c := s.Pool.Get()
	defer c.Close()
	if keys, err := redis.Strings(c.Do("KEYS", "*")); err != nil || len(keys) > 0 {
		t.Errorf("left %q, %v", keys, err)
	}
}

// Fair costs one script for each acquisition, is fair, and hands over to another always; cohorts cost less. A process that
// stalls, or hardly comes to work, has fewer acquisitions, and more scripts for each.
func TestFairFiguresAreWhatFairPromises(t *testing.T) {
	s, _ := realServer(t)
	of := func(way string) *bench.Contest {
		c := bench.Contention{Server: s, Way: way, Waiters: 8, Processes: 2, Time: 500 * time.Millisecond}
		res, err := c.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return res.Contest
	}
	once(t, func() error {
		fair := of("fair")
		if fair.EvalSha < 0.99 || fair.EvalSha > 1.2 || fair.Jain < 0.95 || fair.Again > 0.01 {
			return fmt.Errorf("fair: %v EVALSHA, Jain %v, again %v", fair.EvalSha, fair.Jain, fair.Again)
		}
		return nil
	})
	once(t, func() error {
		cohort := of("cohort")
		if cohort.EvalSha > 0.5 || cohort.Jain < 0.9 || cohort.Inside.TotalCount() < cohort.Across.TotalCount() {
			return fmt.Errorf("cohort: %v EVALSHA, Jain %v, %d hand-offs inside, %d across",
				cohort.EvalSha, cohort.Jain, cohort.Inside.TotalCount(), cohort.Across.TotalCount())
		}
		return nil
	})
}

func TestOverlapOfTwoProcessesIsFound(t *testing.T) {
	c := bench.Contention{Server: &bench.Server{Name: "redis"}}
	good := [2][]bench.Tenure{{{Asked: 1, Got: 10, Left: 20}}, {{Asked: 2, Got: 20, Left: 30}}}
	if res, err := c.Judge(good); err != nil || res.Ops != 2 {
		t.Errorf("%d ops, %v", res.Ops, err)
	}
	bad := [2][]bench.Tenure{{{Asked: 1, Got: 10, Left: 20}}, {{Asked: 2, Got: 19, Left: 30}}}
	if res, err := c.Judge(bad); err == nil || !strings.Contains(err.Error(), "MUTUAL EXCLUSION VIOLATED") || res.Ops != 0 {
		t.Errorf("%d ops, %v", res.Ops, err)
	}
}

// Who never got it counts with the time until the end, and has none of the acquisitions.
func TestStarvedWaiterIsInTheFigures(t *testing.T) {
	c := bench.Contention{Server: &bench.Server{Name: "redis"}}
	res, err := c.Judge([2][]bench.Tenure{
		{{Asked: 0, Got: 1e6, Left: 2e6}, {Asked: 3e6, Got: 4e6, Left: 5e6}}, {{Asked: 100e6}},
	})
	if err != nil {
		t.Fatal(err)
	}
	con := res.Contest
	if con.Longest != 900*time.Millisecond || !con.Censored || con.Waiting != 1 {
		t.Errorf("longest %v, censored %v, %d waiting", con.Longest, con.Censored, con.Waiting)
	}
	if con.Jain != 0.5 || con.Again != 0.5 || con.Round != time.Second || con.Handoff.TotalCount() != 0 {
		t.Errorf("Jain %v, again %v, a round of %v, %d hand-offs", con.Jain, con.Again, con.Round, con.Handoff.TotalCount())
	}
	if p99 := con.WaitP99; p99 != 900*time.Millisecond || math.Abs(con.WaitBeyond-1./3) > 1e-9 {
		t.Errorf("p99 of the waits is %v, %v are beyond", p99, con.WaitBeyond)
	}
}

// A program whose main does not call Join would start itself again and again.
func TestContentionNeedsJoin(t *testing.T) {
	s := miniServer(t)
	bench.SetJoined(false)
	defer bench.SetJoined(true)
	for _, w := range []bench.Workload{bench.Contention{Server: s}, bench.Recovery{Server: s}} {
		if _, err := w.Run(context.Background()); !errors.Is(err, bench.ErrConfig) {
			t.Errorf("%s: %v", w.Name(), err)
		}
	}
}

func TestClocksOfOneMachineAgree(t *testing.T) {
	a := bench.NewClock()
	b := bench.NewClock()
	for range 100 {
		before, at, after := a(), b(), a()
		if slack := int64(100 * time.Microsecond); at < before-slack || at > after+slack {
			t.Fatalf("%d is not between %d and %d", at, before, after)
		}
	}
}

// The history of all processes is that of a lock: there is an order of the acquires and releases in which each holds
// alone, and which agrees with the clock.
func TestHistoryIsLinearizable(t *testing.T) {
	s, _ := realServer(t)
	for _, c := range everyWay(s, 300*time.Millisecond) {
		if c.Way == "floor" {
			continue
		}
		list, err := c.Tenures(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) < 2 {
			t.Fatalf("%s: a history of %d", c.Name(), len(list))
		}
		list = list[:min(len(list), 1000)]
		if got := porcupine.CheckOperationsTimeout(lockModel, history(list), time.Minute); got != porcupine.Ok {
			t.Errorf("%s: %v for a history of %d acquisitions", c.Name(), got, len(list))
		}
		broken := list[len(list)/2-1 : len(list)/2+1]
		broken[0].Left = broken[1].Left + 1 // it still holds when the next has already released
		if got := porcupine.CheckOperations(lockModel, history(broken)); got {
			t.Errorf("%s: two who held at once are in order", c.Name())
		}
	}
}

// A lockStep is an acquire, or a release.
type lockStep struct {
	waiter  int
	acquire bool
}

// lockModel has the waiter that holds as its state, -1 for none.
var lockModel = porcupine.Model{
	Init: func() any { return -1 },
	Step: func(state, input, _ any) (bool, any) {
		in := input.(lockStep)
		if in.acquire {
			return state == -1, in.waiter
		}
		return state == in.waiter, -1
	},
}

// history has each release begin when its waiter was about to send it, and end when the waiter asks again: that is after
// its answer.
func history(list []bench.Tenure) []porcupine.Operation {
	end := int64(1) << 62
	asks := map[int]int64{} // when the waiter asks again
	var ops []porcupine.Operation
	for i := len(list) - 1; i >= 0; i-- {
		x := list[i]
		released, ok := asks[x.Waiter]
		if !ok {
			released = end
		}
		asks[x.Waiter] = x.Asked
		ops = append(ops,
			porcupine.Operation{ClientId: x.Waiter, Input: lockStep{x.Waiter, true}, Call: x.Asked, Return: x.Got},
			porcupine.Operation{ClientId: x.Waiter, Input: lockStep{x.Waiter, false}, Call: x.Left, Return: released})
	}
	return ops
}
