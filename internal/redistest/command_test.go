package redistest_test

import (
	"os/exec"
	"testing"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestCommandRunsUntilItIsKilled(t *testing.T) {
	c, err := redistest.StartCommand(exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Ended():
		t.Error("has ended before its time")
	default:
	}
	if c.Pid() <= 0 {
		t.Errorf("its number is %d", c.Pid())
	}
	for range 2 {
		c.Kill()
		<-c.Ended()
	}
}

func TestCommandThatDoesNotExistIsAnError(t *testing.T) {
	if c, err := redistest.StartCommand(exec.Command("/no/such/command")); err == nil {
		c.Kill()
		t.Error("it was started")
	}
}

func TestCommandTellsWhenItEndsItself(t *testing.T) {
	c, err := redistest.StartCommand(exec.Command("true"))
	if err != nil {
		t.Fatal(err)
	}
	<-c.Ended()
	c.Kill()
}
