package redistest

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// processAttributes makes the kernel kill the server when the test binary ends,
// however it ends.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

func pauseProcess(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// isPaused says whether the process stands still after a SIGSTOP.
func isPaused(pid int) (bool, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, err
	}
	// pid (name) state …, where the name may contain anything.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 || i+2 >= len(stat) {
		return false, fmt.Errorf("unexpected /proc/%d/stat: %q", pid, stat)
	}
	return stat[i+2] == 'T', nil
}
