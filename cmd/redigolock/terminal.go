//go:build darwin || freebsd || linux

package main

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

// A terminal is the one that controls this process, or nil. Its keys and its Ctrl-C belong to one process group at a time.
type terminal struct{ tty *os.File }

func openTerminal() *terminal {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return &terminal{tty}
}

// isOf reports whether the terminal belongs to a process group.
func (t *terminal) isOf(group int) bool {
	if t == nil {
		return false
	}
	var owner int32
	return t.ioctl(syscall.TIOCGPGRP, &owner) && int(owner) == group
}

// give has the terminal belong to a process group.
func (t *terminal) give(group int) {
	signal.Ignore(syscall.SIGTTOU) // or this process stops, if the terminal is not its own
	owner := int32(group)
	t.ioctl(syscall.TIOCSPGRP, &owner)
}

func (t *terminal) ioctl(request uintptr, group *int32) bool {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, t.tty.Fd(), request, uintptr(unsafe.Pointer(group)))
	return errno == 0
}

func (t *terminal) close() {
	if t != nil {
		_ = t.tty.Close()
	}
}
