package redigolockprom_test

import (
	"context"
	"errors"
	"flag"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/locktest"
	"github.com/redigolock/redigolock/redigolockprom"
)

var update = flag.Bool("update", false, "write testdata/metrics.txt")

// scrape returns what Prometheus would get, a line for each sample without its buckets.
func scrape(t *testing.T, m *redigolockprom.Metrics) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(m); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	if page.Code != 200 {
		t.Fatalf("%d: %s", page.Code, page.Body)
	}
	var lines []string
	for line := range strings.Lines(page.Body.String()) {
		if !strings.HasPrefix(line, "# HELP") && !strings.Contains(line, "_bucket{") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// A day in the life of locks: some are obtained, one is waited for, one is taken away, one is held for too long, one is not
// renewed in time, a reply is lost, and the server is down.
func run(t *testing.T, m *redigolockprom.Metrics) {
	server := locktest.Start(t)
	host, other := server.Locker(), server.Locker()
	host.MaxHold = time.Minute
	m.Watch(host)
	m.Watch(other)
	hold := func(locks *redigolock.Locker, d time.Duration) error {
		return locks.Do(t.Context(), "order:17", 10*time.Second, func(ctx context.Context, _ *redigolock.Lock) error {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
			return nil
		})
	}
	done := make(chan error)
	go func() { done <- hold(host, 20*time.Second) }()
	time.Sleep(time.Second)
	if _, err := other.TryAcquire(t.Context(), "order:17", time.Second); !errors.Is(err, redigolock.ErrHeld) {
		t.Fatal(err)
	}
	go func() { done <- hold(other, 3*time.Second) }()
	time.Sleep(time.Second)
	if got := scrape(t, m); !slices.Contains(got, "redigolock_held 1") || !slices.Contains(got, "redigolock_waiting 1") {
		t.Errorf("one holds, and one waits: %q", got)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}

	time.AfterFunc(time.Second, func() { server.Lose("order:17") })
	if err := hold(host, time.Hour); !errors.Is(err, redigolock.ErrLost) {
		t.Errorf("taken away: %v", err)
	}
	if err := hold(host, time.Hour); !errors.Is(err, redigolock.ErrLost) {
		t.Errorf("held for too long: %v", err)
	}
	stop := server.Refuse("READONLY You can't write against a read only replica.", "extend")
	if err := hold(host, time.Hour); !errors.Is(err, redigolock.ErrLost) {
		t.Errorf("not renewed: %v", err)
	}
	stop()
	server.LoseReplies(1, "acquire")
	if err := hold(host, 0); err != nil {
		t.Errorf("a reply was lost: %v", err)
	}
	up := server.Down()
	for i, want := range []error{redigolock.ErrUnknown, redigolock.ErrUnavailable} { // the first on a connection that was cut
		if _, err := host.TryAcquire(t.Context(), "order:17", time.Second); !errors.Is(err, want) {
			t.Errorf("down, try %d: %v", i, err)
		}
	}
	up()
	server.Refuse("NOPERM this user has no permissions to run the 'set' command", "acquire")
	if _, err := host.TryAcquire(t.Context(), "order:17", time.Second); err == nil {
		t.Error("refused, and no error")
	}
}

func TestContentionAndLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := redigolockprom.New(nil)
		run(t, m)
		got := scrape(t, m)
		for _, want := range []string{
			`redigolock_acquire_wait_seconds_count{outcome="acquired"} 6`,
			`redigolock_acquire_wait_seconds_count{outcome="held"} 1`,
			`redigolock_acquire_wait_seconds_count{outcome="unavailable"} 1`,
			`redigolock_acquire_wait_seconds_count{outcome="unknown"} 1`,
			`redigolock_acquire_wait_seconds_count{outcome="failed"} 1`,
			`redigolock_hold_seconds_count 6`,
			`redigolock_lost_total{cause="expired"} 1`,
			`redigolock_lost_total{cause="max_hold"} 1`,
			`redigolock_lost_total{cause="taken"} 1`,
			`redigolock_unknown_total 3`,
			`redigolock_held 0`,
			`redigolock_waiting 0`,
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s", want)
			}
		}
		if t.Failed() {
			t.Log(strings.Join(got, "\n"))
		}
		for _, line := range got {
			if strings.Contains(line, "order") {
				t.Errorf("a key is shown: %s", line)
			}
		}
	})
}

// What dashboards and alerts are written against changes only with this file.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := redigolockprom.New(func(key string) string { class, _, _ := strings.Cut(key, ":"); return class })
		run(t, m)
		number := regexp.MustCompile(` [-+.e0-9]+$`)
		var names []string
		for _, line := range scrape(t, m) {
			names = append(names, number.ReplaceAllString(line, ""))
		}
		got := strings.Join(slices.Compact(names), "\n") + "\n"
		if *update {
			if err := os.WriteFile("testdata/metrics.txt", []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile("testdata/metrics.txt")
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the names are\n%s\nwant\n%s\nTo accept them: go test -run Names -update", got, want)
		}
	})
}

// The Observer that was there before goes on being told.
func TestWatchKeepsTheObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := locktest.Start(t)
		locks := server.Locker()
		var told []string
		tell := func(what string) { told = append(told, what) }
		locks.Observer = &redigolock.Observer{
			Waiting:   func(ctx context.Context, _, _ string) context.Context { tell("waiting"); return ctx },
			Acquired:  func(context.Context, *redigolock.Lock, time.Duration) { tell("acquired") },
			GaveUp:    func(context.Context, string, time.Duration, error) { tell("gave up") },
			Contended: func(context.Context, string, *redigolock.HeldError) { tell("contended") },
			Failed:    func(context.Context, string, string, error) { tell("failed") },
			Extended:  func(context.Context, *redigolock.Lock, time.Duration) { tell("extended") },
			Lost:      func(context.Context, *redigolock.Lock, error) { tell("lost") },
			Released:  func(context.Context, *redigolock.Lock, time.Duration, error) { tell("released") },
			Unknown:   func(context.Context, string, string, error) { tell("unknown") },
		}
		redigolockprom.New(nil).Watch(locks)
		k, err := locks.TryAcquire(t.Context(), "a", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := locks.TryAcquire(t.Context(), "a", time.Second); !errors.Is(err, redigolock.ErrHeld) {
			t.Fatal(err)
		}
		if err := k.Extend(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		stop := server.Refuse("MISCONF no disk", "extend")
		if err := k.Extend(t.Context(), time.Second); err == nil {
			t.Fatal("refused, and nil")
		}
		stop()
		server.LoseReplies(2, "extend")
		if err := k.Extend(t.Context(), time.Second); !errors.Is(err, redigolock.ErrUnknown) {
			t.Fatal(err)
		}
		server.Lose("a")
		<-k.KeepAlive(t.Context()).Done()
		if err := k.Release(t.Context()); !errors.Is(err, redigolock.ErrNotHeld) {
			t.Fatal(err)
		}
		want := "waiting acquired waiting contended gave up extended failed unknown unknown failed lost failed released"
		if got := strings.Join(told, " "); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}

// A Quorum, and a Locker, are one set of metrics.
func TestWatchQuorum(t *testing.T) {
	q := &redigolock.Quorum{}
	for range 3 {
		q.Pools = append(q.Pools, locktest.Start(t).Pool())
	}
	locks := locktest.Start(t).Locker()
	m := redigolockprom.New(nil)
	m.WatchQuorum(q)
	m.Watch(locks)
	vote, err := q.TryAcquire(t.Context(), "a", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	k, err := locks.TryAcquire(t.Context(), "a", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got := scrape(t, m); !slices.Contains(got, "redigolock_held 2") {
		t.Errorf("got %q", got)
	}
	if err := errors.Join(vote.Release(t.Context()), k.Release(t.Context()), q.Close()); err != nil {
		t.Fatal(err)
	}
}
