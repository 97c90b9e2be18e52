package bench

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/gomodule/redigo/redis"
)

// A contender is a way to contend, for the waiters of one process, which are numbered from 0.
type contender struct {
	warm    func(w int) error
	acquire func(w int) (release func() error, err error)
	ended   func(error) error // nil for the error of a wait that ended because the time was up
	close   func()            // ends all waits, while others may still hold and release
	end     func()            // when all have ended
}

func newContender(p *part) (contender, error) {
	if p.Way == "floor" {
		return newRing(p)
	}
	l, err := waitConfig{p.server, p.server.locks, p.Way, p.Lanes, p.TTL, len(p.Own)}.open()
	if err != nil {
		return contender{}, err
	}
	fair := p.Way == "fair" || p.Way == "cohort"
	return contender{
		warm: func(w int) error {
			if w > 0 && fair {
				return nil // the others will not need a connection, nor a slot
			}
			return l.once(p.Own[w])
		},
		acquire: func(int) (func() error, error) { return l.acquire(p.Key) },
		ended:   l.ended,
		close:   l.close,
		end:     l.end,
	}, nil
}

// A ring is the floor: waiter i of all wakes waiter i+1, which is in the next process, and the last wakes the first.
type ring struct {
	*part
	wake []chan struct{}
	mu   sync.Mutex // protects c: the next may be awake before the reply is there
	c    redis.Conn
	sub  redis.PubSubConn
}

var errRingEnds = errors.New("bench: the time is up")

var ringScript = redis.NewScript(1, `return redis.call("publish",KEYS[1],ARGV[1])`)

func newRing(p *part) (contender, error) {
	r := &ring{part: p, c: p.server.locks.Get()}
	for range p.Own {
		r.wake = append(r.wake, make(chan struct{}, 1))
	}
	r.sub.Conn = p.server.locks.Get()
	if err := r.sub.Subscribe(r.channel(p.Process)); err != nil {
		return contender{}, err
	}
	if err, ok := r.sub.ReceiveWithTimeout(openTimeout).(error); ok {
		return contender{}, err
	}
	if err := ringScript.Load(r.c); err != nil {
		return contender{}, err
	}
	heard := make(chan struct{})
	warm := func(w int) error {
		if w == 0 {
			go r.hear(heard)
		}
		return nil
	}
	if p.Process == 0 {
		r.wake[0] <- struct{}{}
	}
	end := func() {
		_ = r.sub.Unsubscribe() // which ends hear
		<-heard
		_ = r.sub.Close()
		_ = r.c.Close()
	}
	ended := func(err error) error {
		if errors.Is(err, errRingEnds) {
			return nil
		}
		return err
	}
	return contender{warm, r.acquire, ended, func() {}, end}, nil
}

func (r *ring) channel(process int) string { return r.Key + ":" + strconv.Itoa(process) }

func (r *ring) hear(heard chan<- struct{}) {
	defer close(heard)
	for {
		switch m := r.sub.ReceiveWithTimeout(0).(type) {
		case redis.Message:
			if w, err := strconv.Atoi(string(m.Data)); err == nil && w < len(r.wake) {
				r.wake[w] <- struct{}{}
			}
		case redis.Subscription:
			return
		case error:
			r.crew.fail(fmt.Errorf("bench: floor: %w", m))
			return
		}
	}
}

func (r *ring) acquire(w int) (func() error, error) {
	select {
	case <-r.stop:
		return nil, errRingEnds
	case <-r.wake[w]:
	}
	next := (w*r.Processes + r.Process + 1) % r.Waiters
	return func() error { return r.pass(next) }, nil
}

// pass counts on being heard: a connection that broke is what hear fails for.
func (r *ring) pass(next int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := ringScript.Do(r.c, r.channel(next%r.Processes), next/r.Processes)
	return err
}
