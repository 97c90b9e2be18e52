package redigolock_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
)

// A process that waits, or holds, and is killed or stopped. It is this test binary, started again.

const (
	childEnv    = "REDIGOLOCK_TEST_FAIR_CHILD"     // the server's URL
	childTTLEnv = "REDIGOLOCK_TEST_FAIR_CHILD_TTL" // what it acquires the lock for
)

// TestFairChild is the other process: it acquires the lock, says so, and keeps it until its input ends.
func TestFairChild(t *testing.T) {
	url := os.Getenv(childEnv)
	if url == "" {
		t.Skip("not started by a test")
	}
	pool, err := redigolock.NewPool(url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	l := &redigolock.Locker{Pool: pool, Fair: true}
	defer l.Close()
	ttl, err := time.ParseDuration(os.Getenv(childTTLEnv))
	if err != nil {
		t.Fatal(err)
	}
	k, err := l.Acquire(context.Background(), fairKey, ttl)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("child has the lock")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = k.Release(context.Background())
}

const childTTL = time.Second

type child struct {
	cmd   *exec.Cmd
	lines chan string
}

// child starts the other process, which acquires the lock for ttl.
func (r *fairRig) child(ttl time.Duration) *child {
	r.T.Helper()
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^TestFairChild$"), lines: make(chan string, 100)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+r.Real().URL(), childTTLEnv+"="+ttl.String())
	stdin, err := c.cmd.StdinPipe()
	r.OK(err)
	stdout, err := c.cmd.StdoutPipe()
	r.OK(err)
	r.OK(c.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			c.lines <- lines.Text()
		}
	}()
	r.T.Cleanup(func() {
		stdin.Close()
		_ = c.cmd.Process.Kill()
		<-read
		_ = c.cmd.Wait()
	})
	return c
}

func (c *child) hasTheLock(t *testing.T) {
	t.Helper()
	for !strings.Contains(receive(t, "the child has the lock", c.lines), "child has the lock") {
	}
}

func (r *fairRig) kill(c *child) {
	r.T.Helper()
	r.OK(c.cmd.Process.Kill())
}

// A waiting process that is killed is passed over by the very release that comes to it.
func TestFairKilledWaiterIsPassedOver(t *testing.T) {
	r := newFairRig(t)
	k := r.Must(r.Locker.Acquire(bg, r.key, time.Minute))
	c := r.child(time.Minute) // which it would cost to grant it the lock
	r.queued(1)
	behind := waits(bg, r.other(), r.key, fairTestTTL)
	r.queued(2)
	r.kill(c)
	eventually(t, "the server has seen it", func() bool {
		n, err := r.Server.Do("PUBSUB", "CHANNELS")
		list, _ := n.([]any)
		return err == nil && len(list) == 1
	})
	r.OK(k.Release(bg))
	r.OK(r.got("the one behind", behind).Release(bg))
	r.gone()
}

// The lock of a process that is killed goes on when its TTL is over.
func TestFairKilledHolderCostsItsTTL(t *testing.T) {
	t.Parallel() // in real time: it kills a process
	r := newFairRig(t)
	c := r.child(childTTL)
	c.hasTheLock(t)
	waiter := waits(bg, r.Locker, r.key, fairTestTTL)
	r.kill(c)
	begin := time.Now()
	k := r.got("the waiter", waiter)
	if took := time.Since(begin); took > childTTL+3*time.Second {
		t.Errorf("it took %v", took)
	}
	r.OK(k.Release(bg))
	r.gone()
}
