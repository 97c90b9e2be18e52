package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redigolock/redigolock"
)

// A locker obtains locks: a redigolock.Locker of one server, Cluster or what Sentinels watch; a redigolock.Quorum of several.
type locker interface {
	TryAcquire(ctx context.Context, key string, ttl time.Duration) (*redigolock.Lock, error)
	Acquire(ctx context.Context, key string, ttl time.Duration) (*redigolock.Lock, error)
	Close() error
}

// locking says how a locker is to obtain locks, and release them.
type locking struct {
	owner    string
	ttl      time.Duration
	fair     bool
	minHold  time.Duration
	observer *redigolock.Observer
}

func (s *servers) locker(l locking) (locker, error) {
	if len(s.pools) == 1 {
		return &redigolock.Locker{Pool: s.pools[0], Owner: l.owner, Fair: l.fair, MinHold: l.minHold, Observer: l.observer}, nil
	}
	if l.fair || l.minHold > 0 {
		return nil, usagef("-fair and -min-hold take one -url, and not the several of a quorum")
	}
	q := &redigolock.Quorum{Owner: l.owner, Observer: l.observer, OpTimeout: min(redigolock.DefaultOpTimeout, l.ttl/10)} // each call has to dial
	for _, p := range s.pools {
		q.Pools = append(q.Pools, p)
	}
	return q, nil
}

// defaultOwner is HOST/PID, by which an operator finds the holder.
func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	host = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == '|' {
			return '_'
		}
		return r
	}, host)
	return host[:min(len(host), 100)] + "/" + strconv.Itoa(os.Getpid())
}
