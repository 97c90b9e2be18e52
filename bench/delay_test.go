package bench_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
)

// behind is a server behind a delay, until the end of the test.
func behind(t *testing.T, s *bench.Server, delay time.Duration) *bench.Server {
	t.Helper()
	d, err := s.Behind(context.Background(), delay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// An uncontended acquire and release are two round trips. Half a millisecond is what a timer of the runtime would miss.
func TestADelayIsAddedToEachRoundTrip(t *testing.T) {
	near, _ := realServer(t)
	for _, delay := range []time.Duration{500 * time.Microsecond, 5 * time.Millisecond} {
		s := behind(t, near, delay)
		u := bench.Uncontended{Server: s, Approach: "floor", Goroutines: 2, Time: 200 * time.Millisecond}
		once(t, func() error {
			res, err := u.Run(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			fastest := time.Duration(res.Latency.Min()) // a busy machine adds to most of the others
			if fastest < 2*delay*99/100 {
				t.Errorf("delay %v: the fastest takes %v", delay, fastest)
			}
			if res.CPU.Client >= 0 || res.CPU.Server < 0 || res.Allocs >= 0 {
				t.Errorf("delay %v: %+v, %v allocs: those of the link, too", delay, *res.CPU, res.Allocs)
			}
			if fastest > 2*delay+time.Millisecond {
				return fmt.Errorf("delay %v: the fastest takes %v", delay, fastest)
			}
			return nil
		})
	}
}

// All workloads go through it, those in other processes too; none leaves a key.
func TestWorkloadsBehindADelay(t *testing.T) {
	near, r := realServer(t)
	s := behind(t, near, 5*time.Millisecond)
	list := []bench.Workload{
		bench.Contention{Server: s, Way: "polling", Waiters: 4, Processes: 2, Time: 300 * time.Millisecond},
		bench.Contention{Server: s, Way: "fair", Waiters: 4, Processes: 2, Hold: time.Millisecond, Time: 300 * time.Millisecond},
		bench.Load{Of: bench.Uncontended{Server: s, Approach: "fair", Goroutines: 8, Time: 300 * time.Millisecond}, Keys: "hot", Rate: 50},
		bench.Recovery{Server: s, Way: "fair", TTL: time.Second},
	}
	for _, w := range list {
		res, err := w.Run(context.Background())
		if err != nil || res.Ops < 1 {
			t.Fatalf("%s: %d ops, %v", w.Name(), res.Ops, err)
		}
		if c := res.Contest; c != nil && (res.CPU.Client <= 0 || c.Handoff.TotalCount() > 0 && time.Duration(c.Handoff.Min()) < 4*time.Millisecond) {
			t.Errorf("%s: %+v, a hand-off of %v", w.Name(), *res.CPU, time.Duration(c.Handoff.Min()))
		}
		if !strings.HasSuffix(w.Name(), "/delay=5ms") {
			t.Error(w.Name())
		}
	}
	if keys := keysOf(t, r); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

func TestADelayOnASocketAndOnMiniredis(t *testing.T) {
	_, r := realServer(t)
	socket, err := bench.Open(context.Background(), "unix://"+r.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(socket.Close)
	for _, near := range []*bench.Server{socket, miniServer(t)} {
		u := bench.Uncontended{Server: behind(t, near, time.Millisecond), Approach: "locker", Time: 4 * short}
		res, err := u.Run(context.Background())
		if err != nil || time.Duration(res.Latency.Min()) < 2*time.Millisecond*99/100 || !strings.Contains(u.Name(), "/server="+near.Name+"/") {
			t.Errorf("%v: %v", u.Name(), err)
		}
	}
}

func TestWhatCannotBeBehindADelayIsRefused(t *testing.T) {
	near := miniServer(t)
	for _, d := range []time.Duration{0, -1, bench.MaxDelay + 1} {
		if _, err := near.Behind(context.Background(), d); !errors.Is(err, bench.ErrConfig) {
			t.Errorf("%v: %v", d, err)
		}
	}
	for url, want := range map[string]string{
		"redis://u:" + secret + "@h/3": "tcp h:6379 redis://u:" + secret + "@l:1/3", "redis://h:7": "tcp h:7 redis://l:1",
		"unix://u:" + secret + "@/a/b?db=3": "unix /a/b redis://u:" + secret + "@l:1/3",
		"unix:///a/b":                       "unix /a/b redis://l:1",
		"rediss://:" + secret + "@h":        "", "redis-sentinel://:" + secret + "@a,b:1?master=m": "", secret + "\x00": "",
	} {
		network, addr, through, err := bench.Linked(url)
		if want == "" {
			if !errors.Is(err, bench.ErrConfig) || strings.Contains(err.Error(), secret) {
				t.Errorf("%v", err)
			}
		} else if got := network + " " + addr + " " + through("l:1"); err != nil || got != want {
			t.Errorf("got %s, want %s, %v", got, want, err)
		}
	}
	s := behind(t, near, time.Millisecond)
	if !slices.Contains(bench.Rivals(), "far-locker") {
		t.Fatal("there is no rival with a server of its own")
	}
	u := bench.Uncontended{Server: s, Approach: "far-locker"}
	for _, w := range []bench.Workload{u, bench.Load{Of: u, Rate: 1}, bench.Load{Of: u, Rate: 1, Keys: "hot"},
		bench.Contention{Server: s, Way: "far-locker"}, bench.Recovery{Server: s, Way: "far-locker"}} {
		if _, err := w.Run(context.Background()); !errors.Is(err, bench.ErrConfig) {
			t.Errorf("%s: %v", w.Name(), err)
		}
	}
}
