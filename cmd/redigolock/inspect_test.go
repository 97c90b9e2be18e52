//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// Tests of who, ls, watch and break, as a person drives them. What the packages below find is tested there.

const someUUID = "b7f1c7c2-5f0a-4a8e-9d0e-0123456789ab"

// set holds a lock by hand, and returns the environment that leads to the server.
func set(t *testing.T, s *redistest.Server, pairs ...string) []string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if _, err := s.Do("SET", pairs[i], pairs[i+1], "PX", 59000); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"REDIS_URL=" + s.URL()}
}

// hasToken reports whether the text has any part of a UUID that is long enough to be of use.
func hasToken(text string) bool { return strings.Contains(text, "4a8e-9d0e") }

func TestWho(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	env := set(t, s, "lock:a", "web-1|"+someUUID, "lock:\x1b[2J", someUUID, "left", "web-1|"+someUUID+"|left")
	if _, err := s.Do("LPUSH", "list", 1); err != nil {
		t.Fatal(err)
	}
	call(t, env, "who", "lock:a").want(t, exitOK, "lock:a is held by web-1#c68d7f1d, for another 5")
	call(t, env, "who", "lock:a", "nobody").want(t, exitNo, "held by web-1#c68d7f1d", "nobody is free\n")
	call(t, env, "who", "list", "nobody").want(t, exitConflict, "list is no lock: it holds a list\n")
	call(t, env, "who", "left").want(t, exitOK, "left was released by web-1#c68d7f1d; its MinHold keeps others out for another")
	call(t, env, "who", "lock:\x1b[2J").want(t, exitOK, `"lock:\x1b[2J" is held by #6c2497c5`)
	call(t, env, "who").want(t, exitUsage, "takes the key of a lock")
	call(t, []string{"REDIS_URL=redis://" + redistest.ClosedAddr}, "who", "a").want(t, exitUnavailable, "connection refused")
	var l struct {
		Key, Holder string
		Held        bool
		TTL         int64 `json:"ttl_ms"`
	}
	o := call(t, env, "who", "-json", "lock:\x1b[2J")
	if err := json.Unmarshal([]byte(o.stdout), &l); err != nil || l.Key != "lock:\x1b[2J" || !l.Held || l.TTL < 50000 || strings.Contains(o.stdout, "\x1b") {
		t.Errorf("%v: %s", err, o.stdout)
	}
}

// waitInQueue has a process of this name wait for the lock, for so long.
func waitInQueue(t *testing.T, pool redigolock.Pool, owner, key string, n int) (got chan error) {
	t.Helper()
	l := &redigolock.Locker{Pool: pool, Fair: true, Owner: owner}
	ctx, cancel := context.WithCancel(t.Context())
	got = make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := l.Acquire(ctx, key, time.Minute)
		got <- err
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		l.Close()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c := pool.Get()
		info, err := redigolock.Inspect(t.Context(), c, key)
		c.Close()
		if err == nil && info.Waiters == n {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not in the queue: %+v, %v", owner, info, err)
		}
	}
}

func TestBreakHandsTheLockToTheFirstInTheQueue(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	env := set(t, s, "lock:a", "old|"+someUUID)
	if _, err := s.Do("SET", "{lock:a}:redigolock-fence", 1700000000000000); err != nil {
		t.Fatal(err)
	}
	pool, err := redigolock.NewPool(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	first := waitInQueue(t, pool, "first", "lock:a", 1)
	waitInQueue(t, pool, "second", "lock:a", 2)
	o := call(t, env, "who", "lock:a")
	o.want(t, exitOK, "held by old#", "newest fence: 1700000000000000", "in the queue: 2", "1. first#", "2. second#")

	call(t, env, "break", "lock:a").want(t, exitUsage, "no terminal")
	no := onScreen(t, env, "break", "lock:a")
	no.await("[y/N] ", 1)
	no.press("n\n")
	if code := no.end(); code != exitNo || !strings.Contains(no.String(), "Nothing was done") {
		t.Errorf("%d: %s", code, no)
	}
	interrupted := onScreen(t, env, "break", "lock:a")
	interrupted.await("[y/N] ", 1)
	interrupted.press("\x03")
	if code := interrupted.end(); code != exitNo {
		t.Errorf("%d: %s", code, interrupted)
	}
	call(t, env, "who", "lock:a").want(t, exitOK, "held by old#")

	yes := onScreen(t, env, "break", "lock:a")
	yes.await("[y/N] ", 1)
	yes.press("y\n")
	if code := yes.end(); code != exitOK {
		t.Errorf("%d: %s", code, yes)
	}
	for _, text := range []string{"held by old#", "the first in order is first#", "until its lease ends, now in 5", "fencing number is at most 1700000000000000", "now it is held by first#"} {
		if !strings.Contains(yes.String(), text) {
			t.Errorf("%q is missing: %s", text, yes)
		}
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	call(t, env, "break", "-yes", "lock:a").want(t, exitOK, "now it is held by second#")
	if all := o.stdout + yes.String(); hasToken(all) {
		t.Errorf("it shows a token: %s", all)
	}
}

func TestBreak(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	env := set(t, s, "lock:a", "old|"+someUUID)
	for key, value := range map[string]string{"endless": someUUID, "text": "hello"} {
		if _, err := s.Do("SET", key, value); err != nil {
			t.Fatal(err)
		}
	}
	call(t, env, "break", "-yes", "lock:a").want(t, exitOK, "Nothing protects the data", "now it is free")
	call(t, env, "break", "-yes", "lock:a").want(t, exitLost, "nobody holds lock:a")
	call(t, env, "break", "-yes", "endless").want(t, exitOK, "looks like a lock of #6c2497c5 that never ends", "now it is free")
	call(t, env, "break", "-yes", "text").want(t, exitConflict, "a string without TTL")
	call(t, env, "break", "-yes", "a", "b").want(t, exitUsage, "one lock")
}

func TestLs(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	env := set(t, s, "lock:a", "web-1|"+someUUID, "lock:\x1b[2J", someUUID, "cache:1", "text")
	o := call(t, env, "ls")
	o.want(t, exitOK, "LEFT", "web-1#c68d7f1d                lock:a\n", `#6c2497c5                     "lock:\x1b[2J"`+"\n")
	if strings.Contains(o.stdout, "cache") {
		t.Error(o.stdout)
	}
	if o := call(t, env, "ls", "lock:a*"); strings.Count(o.stdout, "\n") != 2 {
		t.Error(o.stdout)
	}
	call(t, env, "ls", "-all").want(t, exitOK, "cache:1")
	call(t, env, "ls", "a", "b").want(t, exitUsage, "quote it")
	o = call(t, env, "ls", "-json", "lock:a")
	o.want(t, exitOK, `{"key":"lock:a","held":true,"holder":"web-1#c68d7f1d","ttl_ms":`)
	calls, err := s.Calls()
	if err != nil || calls["keys"] != 0 || calls["scan"] == 0 {
		t.Errorf("%v, %v", calls, err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	vars := set(t, s)
	for n := range 20 {
		set(t, s, fmt.Sprintf("lock:%02d", n), someUUID)
	}
	w := onScreen(t, vars, "watch", "-every", "100ms")
	w.await("\x1b[H\x1b[2J", 3)
	w.await("and 13 more", 1) // on ten rows
	set(t, s, "another", someUUID)
	w.await("#6c2497c5                     another", 1)
	w.press("\x03")
	if code := w.end(); code != exitOK || strings.Contains(w.String(), "lock:08") {
		t.Errorf("%d: %s", code, w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out := &endingBuffer{text: "locks: 20", times: 3, end: cancel}
	e := &env{args: []string{"watch", "-url", s.URL(), "-every", "100ms", "-rows", "3", "lock:*"}, stdout: out, stderr: out, getenv: func(string) string { return "" }}
	if code := command(ctx, e); code != exitOK || !strings.Contains(out.String(), "lock:02\n") || !strings.Contains(out.String(), "and 17 more") ||
		strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "lock:03") {
		t.Errorf("%d: %s", code, out)
	}
	call(t, vars, "watch", "-every", "1ms").want(t, exitUsage, "-every")
}

// An endingBuffer calls end when it has the text so many times.
type endingBuffer struct {
	bytes.Buffer
	text  string
	times int
	end   func()
}

func (b *endingBuffer) Write(p []byte) (int, error) {
	defer func() {
		if strings.Count(b.String(), b.text) >= b.times {
			b.end()
		}
	}()
	return b.Buffer.Write(p)
}

// TestInspectWithSentinelsAndPasswords also has the secrets: whatever is printed, none is in it.
func TestInspectWithSentinelsAndPasswords(t *testing.T) {
	t.Parallel()
	const password, sentinelPassword = "swordfish-1", "swordfish-2"
	w := redistest.StartWatched(t, redistest.WatchedConfig{Replicas: 1, Password: password, SentinelPassword: sentinelPassword})
	set(t, w.Servers[0], "lock:a", "web-1|"+someUUID)
	rawURL := "redis-sentinel://:" + password + "@" + strings.Join(w.Addrs(), ",") + "/?master=" + redistest.MasterName + "&sentinel_password=" + sentinelPassword
	env := []string{"REDIS_URL=" + rawURL}
	var all strings.Builder
	run := func(vars []string, args ...string) outcome {
		o := call(t, vars, args...)
		fmt.Fprint(&all, o.stdout, o.stderr)
		return o
	}
	run(env, "who", "lock:a").want(t, exitOK, "web-1#")
	run(env, "ls").want(t, exitOK, "lock:a")
	run(env, "doctor").want(t, 1, "min-replicas", ": sentinel, redis", ": replica, redis", "persistence")
	run(env, "doctor", "-json").want(t, 1, `"check":"min-replicas"`)
	wrong := []string{"REDIS_URL=" + strings.Replace(rawURL, ":"+password, ":wrong-"+password, 1)}
	run(wrong, "who", "lock:a").want(t, exitRefused)
	run(wrong, "doctor").want(t, exitRefused)
	run(env, "break", "-yes", "lock:a").want(t, exitOK, "now it is free")
	wrong = []string{"REDIS_URL=" + strings.Replace(rawURL, sentinelPassword, "wrong-"+sentinelPassword, 1)}
	run(wrong, "doctor")
	run(wrong, "ls")
	if text := all.String(); strings.Contains(text, "swordfish") || hasToken(text) {
		t.Errorf("it shows a secret: %s", text)
	}
}

// TestDoctorOfAQuorumWithTwoPasswords: the replica of each member is asked with that member's password.
func TestDoctorOfAQuorumWithTwoPasswords(t *testing.T) {
	t.Parallel()
	args := []string{"doctor"}
	for _, password := range []string{"swordfish-1", "swordfish-2"} {
		w := redistest.StartWatched(t, redistest.WatchedConfig{Replicas: 1, Sentinels: 1, Password: password})
		args = append(args, "-url", "redis://:"+password+"@"+w.Servers[0].Addr())
	}
	o := call(t, nil, args...)
	if strings.Count(o.stdout, ": replica, redis") != 2 || strings.Contains(o.stdout, "unreachable") {
		t.Errorf("%s%s", o.stdout, o.stderr)
	}
}

func TestInspectCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterConfig{Masters: 3})
	env := []string{"REDIS_URL=redis-cluster://" + c.Servers[0].Addr()}
	pool, err := redigolock.Open("redis-cluster://" + c.Servers[0].Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for n := range 20 {
		key := fmt.Sprint("lock:", n)
		owner := c.Owner(c.KeySlot(key))
		if _, err := owner.Do("SET", key, "web|"+someUUID, "PX", 59000); err != nil {
			t.Fatal(err)
		}
	}
	o := call(t, env, "ls", "lock:*")
	if o.want(t, exitOK); strings.Count(o.stdout, "lock:") != 20 {
		t.Error(o.stdout)
	}
	call(t, env, "ls", "-json", "lock:1").want(t, exitOK, `{"server":"127.0.0.1:`)
	first := waitInQueue(t, pool, "first", "lock:7", 1)
	call(t, env, "who", "lock:7", "lock:8").want(t, exitOK, "lock:7 is held by web#", "1. first#", "lock:8 is held by web#")
	call(t, env, "break", "-yes", "lock:7").want(t, exitOK, "now it is held by first#")
	if err := <-first; err != nil {
		t.Error(err)
	}
	call(t, env, "break", "-yes", "lock:8").want(t, exitOK, "now it is free")
	call(t, env, "doctor", "-skip", "persistence").want(t, 1, "cluster-node", "has no replica")
	c.Servers[2].Kill()
	o = call(t, env, "ls", "lock:*")
	if o.want(t, exitUnavailable, c.Servers[2].Addr()+": "); strings.Count(o.stdout, "lock:") < 5 {
		t.Error(o.stdout)
	}
}

func TestInspectQuorum(t *testing.T) {
	t.Parallel()
	servers := redistest.StartMany(t, 3)
	var urls []string
	for i, s := range servers {
		urls = append(urls, "-url", s.URL())
		if i < 2 {
			set(t, s, "lock:a", "web|"+someUUID)
		} else {
			set(t, s, "lock:a", "other|"+someUUID)
		}
	}
	verb := func(args ...string) outcome { return call(t, nil, append(args, urls...)...) }
	verb("who", "lock:a").want(t, exitOK, servers[0].Addr()+": lock:a is held by web#", servers[2].Addr()+": lock:a is held by other#")
	verb("break", "-yes", "lock:a").want(t, exitOK, "taken away from web#")
	verb("who", "lock:a").want(t, exitNo, servers[1].Addr()+": lock:a is free", servers[2].Addr()+": lock:a is held by other#")
	verb("doctor", "-skip", "persistence").want(t, exitOK, "Nothing was found")
	servers[0].Kill()
	verb("who", "lock:a").want(t, exitUnavailable, servers[2].Addr()+": lock:a is held by other#")
	verb("break", "-yes", "lock:a").want(t, exitUnavailable, "taken away from other#")
	verb("doctor", "-skip", "persistence").want(t, 1, "unreachable")
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "yes")
	env := []string{"REDIS_URL=" + s.URL()}
	call(t, env, "doctor").want(t, exitOK, "127.0.0.1", ": master, ", "Nothing was found that endangers locks.")
	for name, value := range map[string]any{"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru", "timeout": 5} {
		if _, err := s.Do("CONFIG", "SET", name, value); err != nil {
			t.Fatal(err)
		}
	}
	o := call(t, env, "doctor")
	o.want(t, 2, "\nDANGER: eviction at "+s.Addr()+": maxmemory-policy is allkeys-lru", "  why:  ", "  mend: CONFIG SET maxmemory-policy noeviction\n", "WARNING: timeout")
	if strings.Index(o.stdout, "DANGER") > strings.Index(o.stdout, "WARNING") {
		t.Errorf("the worst is not the first: %s", o.stdout)
	}
	call(t, env, "doctor", "-skip", "eviction").want(t, 1, "timeout")
	call(t, env, "doctor", "-skip", "eviction,timeout").want(t, exitOK)
	call(t, env, "doctor", "-skip", "evictions").want(t, exitUsage, "no check evictions")
	call(t, nil, "doctor", "-embedded").want(t, exitUsage, "real servers")
	call(t, []string{"REDIS_URL=redis://" + redistest.ClosedAddr}, "doctor").want(t, exitUnavailable, "connection refused")
	if _, err := s.Do("ACL", "SETUSER", "few", "on", ">secret", "~*", "+info"); err != nil {
		t.Fatal(err)
	}
	call(t, env, "doctor", "-user", "few", "-skip", "eviction", "-url", strings.Replace(s.URL(), "//", "//few:secret@", 1)).
		want(t, 3, "not checked: timeout at "+s.Addr()+": CONFIG: NOPERM")
	call(t, []string{"REDIS_URL=unix://" + s.Socket()}, "doctor").want(t, 2, "DANGER: eviction at "+s.Socket())
}
