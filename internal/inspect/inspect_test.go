package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

const uuid = "b7f1c7c2-5f0a-4a8e-9d0e-0123456789ab"

func start(t *testing.T) (*redistest.Server, *redis.Pool, redis.Conn) {
	t.Helper()
	s := redistest.Start(t)
	pool, err := redigolock.NewPool(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	c := pool.Get()
	t.Cleanup(func() { c.Close() })
	return s, pool, c
}

func do(t *testing.T, c redis.Conn, cmd string, args ...any) {
	t.Helper()
	if _, err := c.Do(cmd, args...); err != nil {
		t.Fatalf("%s %v: %v", cmd, args, err)
	}
}

func look(t *testing.T, c redis.Conn, key string) Lock {
	t.Helper()
	l, err := Look(t.Context(), c, key)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLookSaysWhatIsOnTheKey(t *testing.T) {
	t.Parallel()
	_, _, c := start(t)
	do(t, c, "SET", "held", "web-1|"+uuid, "PX", 60000)
	do(t, c, "SET", "{held}:redigolock-fence", 1234567890123456)
	do(t, c, "SET", "theirs", "any value", "PX", 60000)
	do(t, c, "SET", "endless", uuid)
	do(t, c, "SET", "text", "8J3vXh0mNqzY1nM4l6yq0A==")
	do(t, c, "SET", "owner", "ev\x1b[2Jil|"+uuid, "PX", 60000)
	do(t, c, "LPUSH", "list", 1)
	do(t, c, "SET", "k}", uuid, "PX", 60000) // it can have no siblings
	for key, want := range map[string]Lock{
		"free":    {},
		"held":    {Held: true, Holder: "web-1#c68d7f1d", Fence: 1234567890123456},
		"theirs":  {Held: true},
		"endless": {Holder: "#6c2497c5", Instead: "a string without TTL"},
		"text":    {Instead: "a string without TTL"},
		"owner":   {Held: true}, // which no Locker has made: it is not shown
		"list":    {Instead: "a list"},
		"k}":      {Held: true, Holder: "#6c2497c5"},
	} {
		got := look(t, c, key)
		if got.Held != (got.Left > Millis(50*time.Second) && got.Left <= Millis(time.Minute)) {
			t.Errorf("%s: held %v for %v", key, got.Held, got.Left)
		}
		if got.LooksLikeLock() != (key == "held" || key == "theirs" || key == "endless" || key == "owner" || key == "k}") {
			t.Errorf("%s looks like a lock: %v", key, got.LooksLikeLock())
		}
		if want.Holder == "" && len(got.Holder) == len("#01234567") {
			got.Holder = "" // a hash is of no interest
		}
		got.Left, got.token, want.Key = 0, nil, key
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if _, err := Look(t.Context(), c, "{held}:redigolock-fence"); !errors.Is(err, redigolock.ErrInvalid) {
		t.Errorf("a counter: %v", err)
	}
}

// Three processes wait; the lock is broken, and the first of them has it.
func TestLookAndBreakWithAQueue(t *testing.T) {
	t.Parallel()
	_, pool, c := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	locker := func(owner string) *redigolock.Locker {
		l := &redigolock.Locker{Pool: pool, Fair: true, Owner: owner}
		t.Cleanup(func() { l.Close() })
		return l
	}
	old, err := locker("holder").Acquire(ctx, "lock", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *redigolock.Lock, 3)
	for n := 1; n <= 3; n++ {
		go func() {
			k, err := locker(fmt.Sprint("waiter-", n)).Acquire(ctx, "lock", time.Duration(n)*time.Minute)
			if err != nil {
				t.Error(err)
			}
			got <- k
		}()
		for look(t, c, "lock").Waiting < n {
			time.Sleep(time.Millisecond)
		}
	}
	l := look(t, c, "lock")
	for i, w := range l.Queue {
		if !strings.HasPrefix(w.Waiter, fmt.Sprintf("waiter-%d#", i+1)) || w.TTL != Millis(time.Duration(i+1)*time.Minute) {
			t.Errorf("%d: %+v", i, w)
		}
	}
	if len(l.Queue) != 3 || !strings.HasPrefix(l.Holder, "holder#") || l.Waiting != 3 {
		t.Errorf("%+v", l)
	}
	asJSON, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprintf("%v %+v %#v %s", l, l, l, asJSON); strings.Contains(all, old.Token()) || !strings.Contains(all, "waiter-1#") {
		t.Errorf("it shows a token, or no waiter: %s", all)
	}
	if err := l.Break(ctx, pool); err != nil {
		t.Fatal(err)
	}
	if now := look(t, c, "lock"); now.Holder != l.Queue[0].Waiter || now.Waiting != 2 { // at once
		t.Errorf("after it: %+v", now)
	}
	k := <-got
	if err := old.Verify(ctx); !errors.Is(err, redigolock.ErrNotHeld) {
		t.Errorf("the old holder: %v", err)
	}
	if err := l.Break(ctx, pool); !errors.Is(err, redigolock.ErrNotHeld) {
		t.Errorf("again: %v", err)
	}
	if err := k.Verify(ctx); err != nil {
		t.Errorf("the new holder: %v", err)
	}
	for range 2 {
		if err := k.Release(ctx); err != nil {
			t.Error(err)
		}
		k = <-got
	}
	if err := k.Release(ctx); err != nil {
		t.Error(err)
	}
}

// Break removes what Look has shown, and nothing else.
func TestBreakComparesTheToken(t *testing.T) {
	t.Parallel()
	_, pool, c := start(t)
	for name, token := range map[string]string{"ours": "web-1|" + uuid, "left": uuid + "|left", "theirs": "any value"} {
		do(t, c, "SET", "lock", token, "PX", 60000)
		l := look(t, c, "lock")
		do(t, c, "SET", "lock", "another", "PX", 60000)
		if err := l.Break(t.Context(), pool); !errors.Is(err, redigolock.ErrNotHeld) {
			t.Errorf("%s: %v", name, err)
		}
		do(t, c, "SET", "lock", token, "PX", 60000)
		if err := l.Break(t.Context(), pool); err != nil || look(t, c, "lock").Held {
			t.Errorf("%s: %v", name, err)
		}
	}
	do(t, c, "SET", "lock", uuid)
	if l := look(t, c, "lock"); l.Break(t.Context(), pool) != nil || look(t, c, "lock").Instead != "" {
		t.Error("a lock without TTL stays")
	}
	if l := look(t, c, "lock"); !errors.Is(l.Break(t.Context(), pool), redigolock.ErrNotHeld) {
		t.Error("a free lock can be broken")
	}
}

// A user whose rights are those of a Locker sees the lock, and is told what it may not see.
func TestLookWithFewRights(t *testing.T) {
	t.Parallel()
	s, _, c := start(t)
	do(t, c, "SET", "lock:a", uuid, "PX", 60000)
	do(t, c, "ACL", "SETUSER", "app", "on", ">secret", "~lock:*", "+get", "+pttl", "+eval", "+evalsha", "+type", "+lrange", "+getrange")
	app, err := s.Dial(redis.DialUsername("app"), redis.DialPassword("secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	if l := look(t, app, "lock:a"); !l.Held || !slices.Equal(l.Denied, []string{"queue", "fence"}) {
		t.Errorf("%+v", l)
	}
	scan := Scan{Found: func(Lock) error { return nil }}
	if _, err := scan.Run(t.Context(), app); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("scan: %v", err)
	}
}

func keysOf(t *testing.T, c redis.Conn, s Scan) (keys []string, all bool) {
	t.Helper()
	s.Found = func(l Lock) error {
		keys = append(keys, l.Key)
		return nil
	}
	all, err := s.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys, all
}

func TestScanFindsWhatLooksLikeALock(t *testing.T) {
	t.Parallel()
	_, _, c := start(t)
	locks := map[string]string{
		"lock:ours": uuid, "lock:owner": "web-1|" + uuid, "lock:left": "web-1|" + uuid + "|left",
		"redsync": "8J3vXh0mNqzY1nM4l6yq0A==", "redis-py": "f0e1d2c3b4a5968778695a4b3c2d1e0f", "redislock": "Yq3vXh0mNqzY1nM4l6yq0A",
		"esc\x1b[2J": uuid,
	}
	for key, token := range locks {
		do(t, c, "SET", key, token, "PX", 60000)
	}
	do(t, c, "RPUSH", "{lock:ours}:redigolock-q2", "1000 1 c t", "1000 1 c u")
	do(t, c, "SET", "{lock:ours}:redigolock-fence", uuid, "PX", 60000)
	do(t, c, "SET", "cache", "<html>", "PX", 60000)
	do(t, c, "SET", "big", strings.Repeat("a", 1<<20), "PX", 60000)
	do(t, c, "SET", "long", uuid, "PX", 48*3600*1000)
	do(t, c, "SET", "endless", uuid)
	do(t, c, "SET", "text", "hello")
	do(t, c, "SET", "secret", "8J3vXh0mNqzY1nM4l6yq0A==")
	do(t, c, "HSET", "redisson", "f", 1)
	do(t, c, "PEXPIRE", "redisson", 60000)
	want := []string{"esc\x1b[2J", "lock:left", "lock:ours", "lock:owner", "redis-py", "redislock", "redsync"}
	if keys, all := keysOf(t, c, Scan{}); !slices.Equal(keys, want) || !all {
		t.Errorf("%q, want %q", keys, want)
	}
	if keys, _ := keysOf(t, c, Scan{Pattern: "lock:o*"}); !slices.Equal(keys, []string{"lock:ours", "lock:owner"}) {
		t.Errorf("by pattern: %q", keys)
	}
	if keys, _ := keysOf(t, c, Scan{All: true}); len(keys) != len(want)+2 {
		t.Errorf("all: %q", keys)
	}
	if keys, _ := keysOf(t, c, Scan{Endless: true}); !slices.Equal(keys, []string{"endless"}) {
		t.Errorf("endless: %q", keys)
	}
	for n := range 3000 {
		do(t, c, "SET", fmt.Sprint("lock:", n), uuid, "PX", 60000)
	}
	if keys, all := keysOf(t, c, Scan{Pages: 2}); all || len(keys) < 500 || len(keys) > 1500 {
		t.Errorf("two pages: %d keys, all %v", len(keys), all)
	}
	if keys, all := keysOf(t, c, Scan{}); !all || len(slices.Compact(keys)) != len(want)+3000 {
		t.Errorf("%d keys", len(keys))
	}
	scan := Scan{Found: func(l Lock) error {
		if l.Key == "lock:ours" && l.Waiting != 2 {
			t.Errorf("%+v", l)
		}
		return errors.New("enough")
	}}
	if _, err := scan.Run(t.Context(), c); err == nil || err.Error() != "enough" {
		t.Errorf("%v", err)
	}
}

// What a scan of a million keys, of which each second is a lock, costs the server and this process. The slow log counts
// the time, too, in which the machine does not run the server; so the scan is repeated, and of each command, which is
// known by its arguments, the best time counts. It prints the figures; run it with REDIGOLOCK_LONG=1 and -v.
func TestScanOfAMillionKeys(t *testing.T) {
	if os.Getenv("REDIGOLOCK_LONG") == "" {
		t.Skip("REDIGOLOCK_LONG is not set")
	}
	_, _, c := start(t)
	const script = `for i = ARGV[1], ARGV[1] + 9999 do
		if i % 2 == 0 then redis.call('SET', 'lock:' .. i, 'web|b7f1c7c2-5f0a-4a8e-9d0e-' .. string.format('%012d', i), 'PX', 3600000)
		else redis.call('SET', 'other:' .. i, 'value') end
	end`
	for n := 0; n < 1_000_000; n += 10_000 {
		do(t, c, "EVAL", script, 0, n)
	}
	do(t, c, "CONFIG", "SET", "slowlog-log-slower-than", 100) // µs
	do(t, c, "CONFIG", "SET", "slowlog-max-len", 100_000)
	for _, pattern := range []string{"", "lock:99999*"} {
		var times map[string]time.Duration
		for round := range 3 {
			do(t, c, "SLOWLOG", "RESET")
			n, kept, took := measuredScan(t, c, pattern)
			if want := map[string]int{"": 500_000, "lock:99999*": 5}[pattern]; n != want {
				t.Errorf("%d locks, want %d", n, want)
			}
			if kept > 8<<20 {
				t.Errorf("it keeps %d bytes", kept)
			}
			slow := slowCommands(t, c)
			t.Logf("pattern %q: %d locks in %v; live memory at most %d KiB more; %d commands took more than 100 µs",
				pattern, n, took.Round(time.Millisecond), kept>>10, len(slow))
			for command, took := range slow {
				best, wasSlow := times[command]
				if round > 0 && !wasSlow {
					delete(slow, command)
				} else if round > 0 {
					slow[command] = min(took, best)
				}
			}
			times = slow
		}
		var worst time.Duration
		for _, took := range times {
			worst = max(worst, took)
		}
		t.Logf("pattern %q: %d commands took more than 100 µs each time, the slowest %v", pattern, len(times), worst)
		if worst > 5*time.Millisecond {
			t.Errorf("a command takes %v", worst)
		}
	}
}

// measuredScan returns how many locks there are, how many bytes more were in use at most, and how long it took.
func measuredScan(t *testing.T, c redis.Conn, pattern string) (n int, kept uint64, took time.Duration) {
	t.Helper()
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, began := used(), time.Now()
	scan := Scan{Pattern: pattern, Found: func(Lock) error {
		if n++; n%50_000 == 0 {
			now := used()
			kept = max(kept, now-min(now, before))
		}
		return nil
	}}
	if all, err := scan.Run(t.Context(), c); err != nil || !all {
		t.Fatal(all, err)
	}
	return n, kept, time.Since(began)
}

// slowCommands returns what is in the slow log.
func slowCommands(t *testing.T, c redis.Conn) map[string]time.Duration {
	t.Helper()
	entries, err := redis.Values(c.Do("SLOWLOG", "GET", -1))
	if err != nil {
		t.Fatal(err)
	}
	slow := map[string]time.Duration{}
	for _, e := range entries {
		var id, at, µs int64
		var args []string
		if list, _ := redis.Values(e, nil); len(list) > 3 {
			_, err = redis.Scan(list, &id, &at, &µs, &args)
		}
		if command := strings.Join(args, " "); err == nil && !strings.HasPrefix(command, "SLOWLOG") {
			slow[command] = time.Duration(µs) * time.Microsecond
		}
	}
	return slow
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 42 * time.Millisecond: "42ms", 1240 * time.Millisecond: "1.2s", 5 * time.Minute: "5m", time.Hour: "1h", 65 * time.Second: "1m5s",
		90 * time.Minute: "1h30m", 20 * time.Second: "20s",
	} {
		if got := Millis(d).String(); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
