package servers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

var failoverOut = flag.String("failover-out", "", "a file for the figures of TestFailoverUnderLoad")

// TestFailoverUnderLoad loses the master of a group again and again while 16 goroutines lock over a pool, a Mux and the fair
// queue. What must hold:
//   - no error of Acquire, and none of Do's acquire;
//   - every other call returns within its bound;
//   - two holders of a key at a time only where the failover lost a write: the first is told so, and fencing numbers rise;
//   - fn under Do does not go on past Deadline.
//
// make more runs it without the race detector; REDIGOLOCK_LONG=1 has it lose the master ten times in each way.
func TestFailoverUnderLoad(t *testing.T) {
	testbed.Slow(t)
	rounds := testbed.Length(1, 10)
	w := redistest.StartWatched(t, redistest.WatchedConfig{Password: "m", SentinelPassword: "s"}) // so that a dial needs answers
	f := newFailover(t, w)
	f.start()
	for _, way := range []string{"kill", "stop", "command"} {
		for range rounds {
			f.lose(way)
		}
	}
	f.finish()
	report := f.report(rounds)
	t.Log("\n" + report)
	if *failoverOut != "" {
		if err := os.WriteFile(*failoverOut, []byte(report), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// kinds are the ways to lock.
var failoverKinds = []string{"pool", "mux", "fair"}

const (
	failoverTTL = 2 * time.Second
	// failoverPatience is longer than Sentinels ever take, also when they elect several times.
	failoverPatience = 2 * time.Minute
	failoverNoise    = 1500 * time.Millisecond // of a busy machine, above the bound of a call
)

// A failover is the load, and what becomes of it.
type failover struct {
	*testing.T
	w       *redistest.Watched
	lockers map[string]*redigolock.Locker
	ctx     context.Context // ends with the load
	end     context.CancelFunc
	workers sync.WaitGroup
	closing []func()

	mu        sync.Mutex // protects what follows
	way       string
	counts    map[string]int // by way, call and outcome
	worst     map[string]time.Duration
	inside    map[string]*visit
	fences    map[string]int64
	overlaps  map[string]int
	lost      map[string]int
	beyond    time.Duration // the most that fn under Do has seen after Deadline
	promoted  time.Time
	named     time.Time                  // when a Sentinel first named it
	master    *redistest.Server          // that was promoted
	next      map[string]time.Time       // the first acquire there, by kind
	durations map[string][]time.Duration // until then, by since, way and kind
}

// A visit is a holder in its critical section.
type visit struct {
	k         *redigolock.Lock
	overtaken bool
}

func newFailover(t *testing.T, w *redistest.Watched) *failover {
	f := &failover{T: t, w: w, lockers: map[string]*redigolock.Locker{}, counts: map[string]int{}, worst: map[string]time.Duration{},
		inside: map[string]*visit{}, fences: map[string]int64{}, overlaps: map[string]int{}, lost: map[string]int{},
		durations: map[string][]time.Duration{}, way: "before"}
	f.ctx, f.end = context.WithCancel(bg)
	for _, kind := range failoverKinds {
		p, err := redigolock.Open("redis-sentinel://:m@" + strings.Join(w.Addrs(), ",") + "?sentinel_password=s&master=" + redistest.MasterName)
		if err != nil {
			t.Fatal(err)
		}
		f.closing = append(f.closing, func() { p.Close() })
		l := &redigolock.Locker{Pool: p, Fair: kind == "fair"}
		if kind == "mux" {
			m := &redigolock.Mux{Pool: p}
			f.closing = append(f.closing, func() { m.Close() })
			l.Pool = m
		}
		f.lockers[kind] = l
		f.closing = append(f.closing, func() { l.Close() })
	}
	return f
}

// start begins the load: for each kind two that wait and hold for a moment, one that tries, one that uses Do, and one that keeps
// its lock alive; and one that measures.
func (f *failover) start() {
	for _, kind := range failoverKinds {
		l := f.lockers[kind]
		for _, work := range []func(kind string, l *redigolock.Locker){f.acquires, f.acquires, f.tries, f.does, f.keeps, f.measures} {
			f.workers.Go(func() { work(kind, l) })
		}
	}
	time.Sleep(500 * time.Millisecond)
}

// lose loses the master in a way, waits until each kind has locked at the next, and mends what was broken.
func (f *failover) lose(way string) {
	old := f.w.Settled(f.T)
	f.mu.Lock()
	f.way, f.promoted, f.named, f.master, f.next = way, time.Time{}, time.Time{}, nil, map[string]time.Time{}
	f.mu.Unlock()
	watching := f.awaitPromotion(old)
	switch way {
	case "kill":
		old.Kill()
	case "stop":
		old.Pause()
	case "command":
		f.w.PromoteAnother(f.T)
	}
	f.promotion(watching)
	eventually(f.T, way+": every kind has locked at the new master", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.next) == len(failoverKinds) && !f.named.IsZero()
	})
	f.mu.Lock()
	for kind, at := range f.next {
		for since, d := range map[string]time.Duration{"promotion": at.Sub(f.promoted), "naming": at.Sub(f.named)} {
			of := since + " " + way + " " + kind
			f.durations[of] = append(f.durations[of], d)
		}
	}
	f.mu.Unlock()
	switch way {
	case "kill":
		if err := old.Restart(); err != nil {
			f.Fatal(err)
		}
	case "stop":
		old.Resume()
	}
	f.w.Settled(f.T)
	time.Sleep(failoverTTL) // what was lost shows
}

// promotion waits for it, and shows what the Sentinels say if it takes long.
func (f *failover) promotion(done <-chan struct{}) {
	select {
	case <-done:
		return
	case <-time.After(20 * time.Second):
	}
	for _, s := range f.w.Sentinels {
		log, _ := os.ReadFile(s.Dir() + "/log")
		f.Logf("no promotion for 20 s; %s says:\n%s", s.Addr(), log[max(0, len(log)-3000):])
	}
	select {
	case <-done:
	case <-time.After(failoverPatience):
		f.Fatal("the Sentinels promote no replica")
	}
}

// awaitPromotion watches the replicas until one says that it is the master.
func (f *failover) awaitPromotion(old *redistest.Server) <-chan struct{} {
	done := make(chan struct{})
	var once sync.Once
	for _, s := range f.w.Servers {
		if s == old {
			continue
		}
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
				if s.IsMaster() { // on a new connection: Sentinels close those of a server that they promote
					once.Do(func() {
						f.mu.Lock()
						f.promoted, f.master = time.Now(), s
						f.mu.Unlock()
						close(done)
						f.workers.Go(func() { f.awaitNaming(s) })
					})
				}
			}
		}()
	}
	return done
}

// awaitNaming watches the Sentinels until one names the new master.
func (f *failover) awaitNaming(s *redistest.Server) {
	for f.ctx.Err() == nil {
		for _, x := range f.w.Sentinels {
			pair, err := redis.Strings(x.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redistest.MasterName))
			if err == nil && strings.Join(pair, ":") == s.Addr() {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.named = time.Now()
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// call counts a call's outcome and looks at its bound.
func (f *failover) call(kind, name string, bound time.Duration, call func() error) error {
	begin := time.Now()
	err := call()
	d := time.Since(begin)
	if f.ctx.Err() != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[f.way+"\t"+kind+" "+name+"\t"+outcomeOf(err)]++
	if bound == 0 {
		if err != nil {
			f.Errorf("%s: %s %s: %v", f.way, kind, name, err)
		}
		return err
	}
	f.worst[name] = max(f.worst[name], d)
	if d > bound+failoverNoise {
		f.Errorf("%s: %s %s took %v, its bound is %v (%v)", f.way, kind, name, d, bound, err)
	}
	return err
}

// outcomeOf names the kind of an error.
func outcomeOf(err error) string {
	for _, is := range []struct {
		err  error
		name string
	}{
		{redigolock.ErrUnknown, "ErrUnknown"}, {redigolock.ErrLost, "ErrLost"}, {redigolock.ErrHeld, "ErrHeld"}, {redigolock.ErrNotHeld, "ErrNotHeld"},
		{redigolock.ErrExpired, "ErrExpired"}, {redigolock.ErrUnavailable, "ErrUnavailable"},
	} {
		if errors.Is(err, is.err) {
			return is.name
		}
	}
	switch {
	case err == nil:
		return "ok"
	case strings.Contains(err.Error(), "READONLY"):
		return "READONLY"
	}
	return "other: " + err.Error()
}

// enter begins a critical section. Nobody else may be inside whose lock is valid, but one that a failover took it from.
func (f *failover) enter(kind, key string, k *redigolock.Lock) *visit {
	v := &visit{k: k}
	f.mu.Lock()
	if other := f.inside[key]; other != nil && other.k.Valid() {
		f.overlaps[f.way+" "+kind]++
		other.overtaken = true
		if f.way == "before" {
			f.Errorf("%s: two holders of %s before any failover", kind, key)
		}
	}
	f.inside[key] = v
	f.mu.Unlock()
	var number int64
	if err := f.call(kind, "Fence", time.Second, func() (err error) { number, err = k.Fence(bg); return err }); err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.inside[key] == v && number <= f.fences[key] {
			f.Errorf("%s: the fencing number %d of %s is not above %d", kind, number, key, f.fences[key])
		}
		f.fences[key] = max(f.fences[key], number)
	}
	return v
}

// leave ends it with the error of the release. Who was overtaken must be told.
func (f *failover) leave(kind, key string, v *visit, told error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inside[key] == v {
		delete(f.inside, key)
	}
	if v.overtaken && f.ctx.Err() == nil {
		f.lost[f.way+" "+outcomeOf(told)]++
		if told == nil {
			f.Errorf("%s: a holder of %s was not told that another took it over", kind, key)
		}
	}
}

func (f *failover) acquires(kind string, l *redigolock.Locker) {
	key := "acquires-" + kind
	for f.ctx.Err() == nil {
		var k *redigolock.Lock
		ctx, cancel := context.WithTimeout(f.ctx, failoverPatience)
		err := f.call(kind, "Acquire", 0, func() (err error) { k, err = l.Acquire(ctx, key, failoverTTL); return err })
		cancel()
		if err != nil {
			continue
		}
		v := f.enter(kind, key, k)
		time.Sleep(2 * time.Millisecond)
		f.call(kind, "Verify", time.Second, func() error { return k.Verify(bg) })
		f.call(kind, "Extend", time.Second, func() error { return k.Extend(bg, failoverTTL) })
		f.leave(kind, key, v, f.call(kind, "Release", 2*time.Second, func() error { return k.Release(bg) }))
	}
}

func (f *failover) tries(kind string, l *redigolock.Locker) {
	key := "tries-" + kind
	for f.ctx.Err() == nil {
		var k *redigolock.Lock
		err := f.call(kind, "TryAcquire", time.Second, func() (err error) { k, err = l.TryAcquire(bg, key, failoverTTL); return err })
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		v := f.enter(kind, key, k)
		time.Sleep(time.Millisecond)
		f.leave(kind, key, v, f.call(kind, "Release", 2*time.Second, func() error { return k.Release(bg) }))
	}
}

func (f *failover) does(kind string, l *redigolock.Locker) {
	key := "does-" + kind
	for f.ctx.Err() == nil {
		ran := false
		var v *visit
		ctx, cancel := context.WithTimeout(f.ctx, failoverPatience)
		err := l.Do(ctx, key, failoverTTL, func(ctx context.Context, k *redigolock.Lock) error {
			ran = true
			cancelled := false
			v = f.enter(kind, key, k)
			for begin := time.Now(); time.Since(begin) < 300*time.Millisecond && !cancelled; {
				late := time.Since(k.Deadline())
				cancelled = ctx.Err() != nil
				if late > 0 && !cancelled {
					f.mu.Lock()
					f.beyond = max(f.beyond, late)
					f.mu.Unlock()
				}
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		cancel()
		if ran {
			f.leave(kind, key, v, err)
			f.call(kind, "Do after its acquire", time.Minute, func() error { return err })
		} else {
			f.call(kind, "Do's acquire", 0, func() error { return err })
		}
	}
}

// keeps holds a lock until that is lost.
func (f *failover) keeps(kind string, l *redigolock.Locker) {
	key := "keeps-" + kind
	for f.ctx.Err() == nil {
		var k *redigolock.Lock
		err := f.call(kind, "Acquire", 0, func() (err error) { k, err = l.Acquire(f.ctx, key, failoverTTL); return err })
		if err != nil {
			continue
		}
		ctx := k.KeepAlive(f.ctx)
		v := f.enter(kind, key, k)
		<-ctx.Done()
		told := context.Cause(ctx)
		f.call(kind, "KeepAlive", time.Hour, func() error { return told })
		f.leave(kind, key, v, told)
		_ = k.Release(bg)
	}
}

// measures finds out when a lock can be had at the new master: it looks there for the key.
func (f *failover) measures(kind string, l *redigolock.Locker) {
	for i := 0; f.ctx.Err() == nil; i++ {
		key := fmt.Sprintf("measures-%s-%d", kind, i)
		k, err := l.TryAcquire(bg, key, failoverTTL)
		at := time.Now()
		if err == nil {
			f.mu.Lock()
			promoted, master, have := f.promoted, f.master, !f.next[kind].IsZero()
			f.mu.Unlock()
			if master != nil && !have && at.After(promoted) {
				if n, err := redis.Int(master.Do("EXISTS", key)); n == 1 && err == nil {
					f.mu.Lock()
					f.next[kind] = at
					f.mu.Unlock()
				}
			}
			_ = k.Release(bg)
		}
		time.Sleep(time.Millisecond)
	}
}

// finish ends the load, and checks that nothing is left.
func (f *failover) finish() {
	f.end()
	f.workers.Wait()
	for _, end := range slices.Backward(f.closing) {
		end()
	}
	if f.beyond > 50*time.Millisecond {
		f.Errorf("fn under Do went on for %v after Deadline", f.beyond)
	}
}

// report is the figures as a text.
func (f *failover) report(rounds int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# A master with two replicas and three Sentinels (down-after-milliseconds 500), %s, on this machine (%d CPUs, %s).\n",
		f.w.Servers[0].Version(), runtime.NumCPU(), runtime.Version())
	fmt.Fprintf(&b, "# The master is lost %d times in each way: killed, stopped (SIGSTOP; it goes on later), failed over by command.\n", rounds)
	fmt.Fprintf(&b, "# Command: REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 go test -run TestFailoverUnderLoad -failover-out FILE ./test/servers\n\n")
	for _, since := range []string{"promotion", "naming"} {
		what := "From the promotion of a replica to the next acquire there"
		if since == "naming" {
			what = "From when the first Sentinel names it"
		}
		fmt.Fprintf(&b, "%s:\n%-10s %-6s %10s %10s %4s\n", what, "way", "kind", "median", "worst", "n")
		for _, way := range []string{"kill", "stop", "command"} {
			for _, kind := range failoverKinds {
				d := f.durations[since+" "+way+" "+kind]
				slices.Sort(d)
				fmt.Fprintf(&b, "%-10s %-6s %10v %10v %4d\n", way, kind, d[len(d)/2].Round(100*time.Microsecond), d[len(d)-1].Round(100*time.Microsecond), len(d))
			}
		}
		b.WriteByte('\n')
	}
	for i, counts := range []map[string]int{f.overlaps, f.lost} {
		fmt.Fprintf(&b, "%s:\n", []string{"Two holders at a time (way, kind)", "\nWhat the first of them was told"}[i])
		for _, line := range sorted(counts) {
			fmt.Fprintf(&b, "%s %d\n", line, counts[line])
		}
		if len(counts) == 0 {
			b.WriteString("none\n")
		}
	}
	fmt.Fprintf(&b, "\nThe longest call, of all ways and kinds:\n")
	for _, name := range []string{"TryAcquire", "Verify", "Extend", "Fence", "Release"} {
		fmt.Fprintf(&b, "%-12s %v\n", name, f.worst[name].Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "fn under Do went on after Deadline for at most %v\n\nCalls by outcome:\n", f.beyond)
	for _, line := range sorted(f.counts) {
		fmt.Fprintf(&b, "%s\t%d\n", line, f.counts[line])
	}
	return b.String()
}

func sorted(m map[string]int) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// A lock that a failover has lost is known to be lost when the failover is known, long before its renewal would be due.
func TestKeptLockThatAFailoverLosesEndsAtOnce(t *testing.T) {
	w := redistest.StartWatched(t, redistest.WatchedConfig{Replicas: 1})
	open := func() *redis.Pool {
		s := &redigolock.Sentinel{Addrs: w.Addrs(), Master: redistest.MasterName}
		p := &redis.Pool{DialContext: s.DialContext, TestOnBorrow: s.TestOnBorrow, MaxIdle: 4}
		t.Cleanup(func() { s.Close() })
		t.Cleanup(func() { p.Close() })
		return p
	}
	mux := &redigolock.Mux{Pool: open()}
	defer mux.Close()
	opened, err := redigolock.Open("redis-sentinel://" + w.Addrs()[0] + "?master=" + redistest.MasterName)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	ends := map[string]context.Context{}
	lockers := map[string]*redigolock.Locker{"Sentinel": {Pool: open()}, "Mux": {Pool: mux}, "Open": {Pool: opened}, "Fair": {Pool: opened, Fair: true}}
	for name, l := range lockers {
		defer l.Close()
		for _, key := range []string{"lost-", "kept-"} {
			k, err := l.Acquire(patient(t), key+name, 10*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			ends[key+name] = k.KeepAlive(bg)
		}
	}
	replica := w.Servers[1]
	for key := range ends {
		eventually(t, "the replica has the locks", func() bool { n, _ := redis.Int(replica.Do("EXISTS", key)); return n == 1 })
	}
	if _, err := replica.Do("CONFIG", "SET", "replica-read-only", "no"); err != nil {
		t.Fatal(err)
	}
	lost := testbed.InBackground(func() error { // as if these had not reached the replica; until the end, for a synchronization brings them back
		for !replica.IsMaster() {
			for name := range lockers {
				if _, err := replica.Do("DEL", "lost-"+name); err != nil {
					return err
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	})
	eventually(t, "the replica has lost some", func() bool { n, _ := redis.Int(replica.Do("EXISTS", "lost-Fair")); return n == 0 })
	w.PromoteAnother(t)
	if err := testbed.Receive(t, "the promotion", lost); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for name := range lockers {
		select {
		case <-ends["lost-"+name].Done():
			wants(t, context.Cause(ends["lost-"+name]), redigolock.ErrLost)
		case <-time.After(30 * time.Second):
			t.Errorf("%s: nobody was told for %v", name, time.Since(begin))
		}
	}
	t.Logf("all were told %v after the promotion", time.Since(begin))
	for name := range lockers {
		if err := ends["kept-"+name].Err(); err != nil {
			t.Errorf("%s: a lock that the replica has was given up: %v", name, context.Cause(ends["kept-"+name]))
		}
	}
}

// A pool of NewPool is not told, and follows all the same.
func TestNewPoolFollowsAFailover(t *testing.T) {
	w := redistest.StartWatched(t, redistest.WatchedConfig{})
	pool, err := redigolock.NewPool("redis-sentinel://" + strings.Join(w.Addrs(), ",") + "?master=" + redistest.MasterName)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	l := &redigolock.Locker{Pool: pool}
	defer l.Close()
	for _, way := range []string{"kill", "command"} {
		old := w.Settled(t)
		var idle []redis.Conn
		for range 10 {
			idle = append(idle, pool.Get())
		}
		for _, c := range idle {
			c.Close()
		}
		if way == "kill" {
			old.Kill()
		} else {
			w.PromoteAnother(t)
		}
		eventually(t, "another is the master", func() bool { m := w.Master(); return m != nil && m != old })
		if way == "kill" {
			if err := old.Restart(); err != nil {
				t.Fatal(err)
			}
		}
		master := w.Settled(t) // the old master is a replica by now, which a pool with connections to it does not know
		for i := range 20 {
			key := fmt.Sprint(way, i)
			k, err := l.Acquire(patient(t), key, time.Minute)
			if err != nil {
				t.Fatal(way, err)
			}
			if n, err := redis.Int(master.Do("EXISTS", key)); n != 1 {
				t.Errorf("%s: the new master does not have the lock (%v)", way, err)
			}
			if err := k.Release(bg); err != nil {
				t.Errorf("%s: %v", way, err)
			}
		}
	}
}
