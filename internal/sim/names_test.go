package sim_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

var learned struct {
	sync.Once
	names map[string]string
}

// scriptNames are the names of the library's scripts, by their hashes, whatever those are. They are learned by asking for each
// script once, outside of any world, on the first call, which needs t.
func scriptNames(t *testing.T) map[string]string {
	learned.Do(func() {
		learned.names = map[string]string{}
		synctest.Test(t, learnNames)
	})
	return learned.names
}

func learnNames(t *testing.T) {
	s := sim.NewServer(t)
	seen := 0
	learn := func(name string, _ error) { // a verb that fails has sent its script all the same
		all := s.Requests()
		for _, r := range all[seen:] {
			if hash := r.Args; r.Name == "EVALSHA" && learned.names[hash[0]] == "" {
				learned.names[hash[0]] = name
			}
		}
		seen = len(all)
	}
	ctx, c, ttl := context.Background(), dial(t, s.Link), time.Minute
	learn("setnx", redigolock.SetNXScript(ctx, c, "k", "token", ttl))
	_, err := redigolock.Verify(ctx, c, "k", "token")
	learn("verify", err)
	learn("extend", redigolock.Extend(ctx, c, "k", "token", ttl))
	_, err = redigolock.Fence(ctx, c, "k", "token")
	learn("fence", err)
	_, err = redigolock.Inspect(ctx, c, "k")
	learn("inspect", err)
	learn("release", redigolock.Release(ctx, c, "k", "token"))
	learn("guard", redigolock.Guard(ctx, c, "guard", 1))
	_, err = redigolock.GuardDo(ctx, c, "{guard}", 1, "SET", "{guard}:x", 1)
	learn("guarddo", err)
	learnLockers(t, s, learn)
}

func learnLockers(t *testing.T, s *sim.Server, learn func(string, error)) {
	ctx, ttl := context.Background(), time.Minute
	minHold := &redigolock.Locker{Pool: s.Pool(), MinHold: time.Second}
	defer minHold.Close()
	k, _ := minHold.TryAcquire(ctx, "m", ttl)
	learn("leave", k.Release(ctx))

	fair := []*redigolock.Locker{{Pool: s.Pool(), Fair: true}, {Pool: s.Pool(), Fair: true}}
	defer fair[0].Close()
	defer fair[1].Close()
	k, err := fair[0].TryAcquire(ctx, "f", ttl)
	learn("try", err)
	learn("fairextend", k.Extend(ctx, ttl))
	tired, cancel := context.WithCancel(ctx)
	gaveUp := make(chan error)
	go func() {
		_, err := fair[1].Acquire(tired, "f", ttl)
		gaveUp <- err
	}()
	time.Sleep(time.Millisecond)
	learn("enter", nil)
	time.Sleep(5 * time.Second)
	learn("poke", nil)
	cancel()
	<-gaveUp
	time.Sleep(time.Second)
	learn("quit", nil)
	learn("rel", k.Release(ctx))
}

// TestScriptsHaveTheirNames holds what the checks go by.
func TestScriptsHaveTheirNames(t *testing.T) {
	have := map[string]bool{}
	for _, name := range scriptNames(t) {
		have[name] = true
	}
	for _, name := range []string{"setnx", "verify", "extend", "fence", "inspect", "release", "guard", "guarddo", "leave",
		"try", "fairextend", "enter", "poke", "quit", "rel"} {
		if !have[name] {
			t.Errorf("no script is known as %s", name)
		}
	}
}
