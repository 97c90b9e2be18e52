package bench

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/gomodule/redigo/redis"
)

// A ring is the floor of a Contention: waiter i of all wakes waiter i+1, which is in the next process, and the last wakes
// the first.
type ring struct {
	*part
	wake  []chan struct{}
	heard chan struct{} // closed when hear has returned
	err   error         // of hear, once it has returned; nil: it was told to
	sub   redis.PubSubConn

	mu sync.Mutex // protects c: the next may be awake before the reply is there
	c  redis.Conn
}

var errRingEnds = errors.New("bench: the time is up")

var ringScript = redis.NewScript(1, `return redis.call("publish",KEYS[1],ARGV[1])`)

func newRing(p *part) (*way, error) {
	r := &ring{part: p, heard: make(chan struct{}), c: p.server.locks.Get()}
	for range p.Own {
		r.wake = append(r.wake, make(chan struct{}, 1))
	}
	r.sub.Conn = p.server.locks.Get()
	if err := r.sub.Subscribe(r.channel(p.Process)); err != nil {
		return nil, err
	}
	if err, ok := r.sub.ReceiveWithTimeout(openTimeout).(error); ok {
		return nil, err
	}
	if err := ringScript.Load(r.c); err != nil {
		return nil, err
	}
	if p.Process == 0 {
		r.wake[0] <- struct{}{}
	}
	go r.hear()
	return &way{
		once:    func(string) error { return nil },
		acquire: r.acquire,
		ended: func(err error) error {
			if errors.Is(err, errRingEnds) {
				return nil
			}
			return err
		},
		close: func() {},
		end:   r.end,
	}, nil
}

func (r *ring) channel(process int) string { return r.Key + ":" + strconv.Itoa(process) }

func (r *ring) hear() {
	defer close(r.heard)
	for {
		switch m := r.sub.ReceiveWithTimeout(0).(type) {
		case redis.Message:
			if w, err := strconv.Atoi(string(m.Data)); err == nil && w < len(r.wake) {
				r.wake[w] <- struct{}{}
			}
		case redis.Subscription:
			return
		case error:
			r.err = fmt.Errorf("bench: floor: %w", m)
			return
		}
	}
}

func (r *ring) acquire(w int, _ string) (func() error, error) {
	select {
	case <-r.stop:
		return nil, errRingEnds
	case <-r.heard:
		return nil, r.err
	case <-r.wake[w]:
	}
	next := (w*r.Processes + r.Process + 1) % r.Waiters
	return func() error { return r.pass(next) }, nil
}

// pass counts on being heard: a connection that broke is what hear returns for.
func (r *ring) pass(next int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := ringScript.Do(r.c, r.channel(next%r.Processes), next/r.Processes)
	return err
}

func (r *ring) end() {
	_ = r.sub.Unsubscribe() // which ends hear
	<-r.heard
	_ = r.sub.Close()
	_ = r.c.Close()
}
