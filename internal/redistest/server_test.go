package redistest_test

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestServerAnswersOnBothListeners(t *testing.T) {
	s := redistest.Start(t)
	for network, addr := range map[string]string{"tcp": s.Addr(), "unix": s.Socket()} {
		c, err := redis.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Do("PING")
		c.Close()
		want(t, "PONG", reply, err)
	}
	c, err := redis.DialURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reply, err := c.Do("ECHO", "x")
	want(t, "x", reply, err)
}

func TestServerListensOnLoopbackOnly(t *testing.T) {
	s := redistest.Start(t)
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.Addr())
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.IsLinkLocalUnicast() {
			continue
		}
		c, err := net.DialTimeout("tcp", net.JoinHostPort(ip.IP.String(), port), time.Second)
		if err == nil {
			c.Close()
			t.Errorf("%v answers too", ip.IP)
		}
	}
}

func TestServerArgumentsWin(t *testing.T) {
	s := redistest.Start(t, "--maxmemory", "3mb", "--appendonly", "yes")
	for name, value := range map[string]string{"maxmemory": "3145728", "appendonly": "yes", "save": ""} {
		got, err := redis.Strings(s.Do("CONFIG", "GET", name))
		if err != nil || len(got) != 2 || got[1] != value {
			t.Errorf("CONFIG GET %s: %q, %v; want %q", name, got, err, value)
		}
	}
}

func TestServerWithPassword(t *testing.T) {
	for name, args := range map[string][]string{
		"two words": {"--requirepass", "secret"},
		"one word":  {"--requirepass secret"},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t, args...)
			reply, err := s.Do("PING")
			want(t, "PONG", reply, err)

			c, err := s.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Do("PING"); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
				t.Errorf("without the password: %v; want NOAUTH", err)
			}
			c, err = s.Dial(redis.DialPassword("secret"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			reply, err = c.Do("PING")
			want(t, "PONG", reply, err)
		})
	}
}

func TestRunWithoutServer(t *testing.T) {
	t.Setenv("REDIGOLOCK_SERVER", filepath.Join(t.TempDir(), "absent"))
	if _, err := redistest.Run(); !errors.Is(err, redistest.ErrNoServer) {
		t.Errorf("got %v; want ErrNoServer", err)
	}
	for _, c := range []struct {
		real, ci        string
		skipped, failed bool
	}{
		{"", "", true, false}, {"", "false", true, false}, {"0", "0", true, false},
		{"1", "", false, true}, {"", "true", false, true},
	} {
		t.Setenv("REDIGOLOCK_REAL", c.real)
		t.Setenv("CI", c.ci)
		var f fakeTB
		f.run(func() { redistest.Start(&f) })
		if f.skipped != c.skipped || f.failed != c.failed {
			t.Errorf("REDIGOLOCK_REAL=%q CI=%q: skipped %v, failed %v", c.real, c.ci, f.skipped, f.failed)
		}
	}
}
