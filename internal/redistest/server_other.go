//go:build !linux

package redistest

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// processAttributes has nothing to ask for: only Linux ends a child with its
// parent. A test binary that is killed leaves its servers behind.
func processAttributes() *syscall.SysProcAttr { return nil }

// The commands instead of the calls keep this file compiling on every system;
// where there are none, pausing is an error.

func pauseProcess(p *os.Process) error { return signal("-STOP", p) }

func resumeProcess(p *os.Process) error { return signal("-CONT", p) }

func signal(name string, p *os.Process) error {
	return exec.Command("kill", name, strconv.Itoa(p.Pid)).Run()
}

// isPaused says whether the process stands still after a SIGSTOP.
func isPaused(pid int) (bool, error) {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return bytes.HasPrefix(bytes.TrimSpace(out), []byte("T")), err
}
