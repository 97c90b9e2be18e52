package gocronlock_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/examples/gocronlock"
	"github.com/redigolock/redigolock/locktest"
)

// host starts a scheduler of a job that takes 50 ms and is due every 10 s, from a time that all hosts agree on, more or less.
func host(t *testing.T, begin time.Time, runs *atomic.Int64, opt gocron.SchedulerOption) {
	t.Helper()
	s, err := gocron.NewScheduler(opt)
	if err != nil {
		t.Fatal(err)
	}
	job := gocron.NewTask(func() {
		time.Sleep(50 * time.Millisecond)
		runs.Add(1)
	})
	_, err = s.NewJob(gocron.DurationJob(10*time.Second), job, gocron.WithName("report"),
		gocron.WithStartAt(gocron.WithStartDateTime(begin)))
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
	})
}

func TestLocker(t *testing.T) {
	for minHold, want := range map[time.Duration]int64{0: 9, 5 * time.Second: 3} {
		synctest.Test(t, func(t *testing.T) {
			server := locktest.Start(t)
			var runs atomic.Int64
			for i := range 3 { // each is 100 ms later than the one before
				locks := server.Locker()
				locks.MinHold = minHold
				begin := time.Now().Add(time.Second + time.Duration(i)*100*time.Millisecond)
				host(t, begin, &runs, gocron.WithDistributedLocker(gocronlock.Locker{Locks: locks, TTL: 30 * time.Second}))
			}
			time.Sleep(25 * time.Second)
			if n := runs.Load(); n != want {
				t.Errorf("with MinHold %v the job ran %d times on three occasions, want %d", minHold, n, want)
			}
		})
	}
}

// A job that takes longer than the ttl keeps its lock.
func TestLockerKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := locktest.Start(t)
		l := gocronlock.Locker{Locks: server.Locker(), TTL: time.Second}
		k, err := l.Lock(t.Context(), "report")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := l.Lock(t.Context(), "report"); !errors.Is(err, redigolock.ErrHeld) {
			t.Errorf("after a minute: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := k.Unlock(ended); err != nil {
			t.Errorf("unlock with a context that has ended: %v", err)
		}
	})
}

func TestElector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := locktest.Start(t)
		ctx, cancel := context.WithCancel(t.Context())
		var runs atomic.Int64
		var electors []*gocronlock.Elector
		ended := make(chan error)
		for range 3 {
			e, locks := &gocronlock.Elector{}, server.Locker()
			electors = append(electors, e)
			go func() { ended <- e.Campaign(ctx, locks, "lock:scheduler", 4*time.Second) }()
			host(t, time.Now().Add(time.Second), &runs, gocron.WithDistributedElector(e))
		}
		leaders := func() (n int) {
			for _, e := range electors {
				if e.IsLeader(ctx) == nil {
					n++
				}
			}
			return n
		}
		time.Sleep(25 * time.Second)
		if n := runs.Load(); n != 3 {
			t.Errorf("the job ran %d times on three occasions", n)
		}
		server.Lose("lock:scheduler")
		time.Sleep(5 * time.Second) // the old leader's renewal is refused, or its time is over
		if n := leaders(); n != 1 {
			t.Errorf("%d leaders after the lock was lost", n)
		}
		up := server.Down()
		time.Sleep(5 * time.Second)
		if n := leaders(); n != 0 {
			t.Errorf("%d leaders while Redis is down", n)
		}
		up()
		time.Sleep(5 * time.Second)
		if n := leaders(); n != 1 {
			t.Errorf("%d leaders after Redis was down", n)
		}
		cancel()
		for range electors {
			if err := <-ended; !errors.Is(err, context.Canceled) && err != nil {
				t.Errorf("Campaign: %v", err)
			}
		}
	})
}
