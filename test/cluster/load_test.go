package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/redistest"
)

const (
	clients = 64 // of a load
	loadTTL = 10 * time.Second
	slack   = 2 * time.Second // by which a call may be late on a busy machine
)

// A load is clients of one kind that acquire and release locks in turn, through four Lockers over one Cluster; every fourth uses Do. A
// holder raises a number on another server, guarded by its fence. One more client calls the verbs that do not wait.
type load struct {
	t       *testing.T
	kind    string
	pool    *lock.Cluster
	keys    []string // the first three are in one slot
	holders []atomic.Pointer[lock.Lock]
	numbers *redis.Pool // where what the locks protect is
	stop    chan struct{}
	workers sync.WaitGroup
	over    sync.Map // tokens whose Release was answered

	mu       sync.Mutex // protects what follows
	locks    int
	failures int                      // of acquires
	raised   []int64                  // of the number of each key
	errs     map[string]int           // by verb and kind
	worst    map[string]time.Duration // by verb
	ends     []time.Time              // of locks of the first key
	next     []time.Duration          // how long after a change such a lock was released
	undone   []time.Duration          // as next, where the change has undone a Release, and the lock still stood a second later
	overlaps int
}

// startLoads starts a load of each kind. Their keys share the slot of tag, but not the keys.
func startLoads(t *testing.T, servers *redistest.Cluster, tag string) (loads []*load) {
	register := redistest.Start(t)
	for _, kind := range slices.Sorted(maps.Keys(clusterKinds)) {
		l := &load{t: t, kind: kind, pool: &lock.Cluster{Addrs: servers.Addrs()[:3]}, stop: make(chan struct{}), errs: map[string]int{}, worst: map[string]time.Duration{}}
		t.Cleanup(func() { l.pool.Close() })
		for i := range 3 {
			l.keys = append(l.keys, fmt.Sprintf("{%s}%s%d", tag, kind, i))
		}
		l.keys = append(l.keys, "other"+kind)
		l.holders, l.raised = make([]atomic.Pointer[lock.Lock], len(l.keys)), make([]int64, len(l.keys))
		l.numbers = register.Pool()
		l.start()
		loads = append(loads, l)
	}
	return loads
}

func (l *load) start() {
	var lockers []*lock.Locker
	for range 4 {
		locker := clusterKinds[l.kind](l.t, l.pool)
		locker.Observer = &lock.Observer{Released: func(_ context.Context, k *lock.Lock, _ time.Duration, err error) {
			if err == nil {
				l.over.Store(k.Token(), true)
			}
		}}
		l.t.Cleanup(func() { locker.Close() })
		lockers = append(lockers, locker)
	}
	work := func(f func(n int)) {
		l.workers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
					f(n)
				}
			}
		})
	}
	for i := range clients {
		work(func(n int) { l.cycle(lockers[i%len(lockers)], (i+n)%len(l.keys), i%4 == 3) })
	}
	work(func(int) { l.probe(lockers[0]) })
}

// cycle acquires and releases one lock. No error of the acquire is allowed.
func (l *load) cycle(locker *lock.Locker, i int, do bool) {
	ctx, cancel := context.WithTimeout(bg, 30*time.Second)
	defer cancel()
	if do {
		got := false
		err := locker.Do(ctx, l.keys[i], loadTTL, func(ctx context.Context, k *lock.Lock) error {
			got = true
			l.hold(ctx, k, i)
			return nil
		})
		if !got {
			l.failed(i, err)
			return
		}
		l.note("do", 0, err)
	} else {
		k, err := locker.Acquire(ctx, l.keys[i], loadTTL)
		if err != nil {
			l.failed(i, err)
			return
		}
		l.hold(bg, k, i)
		l.timed("release", 2*lock.DefaultOpTimeout, func() error { return k.Release(bg) })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locks++
	if i == 0 {
		l.ends = append(l.ends, time.Now())
	}
}

// failed is told of an acquire that has failed though its context had not ended, or after half a minute.
func (l *load) failed(i int, err error) {
	l.t.Errorf("%s: acquire %s: %v", l.kind, l.keys[i], err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
}

// hold is what a holder does.
func (l *load) hold(ctx context.Context, k *lock.Lock, i int) {
	if !l.holders[i].CompareAndSwap(nil, k) {
		l.holders[i].Store(k)
		l.mu.Lock()
		l.overlaps++
		l.mu.Unlock()
	}
	var fence int64
	err := l.timed("fence", lock.DefaultOpTimeout, func() (err error) { fence, err = k.Fence(ctx); return err })
	if err == nil {
		l.raise(k, i, fence)
	}
	l.holders[i].CompareAndSwap(k, nil)
}

// raise raises the number that the key protects. What the fence refuses is not lost, for it is not done.
func (l *load) raise(k *lock.Lock, i int, fence int64) {
	c := l.numbers.Get()
	defer c.Close()
	guard, number := "guard "+l.keys[i], "number "+l.keys[i]
	n, err := redis.Int64(lock.GuardDo(bg, c, guard, fence, "GET", number))
	if errors.Is(err, redis.ErrNil) {
		err = nil
	}
	time.Sleep(time.Millisecond)
	if err == nil {
		_, err = lock.GuardDo(bg, c, guard, fence, "SET", number, n+1)
	}
	switch {
	case err == nil:
		atomic.AddInt64(&l.raised[i], 1)
	case errors.Is(err, lock.ErrFenced):
		l.note("guard", 0, err)
	default:
		l.t.Errorf("%s: guard: %v", l.kind, err)
	}
}

// probe calls what does not wait, with a key that only it uses.
func (l *load) probe(locker *lock.Locker) {
	var k *lock.Lock
	each := func(verb string, bound time.Duration, f func() error) { l.timed(verb, bound, f) }
	each("try", lock.DefaultOpTimeout, func() (err error) { k, err = locker.TryAcquire(bg, l.keys[0]+"probe", time.Second); return err })
	if k != nil {
		each("verify", lock.DefaultOpTimeout, func() error { return k.Verify(bg) })
		each("extend", lock.DefaultOpTimeout, func() error { return k.Extend(bg, time.Second) })
		each("release", 2*lock.DefaultOpTimeout, func() error { return k.Release(bg) })
	}
	time.Sleep(10 * time.Millisecond)
}

// timed calls f, and notes its error. It must return within its bound.
func (l *load) timed(verb string, bound time.Duration, f func() error) error {
	begin := time.Now()
	err := f()
	took := time.Since(begin)
	if took > bound+slack {
		l.t.Errorf("%s: %s took %v: %v", l.kind, verb, took, err)
	}
	l.note(verb, took, err)
	return err
}

// note counts an error by its kind. One of no kind is not allowed.
func (l *load) note(verb string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.worst[verb] = max(l.worst[verb], took)
	if err == nil {
		return
	}
	kind := ""
	for name, target := range map[string]error{"unavailable": lock.ErrUnavailable, "held": lock.ErrHeld, "not held": lock.ErrNotHeld, "fenced": lock.ErrFenced} {
		if errors.Is(err, target) {
			kind = name
		}
	}
	reply, refused := fault.Reply(err)
	switch {
	case errors.Is(err, lock.ErrUnknown):
		kind = "unknown"
	case errors.Is(err, lock.ErrLost):
		kind = "lost"
	case kind == "" && refused && fault.TransientReply(reply):
		kind = fault.Word(reply)
	case kind == "":
		l.t.Errorf("%s: %s: %v", l.kind, verb, err)
	}
	l.errs[verb+": "+kind]++
}

// awaitNext waits for the next release of the first key's lock after a change. A failover to a replica that has not heard of a Release yet
// undoes it; then the Locker, which is still there, releases the lock again.
func (l *load) awaitNext(changed time.Time) {
	undone := false
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(time.Millisecond) {
		d := l.after(changed)
		if !undone && time.Since(begin) > time.Second {
			undone = l.isUndone()
		}
		if d == 0 {
			continue
		}
		l.mu.Lock()
		if undone {
			l.undone = append(l.undone, d)
		} else {
			l.next = append(l.next, d)
		}
		l.mu.Unlock()
		if undone { // a replica may be behind by more than a Locker remembers; before Lockers released again, it was so in every fourth
			l.t.Logf("%s: a Release that the change has undone was not carried out again in time; the next lock came after %v", l.kind, d)
		} else if d > loadTTL/2 {
			l.t.Errorf("%s: the next lock came after %v", l.kind, d)
		}
		return
	}
	l.t.Errorf("%s: no lock within half a minute", l.kind)
}

// isUndone reports whether the lock of the first key is one whose Release was answered.
func (l *load) isUndone() bool {
	c := l.pool.Get()
	defer c.Close()
	info, err := lock.Inspect(bg, c, l.keys[0])
	if err != nil || !info.Held {
		return false
	}
	time.Sleep(100 * time.Millisecond) // its Release may just be answered
	again, err := lock.Inspect(bg, c, l.keys[0])
	_, over := l.over.Load(info.Token)
	return err == nil && over && again.Token == info.Token
}

func (l *load) after(then time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.ends) - 1; i >= 0; i-- {
		if !l.ends[i].After(then) {
			if i+1 < len(l.ends) {
				return l.ends[i+1].Sub(then)
			}
			return 0
		}
	}
	if len(l.ends) > 0 {
		return l.ends[0].Sub(then)
	}
	return 0
}

// end stops the clients, and looks at what the locks have protected.
func (l *load) end() {
	close(l.stop)
	l.workers.Wait()
	c := l.numbers.Get()
	defer c.Close()
	for i, key := range l.keys {
		if n, err := redis.Int64(c.Do("GET", "number "+key)); n != l.raised[i] {
			l.t.Errorf("%s: the number of %s was raised %d times, and is %d: %v", l.kind, key, l.raised[i], n, err)
		}
	}
	if l.locks == 0 {
		l.t.Errorf("%s: no lock", l.kind)
	}
}

// report is a row of a table.
func (l *load) report() string {
	slices.Sort(l.next)
	var errs []string
	for _, kind := range slices.Sorted(maps.Keys(l.errs)) {
		errs = append(errs, fmt.Sprintf("%s %d", kind, l.errs[kind]))
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }
	row := fmt.Sprintf("| %s | %d | %d | %s | %s, %s | %d |", l.kind, l.locks, l.failures, strings.Join(errs, ", "),
		ms(max(l.worst["try"], l.worst["verify"], l.worst["extend"], l.worst["fence"])), ms(l.worst["release"]), l.overlaps)
	if n := len(l.next); n > 0 {
		row += fmt.Sprintf(" %d | %s | %s | %d |", n+len(l.undone), ms(l.next[n/2]), ms(l.next[n-1]), len(l.undone))
	}
	return row
}

const (
	tableHead = "| | locks | acquires that failed | other errors | longest: verbs that do not wait, Release | overlaps |"
	tableNext = " changes | next lock after a change: median | worst | changes that left a lock |"
)

// table is what was measured, for results/cluster. REDIGOLOCK_TABLES names a folder for it.
func table(t *testing.T, name, next string, loads []*load) {
	t.Helper()
	head := tableHead + next
	var rows strings.Builder
	rows.WriteString(head + "\n|" + strings.Repeat(" --- |", strings.Count(head, "|")-1) + "\n")
	for _, l := range loads {
		rows.WriteString(l.report() + "\n")
	}
	t.Log("\n" + rows.String())
	if dir := os.Getenv("REDIGOLOCK_TABLES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".md"), []byte(rows.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
