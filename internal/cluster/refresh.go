package cluster

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/hooks"
	"github.com/redigolock/redigolock/internal/wire"
)

const (
	// askedMost is how many nodes a refresh asks, if they answer, and if what they say is not older than the map.
	askedMost = 3
	// refreshMost bounds a refresh.
	refreshMost = 2 * time.Second
	// askNext is how long a refresh waits for one node before it asks another, too.
	askNext = 200 * time.Millisecond
)

// An answer is what came of asking a node.
type answer struct {
	from string
	view view
	err  error
}

// An inquiry is the questions of one refresh.
type inquiry struct {
	c           *Cluster
	sources     []string // to ask, in this order
	answers     chan answer
	asked, told int // of sources: asked, and have answered
	want        int // are to answer
	best        *view
	failed      []fault.Silence
}

// refresh asks nodes for the map, and takes what the best of them says.
func (c *Cluster) refresh() error {
	c.refreshes.Add(1)
	ctx, cancel := context.WithTimeout(c.life, refreshMost)
	defer cancel()
	sources := c.sources()
	q := &inquiry{c: c, sources: sources, answers: make(chan answer, len(sources)), want: askedMost}
	q.run(ctx)
	if q.best == nil {
		return c.noAnswer(q.failed, len(sources))
	}
	c.install(q.best, 2*q.told > len(sources))
	return nil
}

// run asks askedMost nodes at a time, and in place of one that does not answer another. It asks all of them if what they say is
// older than the map. Once one has answered it does not wait much longer for others.
func (q *inquiry) run(ctx context.Context) {
	begin := time.Now()
	next := time.NewTimer(askNext)
	defer next.Stop()
	var late <-chan time.Time
	for q.told < q.want && q.told+len(q.failed) < len(q.sources) {
		q.askMore(ctx)
		next.Reset(askNext)
		select {
		case a := <-q.answers:
			if q.take(a) && late == nil {
				late = time.After(max(50*time.Millisecond, 2*time.Since(begin)))
			}
		case <-next.C:
			q.want = min(q.want+1, len(q.sources)) // one may hang
		case <-late:
			if !q.c.older(q.best) {
				return
			}
			late, q.want = nil, len(q.sources)
		case <-ctx.Done():
			return
		}
	}
}

func (q *inquiry) askMore(ctx context.Context) {
	for q.asked < len(q.sources) && q.asked-len(q.failed) < q.want {
		addr := q.sources[q.asked]
		q.asked++
		go func() { q.answers <- q.c.ask(ctx, addr) }()
	}
}

// take reports whether a node has told its view.
func (q *inquiry) take(a answer) bool {
	if a.err != nil {
		q.failed = append(q.failed, fault.Silence{From: a.from, Cause: a.err})
		return false
	}
	if q.told++; q.best == nil || a.view.better(q.best) {
		q.best = &a.view
	}
	if q.told == q.want && q.c.older(q.best) {
		q.want = len(q.sources)
	}
	return true
}

// older reports whether the map is from a better view.
func (c *Cluster) older(v *view) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known && (v.down || v.epoch < c.epoch)
}

var errPanicked = errors.New("the user's Dial has panicked")

// ask asks one node.
func (c *Cluster) ask(ctx context.Context, addr string) (a answer) {
	a.from = addr
	defer func() {
		if recover() != nil {
			a.err = errPanicked
		}
	}()
	hooks.Turn("map", "", "", addr) // whoever was told MOVED may dial that node, too
	conn, err := c.asking.Fetch(ctx, func(ctx context.Context) (redis.Conn, error) { return c.env.Dial(ctx, addr) })
	if err == nil {
		defer conn.Close()
		err = a.view.read(ctx, conn, addr)
	}
	if a.err = err; err != nil && ctx.Err() != nil {
		a.err = fault.Hangs
	}
	return a
}

// read asks for the epoch first: during a failover both change, and a map must never be taken for a newer one than it is. A node
// that does not let us ask for that is taken at its word. CLUSTER SLOTS names the port for TLS to those who ask by TLS, which
// CLUSTER SHARDS cannot: so that is asked for only where there is no CLUSTER SLOTS.
func (v *view) read(ctx context.Context, c redis.Conn, addr string) error {
	replies := make([]any, 2)
	res := wire.Exchange(ctx, c, []wire.Request{{Cmd: "CLUSTER", Args: []any{"INFO"}}, {Cmd: "CLUSTER", Args: []any{"SLOTS"}}}, replies)
	if res.Err != nil {
		return res.Err
	}
	v.ofInfo(text(replies[0]))
	re, refused := replies[1].(redis.Error)
	switch {
	case !refused:
		return v.ofSlots(replies[1], addr)
	case !noSuchCommand(re):
		return re
	}
	res = wire.Exchange(ctx, c, []wire.Request{{Cmd: "CLUSTER", Args: []any{"SHARDS"}}}, replies[:1])
	if res.Err != nil {
		return res.Err
	}
	if re, refused := replies[0].(redis.Error); refused {
		return re
	}
	return v.ofShards(replies[0], addr)
}

func noSuchCommand(err redis.Error) bool {
	lower := strings.ToLower(string(err))
	return fault.UnknownCommand(err) || strings.HasPrefix(lower, "err unknown subcommand") || fault.Word(err) == "NOPERM"
}

// ofInfo reads what CLUSTER INFO says.
func (v *view) ofInfo(info string) {
	for line := range strings.Lines(info) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name {
		case "cluster_state":
			v.down = value == "fail"
		case "cluster_current_epoch":
			v.epoch, _ = strconv.ParseInt(value, 10, 64)
		}
	}
}

func (c *Cluster) noAnswer(failed []fault.Silence, asked int) error {
	if c.life.Err() != nil {
		return fault.Closed
	}
	return fault.NoAnswer("cluster: no node answers", asked, failed)
}
