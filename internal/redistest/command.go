package redistest

import (
	"fmt"
	"os/exec"
)

// A Command is a process of any kind that belongs to this one: where the system is Linux, it does not outlive it.
type Command struct{ p *process }

// StartCommand starts it. The caller calls [Command.Kill].
func StartCommand(cmd *exec.Cmd) (*Command, error) {
	cmd.SysProcAttr = processAttributes()
	p, err := startProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("redistest: start %s: %w", cmd.Path, err)
	}
	return &Command{p}, nil
}

// Pid is the number of the process.
func (c *Command) Pid() int { return c.p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (c *Command) Ended() <-chan struct{} { return c.p.done }

// Kill ends the process as a crash would, if it still runs, and waits for its end.
func (c *Command) Kill() { c.p.kill() }

// FreePort returns a port of 127.0.0.1 that was free a moment ago, and that no outgoing connection takes.
func FreePort() (int, error) { return freePort() }
