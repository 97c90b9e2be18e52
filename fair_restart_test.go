package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// 300 keys are waited for over 8 pooled connections, or over a Mux with one, when the server stands still and then starts
// again. Each wants a connection for what was lost with the old one: a POKE, a QUIT, the REL of a lost TRY. No more than 8 are
// used at a time, however slow the server is after its start.
func TestFairRestartMakesNoStormOfConnections(t *testing.T) {
	for name, tt := range map[string]struct {
		mux  bool
		held bool // by another Locker: those who wait are queued
		try  bool // TryAcquire, whose TRYs are lost and owed
	}{
		"queued":             {held: true},
		"queued, over a Mux": {held: true, mux: true},
		"trying":             {},
		"trying, over a Mux": {mux: true},
		"owing":              {try: true},
		"owing, over a Mux":  {try: true, mux: true},
	} {
		t.Run(name, func(t *testing.T) {
			inFairBubble(t, func(t *testing.T, s *sim.Server) {
				link, l := linkedFair(t, s, tt.mux)
				const keys = 300
				if other := simFair(t, s); tt.held {
					for i := range keys {
						mustGet(t)(other.Acquire(bg, fmt.Sprint("key", i), time.Hour))
					}
				}
				goOn := func() {}
				if !tt.held {
					goOn = s.Pause()
				}
				ctx, cancel := context.WithCancel(bg)
				var wg sync.WaitGroup
				for i := range keys {
					wg.Go(func() {
						acquire := l.Acquire
						if tt.try {
							acquire = l.TryAcquire
						}
						k, err := acquire(ctx, fmt.Sprint("key", i), time.Hour)
						if err == nil {
							<-ctx.Done()
							if err := k.Release(bg); err != nil {
								t.Error(err)
							}
						} else if ctx.Err() == nil && !errors.Is(err, redigolock.ErrUnknown) && !errors.Is(err, redigolock.ErrUnavailable) {
							t.Error(err)
						}
					})
				}
				time.Sleep(time.Second)
				if tt.held {
					goOn = s.Pause() // POKEs are lost
				}
				time.Sleep(3 * time.Second)
				accept := link.RefuseDials()
				link.Cut()
				goOn()
				time.Sleep(time.Second)
				link.Delay(100 * time.Millisecond) // there is much to do
				most, stop := mostConns(link)
				before := link.Dials()
				accept()
				time.Sleep(time.Second)
				link.Delay(time.Millisecond)
				time.Sleep(7 * time.Second)
				stop()
				t.Logf("%d connections at a time, %d dials; %d owed", *most, link.Dials()-before, l.Stats().Owed)
				pooled := 8 + 1 // and the subscription
				if tt.mux {
					pooled = 2
				}
				if *most > pooled+8+4 { // four dials may go on that their callers have left
					t.Errorf("%d connections at a time, want at most 12 beside %d", *most, pooled)
				}
				if n := l.Stats().Owed; n > 0 {
					t.Errorf("%d are still owed", n)
				}
				cancel()
				wg.Wait()
				time.Sleep(time.Minute)
				for _, key := range s.Miniredis().Keys() {
					if held, _ := redis.String(s.Do("GET", key)); !tt.held {
						t.Fatalf("%s is left with %q", key, held)
					}
				}
			})
		})
	}
}

// linkedFair is a fair Locker on a link of its own, whose dials take a while.
func linkedFair(t *testing.T, s *sim.Server, mux bool) (*sim.Link, *redigolock.Locker) {
	t.Helper()
	link := s.NewLink("waiters")
	link.SlowDials(20 * time.Millisecond)
	link.Delay(time.Millisecond)
	p, err := redigolock.NewPool("redis://sim", link.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	p.MaxActive, p.MaxIdle = 8, 8
	if !mux {
		return link, simLocker(t, &redigolock.Locker{Pool: p, Fair: true})
	}
	m := &redigolock.Mux{Pool: p}
	t.Cleanup(func() { m.Close() })
	return link, simLocker(t, &redigolock.Locker{Pool: m, Fair: true})
}

// mostConns looks every millisecond how many connections there are, until stop is called.
func mostConns(link *sim.Link) (most *int, stop func()) {
	most = new(int)
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				*most = max(*most, link.Conns())
			}
		}
	})
	return most, func() {
		close(over)
		wg.Wait()
		synctest.Wait()
	}
}
