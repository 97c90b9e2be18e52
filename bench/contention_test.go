package bench_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
)

func TestJain(t *testing.T) {
	for _, tt := range []struct {
		counts []int64
		want   float64
	}{
		{nil, 0},
		{[]int64{0, 0}, 0},
		{[]int64{7}, 1},
		{[]int64{5, 5, 5, 5}, 1},
		{[]int64{9, 0, 0}, 1.0 / 3},
		{[]int64{1, 2, 3}, 36.0 / 42},
	} {
		if got := bench.Jain(tt.counts); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("Jain(%v) = %v, want %v", tt.counts, got, tt.want)
		}
	}
}

// A figure of a lock that did not hold is worse than none: here somebody deletes the key under its holders.
func TestContentionFailsWhenTheLockDoesNotHold(t *testing.T) {
	for _, processes := range []int{1, 8} { // 8: each has one waiter, and sees no other's
		t.Run(fmt.Sprint(processes), func(t *testing.T) { contendsWithSaboteur(t, processes) })
	}
}

func contendsWithSaboteur(t *testing.T, processes int) {
	s, r := realServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	saboteur := make(chan struct{})
	go func() {
		defer close(saboteur)
		for ctx.Err() == nil {
			// The others are for warming up.
			if keys, _ := redis.Strings(r.Do("KEYS", "lockbench:*:8")); len(keys) > 0 {
				_, _ = r.Do("DEL", keys[0])
			}
		}
	}()
	c := bench.Contention{Server: s, Waiters: 8, Processes: processes, Hold: 2 * time.Millisecond, Time: 20 * time.Second}
	res, err := c.Run(ctx)
	cancel()
	<-saboteur
	if err == nil {
		t.Fatalf("it reported %d ops", res.Ops)
	}
	text := err.Error()
	if !strings.Contains(text, "MUTUAL EXCLUSION VIOLATED") && !strings.Contains(text, "did not hold") {
		t.Errorf("unexpected error: %v", err)
	}
	if res.Ops != 0 || res.Contest != nil {
		t.Errorf("figures came with it: %+v", res)
	}
}

// The time is what the holder takes before its release, not what it holds.
func TestHandoffDoesNotCountTheHold(t *testing.T) {
	t.Parallel()
	s := miniServer(t)
	const hold = 300 * time.Millisecond
	res, err := bench.Contention{Server: s, Waiters: 2, Hold: hold, Time: 6 * hold}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if h := res.Contest.Handoff; h.TotalCount() > 0 && h.Min() >= hold.Nanoseconds() || res.Ops > 7 {
		t.Errorf("the shortest hand-off is %v; %d were made in 6 holds", time.Duration(h.Min()), res.Ops)
	}
}

func TestContentionOnAServerThatDeniesIsAnErrorNotAnEmptyResult(t *testing.T) {
	s, r := realServer(t)
	if _, err := r.Do("CONFIG", "SET", "maxmemory", "1"); err != nil {
		t.Fatal(err)
	}
	_, err := bench.Contention{Server: s, Time: short}.Run(context.Background())
	var refused redis.Error
	if !errors.As(err, &refused) || !strings.HasPrefix(string(refused), "OOM") {
		t.Errorf("%v", err)
	}
}

// Each way contends in several processes; the fair ones also through a Mux.
func TestEveryWayContendsInProcessesAndLeavesNoKey(t *testing.T) {
	s, r := realServer(t)
	list := []bench.Contention{{Way: "fair", Lanes: 2, Waiters: 2, Processes: 2}, {Way: "cohort", Lanes: 1, Waiters: 4, Hold: time.Millisecond}}
	for _, way := range bench.ContentionWays() {
		list = append(list, bench.Contention{Way: way, Waiters: 8, Processes: 3})
	}
	for _, c := range list {
		c.Server, c.Time = s, 150*time.Millisecond
		once(t, func() error { return contends(t, c) }) // a round of polling may have no hand-off
		if keys := keysOf(t, r); len(keys) > 0 {
			t.Errorf("%s left %q", c.Name(), keys)
		}
	}
}

// contends returns an error for what a machine that stalls can spoil: no hand-off, or work at the edges of the time.
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
	if con.WaitP50 <= 0 || con.WaitP50 > con.WaitP99 || con.WaitP99 > con.Longest || con.WaitBeyond < 0 || con.WaitBeyond >= 1 || con.Round <= 0 {
		t.Errorf("%s: wait p99 %v of at most %v, %v beyond, a round of %v", c.Name(), con.WaitP99, con.Longest, con.WaitBeyond, con.Round)
	}
	if res.CPU.Client <= 0 || res.Cost.Calls < res.Cost.EvalSha || con.Jain < 1/float64(c.Waiters) || con.Jain > 1 {
		t.Errorf("%s: %+v, %+v, Jain %v", c.Name(), *res.CPU, *res.Cost, con.Jain)
	}
	if handoffs == 0 || handoffs > res.Ops { // a crowd in one Locker hands each on: see crowd.go
		return fmt.Errorf("%s: %d hand-offs among %d acquisitions", c.Name(), handoffs, res.Ops)
	}
	if c.Way == "polling" && float64(res.Cost.Calls) < 3.9*float64(res.Ops) { // SET, EVALSHA, GET, DEL
		return fmt.Errorf("%d executed for %d acquisitions", res.Cost.Calls, res.Ops)
	}
	return nil
}

// Fair costs one script for each acquisition, is fair, and hands over to another always; cohorts cost less. A process that
// stalls, or hardly comes to work, has fewer acquisitions, and more scripts for each.
func TestFairFiguresAreWhatFairPromises(t *testing.T) {
	s, _ := realServer(t)
	of := func(way string) (c *bench.Contest, scripts float64) {
		res, err := bench.Contention{Server: s, Way: way, Waiters: 8, Processes: 2, Time: 500 * time.Millisecond}.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return res.Contest, float64(res.Cost.EvalSha) / float64(res.Ops)
	}
	once(t, func() error {
		fair, scripts := of("fair")
		if scripts < 0.99 || scripts > 1.2 || fair.Jain < 0.95 || fair.Again > 0.01 {
			return fmt.Errorf("fair: %v EVALSHA, Jain %v, again %v", scripts, fair.Jain, fair.Again)
		}
		return nil
	})
	once(t, func() error {
		cohort, scripts := of("cohort")
		if scripts > 0.5 || cohort.Jain < 0.9 || cohort.Inside.TotalCount() < cohort.Across.TotalCount() {
			return fmt.Errorf("cohort: %v EVALSHA, Jain %v, %d hand-offs inside, %d across",
				scripts, cohort.Jain, cohort.Inside.TotalCount(), cohort.Across.TotalCount())
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
	if con.Longest != 900*time.Millisecond || con.Waiting != 1 {
		t.Errorf("longest %v, %d waiting", con.Longest, con.Waiting)
	}
	if con.Jain != 0.5 || con.Again != 0.5 || con.Round != time.Second || con.Handoff.TotalCount() != 0 {
		t.Errorf("Jain %v, again %v, a round of %v, %d hand-offs", con.Jain, con.Again, con.Round, con.Handoff.TotalCount())
	}
	if con.WaitP50 >= con.WaitP99 || con.WaitP50 <= 0 {
		t.Errorf("half of the waits are at most %v", con.WaitP50)
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
