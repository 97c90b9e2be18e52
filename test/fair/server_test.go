package fair

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// What happens to the server or to the connections costs the waiters a poke, not the lock. Of three Lockers one holds the
// lock and two wait when it happens.
func TestFairSurvivesTheServer(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		happen func(r *fairRig)
		lost   bool // the holder loses its lock
	}{
		"script flush":     {nil, func(r *fairRig) { r.Do("SCRIPT", "FLUSH") }, false},
		"subscribers cut":  {nil, func(r *fairRig) { r.Do("CLIENT", "KILL", "TYPE", "pubsub") }, false},
		"all clients cut":  {nil, func(r *fairRig) { r.Do("CLIENT", "KILL", "TYPE", "normal"); r.Do("CLIENT", "KILL", "TYPE", "pubsub") }, false},
		"flushall":         {nil, func(r *fairRig) { r.Do("FLUSHALL") }, true},
		"restart, no data": {nil, func(r *fairRig) { r.OK(r.Server.Restart()) }, true},
		"restart, its data": {[]string{"--appendonly", "yes", "--appendfsync", "always"},
			func(r *fairRig) {
				r.OK(r.Server.Restart())
				eventually(r.T, "it has loaded its data", func() bool { _, err := r.Server.Do("GET", r.Key); return err == nil })
			}, false},
		"hangs for a while": {nil, func(r *fairRig) {
			r.Server.Pause()
			time.AfterFunc(300*time.Millisecond, r.Server.Resume)
		}, false},
		"queue deleted": {nil, func(r *fairRig) { r.Do("DEL", r.Queue) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFairRig(t, tt.args...)
			k := r.Must(r.Other().Acquire(bg, r.Key, time.Hour))
			a, b := waits(bg, r.Other(), r.Key, fairTestTTL), waits(bg, r.Locker, r.Key, fairTestTTL)
			r.Queued(2)
			tt.happen(r)
			if !tt.lost {
				r.OK(k.Release(bg))
			}
			begin := time.Now()
			for range 2 {
				var x acquired
				select {
				case x = <-a:
				case x = <-b:
				case <-time.After(10 * time.Second):
					t.Fatal("nobody gets the lock")
				}
				r.OK(x.Err)
				r.Valid(x.K)
				if took := time.Since(begin); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				r.OK(x.K.Release(bg))
			}
			r.Gone()
		})
	}
}

// While the server is away waiters wait, and it costs them nothing but that.
func TestFairServerAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Locker.OpTimeout = shortOp
		k := r.Must(r.Locker.Acquire(bg, r.Key, time.Hour))
		r.OK(k.Release(bg))
		r.Server.Kill()
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		gone, cancel := context.WithTimeout(bg, 300*time.Millisecond)
		defer cancel()
		_, err := r.Locker.Acquire(gone, r.Key, fairTestTTL)
		wants(t, err, context.DeadlineExceeded)
		r.OK(r.Server.Restart())
		r.OK(r.Got("the waiter", waiter).Release(bg))
		r.Gone()
	})
}

// What a user may not do is the waiter's error at once.
func TestFairRightsThatAreMissing(t *testing.T) {
	r := newFairRig(t)
	k := r.Must(r.Other().Acquire(bg, r.Key, time.Hour))
	for name, rights := range map[string][]any{
		"scripts":   {"~*", "&*", "+@all", "-evalsha", "-eval"},
		"queue":     {"~lock", "&*", "+@all"},
		"pubsub":    {"~*", "&*", "+@all", "-pubsub"},
		"channel":   {"~*", "resetchannels", "+@all"},
		"subscribe": {"~*", "&*", "+@all", "-subscribe"},
		"rpush":     {"~*", "&*", "+@all", "-rpush"},
	} {
		r.Do("ACL", append([]any{"SETUSER", "u", "reset", "on", ">pw"}, rights...)...)
		pool, err := redigolock.NewPool(strings.Replace(r.Real().URL(), "redis://", "redis://u:pw@", 1))
		r.OK(err)
		l := &redigolock.Locker{Pool: pool, Fair: true}
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		_, err = l.Acquire(ctx, r.Key, fairTestTTL)
		if err == nil || ctx.Err() != nil {
			t.Errorf("without the right to %s: %v", name, err)
		}
		cancel()
		r.OK(l.Close())
		r.OK(pool.Close())
		r.Queued(0)
	}
	r.OK(k.Release(bg))
	r.Gone()
}

// Entries of another version of the format are in another queue; what cannot be read in this one is passed over.
func TestFairOtherVersionsEntriesAreNotMisread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Do("RPUSH", "{lock}:redigolock-q1", "9000 3 abc xyz")
		k := r.Must(r.Other().Acquire(bg, r.Key, fairTestTTL))
		r.Do("RPUSH", r.Queue, "v3;token=abc;ttl=9000")
		waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(2)
		r.OK(k.Release(bg))
		r.OK(r.Got("the waiter", waiter).Release(bg))
		if n := r.Do("LLEN", "{lock}:redigolock-q1"); n != int64(1) {
			t.Errorf("the other version's queue has %v entries", n)
		}
		r.Do("DEL", "{lock}:redigolock-q1")
		r.Gone()
	})
}

// KeepAlive renews a fair lock, and the next waiter gets the lock when the holder's renewals end.
func TestFairKeepAlive(t *testing.T) {
	t.Parallel() // mostly it waits
	const ttl = 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		first := k.Deadline()
		kept := k.KeepAlive(bg)
		waiter := waits(bg, r.Other(), r.Key, fairTestTTL)
		r.Queued(1)
		eventually(t, "it is renewed three times, and outlives its ttl", func() bool {
			return len(r.Sent("fairextend")) >= 3 && time.Now().After(first) || kept.Err() != nil
		})
		r.OK(kept.Err())
		r.Valid(k)
		r.OK(k.Release(bg))
		r.OK(r.Got("the waiter", waiter).Release(bg))
		r.Gone()
	})
}

// A server that has forgotten the scripts is told them again by a renewal, too.
func TestFairKeepAliveAfterScriptFlush(t *testing.T) {
	t.Parallel() // mostly it waits
	const ttl = 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		k := r.Must(r.Locker.Acquire(bg, r.Key, ttl))
		kept := k.KeepAlive(bg)
		r.Do("SCRIPT", "FLUSH")
		deadline := k.Deadline()
		eventually(t, "it is renewed", func() bool { return k.Deadline().After(deadline) })
		r.OK(kept.Err())
		r.Valid(k)
		r.OK(k.Release(bg))
		r.Gone()
	})
}

// A lock that was obtained elsewhere is released as any other: it is handed over.
func TestFairAttachedLockIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimFairRig(t)
		r.Do("SET", r.Key, "token", "PX", 60000)
		k := r.Must(r.Locker.Attach(bg, r.Key, "token", fairTestTTL))
		waiter := waits(bg, r.Other(), r.Key, fairTestTTL)
		own := waits(bg, r.Locker, r.Key, fairTestTTL)
		r.Queued(2)
		r.OK(k.Release(bg))
		for range 2 {
			select {
			case x := <-waiter:
				r.OK(x.Err)
				r.OK(x.K.Release(bg))
			case x := <-own:
				r.OK(x.Err)
				r.OK(x.K.Release(bg))
			case <-time.After(10 * time.Second):
				t.Fatal("nobody gets the lock")
			}
		}
		r.Gone()
	})
}

// A renewal that finds the lock gone hands it to whoever waits.
func TestFairExtendOfALostLockHandsItOver(t *testing.T) {
	// On a real server, which counts the commands of scripts.
	r := newFairRig(t)
	k := r.Must(r.Locker.Acquire(bg, r.Key, fairTestTTL))
	waiter := waits(bg, r.Other(), r.Key, fairTestTTL)
	r.Queued(1)
	r.Do("DEL", r.Key)
	wants(t, k.Extend(bg, fairTestTTL), redigolock.ErrNotHeld)
	if calls, err := r.Server.Calls(); err != nil || calls["publish"] != 1 {
		t.Errorf("%d messages, %v", calls["publish"], err)
	}
	r.OK(r.Got("the waiter", waiter).Release(bg))
	wants(t, k.Release(bg), redigolock.ErrNotHeld)
}

// Do works as ever.
func TestFairDo(t *testing.T) {
	mini := redistest.StartMini(t)
	l := &redigolock.Locker{Pool: mini.Pool(), Fair: true, Cohort: redigolock.Cohort{Passes: 10}}
	defer l.Close()
	var wg sync.WaitGroup
	n := 0 // protected by the lock
	for range 20 {
		wg.Go(func() {
			err := l.Do(bg, "k", fairTestTTL, func(context.Context, *redigolock.Lock) error {
				n++
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n != 20 {
		t.Errorf("n is %d", n)
	}
}

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
				keys := max(testbed.Many(100), 30)
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

// A process that waits, or holds, and is killed or stopped. It is this test binary, started again.

const (
	childEnv    = "REDIGOLOCK_TEST_FAIR_CHILD"     // the server's URL
	childTTLEnv = "REDIGOLOCK_TEST_FAIR_CHILD_TTL" // what it acquires the lock for
)

// TestFairChild is the other process: it acquires the lock, says so, and keeps it until its input ends.
func TestFairChild(t *testing.T) {
	url := os.Getenv(childEnv)
	if url == "" {
		t.Skip("not started by a test")
	}
	pool, err := redigolock.NewPool(url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	l := &redigolock.Locker{Pool: pool, Fair: true}
	defer l.Close()
	ttl, err := time.ParseDuration(os.Getenv(childTTLEnv))
	if err != nil {
		t.Fatal(err)
	}
	k, err := l.Acquire(context.Background(), testbed.FairKey, ttl)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("child has the lock")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = k.Release(context.Background())
}

const childTTL = time.Second

type child struct {
	cmd   *exec.Cmd
	lines chan string
}

// child starts the other process, which acquires the lock for ttl.
func (r *fairRig) child(ttl time.Duration) *child {
	r.T.Helper()
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^TestFairChild$"), lines: make(chan string, 100)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+r.Real().URL(), childTTLEnv+"="+ttl.String())
	stdin, err := c.cmd.StdinPipe()
	r.OK(err)
	stdout, err := c.cmd.StdoutPipe()
	r.OK(err)
	r.OK(c.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			c.lines <- lines.Text()
		}
	}()
	r.T.Cleanup(func() {
		stdin.Close()
		_ = c.cmd.Process.Kill()
		<-read
		_ = c.cmd.Wait()
	})
	return c
}

func (c *child) hasTheLock(t *testing.T) {
	t.Helper()
	for !strings.Contains(receive(t, "the child has the lock", c.lines), "child has the lock") {
	}
}

func (r *fairRig) kill(c *child) {
	r.T.Helper()
	r.OK(c.cmd.Process.Kill())
}

// A waiting process that is killed is passed over by the very release that comes to it.
func TestFairKilledWaiterIsPassedOver(t *testing.T) {
	r := newFairRig(t)
	k := r.Must(r.Locker.Acquire(bg, r.Key, time.Minute))
	c := r.child(time.Minute) // which it would cost to grant it the lock
	r.Queued(1)
	behind := waits(bg, r.Other(), r.Key, fairTestTTL)
	r.Queued(2)
	r.kill(c)
	eventually(t, "the server has seen it", func() bool {
		n, err := r.Server.Do("PUBSUB", "CHANNELS")
		list, _ := n.([]any)
		return err == nil && len(list) == 1
	})
	r.OK(k.Release(bg))
	r.OK(r.Got("the one behind", behind).Release(bg))
	r.Gone()
}

// The lock of a process that is killed goes on when its TTL is over.
func TestFairKilledHolderCostsItsTTL(t *testing.T) {
	t.Parallel() // in real time: it kills a process
	r := newFairRig(t)
	c := r.child(childTTL)
	c.hasTheLock(t)
	waiter := waits(bg, r.Locker, r.Key, fairTestTTL)
	r.kill(c)
	begin := time.Now()
	k := r.Got("the waiter", waiter)
	if took := time.Since(begin); took > childTTL+3*time.Second {
		t.Errorf("it took %v", took)
	}
	r.OK(k.Release(bg))
	r.Gone()
}

// While a slot moves from one cluster node to another, the server refuses every script for two keys, for as long as that lasts. A
// lock is given back all the same, by a script for its key alone; who waits has it within a cap of the end.
func TestFairReleaseWhileTheSlotMoves(t *testing.T) {
	inFairBubble(t, func(t *testing.T, s *sim.Server) {
		s.Delay(time.Millisecond)
		l, other := simFair(t, s), simFair(t, s)
		k := mustGet(t)(l.Acquire(bg, "key", time.Hour))
		waiter, here := waits(bg, other, "key", time.Hour), waits(bg, l, "key", time.Hour)
		time.Sleep(100 * time.Millisecond)
		s.Rule(func(q sim.Request) sim.Action {
			switch q.Verb {
			case "try", "enter", "rel", "poke", "quit", "fairextend":
				return sim.Refuse("TRYAGAIN Multiple keys request during rehashing of slot")
			}
			return sim.Pass()
		})
		begin := time.Now()
		if err := k.Release(bg); err != nil {
			t.Errorf("Release: %v", err)
		}
		if s.Miniredis().Exists("key") || time.Since(begin) > 100*time.Millisecond {
			t.Errorf("the key is left: %v, after %v", s.Miniredis().Exists("key"), time.Since(begin))
		}
		time.Sleep(3 * time.Second)
		s.Rule(nil)
		moved := time.Now()
		next := receive(t, "the waiter that is queued", waiter)
		if next.Err != nil || time.Since(moved) > capOfPokes {
			t.Fatalf("%v, after %v", next.Err, time.Since(moved))
		}
		if err := next.K.Release(bg); err != nil {
			t.Error(err)
		}
		last := receive(t, "the waiter that came behind", here)
		if last.Err != nil {
			t.Fatal(last.Err)
		}
		if err := last.K.Release(bg); err != nil {
			t.Error(err)
		}
		if n := l.Stats().Owed + other.Stats().Owed; n != 0 {
			t.Errorf("%d are owed", n)
		}
	})
}
