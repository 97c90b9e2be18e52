//go:build unix

package bench

import (
	"syscall"
	"time"
)

// ownCPU is what this process has used until now, in user mode and in the kernel for it; or false if that is not known.
func ownCPU() (time.Duration, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
