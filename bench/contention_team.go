package bench

import (
	"context"
	"fmt"
	"time"
)

// A team is the processes of a Run, as their parent sees them.
type team struct {
	Contention
	clock         sharedClock
	children      []*child
	events        chan event
	before, after snapshot
	any           bool      // acquisition that counts
	reports       []*report // of the children that have ended
}

// A snapshot is what the server has done until some moment.
type snapshot struct {
	at   int64 // on the shared clock
	used usage
}

// start starts the processes. Waiter i is in process i modulo Processes.
func (t *team) start(key string, own []string) error {
	t.events = make(chan event, t.Processes*newsOfChild)
	for p := range t.Processes {
		j := job{
			URL: t.Server.rawURL, Key: key, Way: t.Way, Lanes: t.Lanes, Process: p, Processes: t.Processes,
			Waiters: t.Waiters, Hold: t.Hold, TTL: t.TTL,
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
	if err := t.begin(ctx); err != nil {
		return err
	}
	if err := t.listenFor(ctx, t.lead()); err != nil {
		return err
	}
	t.look(ctx, &t.before)
	t.tell(orderMark)
	if err := t.listenFor(ctx, t.Time); err != nil {
		return err
	}
	if !t.any { // a slow op is a figure too
		if err := t.listen(ctx, nil, func(n news) bool { return n.First != nil }); err != nil {
			return err
		}
	}
	t.look(ctx, &t.after)
	t.tell(orderMark)
	t.tell(orderStop)
	return t.collect(ctx)
}

// begin waits until all are ready, and has them begin.
func (t *team) begin(ctx context.Context) error {
	_ = t.Server.usageOf(t.Way)(ctx) // makes the connection
	ready := 0
	err := t.listen(ctx, nil, func(n news) bool {
		if n.Ready {
			ready++
		}
		return ready == t.Processes
	})
	t.tell(orderBegin)
	return err
}

// first waits for the first acquisition that counts.
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

// collect waits for the reports.
func (t *team) collect(ctx context.Context) error {
	return t.listen(ctx, nil, func(n news) bool {
		if n.Report != nil {
			t.reports = append(t.reports, n.Report)
		}
		return len(t.reports) == t.Processes
	})
}

// look takes what the server has done, and the moment of it, as nearly as one can say.
func (t *team) look(ctx context.Context, s *snapshot) {
	before := t.clock.now()
	s.used = t.Server.usageOf(t.Way)(ctx)
	s.at = before + (t.clock.now()-before)/2
}

// tell gives an order to all. What hinders it is heard by listen.
func (t *team) tell(o order) {
	for _, c := range t.children {
		c.tell(o)
	}
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
			t.any = t.any || e.First != nil
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
