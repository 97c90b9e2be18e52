package servers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/sim"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A replicasRig is a Locker that wants two replicas, of a server that says how many have acknowledged.
type replicasRig struct {
	*testing.T
	s      *sim.Server
	l      *redigolock.Locker
	acked  atomic.Int32 // a WAIT for more takes its whole time, and says this
	script map[int]sim.Action
}

func withReplicas(t *testing.T, f func(r *replicasRig)) {
	t.Helper()
	inBubble(t, func(t *testing.T, s *sim.Server) {
		r := &replicasRig{T: t, s: s}
		r.acked.Store(2)
		r.l = simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis"), Replicas: 2})
		s.Rule(r.answer)
		f(r)
	})
}

// answer has each WAIT be about a write of its own connection, or fails.
func (r *replicasRig) answer(q sim.Request) sim.Action {
	if q.Verb != "wait" {
		return sim.Pass()
	}
	if a, ok := r.script[q.N]; ok {
		return a
	}
	ms, err := strconv.Atoi(q.Args[1])
	if err != nil || ms < 1 || q.Args[0] != "2" {
		r.Errorf("WAIT %v", q.Args)
	}
	if r.acked.Load() < 2 { // miniredis says 0
		return sim.Slow(time.Duration(ms) * time.Millisecond)
	}
	return sim.Answer(fmt.Sprintf(":%d\r\n", r.acked.Load()))
}

// holder is the token in the key.
func (r *replicasRig) holder() string {
	r.Helper()
	token, err := redis.String(r.s.Do("GET", "key"))
	if err != nil && !errors.Is(err, redis.ErrNil) {
		r.Fatal(err)
	}
	return token
}

// onItsOwn looks at which connections the WAITs came on: each must follow a command that writes.
func (r *replicasRig) onItsOwn() {
	r.Helper()
	last := map[int]string{}
	for _, q := range r.s.Requests() {
		if q.Verb == "wait" && last[q.Conn] == "" {
			r.Errorf("a WAIT on connection %d, which has sent nothing", q.Conn)
		}
		last[q.Conn] = q.Verb
	}
}

func TestReplicasThatAcknowledge(t *testing.T) {
	ways := map[string]redigolock.AcquireFunc{
		"default": nil, "SetNX": redigolock.SetNX, "SetNXVerified": redigolock.SetNXVerified,
		"SetNXScript": redigolock.SetNXScript, "a user's": plainSetNX,
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			withReplicas(t, func(r *replicasRig) {
				r.l.AcquireWith = way
				start := time.Now()
				k, err := r.l.TryAcquire(bg, "key", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if r.s.Count("wait") != 1 || !k.Deadline().Equal(start.Add(validFor(time.Minute))) {
					t.Errorf("%d WAITs, valid for %v", r.s.Count("wait"), k.Deadline().Sub(start))
				}
				if _, err := r.l.TryAcquire(bg, "key", time.Minute); !errors.Is(err, redigolock.ErrHeld) || r.s.Count("wait") != 1 {
					t.Errorf("the second: %v, after %d WAITs", err, r.s.Count("wait"))
				}
				r.onItsOwn()
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}

				r.acked.Store(1)
				inTime(t, "TryAcquire with replicas that lag", 750*time.Millisecond, func() { _, err = r.l.TryAcquire(bg, "key", time.Minute) })
				wants(t, err, redigolock.ErrNotReplicated)
				wantsNot(t, err, redigolock.ErrUnknown)
				if r.holder() != "" || r.l.Stats().Owed != 0 {
					t.Errorf("it has left %q, and owes %d", r.holder(), r.l.Stats().Owed)
				}
				r.onItsOwn()
			})
		})
	}
}

func TestNoReplicasSendsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		l := simLocker(t, &redigolock.Locker{Pool: simPool(t, s, "redis")})
		err := l.Do(bg, "key", 100*time.Millisecond, func(ctx context.Context, k *redigolock.Lock) error {
			time.Sleep(200 * time.Millisecond)
			return k.Extend(ctx, time.Minute)
		})
		if err != nil || s.Count("wait") != 0 {
			t.Errorf("%v, after %d WAITs", err, s.Count("wait"))
		}
	})
}

func TestReplicasWhereTheyCannotBeAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, s *sim.Server) {
		pool := simPool(t, s, "redis")
		m := &redigolock.Mux{Pool: pool}
		defer m.Close()
		c := &redigolock.Cluster{Addrs: []string{"sim:1"}, Dial: func(context.Context, string) (redis.Conn, error) {
			t.Error("dialled")
			return nil, errors.New("no")
		}}
		defer c.Close()
		for what, l := range map[string]*redigolock.Locker{
			"negative": {Pool: pool, Replicas: -1},
			"Mux":      {Pool: m, Replicas: 1},
			"Cluster":  {Pool: c, Replicas: 1},
			"Fair":     {Pool: pool, Fair: true, Replicas: 1},
		} {
			_, err := simLocker(t, l).Acquire(bg, "key", time.Minute)
			if !errors.Is(err, redigolock.ErrInvalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := len(s.Requests()); n != 0 {
			t.Errorf("%d commands", n)
		}
		wrapped := simLocker(t, &redigolock.Locker{Pool: struct{ redigolock.Pool }{m}, Replicas: 1}) // nobody can see the Mux in it
		_, err := wrapped.TryAcquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrUnsupported)
		if s.Count("wait") != 0 || s.Miniredis().Exists("key") {
			t.Errorf("behind a wrapper: %d WAITs, the key exists: %t", s.Count("wait"), s.Miniredis().Exists("key"))
		}
	})
}

// What the server refuses for good ends an Acquire, and nothing is left.
func TestReplicasThatTheServerDoesNotTell(t *testing.T) {
	for _, reply := range []string{
		"-NOPERM this user has no permissions to run the 'wait' command\r\n", "-ERR unknown command 'WAIT'\r\n", "+QUEUED\r\n", "$-1\r\n",
	} {
		withReplicas(t, func(r *replicasRig) {
			r.script = map[int]sim.Action{1: sim.Answer(reply)}
			inTime(t, reply, 0, func() {
				_, err := r.l.Acquire(bg, "key", time.Minute)
				if err == nil {
					t.Error("acquired")
				}
				wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrNotReplicated)
			})
			if r.holder() != "" {
				t.Error("the key is left")
			}
		})
	}
}

func TestAcquireTriesUntilReplicasAcknowledge(t *testing.T) {
	withReplicas(t, func(r *replicasRig) {
		r.acked.Store(0)
		time.AfterFunc(2*time.Second, func() { r.acked.Store(2) })
		k, err := r.l.Acquire(bg, "key", time.Minute)
		if err != nil || r.holder() != k.Token() {
			t.Fatal(err, r.holder())
		}
		if n := r.s.Count("wait"); n < 3 {
			t.Errorf("%d WAITs", n)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		r.acked.Store(0)
		ctx, cancel := context.WithTimeout(bg, 3*time.Second)
		defer cancel()
		inTime(t, "Acquire", 3*time.Second, func() { _, err = r.l.Acquire(ctx, "key", time.Minute) })
		wants(t, err, context.DeadlineExceeded)
		time.Sleep(5 * time.Second) // for the clean-up
		if r.holder() != "" {
			t.Error("the key is left")
		}
	})
}

// The reply to WAIT is lost. The same try asks on another connection, and finds its token.
func TestReplicasWhereTheReplyIsLost(t *testing.T) {
	withReplicas(t, func(r *replicasRig) {
		r.script = map[int]sim.Action{1: sim.Drop()}
		start := time.Now()
		k, err := r.l.TryAcquire(bg, "key", time.Minute)
		if err != nil || r.holder() != k.Token() || k.Deadline().After(start.Add(validFor(time.Minute))) {
			t.Fatal(err, r.holder())
		}
		if n := r.s.Count("wait"); n != 2 {
			t.Errorf("%d WAITs", n)
		}
		r.onItsOwn()
	})
}

// The delete that undoes an acquire is not answered: it may be carried out at any time, so the token is not used again.
func TestReplicasWhereTheUndoingIsLost(t *testing.T) {
	withReplicas(t, func(r *replicasRig) {
		r.acked.Store(0)
		r.s.Rule(func(q sim.Request) sim.Action {
			if q.Verb == "release" && q.N == 1 {
				return sim.Late(1500 * time.Millisecond)
			}
			return r.answer(q)
		})
		_, err := r.l.Acquire(bg, "key", time.Minute)
		wants(t, err, redigolock.ErrNotReplicated, redigolock.ErrUnknown)
		if n := r.s.Count("wait"); n != 1 {
			t.Errorf("%d WAITs", n)
		}
		time.Sleep(5 * time.Second)
		if r.holder() != "" || r.l.Stats().Owed != 0 {
			t.Errorf("it has left %q, and owes %d", r.holder(), r.l.Stats().Owed)
		}
	})
}

func TestExtendWithoutReplicas(t *testing.T) {
	withReplicas(t, func(r *replicasRig) {
		k, err := r.l.TryAcquire(bg, "key", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		before := k.Deadline()
		r.acked.Store(1)
		inTime(t, "Extend", 750*time.Millisecond, func() { err = k.Extend(bg, time.Minute) })
		wants(t, err, redigolock.ErrNotReplicated)
		if !k.Deadline().Equal(before) || !k.Valid() {
			t.Errorf("Deadline has moved by %v, valid: %t", k.Deadline().Sub(before), k.Valid())
		}
		r.acked.Store(2)
		if err := k.Extend(bg, time.Minute); err != nil || !k.Deadline().After(before) {
			t.Errorf("Extend: %v", err)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// Locks that are kept alive share a WAIT. Without the acknowledgements none of them counts beyond the Deadline of before.
func TestRenewalsWithoutReplicas(t *testing.T) {
	for _, binds := range []bool{false, true} { // a connection for each lock
		withReplicas(t, func(r *replicasRig) {
			if binds {
				r.l.Pool = eachBoundPool{r.l.Pool.(*redis.Pool)}
			}
			const n, ttl = 5, 10 * time.Second
			var locks []*redigolock.Lock
			var kept []context.Context
			for i := range n {
				k, err := r.l.TryAcquire(bg, fmt.Sprint("key ", i), ttl)
				if err != nil {
					t.Fatal(err)
				}
				locks, kept = append(locks, k), append(kept, k.KeepAlive(bg))
			}
			time.Sleep(6 * time.Second)
			if waits := r.s.Count("wait"); !binds && waits != n+1 || binds && waits != 2*n {
				t.Errorf("binds %t: %d WAITs", binds, waits)
			}
			deadline := locks[0].Deadline()
			if left := time.Until(deadline); left < 8*time.Second {
				t.Errorf("binds %t: valid for %v", binds, left)
			}
			r.acked.Store(1)
			for i := range n {
				<-kept[i].Done()
				wants(t, context.Cause(kept[i]), redigolock.ErrLost, redigolock.ErrNotReplicated)
				if !locks[i].Deadline().Equal(deadline) || time.Now().After(deadline) {
					t.Errorf("binds %t: lost %v after its Deadline, which has moved by %v", binds, time.Since(deadline), locks[i].Deadline().Sub(deadline))
				}
			}
			r.onItsOwn()
		})
	}
}

// Renewals that are acknowledged late go on.
func TestRenewalsUntilReplicasAcknowledge(t *testing.T) {
	withReplicas(t, func(r *replicasRig) {
		k, err := r.l.TryAcquire(bg, "key", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		kept := k.KeepAlive(bg)
		r.acked.Store(0)
		time.AfterFunc(8*time.Second, func() { r.acked.Store(2) })
		time.Sleep(30 * time.Second)
		if kept.Err() != nil || !k.Valid() {
			t.Error(context.Cause(kept))
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// A eachBoundPool has connections with Bind.
type eachBoundPool struct{ *redis.Pool }

func (p eachBoundPool) Get() redis.Conn { return eachBoundConn{p.Pool.Get()} }

func (p eachBoundPool) GetContext(ctx context.Context) (redis.Conn, error) {
	c, err := p.Pool.GetContext(ctx)
	return eachBoundConn{c}, err
}

type eachBoundConn struct{ redis.Conn }

func (eachBoundConn) Bind(...string) error { return nil }

func TestReplicasOfARealServer(t *testing.T) {
	servers := redistest.StartReplicated(t, 2)
	master, replicas := servers[0], servers[1:]
	within(t, 20*time.Second, "two replicas acknowledge", func() bool {
		c := master.Pool().Get()
		defer c.Close()
		_, err := c.Do("SET", "ready", 1) // WAIT is answered at once on a connection that has written nothing
		n, waitErr := redis.Int(c.Do("WAIT", 2, 100))
		return err == nil && waitErr == nil && n == 2
	})
	exists := func() bool {
		ok, err := redis.Bool(master.Do("EXISTS", "key"))
		return ok || err != nil
	}
	begin := time.Now()
	observer := &redigolock.Observer{Failed: func(_ context.Context, key, verb string, err error) {
		t.Logf("after %v: %v", time.Since(begin), err)
	}}
	// WAIT is given three quarters of OpTimeout: the rest is for a machine that stands still.
	two := &redigolock.Locker{Pool: master.Pool(), Replicas: 2, Observer: observer, OpTimeout: 3 * time.Second}
	defer two.Close()
	patient, cancel := context.WithTimeout(bg, 20*time.Second) // a busy machine's replica may be late
	defer cancel()
	one := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: master.Pool(), Replicas: 1}
	defer one.Close()
	for _, way := range []redigolock.AcquireFunc{nil, redigolock.SetNXScript, redigolock.SetNX} {
		two := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: master.Pool(), Replicas: 2, AcquireWith: way, Observer: observer}
		k, err := two.Acquire(patient, "key", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range replicas {
			if token, err := redis.String(s.Do("GET", "key")); err != nil || token != k.Token() {
				t.Errorf("a replica has %q, %v", token, err)
			}
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		two.Close()
	}
	k, err := two.Acquire(patient, "kept", time.Minute)
	if err != nil {
		t.Fatal(err)
	}

	if !testbed.RaceEnabled {
		pool, err := redigolock.NewPool(master.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		without, with := acquireAllocations(t, pool, 0), acquireAllocations(t, pool, 2)
		t.Logf("allocations of acquire and release: %v, with Replicas %v", without, with)
		if with > without+1 {
			t.Errorf("%v allocations with Replicas, %v without", with, without)
		}
	}

	replicas[0].Pause()
	defer replicas[0].Resume()
	_, err = two.TryAcquire(bg, "key", time.Minute)
	wants(t, err, redigolock.ErrNotReplicated)
	wantsNot(t, err, redigolock.ErrUnknown)
	if exists() {
		t.Error("the key is left")
	}
	before := k.Deadline()
	wants(t, k.Extend(bg, time.Hour), redigolock.ErrNotReplicated)
	if !k.Deadline().Equal(before) {
		t.Error("Deadline has moved")
	}
	got, err := one.Acquire(patient, "key", time.Minute)
	if err != nil {
		t.Fatalf("one replica of two: %v", err)
	}
	if token, err := redis.String(replicas[1].Do("GET", "key")); err != nil || token != got.Token() {
		t.Errorf("the replica that goes on has %q, %v", token, err)
	}
	if err := got.Release(bg); err != nil {
		t.Error(err)
	}
	replicas[0].Resume()
	within(t, 20*time.Second, "the replica acknowledges again", func() bool { return k.Extend(bg, time.Hour) == nil })
	if !k.Deadline().After(before) {
		t.Error("Deadline has not moved")
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
}

func acquireAllocations(t *testing.T, pool redigolock.Pool, replicas int) float64 {
	l := &redigolock.Locker{Pool: pool, Replicas: replicas}
	defer l.Close()
	return testing.AllocsPerRun(200, func() {
		k, err := l.TryAcquire(bg, "allocations", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
	})
}
