package servers

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/url"
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

// askedAt returns the addresses that a pool for this URL asks.
func askedAt(t *testing.T, rawURL string) (addrs []string) {
	t.Helper()
	var mu sync.Mutex
	pool, err := redigolock.Open(rawURL, redis.DialContextFunc(func(_ context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		addrs = append(addrs, addr)
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("not dialled")}
	}))
	if err != nil {
		t.Errorf("%s: %v", rawURL, err)
		return nil
	}
	defer pool.Close()
	err = pool.Get().Err()
	if err == nil {
		t.Fatalf("%s: a connection to nobody", rawURL)
	}
	for _, addr := range addrs {
		if !strings.Contains(err.Error(), addr+": ") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error names a Sentinel not, or a password: %v", rawURL, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(addrs)
	return addrs
}

func TestOpenReadsTheSentinelsOfAURL(t *testing.T) {
	for rawURL, want := range map[string][]string{
		"redis-sentinel://h1?master=m":                                                        {"h1:26379"},
		"redis-sentinel://h1:1,h2,h3:3?master=m":                                              {"h1:1", "h2:26379", "h3:3"},
		"redis-sentinel://u:hunter2@h1:1,h2/3?master=my%20m":                                  {"h1:1", "h2:26379"},
		"redis-sentinels://u:hun@ter2@h1,h2/?master=m":                                        {"h1:26379", "h2:26379"},
		"redis-sentinel://[::1]:1,[fd00::2],127.0.0.1?master=m":                               {"127.0.0.1:26379", "[::1]:1", "[fd00::2]:26379"},
		"redis-sentinel://h1,h2?sentinel_username=s&sentinel_password=hunter2%26%23&master=m": {"h1:26379", "h2:26379"},
	} {
		if got := askedAt(t, rawURL); !slices.Equal(got, want) {
			t.Errorf("%s asks %v, want %v", rawURL, got, want)
		}
	}
}

// With TLS each address has a name of its own.
func TestTLSNamesOfSentinels(t *testing.T) {
	var mu sync.Mutex
	names := map[string]string{}
	pool, err := redigolock.Open("redis-sentinels://h1:1,h2,[::1]:3?master=m", redis.DialContextFunc(func(_ context.Context, _, addr string) (net.Conn, error) {
		c, s := net.Pipe()
		go func() {
			defer s.Close()
			_ = tls.Server(s, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				mu.Lock()
				defer mu.Unlock()
				names[addr] = hello.ServerName
				return nil, errors.New("seen")
			}}).Handshake()
		}()
		return c, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Get().Err(); err == nil {
		t.Error("it has connected")
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]string{"h1:1": "h1", "h2:26379": "h2", "[::1]:3": ""} // an address is no name
	if !maps.Equal(names, want) {
		t.Errorf("the names are %v, want %v", names, want)
	}
}

// watchedURL is a URL of Sentinels with the passwords that watched has set.
func watchedURL(w *redistest.Watched, master, sentinels string) string {
	return "redis-sentinel://" + master + strings.Join(w.Addrs(), ",") + "/2?master=" + redistest.MasterName + sentinels
}

func TestOpenOverSentinels(t *testing.T) {
	w := redistest.StartWatched(t, redistest.WatchedConfig{Password: "m/p@w", SentinelPassword: "s&p#w"})
	good, goodSentinel := ":m%2Fp%40w@", "&sentinel_password="+url.QueryEscape("s&p#w")
	pools := map[string]func(string) (redigolock.Pool, error){
		"Open":    func(rawURL string) (redigolock.Pool, error) { return redigolock.Open(rawURL) },
		"NewPool": func(rawURL string) (redigolock.Pool, error) { return redigolock.NewPool(rawURL) },
	}
	for name, open := range pools {
		for _, is := range []struct {
			master, sentinels string
			refused           string
		}{
			{good, goodSentinel, ""},
			{"", goodSentinel, "NOAUTH"},
			{":m@", goodSentinel, "WRONGPASS"},
			{good, "", "NOAUTH"},
			{good, "&sentinel_password=nope", "WRONGPASS"},
			{good, "&sentinel_username=nobody&sentinel_password=nope", "WRONGPASS"},
		} {
			rawURL := watchedURL(w, is.master, is.sentinels)
			p, err := open(rawURL)
			if err != nil {
				t.Fatal(err)
			}
			l := &redigolock.Locker{Pool: p}
			begin := time.Now()
			k, err := l.Acquire(patient(t), "k", time.Minute)
			switch {
			case is.refused == "" && err != nil:
				t.Errorf("%s %s: %v", name, rawURL, err)
			case is.refused == "":
				if err := k.Release(bg); err != nil {
					t.Error(err)
				}
			case err == nil || !strings.Contains(err.Error(), is.refused) || errors.Is(err, redigolock.ErrUnavailable) || time.Since(begin) > 10*time.Second:
				t.Errorf("%s %s: %v after %v, want %s at once", name, rawURL, err, time.Since(begin), is.refused)
			case strings.Contains(err.Error(), "nope") || strings.Contains(err.Error(), "\n"):
				t.Errorf("%v shows a password, or has two lines", err)
			}
			l.Close()
			p.(interface{ Close() error }).Close()
		}
	}
}

func TestOpenOfOneServer(t *testing.T) {
	s := redistest.Start(t)
	for _, rawURL := range []string{s.URL(), "unix://" + s.Socket()} {
		p, err := redigolock.Open(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		if reply, err := redis.String(p.Get().Do("PING")); reply != "PONG" {
			t.Errorf("%s: %q, %v", rawURL, reply, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Get().Err(); err == nil {
			t.Errorf("%s: a closed pool lends", rawURL)
		}
	}
}

func TestSentinelThatCannotBeUsed(t *testing.T) {
	for _, s := range []*redigolock.Sentinel{
		{}, {Addrs: []string{"h1"}}, {Master: "m"}, {Master: "m", Addrs: []string{""}}, {Master: "m", Addrs: []string{"h1", "h1:26379"}},
		{Master: "m", Addrs: []string{"h1:"}}, {Master: "m", Addrs: []string{":1"}}, {Master: "m", Addrs: []string{"h1:1:2"}},
		{Master: "m", Addrs: []string{"h1/2"}},
	} {
		l := &redigolock.Locker{Pool: &redis.Pool{DialContext: s.DialContext, TestOnBorrow: s.TestOnBorrow}}
		_, err := l.Acquire(patient(t), "k", time.Minute)
		wants(t, err, redigolock.ErrInvalid)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A Sentinel's Dial may lead to another place than its address says.
func TestSentinelDialsAsItIsTold(t *testing.T) {
	w := redistest.StartWatched(t, redistest.WatchedConfig{})
	at := map[string]string{"s1:26379": w.Sentinels[0].Addr(), "[fd00::1]:26379": w.Sentinels[1].Addr(), "s3:7": w.Sentinels[2].Addr()}
	s := &redigolock.Sentinel{Addrs: []string{"s1", "fd00::1", "s3:7"}, Master: redistest.MasterName,
		DialSentinel: func(ctx context.Context, addr string) (redis.Conn, error) {
			if at[addr] == "" {
				t.Errorf("a Sentinel is at %s", addr)
			}
			return redis.DialContext(ctx, "tcp", at[addr])
		}}
	pool := &redis.Pool{DialContext: s.DialContext, TestOnBorrow: s.TestOnBorrow, MaxIdle: 4}
	defer pool.Close()
	l := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: pool}
	defer l.Close()
	k, err := l.TryAcquire(bg, "k", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Release(bg); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, err = s.DialContext(bg)
	wants(t, err, redigolock.ErrClosed)
}
