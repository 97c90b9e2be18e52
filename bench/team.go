package bench

import (
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A team is the processes of a Run, as their parent sees them.
type team struct {
	Contention
	span
	clock         sharedClock
	children      []*child
	events        chan event
	before, after usage     // of the server, at both ends of the span
	reports       []*report // of the children that have ended
}

// start starts the processes. Waiter i is in process i modulo Processes. once: see job.
func (t *team) start(key string, own []string, once bool) error {
	t.events = make(chan event, t.Processes*newsOfChild)
	for p := range t.Processes {
		j := job{
			URL: t.Server.rawURL, Key: key, Way: t.Way, Lanes: t.Lanes, Process: p, Processes: t.Processes,
			Waiters: t.Waiters, Hold: t.Hold, TTL: t.TTL, Once: once,
		}
		for i := p; i < t.Waiters; i += t.Processes {
			j.Own = append(j.Own, own[i])
		}
		c, err := startChild(j, t.events)
		if err != nil {
			return err
		}
		t.children = append(t.children, c)
	}
	return nil
}

// end kills what still runs, and waits for it.
func (t *team) end() {
	for _, c := range t.children {
		c.end()
	}
}

func (t *team) run(ctx context.Context) error {
	used := t.Server.usageOf(t.Way)
	_ = used(ctx) // makes the connection
	if err := t.begin(ctx, t.lead(), t.Time); err != nil {
		return err
	}
	for _, end := range []struct {
		at   int64
		used *usage
	}{{t.From, &t.before}, {t.Until, &t.after}} {
		if err := t.listenFor(ctx, time.Duration(end.at-t.clock.now())); err != nil {
			return err
		}
		*end.used = used(ctx)
	}
	return t.collect(ctx)
}

// begin waits until all are ready, and has them measure so long after the lead.
func (t *team) begin(ctx context.Context, lead, length time.Duration) error {
	ready := 0
	err := t.listen(ctx, nil, func(n news) bool {
		if n.Ready {
			ready++
		}
		return ready == t.Processes
	})
	t.From = t.clock.now() + int64(lead)
	t.Until = t.From + int64(length)
	for _, c := range t.children {
		_ = c.out.Encode(t.span) // if it fails, so does what is heard
	}
	return err
}

// first waits for the first acquisition.
func (t *team) first(ctx context.Context, limit time.Duration) (cycle, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var c *cycle
	err := t.listen(ctx, timer.C, func(n news) bool { c = n.First; return c != nil })
	if err == nil && c == nil {
		err = fmt.Errorf("bench: way %s: nobody has got the lock within %v", t.Way, limit)
	}
	if err != nil {
		return cycle{}, err
	}
	return *c, nil
}

// collect waits for the reports that have not come yet.
func (t *team) collect(ctx context.Context) error {
	if len(t.reports) == t.Processes {
		return nil
	}
	return t.listen(ctx, nil, func(news) bool { return len(t.reports) == t.Processes })
}

// listenFor listens for so long.
func (t *team) listenFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	return t.listen(ctx, timer.C, func(news) bool { return false })
}

// listen returns at the end of the time, or when until says so, or with what went wrong.
func (t *team) listen(ctx context.Context, end <-chan time.Time, until func(news) bool) error {
	for {
		select {
		case e := <-t.events:
			if e.err != nil {
				return e.err
			}
			if e.Report != nil {
				t.reports = append(t.reports, e.Report)
			}
			if until(e.news) {
				return nil
			}
		case <-end:
			return nil
		case <-ctx.Done():
			return stoppedRun(ctx)
		}
	}
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

// end kills it, unless it has ended, and waits for it.
func (c *child) end() {
	_ = c.stdin.Close()
	_ = c.cmd.Process.Kill()
	c.heard.Wait()
	_ = c.cmd.Wait()
}
