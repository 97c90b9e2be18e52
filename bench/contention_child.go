package bench

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

// childEnv marks a process that was started for a Contention or a Recovery.
const childEnv = "REDIGOLOCK_BENCH_CHILD"

var joined atomic.Bool

// Join takes part in the Contention or Recovery of another process, if this one was started for that, and then does not
// return. Else it does nothing. A program that runs one calls it before anything else: its processes are the program
// itself, started again.
func Join() {
	joined.Store(true)
	if os.Getenv(childEnv) == "" {
		return
	}
	signal.Ignore(os.Interrupt) // Ctrl-C goes to all; the parent says when to end
	in, out := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	var j job
	if err := in.Decode(&j); err != nil {
		os.Exit(1)
	}
	err := j.do(in, out)
	if err == nil {
		os.Exit(0)
	}
	_ = out.Encode(news{Failed: newFailure(err)})
	os.Exit(1)
}

// A job is what a child is to do.
type job struct {
	URL                string
	Key                string
	Own                []string // a key of its own for each of the child's waiters
	Way                string
	Lanes              int
	Process, Processes int
	Waiters            int // of all processes
	Hold, TTL          time.Duration
}

// An order is what a parent says after the job. The end of its output is the order to exit at once.
type order int

const (
	orderBegin order = 1 + iota
	orderMark        // note what was used until now
	orderStop
)

// news are what a child says, each at most once.
type news struct {
	Ready  bool
	First  *cycle // the first acquisition that counts, until now
	Failed *failure
	Report *report
}

// newsOfChild are at most as many as this.
const newsOfChild = 4

// A report is what a child has seen.
type report struct {
	Process int
	Cycles  [][]cycle // of each of its waiters
	Marks   []mark
}

// A cycle is one acquisition; the stamps are those of the shared clock, 0 for what has not come to pass.
type cycle struct{ Asked, Got, Left int64 }

// A mark is what a process has used until some moment.
type mark struct {
	CPU    time.Duration
	CPUOK  bool
	Allocs uint64
}

// A failure is an error that goes through a pipe, with what is asked of errors elsewhere.
type failure struct {
	Text    string
	Refused string // by the server
	Broken  bool   // the connection
}

func newFailure(err error) *failure {
	f := &failure{Text: err.Error()}
	var refused redis.Error
	var broken net.Error
	if errors.As(err, &refused) {
		f.Refused = string(refused)
	}
	f.Broken = errors.As(err, &broken) || errors.Is(err, io.EOF) || errors.Is(err, lock.ErrUnknown) ||
		errors.Is(err, ErrUnreachable)
	return f
}

func (f *failure) Error() string { return f.Text }

func (f *failure) Unwrap() []error {
	var list []error
	if f.Refused != "" {
		list = append(list, redis.Error(f.Refused))
	}
	if f.Broken {
		list = append(list, ErrUnreachable)
	}
	return list
}

// A child is a process of a team.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *gob.Encoder
	heard sync.WaitGroup
}

// An event is what was heard of a child.
type event struct {
	news
	err error
}

func startChild(j job, events chan<- event) (*child, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: start a process: %w", err)
	}
	c := &child{cmd: exec.Command(path)}
	c.cmd.Env, c.cmd.Stderr = append(os.Environ(), childEnv+"=1"), os.Stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("bench: start a process: %w", err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		_ = c.stdin.Close()
		return nil, fmt.Errorf("bench: start a process: %w", err)
	}
	c.out = gob.NewEncoder(c.stdin)
	c.heard.Add(1)
	go c.hear(gob.NewDecoder(stdout), events)
	_ = c.out.Encode(j) // if it fails, so does what is heard
	return c, nil
}

// hear passes on what the child says, until it ends. The channel has room for all of it.
func (c *child) hear(in *gob.Decoder, events chan<- event) {
	defer c.heard.Done()
	for {
		var n news
		err := in.Decode(&n)
		switch {
		case err != nil:
			events <- event{err: fmt.Errorf("bench: a process of the waiters has ended before its time: %w", err)}
			return
		case n.Failed != nil:
			events <- event{err: n.Failed}
			return
		}
		events <- event{news: n}
		if n.Report != nil {
			return
		}
	}
}

func (c *child) tell(o order) { _ = c.out.Encode(o) }

// end kills it, unless it has ended, and waits for it.
func (c *child) end() {
	_ = c.stdin.Close()
	_ = c.cmd.Process.Kill()
	c.heard.Wait()
	_ = c.cmd.Wait()
}
