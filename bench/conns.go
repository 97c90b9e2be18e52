package bench

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// conns are the sockets of the pools, so that all can be cut at once. That is how a workload stops within a second at a
// server that does not answer, while its commands run without a context, which would cost what is not to be measured.
type conns struct {
	mu   sync.Mutex // protects what follows
	list []net.Conn
	over bool
}

// errCut is no error that anybody tries again after.
var errCut = errors.New("bench: the run was stopped, and the connections are cut")

func (cs *conns) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if cs.isOver() {
		return nil, errCut
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.over {
		_ = c.Close()
		return nil, errCut
	}
	cs.list = append(cs.list, c)
	return c, nil
}

func (cs *conns) isOver() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.over
}

// cut closes all connections, those of the future too.
func (cs *conns) cut() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.over = true
	for _, c := range cs.list {
		_ = c.Close()
	}
	cs.list = nil
}
