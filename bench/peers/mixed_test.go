package peers_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	rsgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	rsredigo "github.com/go-redsync/redsync/v4/redis/redigo"
	"github.com/gomodule/redigo/redis"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

const (
	mixedKey = "lock:mixed"
	mixedTTL = 300 * time.Millisecond
)

// An interval is when somebody had the lock, by the wall clock that all processes of a machine share. It ends no later than its holder
// might rely on it.
type interval struct {
	who          string
	enter, leave time.Time
}

// A grant is a lock that somebody has.
type grant struct {
	until   func() time.Time // when the holder may rely on it no longer
	work    func()           // nil: some milliseconds
	release func()           // nil: the holder dies
}

// A tryFunc tries once.
type tryFunc func(ctx context.Context) (grant, error)

// counted is until when a library may count on a ttl that it has asked for at start.
func counted(start time.Time) func() time.Time {
	until := start.Add(mixedTTL - mixedTTL/100 - 2*time.Millisecond)
	return func() time.Time { return until }
}

// TestMixedFleet: redigolock, redsync, redislock and node-redlock exclude each other on one key, while connections break, and
// replies and commands are late or lost. A fleet can be moved from one to the other host by host.
func TestMixedFleet(t *testing.T) {
	d := 3 * time.Second
	members := mixedFleet(t)
	if os.Getenv("REDIGOLOCK_PEERS") != "" {
		d = 20 * time.Second
	}
	testFleet(t, redistest.Start(t), members, nodeRedlock(t), d)
}

// TestMixedFleetWithNativeReleases is TestMixedFleet on a server with a native compare-and-delete: some release by that, and some by
// the script; some acquire by SET with GET, and some by SET and then GET, as redigolock did before.
func TestMixedFleetWithNativeReleases(t *testing.T) {
	d := 3 * time.Second
	members := mixedFleet(t)
	if os.Getenv("REDIGOLOCK_PEERS") != "" {
		d = time.Minute
	}
	members["redigolock native"] = func(t *testing.T, p *redistest.Proxy) tryFunc {
		return openOurs(t, p, func(l *redigolock.Locker) { l.AcquireWith, l.ReleaseWith = redigolock.SetNX, redigolock.ReleaseNative })
	}
	r := redistest.StartValkey(t)
	testFleet(t, r, members, nodeRedlock(t), d)
	calls, err := r.Calls()
	if err != nil || calls["delifeq"] == 0 || calls["evalsha"] == 0 {
		t.Errorf("%d releases by DELIFEQ, %d scripts, %v", calls["delifeq"], calls["evalsha"], err)
	}
}

func testFleet(t *testing.T, r *redistest.Server, members map[string]func(*testing.T, *redistest.Proxy) tryFunc, node string, d time.Duration) {
	t.Helper()
	holds, faults := runFleet(t, r, members, node, d)
	count := map[string]int{}
	for _, h := range holds {
		count[h.who]++
	}
	t.Logf("%v of holds in %v, %d faults", count, d, faults)
	for _, found := range overlaps(holds) {
		t.Error(found)
	}
	for who := range members {
		if count[who] == 0 && d > 3*time.Second {
			t.Errorf("%s never held the lock", who)
		}
	}
	if len(count) < 2 || len(holds) < 7 {
		t.Errorf("only %v have held the lock", count)
	}
	if faults == 0 {
		t.Error("no faults")
	}
}

// Somebody who does not ask for the lock is seen.
func TestMixedFleetSeesOverlaps(t *testing.T) {
	members := mixedFleet(t)
	members["nobody asked"] = func(*testing.T, *redistest.Proxy) tryFunc {
		return func(context.Context) (grant, error) { return grant{until: counted(time.Now())}, nil }
	}
	holds, _ := runFleet(t, redistest.Start(t), members, "", time.Second)
	if len(overlaps(holds)) == 0 {
		t.Error("none of their holds overlap")
	}
}

// overlaps says which intervals overlap.
func overlaps(holds []interval) (found []string) {
	slices.SortFunc(holds, func(a, b interval) int { return a.enter.Compare(b.enter) })
	for i := 1; i < len(holds); i++ {
		a, b := holds[i-1], holds[i]
		if b.enter.Before(a.leave) {
			found = append(found, fmt.Sprintf("%s entered %v before %s left", b.who, a.leave.Sub(b.enter), a.who))
		}
		if b.leave.Before(a.leave) {
			holds[i] = a // the later end counts for what follows
		}
	}
	return found
}

// A fleet is its members by their names, each to be opened on a network of its own.
type fleet map[string]func(*testing.T, *redistest.Proxy) tryFunc

func mixedFleet(t *testing.T) fleet {
	if os.Getenv("REDIGOLOCK_REAL") == "" {
		t.Skip("REDIGOLOCK_REAL is not set")
	}
	ours := func(set func(*redigolock.Locker)) func(*testing.T, *redistest.Proxy) tryFunc {
		return func(t *testing.T, p *redistest.Proxy) tryFunc { return openOurs(t, p, set) }
	}
	members := fleet{
		"redigolock": ours(func(*redigolock.Locker) {}),
		"redigolock of before": ours(func(l *redigolock.Locker) {
			l.AcquireWith, l.ReleaseWith = redigolock.SetNXVerified, redigolock.Release
		}),
		"redigolock script": ours(func(l *redigolock.Locker) {
			l.AcquireWith, l.ReleaseWith = redigolock.SetNXScript, redigolock.ReleaseTx
		}),
		"redigolock fair": ours(func(l *redigolock.Locker) { l.Fair = true }),
		"redsync redigo": func(t *testing.T, p *redistest.Proxy) tryFunc {
			return tryRedsync(redsync.New(rsredigo.NewPool(mixedPool(t, p))))
		},
		"redsync go-redis": func(t *testing.T, p *redistest.Proxy) tryFunc {
			return tryRedsync(redsync.New(rsgoredis.NewPool(mixedClient(t, p))))
		},
		"redislock": openMixedRedislock,
	}
	return members
}

// openOurs keeps one lock in twenty alive for longer than its ttl, and leaves one in forty to expire, as a process that dies does.
func openOurs(t *testing.T, p *redistest.Proxy, set func(*redigolock.Locker)) tryFunc {
	l := &redigolock.Locker{Pool: mixedPool(t, p), OpTimeout: 100 * time.Millisecond}
	set(l)
	t.Cleanup(func() { _ = l.Close() })
	return func(ctx context.Context) (grant, error) {
		k, err := l.TryAcquire(ctx, mixedKey, mixedTTL)
		g := grant{until: k.Deadline, release: func() { _ = k.Release(ctx) }}
		switch rand.IntN(40) {
		case 0:
			g.release = nil
		case 1, 2:
			g.work = func() {
				select {
				case <-k.KeepAlive(ctx).Done():
				case <-time.After(mixedTTL * 3 / 2):
				}
			}
		}
		return g, err
	}
}

// mixedPool gives up a command after 150 ms.
func mixedPool(t *testing.T, p *redistest.Proxy) *redis.Pool {
	pool, err := redigolock.NewPool(p.URL(), redis.DialReadTimeout(150*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// mixedClient gives up a command after 150 ms.
func mixedClient(t *testing.T, p *redistest.Proxy) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{
		Addr: p.Addr(), Protocol: 2, DisableIdentity: true, ReadTimeout: 150 * time.Millisecond,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func tryRedsync(rs *redsync.Redsync) tryFunc {
	return func(ctx context.Context) (grant, error) {
		m := rs.NewMutex(mixedKey, redsync.WithExpiry(mixedTTL), redsync.WithTries(1), redsync.WithTimeoutFactor(0.3))
		err := m.TryLockContext(ctx)
		return grant{until: m.Until, release: func() { _, _ = m.UnlockContext(ctx) }}, err
	}
}

func openMixedRedislock(t *testing.T, p *redistest.Proxy) tryFunc {
	locks := redislock.New(mixedClient(t, p))
	return func(ctx context.Context) (grant, error) {
		start := time.Now()
		k, err := locks.Obtain(ctx, mixedKey, mixedTTL, nil)
		return grant{until: counted(start), release: func() { _ = k.Release(ctx) }}, err
	}
}

// runFleet has all members, and node-redlock if it is installed in the folder node, take and release the lock for so long, each
// through a network with faults of its own.
func runFleet(t *testing.T, r *redistest.Server, members fleet, node string, d time.Duration) ([]interval, int) {
	t.Helper()
	var holds []interval
	faults := 0
	var mu sync.Mutex
	var all sync.WaitGroup
	add := func(h interval) {
		mu.Lock()
		defer mu.Unlock()
		holds = append(holds, h)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	network := func() *redistest.Proxy {
		p := redistest.NewProxy(t, r.Addr())
		p.Rule(func(redistest.Request) redistest.Action {
			a := fault()
			if a != redistest.Pass() {
				mu.Lock()
				defer mu.Unlock()
				faults++
			}
			return a
		})
		return p
	}
	for who, open := range members {
		try := open(t, network())
		all.Go(func() {
			for ctx.Err() == nil {
				member(who, try, add)
			}
		})
	}
	if node != "" {
		all.Go(func() {
			for _, h := range runNode(t, node, network(), d) {
				add(h)
			}
		})
	}
	all.Wait()
	mu.Lock() // a clean-up may go on
	defer mu.Unlock()
	return holds, faults
}

// member tries once, and notes the hold. It does not end with the run: what has begun is finished.
func member(who string, try tryFunc, add func(interval)) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	g, err := try(ctx)
	if err != nil {
		time.Sleep(time.Millisecond + rand.N(9*time.Millisecond))
		return
	}
	enter := time.Now()
	if g.work != nil {
		g.work()
	} else {
		time.Sleep(2*time.Millisecond + rand.N(5*time.Millisecond))
	}
	leave := time.Now()
	if end := g.until(); end.Before(leave) {
		leave = end
	}
	if enter.Before(leave) {
		add(interval{who, enter.Round(0), leave.Round(0)})
	}
	if g.release != nil {
		g.release()
	}
}

// fault is what happens to one command in sixty.
func fault() redistest.Action {
	switch rand.IntN(300) {
	case 0:
		return redistest.Drop()
	case 1:
		return redistest.Cut()
	case 2:
		return redistest.Delay(rand.N(100 * time.Millisecond))
	case 3:
		return redistest.Swallow()
	case 4:
		late := make(chan struct{})
		time.AfterFunc(rand.N(200*time.Millisecond), func() { close(late) })
		return redistest.Late(late)
	}
	return redistest.Pass()
}

// nodeRedlock returns the folder where node-redlock is installed; "": it is not asked for, or there is no npm.
func nodeRedlock(t *testing.T) string {
	t.Helper()
	if os.Getenv("REDIGOLOCK_PEERS") == "" {
		return ""
	}
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Logf("without node-redlock: %v", err)
			return ""
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "hold.js"} {
		text, err := os.ReadFile(filepath.Join("testdata/node", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

func runNode(t *testing.T, dir string, p *redistest.Proxy, d time.Duration) (holds []interval) {
	port := p.Addr()[strings.LastIndex(p.Addr(), ":")+1:]
	var stderr bytes.Buffer
	node := exec.CommandContext(t.Context(), "node", "hold.js", port, mixedKey,
		fmt.Sprint(mixedTTL.Milliseconds()), fmt.Sprint(d.Milliseconds()))
	node.Dir, node.Stderr = dir, &stderr
	out, err := node.Output()
	if err != nil {
		t.Errorf("node: %v\n%s", err, &stderr)
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var enter, leave float64
		if _, err := fmt.Sscan(lines.Text(), &enter, &leave); err != nil {
			t.Errorf("node printed %q", lines.Text())
			continue
		}
		at := func(ms float64) time.Time { return time.UnixMicro(int64(ms * 1000)) }
		holds = append(holds, interval{"node-redlock", at(enter), at(leave)})
	}
	if len(holds) == 0 {
		t.Errorf("node-redlock never held the lock: %s", &stderr)
	}
	return holds
}
