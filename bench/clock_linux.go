package bench

import (
	"syscall"
	"time"
	"unsafe"
)

// machineClock is CLOCK_MONOTONIC, from which Go's monotonic readings also come.
func machineClock() int64 {
	var t syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		return time.Now().UnixNano()
	}
	return t.Nano()
}
