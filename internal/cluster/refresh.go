package cluster

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
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
	from  string
	view  view
	err   error
	panic any // of a Dial of the user's
}

// refresh asks nodes for the map, and takes what the best of them says. It asks askedMost at a time, and in place of one that does
// not answer another. It asks all of them if what they say is older than the map.
func (c *Cluster) refresh() error {
	c.refreshes.Add(1)
	ctx, cancel := context.WithTimeout(c.life, refreshMost)
	defer cancel()
	sources := c.sources()
	answers := make(chan answer, len(sources))
	begin := time.Now()
	var best *view
	var failed []answer
	asked, told, want := 0, 0, askedMost
	next := time.NewTimer(0)
	defer next.Stop()
	var late <-chan time.Time
	for told < want && told+len(failed) < len(sources) {
		for asked < len(sources) && asked-len(failed) < want {
			addr := sources[asked]
			asked++
			go func() { answers <- c.ask(ctx, addr) }()
		}
		next.Reset(askNext)
		select {
		case a := <-answers:
			switch {
			case a.panic != nil:
				failed = append(failed, answer{from: a.from, err: errPanicked})
			case a.err != nil:
				failed = append(failed, a)
			default:
				if told++; best == nil || a.view.better(best) {
					best = &a.view
				}
				if told == want && c.older(best) {
					want = len(sources)
				}
				if late == nil {
					timer := time.NewTimer(max(50*time.Millisecond, 2*time.Since(begin)))
					defer timer.Stop()
					late = timer.C
				}
			}
			continue
		case <-next.C:
			want = min(want+1, len(sources)) // one may hang
			continue
		case <-late:
			if c.older(best) && ctx.Err() == nil {
				late, want = nil, len(sources)
				continue
			}
		case <-ctx.Done():
		}
		break
	}
	if best == nil {
		return c.noAnswer(ctx, failed, len(sources))
	}
	c.install(best, 2*told > len(sources))
	return nil
}

// older reports whether the map is from a better view.
func (c *Cluster) older(v *view) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known && (v.down || v.epoch < c.epoch)
}

var (
	errPanicked = errors.New("the user's Dial has panicked")
	errHangs    = errors.New("no answer in time")
)

// ask asks one node.
func (c *Cluster) ask(ctx context.Context, addr string) (a answer) {
	a.from = addr
	defer func() {
		if p := recover(); p != nil {
			a.panic = p
		}
	}()
	conn, err := c.asking.Fetch(ctx, func(ctx context.Context) (redis.Conn, error) { return c.env.Dial(ctx, addr) })
	if err == nil {
		defer conn.Close()
		err = a.view.read(ctx, conn, addr)
	}
	if a.err = err; err != nil && ctx.Err() != nil {
		a.err = errHangs
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

// A noAnswerError names what was wrong with each node. It wraps one of the errors: one that another try may mend, if there is such.
type noAnswerError struct {
	text  string
	cause error
}

func (e *noAnswerError) Error() string { return e.text }
func (e *noAnswerError) Unwrap() error { return e.cause }

func (c *Cluster) noAnswer(ctx context.Context, failed []answer, asked int) error {
	if c.life.Err() != nil {
		return fault.Closed
	}
	e := &noAnswerError{text: "cluster: no node answers"}
	for _, a := range failed {
		if re, ok := fault.Reply(a.err); ok {
			a.err = fault.WithoutArgs(re)
		}
		e.text += "; " + a.from + ": " + fault.OneLine(a.err.Error())
		if e.cause == nil || final(e.cause) && !final(a.err) {
			e.cause = a.err
		}
	}
	if len(failed) < asked {
		e.text += "; the others hang"
		if e.cause == nil || final(e.cause) {
			e.cause = errHangs
		}
	}
	return e
}

// final reports whether a node will say the same again: a wrong password, or that it is not in cluster mode.
func final(err error) bool {
	re, isReply := fault.Reply(err)
	return isReply && !fault.TransientReply(re) || fault.RefusedForGood(err)
}
