package redistest

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"time"
)

// A Command is a process of any kind that belongs to this one: where the system is Linux, it does not outlive it.
type Command struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and was waited for
}

// StartCommand starts it. The caller calls [Command.Kill].
//
// The goroutine that waits for its end also does the start, and keeps its thread to itself until the end: Linux kills a child with
// Pdeathsig when the thread that made it ends, not the process, and the runtime ends threads as it likes.
func StartCommand(cmd *exec.Cmd) (*Command, error) {
	cmd.SysProcAttr = processAttributes()
	c := &Command{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its output
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("redistest: start %s: %w", cmd.Path, err)
	}
	return c, nil
}

// Pid is the number of the process.
func (c *Command) Pid() int { return c.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (c *Command) Ended() <-chan struct{} { return c.done }

// Kill ends the process as a crash would, also a stopped one, and waits for its end.
func (c *Command) Kill() {
	_ = c.cmd.Process.Kill() // fails only if it has ended already
	<-c.done
}

// pause stops the process and waits until the system says that it is stopped:
// the signal is delivered some time after it was sent.
func (c *Command) pause() error {
	if err := pauseProcess(c.cmd.Process); err != nil {
		return err
	}
	for {
		stopped, err := isPaused(c.cmd.Process.Pid)
		if stopped || err != nil {
			return err
		}
		select {
		case <-c.done:
			return errors.New("the process has ended")
		case <-time.After(100 * time.Microsecond):
		}
	}
}
