package main

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// A screen is a terminal on which the command runs, as a person would run it.
type screen struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	read   chan struct{} // closed when nothing more comes

	mu   sync.Mutex // protects text
	text strings.Builder
}

// onScreen starts the command on a terminal of 10 rows, which Ctrl-C reaches. It does not outlive the test.
func onScreen(t *testing.T, vars []string, args ...string) *screen {
	t.Helper()
	master, tty := openPTY(t)
	size := [4]uint16{10, 120}
	ioctl(t, master, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	defer tty.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, master: master, read: make(chan struct{})}
	s.cmd = &exec.Cmd{
		Path: self, Args: append([]string{"redigolock"}, args...), Env: append(vars, "PATH="+os.Getenv("PATH")),
		Stdin: tty, Stdout: tty, Stderr: tty, SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true},
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go s.show()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_, _ = s.cmd.Process.Wait()
		<-s.read
		master.Close()
	})
	return s
}

func ioctl(t *testing.T, f *os.File, request uintptr, arg unsafe.Pointer) {
	t.Helper()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		t.Fatal(errno)
	}
}

// show reads what the terminal shows, until no process has it any more.
func (s *screen) show() {
	defer close(s.read)
	b := make([]byte, 4096)
	for {
		n, err := s.master.Read(b)
		s.mu.Lock()
		s.text.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until the terminal has shown the text so many times.
func (s *screen) await(text string, times int) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); strings.Count(s.String(), text) < times; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%q did not come %d times: %q", text, times, s)
		}
	}
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the end of the command, and returns its exit code.
func (s *screen) end() int {
	s.t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	_ = s.cmd.Wait()
	<-s.read
	return s.cmd.ProcessState.ExitCode()
}
