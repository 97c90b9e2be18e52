package bench

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A pacer lets one goroutine wait for moments that are microseconds away. The runtime's own timers wake an idle process
// up to 1 ms late, for it waits for them in whole milliseconds. A timer of the kernel comes through the file that the
// runtime waits for, as a request comes through a socket.
type pacer struct {
	file *os.File
	raw  syscall.RawConn
	spec itimerspec
	arm  func(fd uintptr)
	err  error // of arm

	stopped atomic.Bool
}

type itimerspec struct{ interval, value syscall.Timespec }

const clockMonotonic = 1

func newPacer() (*pacer, error) {
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil, fmt.Errorf("bench: make a timer: %w", errno)
	}
	p := &pacer{file: os.NewFile(fd, "timer")}
	var err error
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("bench: make a timer: %w", err)
	}
	p.arm = func(fd uintptr) {
		p.err = nil
		_, _, errno := syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&p.spec)), 0, 0, 0)
		if errno != 0 {
			p.err = errno
		}
	}
	return p, nil
}

// until returns at that time, or at once after stop.
func (p *pacer) until(t time.Time) error {
	left := time.Until(t)
	if left <= 0 {
		return nil
	}
	p.spec.value = syscall.NsecToTimespec(left.Nanoseconds())
	err := p.raw.Control(p.arm)
	if err == nil {
		err = p.err
	}
	if err == nil {
		var expired [8]byte
		_, err = p.file.Read(expired[:])
	}
	if p.stopped.Load() { // a closed file says so in more than one way
		return nil
	}
	return err
}

// stop ends the waiting, and the pacer.
func (p *pacer) stop() {
	p.stopped.Store(true)
	_ = p.file.Close()
}
