package servers

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A simGroup is two servers in a bubble, and the Sentinel that names one of them the master.
type simGroup struct {
	t       *testing.T
	servers map[string]*sim.Server

	sentinels redistest.FakeSentinels
}

func newSimGroup(t *testing.T) *simGroup {
	g := &simGroup{t: t, servers: map[string]*sim.Server{"a:6379": newSim(t), "b:6379": newSim(t)}}
	g.sentinels.Name("a", 0)
	for _, s := range g.servers {
		s.Delay(time.Millisecond)
	}
	return g
}

// pool is one that the Sentinel leads, closed with the test.
func (g *simGroup) pool() *redis.Pool {
	s := &redigolock.Sentinel{Addrs: []string{"s1"}, Master: "m",
		Dial: func(ctx context.Context, addr string) (redis.Conn, error) { return g.servers[addr].DialRedis(ctx) },
		DialSentinel: func(context.Context, string) (redis.Conn, error) {
			return g.sentinels.Dial(), nil
		}}
	p := &redis.Pool{DialContext: s.DialContext, TestOnBorrow: s.TestOnBorrow, MaxIdle: 16}
	g.t.Cleanup(func() { s.Close() })
	g.t.Cleanup(func() { p.Close() })
	return p
}

// failOver makes b the master, with all that a has or without. a lives on, and takes writes.
func (g *simGroup) failOver(lost bool) {
	a, b := g.servers["a:6379"], g.servers["b:6379"]
	keys, err := redis.Strings(a.Do("KEYS", "*"))
	for _, key := range keys {
		v, notString := redis.String(a.Do("GET", key))
		ttl, _ := redis.Int64(a.Do("PTTL", key))
		if !lost && notString == nil {
			_, err = b.Do("SET", key, v, "PX", ttl)
		}
	}
	if err != nil {
		g.t.Error(err)
	}
	g.sentinels.Name("b", 1)
	g.sentinels.Tell(func() bool { return true })
}

// A holder and a waiter live through a failover that loses the lock, and one that does not, while the old master lives on.
func TestFailoverWithAndWithoutLostWrites(t *testing.T) {
	for _, kind := range failoverKinds {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lost=%v", kind, lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newSimGroup(t)
					locker := func() *redigolock.Locker {
						l := &redigolock.Locker{Pool: g.pool(), Fair: kind == "fair"}
						if kind == "mux" {
							m := &redigolock.Mux{Pool: l.Pool}
							t.Cleanup(func() { m.Close() })
							l.Pool = m
						}
						return simLocker(t, l)
					}
					holder, waiter := locker(), locker()
					var fence int64
					var told time.Time // that it is lost
					done := make(chan error)
					go func() {
						done <- holder.Do(bg, "key", time.Minute, func(ctx context.Context, k *redigolock.Lock) (err error) {
							if fence, err = k.Fence(ctx); err != nil {
								return err
							}
							select {
							case <-ctx.Done():
								told = time.Now()
							case <-time.After(10 * time.Second):
							}
							return nil
						})
					}()
					time.Sleep(time.Second)
					var second *redigolock.Lock
					var got time.Time
					waits := make(chan error)
					go func() {
						var err error
						second, err = waiter.Acquire(patient(t), "key", time.Minute)
						got = time.Now()
						waits <- err
					}()
					time.Sleep(3 * time.Second)
					begin := time.Now()
					g.failOver(lost)
					time.Sleep(100 * time.Millisecond)
					asked := len(g.servers["a:6379"].Requests())

					err, waited := <-done, <-waits
					if waited != nil {
						t.Fatal(waited)
					}
					if n := len(g.servers["a:6379"].Requests()) - asked; n > 0 {
						t.Errorf("%d commands were sent to the old master", n)
					}
					number, ferr := second.Fence(bg)
					if ferr != nil || number <= fence {
						t.Errorf("the second fencing number is %d, the first %d (%v)", number, fence, ferr)
					}
					switch {
					case lost:
						wants(t, err, redigolock.ErrLost)
						if d := told.Sub(begin); d > 20*time.Millisecond {
							t.Errorf("the holder was told after %v", d)
						}
						if d := told.Sub(got); d > 20*time.Millisecond {
							t.Errorf("there were two holders for %v", d)
						}
						if d := got.Sub(begin); d > 3*time.Second {
							t.Errorf("the waiter has waited for another %v", d)
						}
					case err != nil || !told.IsZero():
						t.Errorf("a lock that was not lost was given up: %v", err)
					case got.Sub(begin) < 6*time.Second-10*time.Millisecond:
						t.Errorf("the waiter was let in %v after the failover, before the release", got.Sub(begin))
					}
					if err := second.Release(bg); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// What a Release owes at a master that went away is removed soon after Sentinels name another, to which the lock was copied, however long
// the clean-up has paused by then. Whoever uses the pool finds that out.
func TestFailoverCleansUpAtTheNewMaster(t *testing.T) {
	for _, fair := range []bool{false, true} {
		t.Run(fmt.Sprintf("fair=%v", fair), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newSimGroup(t)
				l := simLocker(t, &redigolock.Locker{Pool: g.pool(), Fair: fair})
				k, err := l.Acquire(bg, "key", time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				a, b := g.servers["a:6379"], g.servers["b:6379"]
				a.RefuseDials()
				a.Cut()
				if err := k.Release(bg); !errors.Is(err, redigolock.ErrUnknown) && !errors.Is(err, redigolock.ErrUnavailable) {
					t.Error(err)
				}
				time.Sleep(10 * time.Minute)
				g.failOver(false)
				if n, err := redis.Int(b.Do("EXISTS", "key")); n != 1 || err != nil {
					t.Fatal(n, err)
				}
				if _, err := l.TryAcquire(bg, "other", time.Minute); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				if n, err := redis.Int(b.Do("EXISTS", "key")); n != 0 || err != nil {
					t.Errorf("%d locks are left at the new master, %v", n, err)
				}
			})
		})
	}
}

// A failover undoes a Release that the new master has not heard of. The Locker releases the lock again there. What MinHold keeps is not
// deleted before its time.
func TestFailoverUndoesARelease(t *testing.T) {
	for _, kind := range append([]string{"minhold"}, failoverKinds...) {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newSimGroup(t)
				l := &redigolock.Locker{Pool: g.pool(), Fair: kind == "fair"}
				switch kind {
				case "mux":
					m := &redigolock.Mux{Pool: l.Pool}
					t.Cleanup(func() { m.Close() })
					l.Pool = m
				case "minhold":
					l.MinHold = time.Minute
				}
				simLocker(t, l)
				k, err := l.Acquire(bg, "key", time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				b := g.servers["b:6379"]
				if _, err := b.Do("SET", "key", k.Token(), "PX", time.Hour.Milliseconds()); err != nil {
					t.Fatal(err)
				}
				if err := k.Release(bg); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				g.failOver(true)
				time.Sleep(time.Second)
				want := 0
				if kind == "minhold" {
					want = 1
				}
				if n, err := redis.Int(b.Do("EXISTS", "key")); n != want || err != nil {
					t.Errorf("%d locks are at the new master, want %d (%v)", n, want, err)
				}
			})
		})
	}
}

// What a Locker has learned of a master is forgotten when Sentinels name another.
func TestFailoverForgetsWhatTheOldMasterKnew(t *testing.T) {
	for _, older := range []string{"a:6379", "b:6379"} {
		for _, over := range []string{"pool", "mux"} {
			t.Run(over+", "+older+" is older", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newSimGroup(t)
					testbed.OlderVersion(g.servers[older])
					var pool redigolock.Pool = g.pool()
					if over == "mux" {
						m := &redigolock.Mux{Pool: pool}
						t.Cleanup(func() { m.Close() })
						pool = m
					}
					l := simLocker(t, &redigolock.Locker{Pool: pool})
					for _, addr := range []string{"a:6379", "b:6379"} {
						want := "SETGET SETGET release DELEX DELIFEQ / SETGET DELEX"
						if addr == older {
							want = "SETGET SETGET SET GET release DELEX DELIFEQ / SET GET release"
						}
						if got := twoCycles(t, l, "key", g.servers["a:6379"], g.servers["b:6379"]); got != want {
							t.Errorf("%s was sent %s, want %s", addr, got, want)
						}
						g.failOver(true)
						time.Sleep(time.Second)
					}
				})
			})
		}
	}
}

// What the Locker has not put there, or not deleted, is not deleted again after a failover: a token that was attached, which its owner may
// have set again, and what a ReleaseWith has left.
func TestFailoverDeletesNothingOfOthers(t *testing.T) {
	for name, try := range map[string]func(t *testing.T, l *redigolock.Locker, set func()){
		"attached": func(t *testing.T, l *redigolock.Locker, set func()) {
			set()
			k, err := l.Attach(bg, "key", "host-1", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Release(bg); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			set()
		},
		"ReleaseWith": func(t *testing.T, l *redigolock.Locker, _ func()) {
			l.ReleaseWith = func(ctx context.Context, c redis.Conn, key, _ string) error {
				_, err := redis.DoContext(c, ctx, "PEXPIRE", key, time.Hour.Milliseconds())
				return err
			}
			k, err := l.Acquire(bg, "key", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Release(bg); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newSimGroup(t)
				pool := g.pool()
				try(t, simLocker(t, &redigolock.Locker{Pool: pool}), func() {
					c := pool.Get()
					defer c.Close()
					if err := redigolock.SetNX(bg, c, "key", "host-1", time.Hour); err != nil {
						t.Fatal(err)
					}
				})
				time.Sleep(time.Second)
				g.failOver(false)
				time.Sleep(time.Second)
				if n, err := redis.Int(g.servers["b:6379"].Do("EXISTS", "key")); n != 1 || err != nil {
					t.Errorf("it was deleted (%d, %v)", n, err)
				}
			})
		})
	}
}
