package sentinel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// locate asks the Sentinels where the master is. Of those that come while they are asked, one asks again for all: an answer
// may be from before they came.
func (g *Group) locate(ctx context.Context) error {
	g.mu.Lock()
	came := g.asked.begun
	g.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	g.mu.Lock()
	if g.asked.ended > came {
		defer g.mu.Unlock()
		return g.asked.err
	}
	g.asked.begun++
	number := g.asked.begun
	g.mu.Unlock()
	err := g.askAll(ctx)
	if ctx.Err() != nil && err != nil {
		return err // not the Sentinels' fault
	}
	g.mu.Lock()
	g.asked.ended, g.asked.err = number, err
	g.mu.Unlock()
	return err
}

// An answer is what a Sentinel says.
type answer struct {
	from  string
	addr  string
	epoch int64
	err   error
	panic any // of a Dial of the user's
}

// askAll asks all the Sentinels, and waits for all, but when one has answered not much longer for the others. It learns what
// the one with the highest configuration epoch says.
func (g *Group) askAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepMost)
	defer cancel()
	begin := time.Now()
	answers := make(chan answer, len(g.env.Addrs))
	for _, addr := range g.env.Addrs {
		go func() { answers <- g.askOne(ctx, addr) }()
	}
	var best answer
	var failed []fault.Silence
	var late <-chan time.Time
	told := 0
	for told+len(failed) < len(g.env.Addrs) {
		select {
		case a := <-answers:
			switch {
			case a.panic != nil:
				panic(a.panic)
			case a.err != nil:
				failed = append(failed, fault.Silence{From: a.from, Cause: a.err})
				continue
			case told == 0:
				timer := time.NewTimer(max(50*time.Millisecond, 2*time.Since(begin)))
				defer timer.Stop()
				late = timer.C
			}
			if told++; told == 1 || a.epoch > best.epoch {
				best = a
			}
			continue
		case <-late:
		case <-ctx.Done():
		}
		break
	}
	if told == 0 {
		n := len(g.env.Addrs)
		return fault.NoAnswer(fmt.Sprintf("sentinel: master %q: no answer from %d of %d Sentinels", g.env.Master, n, n), n, failed)
	}
	return g.learn(best.addr, best.epoch, 2*told > len(g.env.Addrs))
}

// askOne asks one Sentinel. The address is asked for after the epoch: during a failover both change, and an address must never
// be taken for a newer one than it is.
func (g *Group) askOne(ctx context.Context, from string) (a answer) {
	a.from = from
	defer func() {
		if p := recover(); p != nil {
			a.panic = p
		}
	}()
	c, err := g.connect(ctx, g.env.DialSentinel, from)
	if err != nil {
		a.err = hung(ctx, err)
		return a
	}
	defer c.Close()
	fields, err := redis.StringMap(do(ctx, c, "SENTINEL", "MASTER", g.env.Master))
	if err == nil {
		a.epoch, err = strconv.ParseInt(fields["config-epoch"], 10, 64)
	}
	var pair []string
	if err == nil {
		pair, err = redis.Strings(do(ctx, c, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", g.env.Master))
	}
	if err == nil && (len(pair) != 2 || pair[0] == "" || pair[1] == "" || pair[1] == "0") {
		err = errors.New("it does not know the address")
	}
	if err != nil {
		a.err = hung(ctx, err)
		return a
	}
	a.addr = net.JoinHostPort(pair[0], pair[1])
	return a
}

// hung is err, but the end of a context that bounds a question is not that of the caller's.
func hung(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fault.Hangs
	}
	return err
}
