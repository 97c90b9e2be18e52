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

// Who stalls between asking the server and telling the process is off by what was done meanwhile.
func TestContentionFiguresBelongTogether(t *testing.T) {
	s, _ := realServer(t)
	once(t, func() error {
		res, err := bench.Contention{Server: s, Waiters: 4, Time: 300 * time.Millisecond}.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		c := res.Contest
		if c.Jain < 0.25 || c.Jain > 1 {
			t.Errorf("Jain %v is outside of 1/4 to 1", c.Jain)
		}
		if c.Longest <= 0 || c.Longest > res.Elapsed+10*time.Second {
			t.Errorf("the longest wait is %v of %v", c.Longest, res.Elapsed)
		}
		switch {
		case c.Handoff.TotalCount() > res.Ops: // a crowd in one Locker hands each on: see crowd.go
			err = fmt.Errorf("%d handoffs to another waiter among %d acquisitions", c.Handoff.TotalCount(), res.Ops)
		case c.Sent < 1.9: // SET, EVALSHA; less than 2 by what was under way when it was counted
			err = fmt.Errorf("%v commands sent for each acquisition", c.Sent)
		case c.Calls < c.Sent+1: // the release calls GET and DEL
			err = fmt.Errorf("%v executed for each acquisition, of %v that were sent", c.Calls, c.Sent)
		}
		return err
	})
}

func TestContentionEndsAfterItsOps(t *testing.T) {
	s := miniServer(t)
	res, err := bench.Contention{Server: s, Waiters: 2, Time: time.Hour, Ops: 20}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if res.Ops < 20 {
		t.Errorf("ended after %d acquisitions", res.Ops)
	}
	if c := res.Contest; c.Calls != c.Sent {
		t.Errorf("miniredis does not count: %v executed, %v sent", c.Calls, c.Sent)
	}
}

// The time is what the holder takes before its release, not what it holds.
func TestHandoffDoesNotCountTheHold(t *testing.T) {
	t.Parallel()
	s, _ := realServer(t)
	const hold = 300 * time.Millisecond
	res, err := bench.Contention{Server: s, Waiters: 2, Hold: hold, Time: time.Hour, Ops: 6}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if h := res.Contest.Handoff; h.TotalCount() > 0 && h.Min() >= (5*hold).Nanoseconds() {
		t.Errorf("the shortest handoff is %v", time.Duration(h.Min()))
	}
	if res.Elapsed < 5*hold {
		t.Errorf("6 holds of %v took %v", hold, res.Elapsed)
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
