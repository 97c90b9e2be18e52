//go:build unix

package fair

import (
	"syscall"
	"testing"
	"time"
)

// A waiting process that stands still counts as alive: it is granted the lock, and costs the ttl of its grant. When it goes on
// it does not have what another holds.
func TestFairStoppedWaiterCostsItsTTL(t *testing.T) {
	t.Parallel() // in real time: it stops a process
	r := newFairRig(t)
	k := r.Must(r.Locker.Acquire(bg, r.Key, time.Minute))
	c := r.child(childTTL)
	r.Queued(1)
	behind := waits(bg, r.Other(), r.Key, time.Minute)
	r.Queued(2)
	r.OK(c.cmd.Process.Signal(syscall.SIGSTOP))
	eventually(t, "it stands still", func() bool {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(c.cmd.Process.Pid, &status, syscall.WUNTRACED|syscall.WNOHANG, nil)
		return err == nil && pid == c.cmd.Process.Pid && status.Stopped()
	})
	begin := time.Now()
	r.OK(k.Release(bg))
	k = r.Got("the one behind", behind)
	if took := time.Since(begin); took > childTTL+3*time.Second {
		t.Errorf("it took %v", took)
	}
	r.OK(c.cmd.Process.Signal(syscall.SIGCONT))
	r.Queued(1) // it found its grant gone, and waits again
	r.Valid(k)
	select {
	case line := <-c.lines:
		t.Errorf("the stopped process says %q", line)
	default:
	}
	r.OK(k.Release(bg))
	c.hasTheLock(t)
}
