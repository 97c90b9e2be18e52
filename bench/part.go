package bench

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
)

// childEnv marks a process that was started for a Contention or a Recovery.
const childEnv = "REDIGOLOCK_BENCH_CHILD"

const forever = 1000 * time.Hour

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
	Once               bool // it ends with its first acquisition
}

// A span is from when until when a team measures, by the shared clock. A child is told so when it is ready. The end of what it
// is told is the order to exit at once.
type span struct{ From, Until int64 }

func (s span) has(at int64) bool { return at >= s.From && at < s.Until }

func (s span) length() time.Duration { return time.Duration(s.Until - s.From) }

// news are what a child says, each at most once.
type news struct {
	Ready  bool
	First  *cycle // its first acquisition
	Failed *failure
	Report *report
}

// newsOfChild are at most as many as this.
const newsOfChild = 4

// A report is what a child has seen, and has used in the time.
type report struct {
	Process   int
	Cycles    [][]cycle // of each of its waiters
	ClientCPU time.Duration
	Allocs    uint64
}

// A cycle is one acquisition; the stamps are those of the shared clock, 0 for what has not come to pass.
type cycle struct{ Asked, Got, Left int64 }

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

// A part is what a child does for its job.
type part struct {
	job
	server *Server
	crew   crew
	clock  sharedClock
	way    *way
	out    *gob.Encoder // safe for concurrent use

	holder holding
	cycles [][]cycle     // each belongs to its waiter until all have ended
	any    atomic.Bool   // acquisition
	once   chan struct{} // closed with it, if that is to be the end
	stop   chan struct{} // closed when the time is up
}

// do does the job.
func (j job) do(in *gob.Decoder, out *gob.Encoder) error {
	s, err := Open(bg, j.URL)
	if err != nil {
		return err
	}
	defer s.Close()
	p := &part{
		job: j, server: s, clock: newSharedClock(), out: out, cycles: make([][]cycle, len(j.Own)),
		once: make(chan struct{}), stop: make(chan struct{}),
	}
	if p.way, err = p.open(); err != nil {
		return err
	}
	p.crew = crew{workers: len(j.Own), warm: p.warm, work: p.wait, full: p.once, timely: true}
	p.crew.start = func() {
		if err := p.begin(in); err != nil {
			p.crew.fail(err)
		}
	}
	closed := make(chan struct{})
	// Closing ends the waits at once, and lets the tries be that are on their way: a context would cut those, and leave
	// their connections dead and their tokens to be cleaned up.
	p.crew.stop = func() {
		close(p.stop)
		go func() {
			defer close(closed)
			p.way.close()
		}()
	}
	err = p.crew.run(bg)
	<-closed
	p.way.end()
	if err != nil {
		return err
	}
	spent := p.crew.spent
	return out.Encode(news{Report: &report{j.Process, p.cycles, spent.cpu.Client, spent.allocs}})
}

func (p *part) open() (*way, error) {
	if p.Way == "floor" {
		return newRing(p)
	}
	return wayConfig{server: p.server, name: p.Way, lanes: p.Lanes, ttl: p.TTL}.open()
}

// warm does without those who will not need a connection, nor a slot.
func (p *part) warm(w int) error {
	if w > 0 && isFair(p.Way) {
		return nil
	}
	return p.way.once(p.Own[w])
}

// begin says that all are ready, and waits until it is told when to measure.
func (p *part) begin(in *gob.Decoder) error {
	if err := p.out.Encode(news{Ready: true}); err != nil {
		return err
	}
	var when span
	if err := in.Decode(&when); err != nil {
		return err
	}
	go func() { // lives as long as the process
		_ = in.Decode(&when)
		os.Exit(1) // the parent is gone, or wants no figures any more
	}()
	p.crew.lead, p.crew.time = time.Duration(when.From-p.clock.now()), when.length()
	return nil
}

// wait is what a waiter does.
func (p *part) wait(w int) error {
	for !p.crew.stopped.Load() {
		c := cycle{Asked: p.clock.now()}
		release, err := p.way.acquire(w, p.Key)
		if err != nil {
			p.cycles[w] = append(p.cycles[w], c)
			return p.way.ended(err)
		}
		c.Got = p.clock.now()
		if err := p.holder.begin("waiter", w); err != nil {
			return err
		}
		if err := p.tell(c); err != nil {
			return err
		}
		holdFor(p.Hold, p.stop)
		c.Left = p.clock.now()
		p.cycles[w] = append(p.cycles[w], c)
		if err := p.holder.end("waiter", w); err != nil {
			return err
		}
		if err := release(); err != nil {
			return fmt.Errorf("bench: the lock did not hold until its release, no figures: %w", err)
		}
	}
	return nil
}

// tell tells the parent of the first acquisition.
func (p *part) tell(c cycle) error {
	if p.any.Load() || p.any.Swap(true) {
		return nil
	}
	if p.Once {
		close(p.once)
	}
	first := c // or every c would be allocated
	return p.out.Encode(news{First: &first})
}
