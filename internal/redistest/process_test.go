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

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

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

// While the server is busy, the signal takes effect some time after it was sent.
func TestServerPauseReturnsWhenStopped(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	s := redistest.Start(t)
	info, err := redis.String(s.Do("INFO", "server"))
	if err != nil {
		t.Fatal(err)
	}
	_, pid, _ := strings.Cut(info, "process_id:")
	pid, _, _ = strings.Cut(pid, "\r\n")
	c := get(t, s.Pool())
	for range 20 {
		for range 100 {
			c.Send("EVAL", "for i = 1, 10000 do end", 0)
		}
		c.Flush()
		s.Pause()
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || !strings.Contains(string(stat), ") T ") {
			t.Fatalf("not stopped: %s, %v", stat, err)
		}
		s.Resume()
	}
	if _, err := c.Do(""); err != nil {
		t.Error(err)
	}
}

func TestServerPauseOfADeadServerPanics(t *testing.T) {
	s := redistest.Start(t)
	s.Kill()
	for name, f := range map[string]func(){"Pause": s.Pause, "Resume": s.Resume} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f()
		}()
	}
}

func TestServerPausedCanBeStopped(t *testing.T) {
	s := redistest.Start(t)
	s.Pause()
	s.Stop()
	if _, err := net.Dial("tcp", s.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after Stop: %v; want connection refused", err)
	}
}

func TestServerKillAndRestartKeepPortAndFolder(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	addr := s.Addr()
	if _, err := s.Do("SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if _, err := s.Dial(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after Kill: %v; want connection refused", err)
	}
	if _, err := os.Stat(s.Dir()); err != nil {
		t.Error(err)
	}
	for range 3 { // the second time it still runs
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if s.Addr() != addr {
			t.Errorf("restarted at %s, was at %s", s.Addr(), addr)
		}
		eventually(t, "the key is back", func() bool {
			v, err := redis.String(s.Do("GET", "k"))
			return err == nil && v == "v"
		})
	}
}

func TestServerRestartAfterShutdown(t *testing.T) {
	s := redistest.Start(t)
	if _, err := s.Do("SHUTDOWN", "NOSAVE"); err == nil {
		t.Error("SHUTDOWN was answered")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	reply, err := s.Do("PING")
	want(t, "PONG", reply, err)
}

func TestServerStopRemovesEverything(t *testing.T) {
	s := redistest.Start(t)
	p := s.Pool()
	get(t, p)
	s.Stop()
	s.Stop()
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
