package bench_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

const secret = "s3cr3t-passw0rd"

func TestOpenOfABadURLDoesNotShowIt(t *testing.T) {
	for _, u := range []string{
		"http://:" + secret + "@h", "redis://:" + secret + "@h:x", "redis://:" + secret + "%zz@h", secret,
	} {
		_, err := bench.Open(context.Background(), u)
		if !errors.Is(err, lock.ErrInvalid) || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
}

func TestOpenOfAClosedPortIsUnreachable(t *testing.T) {
	addr := redistest.ClosedAddr
	if _, err := bench.Open(context.Background(), "redis://"+addr); !errors.Is(err, bench.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

func TestOpenOfAHungServerIsBounded(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	r.Pause()
	defer r.Resume()
	began := time.Now()
	_, err := bench.Open(context.Background(), r.URL())
	if !errors.Is(err, bench.ErrUnreachable) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestOpenOfAServerThatDeniesKeepsItsReply(t *testing.T) {
	r := redistest.Start(t, "--requirepass", secret)
	_, err := bench.Open(context.Background(), r.URL())
	var refused redis.Error
	if !errors.As(err, &refused) || errors.Is(err, bench.ErrUnreachable) {
		t.Errorf("%v", err)
	}
	s, err := bench.Open(context.Background(), r.URL(), redis.DialPassword(secret))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestServerKnowsItsVersion(t *testing.T) {
	s, r := realServer(t)
	onSocket, err := bench.Open(context.Background(), "unix://"+r.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer onSocket.Close()
	for _, s := range []*bench.Server{s, onSocket} {
		name := strings.Fields(r.Version())[0]
		if s == onSocket {
			name += "-unix"
		}
		if s.Version != r.Version() || s.Name != name {
			t.Errorf("name %q, version %q, want %q", s.Name, s.Version, r.Version())
		}
	}
	if m := miniServer(t); m.Name != "miniredis" || !m.Embedded() || !m.Native || s.Embedded() {
		t.Errorf("%q, embedded %v, native %v", m.Name, m.Embedded(), m.Native)
	}
	for info, want := range map[string]string{
		"redis_version:7.2.4\r\nvalkey_version:9.1.2\r\n": "valkey 9.1.2",
		"# Server\r\nredis_version:8.4.0\r\n":             "redis 8.4.0",
		"":                                                "redis, version unknown",
	} {
		if _, got := bench.VersionOf(info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestURLIsShownWithoutUserAndPassword(t *testing.T) {
	for in, want := range map[string]string{
		"redis://bob:" + secret + "@h:1/2": "redis://h:1/2",
		"redis://" + secret + "@h":         "redis://h",
		"unix://:" + secret + "@/a/b?db=3": "unix:///a/b?db=3",
		"redis://" + secret + "\x00":       "",
		"redis-sentinel://:" + secret + "@h1:1,h2/3?master=m&sentinel_password=" + secret: "redis-sentinel://h1:1,h2/3",
	} {
		if got := bench.WithoutUser(in); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Both newer servers have a command of their own for the native release.
func TestNativeIsFoundByAskingForIt(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *redistest.Server{
		"valkey": redistest.StartValkey, "redis8": redistest.StartRedis8,
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			s, err := bench.Open(context.Background(), r.URL())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_, unknown := r.Do("DELEX", "k", "IFEQ", "v")
			_, unknownToo := r.Do("DELIFEQ", "k", "v")
			if want := unknown == nil || unknownToo == nil; s.Native != want {
				t.Errorf("Native is %v on %s", s.Native, s.Version)
			}
		})
	}
}

// A URL may name Sentinels, whose master is measured.
func TestServerThatSentinelsName(t *testing.T) {
	w := redistest.StartWatched(t, redistest.WatchedConfig{Password: secret, SentinelPassword: secret})
	rawURL := "redis-sentinel://:" + secret + "@" + strings.Join(w.Addrs(), ",") + "?sentinel_password=" + secret + "&master=" + redistest.MasterName
	s, err := bench.Open(context.Background(), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if want := "redis-sentinel://" + strings.Join(w.Addrs(), ","); s.URL != want || s.Name != "redis" {
		t.Errorf("it is %s at %s, want redis at %s", s.Name, s.URL, want)
	}
	c := s.Pool.Get()
	defer c.Close()
	if _, err := c.Do("SET", "x", "1"); err != nil {
		t.Error(err)
	}
}

// A bounded pool has as many connections as it says.
func TestBoundedPoolHasItsConnections(t *testing.T) {
	for _, approach := range []string{"floor", "locker"} {
		s, r := realServer(t)
		u := bench.Uncontended{Server: s, Approach: approach, PoolSize: 3, Goroutines: 16, Time: 4 * short}
		if _, err := u.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.Close()
		info, err := redis.String(r.Do("INFO", "stats"))
		if err != nil || !strings.Contains(info, "total_connections_received:6\r\n") { // 3, that which administers, and redistest's
			t.Errorf("%s: %v, %.60s", approach, err, info)
		}
	}
}
