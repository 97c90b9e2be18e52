package bench_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
)

func TestCostIsWithoutOurAsking(t *testing.T) {
	s, _ := realServer(t)
	c := s.Pool.Get()
	defer c.Close()
	const ping = len("*1\r\n$4\r\nPING\r\n") + len("+PONG\r\n")
	for _, n := range []int{0, 100} {
		cost := s.CostOf(func() {
			for range n {
				if _, err := c.Do("PING"); err != nil {
					t.Error(err)
				}
			}
		})
		if want := (bench.Cost{Calls: int64(n), Reads: int64(n), Bytes: int64(n * ping)}); cost != want {
			t.Errorf("%d PINGs cost %+v, want %+v", n, cost, want)
		}
		if _, err := c.Do("PING"); err != nil { // dials the first time, which sends nothing
			t.Fatal(err)
		}
	}
}

func TestSumCallsLeavesOurAskingOut(t *testing.T) {
	info := "# Commandstats\r\ncmdstat_get:calls=3,usec=9,usec_per_call=3.00\r\ncmdstat_info:calls=100,usec=1\r\n" +
		"cmdstat_client|list:calls=2,usec=1\r\ncmdstat_evalsha:calls=7,usec=1\r\n"
	if all, evalsha := bench.SumCalls(info); all != 12 || evalsha != 7 {
		t.Errorf("got %d, %d of EVALSHA, want 12 and 7", all, evalsha)
	}
}

// measured are the figures of a Run by their units.
func measured(t *testing.T, w bench.Workload) map[string]float64 {
	t.Helper()
	res, err := w.Run(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", w.Name(), err)
	}
	of := map[string]float64{}
	for _, m := range res.Metrics() {
		of[m.Unit] = m.Value
	}
	return of
}

// Who has no figure must not seem to cost nothing.
func TestCostIsLeftOutWhereItIsNotKnown(t *testing.T) {
	s, _ := realServer(t)
	addRival(t, bench.RivalKind{Name: "far", Open: openNothing, Server: "other"})
	addRival(t, bench.RivalKind{Name: "near", Open: openNothing})
	of := func(approach string) bench.Uncontended {
		return bench.Uncontended{Server: s, Approach: approach, Time: 50 * time.Millisecond}
	}
	load := func(approach string) bench.Load { // longer than a machine stalls, or there may be no op
		return bench.Load{Of: bench.Uncontended{Server: s, Approach: approach, Time: time.Second}, Rate: 200}
	}
	for _, tt := range []struct {
		of     bench.Workload
		has    string
		hasNot string
	}{
		{of("floor"), "cmds/op reads/op net-B/op", ""},
		{of("near"), "cmds/op reads/op net-B/op", ""},
		{of("far"), "", "cmds/op net-B/op server-cpu-ns/op"},
		{load("floor"), "cmds/op reads/op net-B/op", ""},
		{load("far"), "", "cmds/op reads/op net-B/op"},
		{bench.Contention{Server: s, Way: "fair"}, "cmds/acq evalsha/acq reads/acq net-B/acq", "cmds/op reads/op net-B/op"},
		{bench.Contention{Server: s, Way: "other-locker"}, "cmds/acq reads/acq net-B/acq", ""},
		{bench.Contention{Server: s, Way: "far-locker"}, "acq/s wait-p50-ns", "cmds/acq evalsha/acq reads/acq net-B/acq"},
		{bench.Uncontended{Server: miniServer(t), Approach: "floor"}, "", "cmds/op reads/op net-B/op"},
	} {
		got := measured(t, tt.of)
		for unit := range strings.FieldsSeq(tt.has) {
			if v, ok := got[unit]; !ok || v < 0 {
				t.Errorf("%s has %s %v in %v", tt.of.Name(), unit, v, got)
			}
		}
		for unit := range strings.FieldsSeq(tt.hasNot) {
			if v, ok := got[unit]; ok {
				t.Errorf("%s has %s %v", tt.of.Name(), unit, v)
			}
		}
	}
}

// SET, EVALSHA, and the GET and DEL of the script.
func TestCostOfTheFloorIsWhatItSends(t *testing.T) {
	s, _ := realServer(t)
	of := measured(t, bench.Uncontended{Server: s, Approach: "floor", Time: 50 * time.Millisecond})
	if n := of["cmds/op"]; n < 4 || n > 4.1 {
		t.Errorf("%v commands an op", n)
	}
	if n := of["net-B/op"]; n < 200 || n > 600 { // key, token, script's hash, and what is around them
		t.Errorf("%v bytes an op", n)
	}
}
