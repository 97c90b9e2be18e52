package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// A quorumRig is a Quorum over several servers in a bubble.
type quorumRig struct {
	t       *testing.T
	servers []*sim.Server
	quorum  *redigolock.Quorum
}

const quorumTTL = 10 * time.Second

// inQuorum runs f in virtual time, with so many servers.
func inQuorum(t *testing.T, n int, f func(r *quorumRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &quorumRig{t: t}
		for range n {
			r.servers = append(r.servers, newSim(t))
		}
		r.quorum = r.newQuorum()
		f(r)
	})
}

// newQuorum is another process.
func (r *quorumRig) newQuorum() *redigolock.Quorum {
	q := &redigolock.Quorum{}
	for _, s := range r.servers {
		q.Pools = append(q.Pools, simPool(r.t, s, "redis"))
	}
	r.t.Cleanup(func() { q.Close() })
	return q
}

// holder is the token in the key of a server.
func (r *quorumRig) holder(i int) string {
	token, err := redis.String(r.servers[i].Do("GET", "key"))
	if err != nil && err != redis.ErrNil {
		r.t.Fatal(err)
	}
	return token
}

// holders is how many servers have this token.
func (r *quorumRig) holders(token string) (n int) {
	for i := range r.servers {
		if r.holder(i) == token {
			n++
		}
	}
	return n
}

// clean waits until the clean-up has nothing left, and finds keys that are left and are not another's.
func (r *quorumRig) clean() {
	r.t.Helper()
	time.Sleep(time.Second) // for what is under way
	for end := time.Now().Add(quorumTTL / 2); r.quorum.Stats().Owed > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%d clean-ups are left", r.quorum.Stats().Owed)
		}
	}
	time.Sleep(time.Second)
	for i := range r.servers {
		if h := r.holder(i); h != "" && h != "another" {
			r.t.Errorf("node %d has a key still, for %v", i, r.servers[i].Miniredis().TTL("key"))
		}
	}
	if s := r.quorum.Stats(); s != (redigolock.Stats{}) {
		r.t.Errorf("%+v", s)
	}
}

// What may be the matter with a node, and what ends it.
var quorumFaults = map[string]func(s *sim.Server) (heal func()){
	"taken": func(s *sim.Server) func() {
		s.Do("SET", "key", "another", "PX", 3600_000)
		return func() {}
	},
	"down": func(s *sim.Server) func() {
		s.CloseConns()
		return s.RefuseDials()
	},
	"hung":      func(s *sim.Server) func() { return s.Pause() },
	"swallowed": func(s *sim.Server) func() { return s.BlackHole(sim.ToClient) }, // carried out, and the replies never come
	"late": func(s *sim.Server) func() { // carried out after the verdict
		go1 := make(chan struct{})
		s.Rule(func(sim.Request) sim.Action { return sim.LateUntil(go1) })
		return sync.OnceFunc(func() { close(go1); s.Rule(nil) })
	},
}

func TestQuorumOfAnyNodes(t *testing.T) {
	const nodes, timeout = 5, 50 * time.Millisecond
	for name, fault := range quorumFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for mask := range 1 << nodes {
				inQuorum(t, nodes, func(r *quorumRig) {
					r.tryMask(name, fault, mask, timeout)
					if t.Failed() {
						t.Fatalf("with the nodes %05b %s", mask, name)
					}
				})
			}
		})
	}
}

// tryMask tries to acquire where something is the matter with the nodes of a mask.
func (r *quorumRig) tryMask(name string, fault func(s *sim.Server) func(), mask int, timeout time.Duration) {
	t := r.t
	var heals []func()
	bad := 0
	for i, s := range r.servers {
		if mask&(1<<i) != 0 {
			heals = append(heals, fault(s))
			bad++
		}
	}
	start := time.Now()
	k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
	took := time.Since(start)
	if took > timeout {
		t.Errorf("it took %v", took)
	}
	want := redigolock.ErrNoQuorum
	if name == "taken" {
		want = redigolock.ErrHeld
	}
	switch {
	case bad > 2:
		if !errors.Is(err, want) || errors.Is(err, redigolock.ErrHeld) != (name == "taken") || k != nil {
			t.Errorf("error %v, want %v", err, want)
		}
		for i := range r.servers {
			if mask&(1<<i) == 0 && r.holder(i) != "" {
				t.Errorf("node %d has the key when the acquire has failed", i)
			}
		}
	case err != nil:
		t.Error(err)
	default:
		if d := k.Deadline().Sub(start); d != quorumTTL-quorumTTL/100-2*time.Millisecond {
			t.Errorf("the lock lasts for %v from before the first send", d)
		}
		if n := r.holders(k.Token()); n < nodesUp(len(r.servers), bad) {
			t.Errorf("%d nodes have the key", n)
		}
		if err := k.Verify(bg); err != nil {
			t.Error(err)
		}
		start := time.Now()
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 2*timeout {
			t.Errorf("the release took %v", d)
		}
	}
	for _, heal := range heals {
		heal()
	}
	r.clean()
}

func nodesUp(n, bad int) int { return n - bad }

func TestQuorumWithOneNodeHungAndOneDead(t *testing.T) {
	inQuorum(t, 5, func(r *quorumRig) {
		for _, s := range r.servers {
			s.Delay(100 * time.Microsecond)
		}
		goOn, accept := r.servers[1].Pause(), r.servers[3].RefuseDials()
		for i, most := range []time.Duration{50 * time.Millisecond, 2 * time.Millisecond, 2 * time.Millisecond} { // the first looks for the same server twice
			start := time.Now()
			k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d > most {
				t.Errorf("acquire %d took %v, want %v at most", i, d, most)
			}
			start = time.Now()
			if err := k.Release(bg); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d > 2*time.Millisecond {
				t.Errorf("release %d took %v", i, d)
			}
		}
		goOn()
		accept()
		r.clean()
	})
}

// Who holds it at enough nodes is told; where nodes are down as well, there would be no majority without that holder either.
func TestQuorumSaysWhyThereIsNone(t *testing.T) {
	tests := []struct {
		taken, down int
		want        error
	}{{1, 2, redigolock.ErrHeld}, {2, 1, redigolock.ErrHeld}, {3, 0, redigolock.ErrHeld}, {5, 0, redigolock.ErrHeld},
		{1, 3, redigolock.ErrNoQuorum}, {2, 3, redigolock.ErrNoQuorum}, {0, 3, redigolock.ErrNoQuorum}, {0, 5, redigolock.ErrNoQuorum}}
	for _, x := range tests {
		inQuorum(t, 5, func(r *quorumRig) {
			for i, s := range r.servers {
				if i < x.taken {
					quorumFaults["taken"](s)
				} else if i < x.taken+x.down {
					quorumFaults["down"](s)
				}
			}
			_, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
			if !errors.Is(err, x.want) || errors.Is(err, redigolock.ErrHeld) != (x.want == redigolock.ErrHeld) {
				t.Errorf("%d taken, %d down: %v, want %v", x.taken, x.down, err, x.want)
			}
			if x.want == redigolock.ErrNoQuorum && (!errors.Is(err, redigolock.ErrUnavailable) || !strings.Contains(err.Error(), "Pools[2]")) {
				t.Errorf("the error does not say what the matter is: %v", err)
			}
			r.clean()
		})
	}
}

func TestQuorumRefusesBadPools(t *testing.T) {
	inQuorum(t, 2, func(r *quorumRig) {
		a, b := r.quorum.Pools[0], r.quorum.Pools[1]
		for name, pools := range map[string][]redigolock.Pool{
			"none": nil, "a nil": {a, nil}, "a nil pool": {a, (*redis.Pool)(nil)}, "one twice": {a, b, a},
			"the same server twice": {a, simPool(r.t, r.servers[0], "redis"), b},
			"only one server":       {a, simPool(r.t, r.servers[0], "redis"), simPool(r.t, r.servers[0], "redis")},
		} {
			for range 3 {
				q := &redigolock.Quorum{Pools: pools}
				k, err := q.TryAcquire(bg, "key", quorumTTL)
				if !errors.Is(err, redigolock.ErrInvalid) || k != nil {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := q.Acquire(bg, "key", quorumTTL); !errors.Is(err, redigolock.ErrInvalid) {
					t.Errorf("%s: Acquire: %v", name, err)
				}
				q.Close()
				if r.holder(0)+r.holder(1) != "" {
					t.Errorf("%s: a key is left", name)
				}
			}
		}
	})
}

// Two databases of one server have keys of their own, so that only the server's own name tells.
func TestQuorumRefusesTwoDatabasesOfAServer(t *testing.T) {
	const named = "# Server\r\nredis_version:7.0.15\r\nrun_id:%040d\r\ntcp_port:6379\r\n"
	for _, x := range []struct {
		name    string
		info    func(server int) sim.Action // what INFO is answered with
		refused bool
		asked   int // how often each server is, by each pool that leads to it
	}{
		{"it tells", func(i int) sim.Action { return inBulk(fmt.Sprintf(named, i+1)) }, true, 1},
		{"no rights", func(int) sim.Action {
			return sim.Refuse("NOPERM User app has no permissions to run the 'info' command")
		}, false, 1},
		{"it has none", func(int) sim.Action { return inBulk("# Server\r\nredis_version:7.0.15\r\n") }, false, 1},
		{"a proxy", func(int) sim.Action { return inBulk(fmt.Sprintf(named, 0)) }, false, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			inQuorum(t, 2, func(r *quorumRig) {
				for i, s := range r.servers {
					s.Rule(answersInfo(x.info(i)))
				}
				zero := func(i int) redigolock.Pool { return r.database(i, 0) }
				for name, pools := range map[string][]redigolock.Pool{
					"beside another": {zero(0), zero(1), r.database(0, 1)},
					"three of one":   {zero(0), r.database(0, 1), r.database(0, 2)},
				} {
					q := &redigolock.Quorum{Pools: pools}
					for range 3 {
						k, err := q.TryAcquire(bg, "key", quorumTTL)
						switch {
						case errors.Is(err, redigolock.ErrInvalid) != x.refused, (k == nil) != x.refused:
							t.Errorf("%s: %v", name, err)
						case !x.refused:
							if err := k.Release(bg); err != nil {
								t.Error(err)
							}
						case !strings.Contains(err.Error(), "lead to the same server"):
							t.Error(err)
						}
					}
					if x.refused {
						_, err := q.Acquire(patient(r.t), "key", quorumTTL)
						wants(t, err, redigolock.ErrInvalid)
					}
					q.Close()
				}
				if n := r.servers[1].Count("info"); n != x.asked {
					t.Errorf("a server was asked %d times who it is", n)
				}
				if x.refused && r.holder(0)+r.holder(1) != "" {
					t.Error("a key is left")
				}
			})
		})
	}
}

// A server that cannot tell yet is asked again, and has no vote before.
func TestQuorumAsksAgainWhoAServerIs(t *testing.T) {
	inQuorum(t, 2, func(r *quorumRig) {
		q := &redigolock.Quorum{Pools: []redigolock.Pool{r.quorum.Pools[0], r.quorum.Pools[1], r.database(0, 1)}}
		defer q.Close()
		says := func(answers ...sim.Action) { // of each server
			for i, s := range r.servers {
				s.Rule(answersInfo(answers[i]))
			}
		}
		for _, a := range []sim.Action{sim.Refuse("LOADING wait"), sim.Lose(), sim.Cut()} {
			says(a, a)
			k, err := q.TryAcquire(bg, "key", quorumTTL)
			wants(t, err, redigolock.ErrNoQuorum)
			if k != nil || r.servers[0].Count("set")+r.servers[1].Count("set") > 0 {
				t.Errorf("a server that did not tell was sent a SET: %v", k)
			}
			time.Sleep(time.Second)
		}
		says(inBulk("# Server\nrun_id:abc\n"), inBulk("# Server\nrun_id:def\n"))
		_, err := q.TryAcquire(bg, "key", quorumTTL)
		wants(t, err, redigolock.ErrInvalid)
	})
}

// database is a pool for a database of a server.
func (r *quorumRig) database(server, db int) redigolock.Pool {
	p, err := redigolock.NewPool(fmt.Sprintf("redis://sim/%d", db), r.servers[server].Options()...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { p.Close() })
	return p
}

// answersInfo is the rule of a server that answers INFO so.
func answersInfo(a sim.Action) func(sim.Request) sim.Action {
	return func(r sim.Request) sim.Action {
		if r.Name == "INFO" {
			return a
		}
		return sim.Pass()
	}
}

func inBulk(text string) sim.Action { return sim.Answer(fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)) }

// TestQuorumNeverCountsAServerTwice: also if the answer for one of its names was too late to be heard.
func TestQuorumNeverCountsAServerTwice(t *testing.T) {
	inQuorum(t, 2, func(r *quorumRig) {
		slow := r.servers[0].NewLink("slow")
		slow.Delay(20 * time.Millisecond)
		q := &redigolock.Quorum{Pools: []redigolock.Pool{r.quorum.Pools[0], slow.Pool(), r.quorum.Pools[1]}, OpTimeout: 30 * time.Millisecond}
		defer q.Close()
		accept := r.servers[1].RefuseDials()
		for range 5 {
			if k, err := q.TryAcquire(bg, "key", quorumTTL); k != nil {
				t.Fatalf("it was acquired at one server: %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		accept()
	})
}

// A lock that all have survives what a minority forgets; one that only a majority has does not survive that one server forgets it. This is
// no promise: it is what docs/quorum.md warns of.
func TestQuorumWhereAServerForgets(t *testing.T) {
	for _, x := range []struct {
		down, forget int
		two          bool // holders
	}{{0, 2, false}, {1, 1, false}, {2, 1, true}, {0, 3, true}} {
		inQuorum(t, 5, func(r *quorumRig) {
			var heals []func()
			for _, s := range r.servers[:x.down] {
				heals = append(heals, quorumFaults["down"](s))
			}
			k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
			if err != nil {
				t.Fatal(err)
			}
			for _, heal := range heals {
				heal()
			}
			for _, s := range r.servers[x.down : x.down+x.forget] {
				s.Do("FLUSHALL")
			}
			second, err := r.newQuorum().TryAcquire(bg, "key", quorumTTL)
			if two := err == nil && k.Valid() && second.Valid(); two != x.two {
				t.Errorf("%d were down and %d forget it: two holders: %v, %v", x.down, x.forget, two, err)
			}
		})
	}
}

// TestQuorumCountsWhatItOwes: what is still to be removed when a call has returned is in Stats, also while its node is asked still.
func TestQuorumCountsWhatItOwes(t *testing.T) {
	inQuorum(t, 5, func(r *quorumRig) {
		k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
		if err != nil {
			t.Fatal(err)
		}
		if n := r.quorum.Stats().Owed; n != 0 {
			t.Errorf("%d are owed while it is held", n)
		}
		goOn := r.servers[2].Pause()
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		if n := r.quorum.Stats().Owed; n != 1 {
			t.Errorf("%d are owed after the release, want that of the node that hangs", n)
		}
		goOn()
		r.clean()
		for _, s := range r.servers[:3] {
			quorumFaults["taken"](s)
		}
		goOn = r.servers[4].Pause()
		_, err = r.quorum.TryAcquire(bg, "key", quorumTTL)
		wants(t, err, redigolock.ErrHeld)
		if n := r.quorum.Stats().Owed; n != 1 {
			t.Errorf("%d are owed after the try, want that of the node that hangs", n)
		}
		goOn()
		r.clean()
	})
}

func TestQuorumPartialAcquireBlocksForARoundAtMost(t *testing.T) {
	inQuorum(t, 5, func(r *quorumRig) {
		var heals []func()
		for _, s := range r.servers[:3] {
			heals = append(heals, quorumFaults["swallowed"](s))
		}
		if _, err := r.quorum.TryAcquire(bg, "key", quorumTTL); !errors.Is(err, redigolock.ErrNoQuorum) {
			t.Fatal(err)
		}
		for _, heal := range heals {
			heal()
		}
		time.Sleep(100 * time.Millisecond) // the clean-up comes again after an OpTimeout
		k, err := r.newQuorum().TryAcquire(bg, "key", quorumTTL)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
		r.clean()
	})
}

func TestQuorumExcludes(t *testing.T) {
	inQuorum(t, 5, func(r *quorumRig) {
		for _, s := range r.servers {
			s.Delay(100 * time.Microsecond)
		}
		var wg sync.WaitGroup
		held, done := 0, 0
		var mu sync.Mutex
		for range 4 {
			q := r.newQuorum()
			for range 3 {
				wg.Go(func() {
					for range 5 {
						err := q.Do(bg, "key", quorumTTL, func(context.Context, *redigolock.Lock) error {
							mu.Lock()
							held++
							if held != 1 {
								t.Errorf("%d hold it", held)
							}
							mu.Unlock()
							time.Sleep(time.Millisecond)
							mu.Lock()
							held--
							done++
							mu.Unlock()
							return nil
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		if done != 60 {
			t.Errorf("%d were done", done)
		}
		r.clean()
	})
}

func TestQuorumKeepAlive(t *testing.T) {
	tests := []struct {
		name  string
		fault string
		bad   int
		lost  bool
	}{
		{"all up", "", 0, false}, {"a minority down", "down", 2, false}, {"a minority hung", "hung", 2, false},
		{"a majority down", "down", 3, true}, {"a majority hung", "hung", 3, true},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			inQuorum(t, 5, func(r *quorumRig) {
				k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
				if err != nil {
					t.Fatal(err)
				}
				ctx := k.KeepAlive(bg)
				time.Sleep(quorumTTL)
				var heals []func()
				for _, s := range r.servers[:x.bad] {
					heals = append(heals, quorumFaults[x.fault](s))
				}
				deadline := k.Deadline()
				select {
				case <-ctx.Done():
				case <-time.After(6 * quorumTTL):
				}
				if lost := ctx.Err() != nil; lost != x.lost {
					t.Errorf("lost: %v, %v", lost, context.Cause(ctx))
				}
				if x.lost && (!errors.Is(context.Cause(ctx), redigolock.ErrLost) || time.Now().After(deadline) || k.Valid()) {
					t.Errorf("lost %v after Deadline, cause %v", time.Since(deadline), context.Cause(ctx))
				}
				for _, heal := range heals {
					heal()
				}
				if err := k.Release(bg); err != nil && !x.lost {
					t.Errorf("release: %v", err)
				}
				r.clean()
			})
		})
	}
}

// A Release that waits for a renewal at a majority that hangs takes two OpTimeouts with that, as a Locker's does.
func TestQuorumReleaseBehindARenewalThatHangs(t *testing.T) {
	inQuorum(t, 3, func(r *quorumRig) {
		const op = time.Second
		r.quorum.OpTimeout = op
		k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
		if err != nil {
			t.Fatal(err)
		}
		k.KeepAlive(bg)
		var heals []func()
		for _, s := range r.servers[:2] {
			heals = append(heals, quorumFaults["hung"](s))
		}
		time.Sleep(quorumTTL / 2)
		if !redigolock.Renewing(k) {
			t.Fatal("no renewal is in flight: this test proves nothing")
		}
		begin := time.Now()
		err = k.Release(bg)
		if took := time.Since(begin); !errors.Is(err, redigolock.ErrUnknown) || took > 2*op {
			t.Errorf("%v after %v, with an OpTimeout of %v", err, took, op)
		}
		for _, heal := range heals {
			heal()
		}
		r.clean()
	})
}

// TestQuorumKeepsEachNodeInTime: a node is renewed when half of what it has is left, also if the others have more: they were extended
// while it was down, or were renewed at the same moment, a little earlier.
func TestQuorumKeepsEachNodeInTime(t *testing.T) {
	for range 10 { // which of the nodes is renewed first is chance
		for _, extend := range []time.Duration{0, quorumTTL, 6 * quorumTTL} {
			inQuorum(t, 5, func(r *quorumRig) { r.keepEachInTime(extend) })
		}
	}
}

func (r *quorumRig) keepEachInTime(extend time.Duration) {
	k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
	if err != nil {
		r.t.Fatal(err)
	}
	k.KeepAlive(bg)
	if extend > 0 {
		heal := quorumFaults["down"](r.servers[0])
		time.Sleep(quorumTTL / 4)
		if err := k.Extend(bg, extend); err != nil {
			r.t.Fatal(err)
		}
		heal()
	}
	for range 40 {
		time.Sleep(quorumTTL / 20)
		for i, s := range r.servers {
			ms, err := redis.Int64(s.Do("PTTL", "key"))
			if left := time.Duration(ms) * time.Millisecond; err != nil || left < quorumTTL*4/10 {
				r.t.Fatalf("extended by %v: node %d has it for %v still, %v", extend, i, left, err)
			}
		}
	}
	if err := k.Release(bg); err != nil {
		r.t.Error(err)
	}
	r.clean()
}

// TestQuorumTakesAnEmptyNode: a node that has lost its data is asked again, but not if a majority has.
func TestQuorumTakesAnEmptyNode(t *testing.T) {
	inQuorum(t, 5, func(r *quorumRig) {
		k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
		if err != nil {
			t.Fatal(err)
		}
		ctx := k.KeepAlive(bg)
		for i := range r.servers { // all, one after the other
			r.servers[i].Do("FLUSHALL")
			time.Sleep(2 * quorumTTL)
			if n := r.holders(k.Token()); n != 5 {
				t.Fatalf("%d nodes have the key after node %d was empty", n, i)
			}
		}
		if ctx.Err() != nil {
			t.Fatal(context.Cause(ctx))
		}
		for i := range 3 {
			r.servers[i].Do("FLUSHALL")
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * quorumTTL):
		}
		if !errors.Is(context.Cause(ctx), redigolock.ErrLost) {
			t.Error(context.Cause(ctx))
		}
		time.Sleep(100 * time.Millisecond)
		if n := r.holders(k.Token()); n > 2 {
			t.Errorf("%d nodes have the key after the majority had lost it", n)
		}
		if err := k.Release(bg); !errors.Is(err, redigolock.ErrNotHeld) {
			t.Error(err)
		}
		r.clean()
	})
}

func TestQuorumExtendAndVerify(t *testing.T) {
	for _, bad := range []int{0, 1, 2, 3, 5} {
		for _, fault := range []string{"down", "hung", "swallowed", "empty"} {
			inQuorum(t, 5, func(r *quorumRig) {
				k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
				if err != nil {
					t.Fatal(err)
				}
				var heals []func()
				for _, s := range r.servers[:bad] {
					if fault == "empty" {
						s.Do("FLUSHALL")
					} else {
						heals = append(heals, quorumFaults[fault](s))
					}
				}
				before := k.Deadline()
				time.Sleep(time.Second)
				what := fmt.Sprintf("%d %s", bad, fault)
				verified, start := k.Verify(bg), time.Now()
				err = k.Extend(bg, 2*quorumTTL)
				want := redigolock.ErrNoQuorum
				if fault == "empty" {
					want = redigolock.ErrNotHeld
				}
				switch {
				case bad <= 2:
					if err != nil || verified != nil || k.Deadline().Sub(start) != 2*quorumTTL-2*quorumTTL/100-2*time.Millisecond {
						t.Errorf("%s: %v, %v, Deadline %v later", what, verified, err, k.Deadline().Sub(start))
					}
				case !errors.Is(verified, want) || !errors.Is(err, want) || k.Deadline() != before:
					t.Errorf("%s: Verify %v, Extend %v, want %v", what, verified, err, want)
				case k.Valid() == (fault == "empty"):
					t.Errorf("%s: valid %v", what, k.Valid())
				}
				for _, heal := range heals {
					heal()
				}
				if _, err := k.Fence(bg); bad < 3 && !errors.Is(err, redigolock.ErrUnsupported) {
					t.Errorf("Fence: %v", err)
				}
				err = k.Release(bg)
				if lost := bad > 2 && fault == "empty"; (err != nil) != lost {
					t.Errorf("%s: release %v", what, err)
				}
				if r.clean(); t.Failed() {
					t.Fatalf("%s: what stands above", what)
				}
			})
		}
	}
}

func TestQuorumWithoutValidity(t *testing.T) {
	inQuorum(t, 3, func(r *quorumRig) {
		for _, s := range r.servers {
			s.Delay(6 * time.Millisecond)
		}
		r.quorum.OpTimeout = time.Second
		k, err := r.quorum.TryAcquire(bg, "key", 12*time.Millisecond)
		if !errors.Is(err, redigolock.ErrNoQuorum) || k != nil {
			t.Errorf("%v, %v", k, err)
		}
		r.clean()
	})
}

func TestQuorumWaits(t *testing.T) {
	inQuorum(t, 3, func(r *quorumRig) {
		other := r.newQuorum()
		k, err := other.TryAcquire(bg, "key", quorumTTL)
		if err != nil {
			t.Fatal(err)
		}
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(bg, time.Second, why)
		defer cancel()
		inTime(t, "a wait", time.Second, func() {
			_, err := r.quorum.Acquire(ctx, "key", quorumTTL)
			if !errors.Is(err, redigolock.ErrHeld) || !errors.Is(err, why) {
				t.Error(err)
			}
		})
		if err := r.quorum.TryDo(bg, "key", quorumTTL, func(context.Context, *redigolock.Lock) error { panic("not held") }); !errors.Is(err, redigolock.ErrHeld) {
			t.Error(err)
		}
		ended := make(chan error)
		go func() {
			_, err := r.quorum.Acquire(bg, "key", quorumTTL)
			ended <- err
		}()
		time.Sleep(time.Second)
		if s := r.quorum.Stats(); s.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		if err := r.quorum.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, redigolock.ErrClosed) {
			t.Error(err)
		}
		if _, err := r.quorum.TryAcquire(bg, "key", quorumTTL); !errors.Is(err, redigolock.ErrClosed) {
			t.Error(err)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	})
}

// A call that is cancelled returns at once, and leaves nothing.
func TestQuorumCancelled(t *testing.T) {
	inQuorum(t, 3, func(r *quorumRig) {
		r.quorum.OpTimeout = time.Second
		k, err := r.quorum.Acquire(bg, "key", quorumTTL) // so that nothing has to be dialled
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		var heals []func()
		for _, s := range r.servers {
			heals = append(heals, quorumFaults["swallowed"](s))
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(bg)
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		inTime(t, "a cancelled acquire", 100*time.Millisecond, func() {
			_, err := r.quorum.Acquire(ctx, "key", quorumTTL)
			if !errors.Is(err, context.Canceled) || !errors.Is(err, why) || !errors.Is(err, redigolock.ErrUnknown) {
				t.Error(err)
			}
		})
		for _, heal := range heals {
			heal()
		}
		r.clean()
	})
}

// An Acquire that gives up says that an earlier try was not answered, though its newest has found the lock held.
func TestQuorumThatGivesUpTellsWhatIsUnknown(t *testing.T) {
	inQuorum(t, 3, func(r *quorumRig) {
		k, err := r.quorum.Acquire(bg, "key", quorumTTL) // so that nothing has to be dialled
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Release(bg); err != nil {
			t.Fatal(err)
		}
		var heals []func()
		for _, s := range r.servers {
			heals = append(heals, quorumFaults["swallowed"](s))
		}
		time.AfterFunc(60*time.Millisecond, func() { // the first try is over
			for i, heal := range heals {
				heal()
				r.servers[i].Do("SET", "key", "another's", "PX", 60000)
			}
		})
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		defer cancel()
		_, err = r.quorum.Acquire(ctx, "key", quorumTTL)
		for _, want := range []error{context.DeadlineExceeded, redigolock.ErrHeld, redigolock.ErrUnknown} {
			if !errors.Is(err, want) {
				t.Errorf("%v is not %v", err, want)
			}
		}
	})
}

func TestQuorumOverMuxes(t *testing.T) {
	inQuorum(t, 3, func(r *quorumRig) {
		q := &redigolock.Quorum{Owner: "host"}
		for _, s := range r.servers {
			s.Delay(100 * time.Microsecond)
			m := &redigolock.Mux{Pool: simPool(r.t, s, "redis")}
			r.t.Cleanup(func() { m.Close() })
			q.Pools = append(q.Pools, m)
		}
		r.quorum = q
		r.t.Cleanup(func() { q.Close() })
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				err := q.Do(bg, fmt.Sprint("key", i%4), quorumTTL, func(ctx context.Context, k *redigolock.Lock) error {
					time.Sleep(quorumTTL)
					return ctx.Err()
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		r.clean()
	})
}

// TestQuorumObserverThatPanics: a func of the user's that panics while a node is asked for a call ends that call, and nothing else; one that
// panics after the call has returned ends nothing.
func TestQuorumObserverThatPanics(t *testing.T) {
	next := func(verb string, a sim.Action) func(*quorumRig) {
		return func(r *quorumRig) { r.servers[1].Next(verb, a) }
	}
	for _, x := range []struct {
		event, verb string
		late        bool // the call has returned by then
		before      func(r *quorumRig)
	}{
		{"Failed", "acquire", false, next("set", sim.Refuse("OOM"))},
		{"Contended", "acquire", false, func(r *quorumRig) { quorumFaults["taken"](r.servers[1]) }},
		{"Unknown", "acquire", false, next("set", sim.Drop())},
		{"Unknown", "verify", false, next("verify", sim.Drop())},
		{"Unknown", "extend", false, next("extend", sim.Drop())},
		{"Unknown", "release", false, next("release", sim.Drop())},
		{"Unknown", "acquire", true, func(r *quorumRig) { // told when OpTimeout is over, long after the verdict
			k, err := r.quorum.TryAcquire(bg, "first", quorumTTL) // waits for all
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Release(bg); err != nil {
				t.Error(err)
			}
			quorumFaults["hung"](r.servers[4])
		}},
		{"Unknown", "release", true, func(r *quorumRig) { // of a token that is removed after the verdict
			for _, s := range r.servers[:3] {
				quorumFaults["taken"](s)
			}
			r.servers[4].Next("release", sim.Drop())
		}},
	} {
		for how, end := range ends {
			t.Run(fmt.Sprintf("%s, %s of %s, late %v", how, x.event, x.verb, x.late), func(t *testing.T) {
				inQuorum(t, 5, func(r *quorumRig) {
					var ended atomic.Bool
					tell := func(event, verb string) {
						if event == x.event && verb == x.verb && ended.CompareAndSwap(false, true) {
							end()
						}
					}
					r.quorum.Observer = &redigolock.Observer{
						Contended: func(context.Context, string, *redigolock.HeldError) { tell("Contended", "acquire") },
						Failed:    func(_ context.Context, _, verb string, _ error) { tell("Failed", verb) },
						Unknown:   func(_ context.Context, _, verb string, _ error) { tell("Unknown", verb) },
					}
					for i, s := range r.servers {
						s.Delay(time.Duration(i+1) * 100 * time.Microsecond)
					}
					x.before(r)
					returned := aside(func() {
						k, err := r.quorum.TryAcquire(bg, "key", quorumTTL)
						if err != nil {
							return
						}
						defer func() { _ = k.Release(bg) }()
						_ = k.Verify(bg)
						_ = k.Extend(bg, quorumTTL)
					})
					time.Sleep(quorumTTL)
					if !ended.Load() || how == "panic" && returned != x.late {
						t.Fatalf("the Observer was called: %v, the call returned: %v", ended.Load(), returned)
					}
					r.clean()
					k, err := r.newQuorum().TryAcquire(bg, "another key", quorumTTL)
					if err != nil {
						t.Fatal(err)
					}
					if err := k.Release(bg); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}
