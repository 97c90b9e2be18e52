package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
)

// toldOf has the Locker note what it tells of a verb.
func toldOf(l *redigolock.Locker, verb string) *toldErrors {
	told := &toldErrors{}
	note := func(_ context.Context, _, v string, err error) {
		if v == verb {
			told.add(err)
		}
	}
	l.Observer = &redigolock.Observer{Failed: note, Unknown: note}
	return told
}

// A renewal that gets no connection says so of its own lock, and names the package once.
func TestRenewalWithoutAConnectionNamesItsKey(t *testing.T) {
	for _, binds := range []bool{false, true} {
		t.Run(fmt.Sprint("binds ", binds), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				var p redigolock.Pool = simPool(t, s, "redis")
				if binds {
					p = bindsPool{simPool(t, s, "redis")}
				}
				l := simLocker(t, &redigolock.Locker{Pool: p})
				told := toldOf(l, "extend")
				var locks []*redigolock.Lock
				var ends []context.Context
				for _, key := range []string{"first", "second"} {
					k, err := l.TryAcquire(bg, key, time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					locks, ends = append(locks, k), append(ends, k.KeepAlive(bg))
				}
				accept := s.RefuseDials()
				s.CloseConns()
				time.Sleep(time.Minute)
				accept()
				keys := map[string]int{}
				for _, err := range told.all() {
					wants(t, err, redigolock.ErrUnavailable)
					if text := err.Error(); strings.Count(text, "redigolock:") != 1 {
						t.Errorf("the package is named more than once in %q", text)
					}
					for _, k := range locks {
						if strings.Contains(err.Error(), `"`+k.Key()+`"`) {
							keys[k.Key()]++
						}
					}
				}
				if keys["first"] == 0 || keys["second"] == 0 || keys["first"]+keys["second"] != len(told.all()) {
					t.Errorf("of %d renewals that failed, these named their keys: %v", len(told.all()), keys)
				}
				for i, kept := range ends {
					cause := context.Cause(kept)
					wants(t, cause, redigolock.ErrLost, redigolock.ErrUnavailable)
					if text := cause.Error(); strings.Count(text, "redigolock:") != 1 || !strings.Contains(text, locks[i].Key()) {
						t.Errorf("the cause is %q", text)
					}
					locks[i].Release(bg)
				}
			})
		})
	}
}

// bindsPool is a pool of connections that bind to anything.
type bindsPool struct{ *redis.Pool }

func (p bindsPool) Get() redis.Conn { return bindsToAll{p.Pool.Get()} }

func (p bindsPool) GetContext(ctx context.Context) (redis.Conn, error) {
	c, err := p.Pool.GetContext(ctx)
	return bindsToAll{c}, err
}

// A server that turns the renewer away for a while costs no lock; what it says is in the error, which is definite.
func TestRenewalsAndCleanUpsThatAreRefusedAtTheDoor(t *testing.T) {
	for line, unavailable := range map[string]bool{maxClients: true, denied: false} {
		for name := range doorLockers(t, nil) {
			t.Run("renewal/"+firstWord(line)+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					renewalRefusedAtTheDoor(t, s, doorLockers(t, s)[name], line, unavailable)
				})
			})
			if name == "fair" || name == "Mux, fair" { // leaves its queue instead
				continue
			}
			t.Run("clean-up/"+firstWord(line)+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *sim.Server) {
					cleanUpRefusedAtTheDoor(t, s, doorLockers(t, s)[name], line, unavailable)
				})
			})
		}
	}
}

func renewalRefusedAtTheDoor(t *testing.T, s *sim.Server, l *redigolock.Locker, line string, unavailable bool) {
	told := toldOf(simLocker(t, l), "extend")
	k, err := l.TryAcquire(bg, "key", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	kept := k.KeepAlive(bg)
	s.Rule(func(sim.Request) sim.Action { return sim.RefuseAndEnd(line) })
	time.Sleep(40 * time.Second) // a renewal was due after 30 s
	s.Rule(nil)
	time.Sleep(5 * time.Minute)
	if kept.Err() != nil {
		t.Errorf("the lock was lost: %v", context.Cause(kept))
	}
	all := told.all()
	if len(all) == 0 {
		t.Error("no renewal failed")
	}
	for _, err := range all {
		wantTurnedAway(t, err, line, unavailable)
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
}

// A clean-up goes on where the server has no room now, and ends where it will never let it in.
func cleanUpRefusedAtTheDoor(t *testing.T, s *sim.Server, l *redigolock.Locker, line string, unavailable bool) {
	told := toldOf(simLocker(t, l), "clean up")
	s.Rule(func(q sim.Request) sim.Action {
		if q.Verb == "set" || q.Verb == "setnx" {
			return sim.Drop()
		}
		return sim.RefuseAndEnd(line)
	})
	_, err := l.TryAcquire(bg, "key", time.Hour)
	wants(t, err, redigolock.ErrUnknown)
	time.Sleep(5 * time.Second)
	s.Rule(nil)
	time.Sleep(5 * time.Minute)
	all := told.all()
	if len(all) == 0 {
		t.Error("no clean-up failed")
	}
	for _, err := range all {
		wantTurnedAway(t, err, line, unavailable)
	}
	if n, _ := s.Do("EXISTS", "key"); n == int64(1) && unavailable {
		t.Error("the key is left")
	}
	if n := l.Stats().Owed; n != 0 {
		t.Errorf("%d are owed", n)
	}
}

// A batch breaks while it tells the script to a server that has forgotten it: what was not answered is unknown, and not
// what the server said before it was told the script.
func TestBatchThatBreaksWhileTheScriptIsToldIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		told := toldOf(r.Locker, "extend")
		locks := r.dueAtOnce(r.Locker, "key")
		r.Do("SCRIPT", "FLUSH")
		r.Plan(map[string][]redistest.Action{"eval": {redistest.Cut()}})
		kept := locks[0].KeepAlive(bg)
		time.Sleep(time.Second)
		if kept.Err() != nil {
			t.Errorf("the lock was lost: %v", context.Cause(kept))
		}
		all := told.all()
		if len(all) != 1 {
			t.Fatalf("the Observer was told %v", all)
		}
		wants(t, all[0], redigolock.ErrUnknown)
		if strings.Contains(all[0].Error(), "NOSCRIPT") {
			t.Error(all[0])
		}
		r.OK(locks[0].Release(bg))
	})
}

// refusedToBind is a pool whose connections cannot be bound, while there is an error. The clean-up in the background binds, too.
type refusedToBind struct {
	*redis.Pool
	err *atomic.Pointer[error]
}

func (p refusedToBind) Get() redis.Conn { return unboundConn{bindsToAll{p.Pool.Get()}, p.err} }

func (p refusedToBind) GetContext(ctx context.Context) (redis.Conn, error) {
	c, err := p.Pool.GetContext(ctx)
	return unboundConn{bindsToAll{c}, p.err}, err
}

type unboundConn struct {
	bindsToAll
	err *atomic.Pointer[error]
}

func (c unboundConn) Bind(...string) error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return nil
}

// A Bind that fails means that no connection could be had. What is refused for good ends a wait; what nobody knows, such as
// "no node for the slot", does not.
func TestBindThatFails(t *testing.T) {
	for _, x := range []struct {
		name        string
		err         error
		unavailable bool
	}{
		{"of a name we do not know", errors.New("redisc: failed to get a connection"), true},
		{"cluster down", redis.Error("CLUSTERDOWN The cluster is down"), true},
		{"no rights", redis.Error("NOPERM this user has no permissions to run the 'cluster|slots' command"), false},
		{"wrong password", redis.Error("WRONGPASS invalid username-password pair or user is disabled."), false},
		{"not supported", fmt.Errorf("%w: no cluster", redigolock.ErrUnsupported), false},
	} {
		t.Run(x.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *sim.Server) {
				var now atomic.Pointer[error]
				for name, with := range map[string]redigolock.AcquireFunc{"default": nil, "SetNXScript": redigolock.SetNXScript} {
					l := simLocker(t, &redigolock.Locker{Pool: refusedToBind{simPool(t, s, "redis"), &now}, AcquireWith: with})
					k, err := l.TryAcquire(bg, "held", time.Minute)
					if err != nil {
						t.Fatal(err)
					}
					now.Store(&x.err)
					for _, f := range []func() error{
						func() error { _, err := l.TryAcquire(bg, "key", time.Minute); return err },
						func() error { return k.Extend(bg, time.Minute) },
						func() error { return k.Release(bg) },
					} {
						err := f()
						wants(t, err, x.err)
						wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrNotHeld)
						if errors.Is(err, redigolock.ErrUnavailable) != x.unavailable {
							t.Errorf("%s: %v: ErrUnavailable: want %v", name, err, x.unavailable)
						}
					}
					ctx, cancel := context.WithTimeout(bg, 10*time.Second)
					_, err = l.Acquire(ctx, "other", time.Minute)
					wants(t, err, x.err)
					if waited := errors.Is(err, context.DeadlineExceeded); waited != x.unavailable {
						t.Errorf("%s: %v: it should have waited: %v", name, err, x.unavailable)
					}
					cancel()
					now.Store(nil)
					s.Do("DEL", "held")
					time.Sleep(2 * time.Minute)
				}
			})
		})
	}
}

// A caller of a Mux that leaves before its command was written may use its arguments again at once.
func TestMuxKeepsNoArgumentsOfACallerThatHasReturned(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		m := &redigolock.Mux{Pool: simPool(t, s, "redis")}
		t.Cleanup(func() { m.Close() })
		hold := make(chan struct{})
		s.Next("get", sim.Hold(hold))
		first := inBackground(func() error {
			c := m.Get()
			defer c.Close()
			_, err := c.Do("GET", "first")
			return err
		})
		synctest.Wait() // it leads, and waits for its reply
		args := []any{"key", "right"}
		value := []byte("right")
		bytes := []any{"bytes", value}
		left := []<-chan error{}
		for _, a := range [][]any{args, bytes} {
			left = append(left, inBackground(func() error {
				c := m.Get()
				defer c.Close()
				_, err := redis.DoWithTimeout(c, 100*time.Millisecond, "SET", a...)
				return err
			}))
		}
		for _, ended := range left {
			if err := <-ended; err == nil {
				t.Error("it was carried out though the one before was held")
			}
		}
		args[1] = "wrong"
		copy(value, "wrong")
		close(hold)
		if err := <-first; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		for _, q := range s.Requests() {
			if q.Verb == "set" && slices.Contains(q.Args, "wrong") {
				t.Errorf("what was sent had changed: %v", q.Args)
			}
		}
	})
}

// tokensOf are the tokens of the locks that a renewal is for.
func tokensOf(q redistest.Request) (tokens []string) {
	n := locksOf(q)
	for i := range n {
		tokens = append(tokens, q.Args[2+n+2*i])
	}
	return tokens
}

// locksOf is how many locks a renewal is for.
func locksOf(q redistest.Request) int {
	n, err := strconv.Atoi(q.Args[1])
	if err != nil {
		panic(err)
	}
	return n
}

// together are the renewals for more than one lock that came to the proxy from index on.
func (r *rig) together(index int) (found []redistest.Request) {
	for _, q := range r.Proxy.Requests()[index:] {
		if verbOf(q) == "extend" && locksOf(q) > 1 {
			found = append(found, q)
		}
	}
	return found
}

// allKept wants each context to live.
func (r *rig) allKept(kept []context.Context) {
	r.T.Helper()
	for i, ctx := range kept {
		if ctx.Err() != nil {
			r.T.Fatalf("lock %d of %d: %v", i, len(kept), context.Cause(ctx))
		}
	}
}

func tenMinutes(int) time.Duration { return 10 * time.Minute }

func TestLocksThatAreDueTogetherShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		locks := r.dueMany(3*redigolock.GroupMost+1, tenMinutes)
		before := deadlines(locks)
		kept := r.inOneBatch(locks, nil)
		r.renewedSince(locks, before)
		r.allKept(kept)
		var sizes []int
		for _, q := range r.Sent("extend") {
			sizes = append(sizes, locksOf(q))
		}
		if want := []int{1, redigolock.GroupMost, redigolock.GroupMost, redigolock.GroupMost, 1}; !slices.Equal(sizes, want) {
			t.Errorf("requests for %v locks, want %v", sizes, want)
		}
		for _, k := range locks {
			if left := r.PTTL(k.Key()); left < 9*time.Minute {
				t.Errorf("%s has %v left", k.Key(), left)
			}
		}
	})
}

// mayUse lets a user use these keys only.
func (r *rig) mayUse(keys ...any) {
	r.T.Helper()
	r.Do("ACL", append([]any{"SETUSER", "app", "reset", "on", ">pw", "+@all"}, keys...)...)
}

// userPool is a pool of that user's connections through the proxy.
func (r *rig) userPool() *redis.Pool {
	pool := &redis.Pool{MaxIdle: 4, Dial: func() (redis.Conn, error) {
		return redis.Dial("tcp", r.TCP().Addr(), redis.DialUsername("app"), redis.DialPassword("pw"))
	}}
	r.T.Cleanup(func() { pool.Close() })
	return pool
}

// The server refuses a whole request if one key of it is out of bounds for the user.
func TestLockWithoutRightsCostsTheOthersOfItsRequestNothing(t *testing.T) {
	r := newRig(t)
	r.mayUse("~*")
	r.Locker.Pool = r.userPool()
	locks := r.dueMany(redigolock.GroupMost/2, tenMinutes)
	denied := r.due("denied", 10*time.Minute) // in their midst, for requests are in the order of the due times
	for i := len(locks); i < redigolock.GroupMost-1; i++ {
		locks = append(locks, r.due(fmt.Sprint("key", i), 10*time.Minute))
	}
	r.mayUse("~key*", "~decoy")
	before := deadlines(locks)
	kept := r.inOneBatch(append(slices.Clone(locks), denied), nil)
	r.renewedSince(locks, before)
	for _, k := range locks {
		if sent := r.extends(0, k.Token()); len(sent) != 2 || locksOf(sent[0]) != redigolock.GroupMost || locksOf(sent[1]) != 1 {
			t.Errorf("%s was sent in %v, want with all others, and alone", k.Key(), sent)
		}
	}

	index := len(r.Proxy.Requests())
	more := []*redigolock.Lock{r.due("key one more", 10*time.Minute), r.due("key another", 10*time.Minute)}
	before = deadlines(more)
	start := time.Now()
	kept = append(kept, r.inOneBatchAfter(func() { // it is due, too, when they are
		eventually(t, "a pause passes", func() bool { return time.Since(start) > 300*time.Millisecond })
	}, more, nil)...)
	r.renewedSince(more, before)
	eventually(t, "it is tried again", func() bool { return len(r.extends(index, denied.Token())) > 2 })
	r.allKept(kept)
	for _, q := range r.extends(index, denied.Token()) {
		if n := locksOf(q); n != 1 {
			t.Errorf("it is tried again together with %d others", n-1)
		}
	}
	if len(r.together(index)) == 0 {
		t.Error("for the sake of one lock, all are sent alone from now on")
	}
}

func TestServerInClusterModeIsAskedOneByOne(t *testing.T) {
	t.Parallel() // in real time: miniredis has no cluster mode
	server := redistest.Start(t, "--cluster-enabled", "yes")
	if _, err := server.Do("CLUSTER", "ADDSLOTSRANGE", 0, 16383); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool {
		info, err := redis.String(server.Do("CLUSTER", "INFO"))
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
	newRigOn(t, server).renewsOneByOne(nil)
}

// What a proxy before several servers may say to a request with several keys. The first has asked the server of the
// first key, which has none of the others.
func TestRequestForManyThatGetsNoAnswerForEachIsSentForEachAlone(t *testing.T) {
	n := redigolock.GroupMost
	for name, reply := range map[string]string{
		"looked at the first key":   fmt.Sprintf("*%d\r\n:600000\r\n", n) + strings.Repeat(":0\r\n", n-1),
		"refuses":                   "-ERR unsupported command\r\n",
		"several keys of a slot":    "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
		"the same on Redis 6.2":     "-@user_script: 1: -TRYAGAIN Multiple keys request during rehashing of slot\r\n",
		"one answer":                ":600000\r\n",
		"one answer less":           fmt.Sprintf("*%d\r\n", n-1) + strings.Repeat(":600000\r\n", n-1),
		"one answer more":           fmt.Sprintf("*%d\r\n", n+1) + strings.Repeat(":600000\r\n", n+1),
		"no answer":                 "*0\r\n",
		"nil":                       "$-1\r\n",
		"no list":                   "*-1\r\n",
		"QUEUED":                    "+QUEUED\r\n",
		"a list for each":           fmt.Sprintf("*%d\r\n", n) + strings.Repeat("*1\r\n:600000\r\n", n),
		"nil for each":              fmt.Sprintf("*%d\r\n", n) + strings.Repeat("$-1\r\n", n),
		"negative for each":         fmt.Sprintf("*%d\r\n", n) + strings.Repeat(":-1\r\n", n),
		"an error for each":         fmt.Sprintf("*%d\r\n", n) + strings.Repeat("-ERR no\r\n", n),
		"that each is no lock":      fmt.Sprintf("*%d\r\n", n) + strings.Repeat("-WRONGTYPE no\r\n", n),
		"that the script is raised": "-ERR Error running script (call to f_0): @user_script:7: @user_script: 7: no\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newSimRig(t).renewsOneByOne(func(q redistest.Request) redistest.Action {
					if verbOf(q) == "extend" && locksOf(q) == n {
						return redistest.Reply(reply)
					}
					return redistest.Pass()
				})
			})
		})
	}
}

// renewsOneByOne wants the locks of a batch renewed, and those of later batches with no try to renew several at once.
func (r *rig) renewsOneByOne(rule func(redistest.Request) redistest.Action) {
	r.T.Helper()
	locks := r.dueMany(2*redigolock.GroupMost, tenMinutes)
	before := deadlines(locks)
	kept := r.inOneBatch(locks, rule)
	r.renewedSince(locks, before)
	r.allKept(kept)
	if n := len(r.together(0)); n != 2 {
		r.T.Errorf("%d requests for many", n)
	}
	alone := 0
	for i, k := range locks {
		for _, q := range r.extends(0, k.Token()) {
			if locksOf(q) == 1 {
				alone++
			}
		}
		if alone > i+1 {
			r.T.Fatalf("%s was sent again and again", k.Key())
		}
	}
	if alone < len(locks)-2 { // "looked at the first key" has answered for two
		r.T.Errorf("%d of %d were sent alone", alone, len(locks))
	}
	index := len(r.Proxy.Requests())
	more := []*redigolock.Lock{r.due("one more", 10*time.Minute), r.due("another", 10*time.Minute)}
	before = deadlines(more)
	kept = append(kept, r.inOneBatch(more, rule)...)
	r.renewedSince(more, before)
	r.allKept(kept)
	if len(r.together(index)) > 0 {
		r.T.Error("it is tried again with many")
	}
}

// extends are the renewals from index on that name the token.
func (r *rig) extends(index int, token string) (found []redistest.Request) {
	for _, q := range r.mentions(index, token) {
		if verbOf(q) == "extend" {
			found = append(found, q)
		}
	}
	return found
}

// Only what was said to it alone ends a lock, also when the connection breaks before it could be asked.
func TestWordOfABrokenBatchAboutOneOfManyEndsNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		n := redigolock.GroupMost
		locks := r.dueMany(2*n, tenMinutes)
		before, many := deadlines(locks), 0
		kept := r.inOneBatch(locks, func(q redistest.Request) redistest.Action {
			if verbOf(q) != "extend" || locksOf(q) == 1 {
				return redistest.Pass()
			}
			if many++; many == 1 {
				return redistest.Reply(fmt.Sprintf("*%d\r\n", n) + strings.Repeat(":0\r\n", n))
			}
			return redistest.Swallow()
		})
		r.renewedSince(locks, before)
		r.allKept(kept)
	})
}

func TestReplyThatSaysNothingIsAFailedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSimRig(t)
		k := r.due("key", 10*time.Minute)
		before := k.Deadline()
		r.Rule(func(verb string, _ int) redistest.Action {
			if verb == "extend" {
				return redistest.Reply("$-1\r\n")
			}
			return redistest.Pass()
		})
		kept := k.KeepAlive(bg)
		start := time.Now()
		eventually(t, "a while passes", func() bool { return time.Since(start) > 500*time.Millisecond })
		if n := len(r.Sent("extend")); n > 60 || kept.Err() != nil || k.Deadline().After(before) {
			t.Errorf("%d renewals in half a second, %v", n, context.Cause(kept))
		}
		r.OK(k.Release(bg))
	})
}

// A flight that breaks is of no one lock: what is told of each names its own key, and is unknown.
func TestFlightThatBreaksNamesEachLockByItsOwnKey(t *testing.T) {
	for name, action := range map[string]redistest.Action{"cut": redistest.Cut(), "hung": redistest.Swallow()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSimRig(t)
				told := toldOf(r.Locker, "extend")
				locks := r.dueAtOnce(r.Locker, "first", "second", "third")
				broken := false
				kept := r.inOneBatch(locks, func(redistest.Request) redistest.Action {
					if broken {
						return redistest.Pass()
					}
					broken = true
					return action
				})
				time.Sleep(10 * time.Second)
				r.allKept(kept)
				all, of := told.all(), map[string]bool{}
				for _, err := range all {
					wants(t, err, redigolock.ErrUnknown)
					for _, k := range locks {
						if strings.Contains(err.Error(), strconv.Quote(k.Key())) {
							of[k.Key()] = true
						}
					}
					if strings.Count(err.Error(), "redigolock:") != 1 {
						t.Errorf("the package is named more than once in %q", err)
					}
				}
				if len(all) != len(locks) || len(of) != len(locks) {
					t.Errorf("told %v, which is of %v", all, of)
				}
			})
		})
	}
}
