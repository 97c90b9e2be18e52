package redistest_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

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

func TestServerPauseBlocksReplies(t *testing.T) {
	s := redistest.Start(t)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reply := make([]byte, 100)
	for range 20 {
		s.Pause()
		if _, err := c.Write([]byte("SET k v\r\n")); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		if n, err := c.Read(reply); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the paused server answered %q, %v", reply[:n], err)
		}
		s.Resume()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := c.Read(reply)
		want(t, "+OK\r\n", string(reply[:n]), err)
	}
}

func TestServerStopRemovesEverything(t *testing.T) {
	s := redistest.Start(t)
	p := s.Pool()
	get(t, p)
	s.Pause() // it dies all the same
	s.Stop()
	s.Stop()
	if _, err := net.Dial("tcp", s.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after Stop: %v; want connection refused", err)
	}
	if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if err := p.Get().Err(); err == nil || !strings.Contains(err.Error(), "closed pool") {
		t.Errorf("the pool is still open: %v", err)
	}
	if err := s.Restart(); err == nil {
		t.Error("Restart after Stop returned no error")
	}
}

func TestRunFailureShowsTheLog(t *testing.T) {
	redistest.Start(t) // skips if there is none to fail
	_, err := redistest.Run("--no-such-option", "1")
	if err == nil || !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("got %v; want an error that quotes the server's log", err)
	}
}

// A test binary that is killed cannot stop its servers: the kernel must.
func TestServerDiesWithTheTestBinary(t *testing.T) {
	if os.Getenv("REDISTEST_CHILD") != "" {
		s := redistest.Start(t)
		os.WriteFile(os.Getenv("REDISTEST_CHILD"), []byte(s.Addr()+" "+s.Dir()), 0o600)
		<-t.Context().Done() // never: it is killed
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	redistest.Start(t)
	note := filepath.Join(t.TempDir(), "addr")
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerDiesWithTheTestBinary$")
	cmd.Env = append(os.Environ(), "REDISTEST_CHILD="+note)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addr, dir string
	eventually(t, "the child has started a server", func() bool {
		b, _ := os.ReadFile(note)
		addr, dir, _ = strings.Cut(string(b), " ")
		return dir != ""
	})
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "the server is gone", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	os.RemoveAll(dir)
}

func TestServerCounts(t *testing.T) {
	s := redistest.Start(t)
	c := get(t, s.Pool())
	if _, err := c.Do("PING"); err != nil {
		t.Fatal(err)
	}
	before, err := s.Reads()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c.Send("SET", "k", "v")
		c.Send("CLIENT", "GETNAME")
		if _, err := c.Do("EVAL", "return redis.call('GET', KEYS[1])", 1, "k"); err != nil {
			t.Fatal(err)
		}
	}
	after, err := s.Reads()
	if err != nil || after-before != 10+2 {
		t.Errorf("%d reads, %v; want 10 for the pipelines and 2 for the asking", after-before, err)
	}
	calls, err := s.Calls()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.CPU(); d <= 0 || err != nil {
		t.Errorf("it has used %v, %v", d, err)
	}
	for name, n := range map[string]int64{"set": 10, "get": 10, "eval": 10, "client|getname": 10} {
		if calls[name] != n {
			t.Errorf("%d calls of %s; want %d", calls[name], name, n)
		}
	}
}

func TestNewerServers(t *testing.T) {
	for name, c := range map[string]struct {
		start   func(testing.TB, ...string) *redistest.Server
		version string
	}{
		"valkey": {redistest.StartValkey, "valkey 9."},
		"redis8": {redistest.StartRedis8, "redis 8."},
	} {
		t.Run(name, func(t *testing.T) {
			if v := c.start(t).Version(); !strings.HasPrefix(v, c.version) {
				t.Errorf("version %q; want %s", v, c.version)
			}
			redistest.UseNewer(t, name)
			if v := redistest.Start(t).Version(); !strings.HasPrefix(v, c.version) {
				t.Errorf("by default version %q; want %s", v, c.version)
			}
		})
	}
}

func TestNewerServersAbsent(t *testing.T) {
	t.Setenv("REDIGOLOCK_SERVERS", t.TempDir())
	for _, newer := range []string{"", "1"} {
		t.Setenv("REDIGOLOCK_NEWER", newer)
		var f fakeTB
		f.run(func() { redistest.StartValkey(&f) })
		if f.skipped != (newer == "") || f.failed != (newer == "1") {
			t.Errorf("REDIGOLOCK_NEWER=%q: skipped %v, failed %v", newer, f.skipped, f.failed)
		}
	}
}
