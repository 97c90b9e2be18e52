package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	lock "github.com/redigolock/redigolock"
)

// endPatience is how long the first to be served may come after the time, and the waits may take to end by themselves.
// leavePatience is how long what they leave may then take: it would disturb what is measured next.
const (
	endPatience   = 500 * time.Millisecond
	leavePatience = 10 * time.Second
)

// warmShared is how many goroutines do once what does not share before the clock starts. More connections, for those who
// poll, are made in the lead.
const warmShared = 64

// A sharedLoad is a Run of a Load whose arrivals share keys.
type sharedLoad struct {
	*loadRun
	lock   waitLock
	hold   time.Duration
	keys   []sharedKey
	which  []int32       // of the keys each arrival wants
	over   chan struct{} // closed when the time is up
	closed chan struct{} // closed when lock.close has returned
}

type sharedKey struct {
	name   string
	holder holding
}

func (l Load) runShared(ctx context.Context) (res Result, err error) {
	u := l.Of
	if err := readyFor(u.Approach); err != nil {
		return Result{}, err
	}
	warmed := min(u.Goroutines, warmShared)
	n := 1
	if l.Keys == "zipf10000" {
		n = zipfKeys
	}
	k := newKeys(warmed + n)
	if u.Approach == "fair" || u.Approach == "cohort" {
		k.more = queueKeys(k.names)
	}
	defer k.remove(ctx, u.Server, &err)
	s, err := l.share(k.names[warmed:])
	if err != nil {
		return Result{}, err
	}
	s.man(u, func(w int) error {
		if w >= warmed {
			return nil
		}
		return u.warm(w, s.lock.once, k.names[w])
	}, s.serveShared)
	s.crew.lead, s.crew.timely, s.crew.first, s.crew.stop = l.lead(), true, s.first, s.stop
	s.crew.within = endPatience
	err = s.crew.run(ctx)
	s.finish(ctx, k)
	if f := s.crew.failure.Load(); err == nil && f != nil { // of who was late to end
		err = f.err
	}
	if err != nil {
		return Result{}, err
	}
	return s.result(u.Server)
}

// share opens the lock, and draws which key each arrival wants.
func (l Load) share(names []string) (*sharedLoad, error) {
	u := l.Of
	s := &sharedLoad{hold: l.Hold, keys: make([]sharedKey, len(names)), over: make(chan struct{}),
		closed: make(chan struct{})}
	for i, name := range names {
		s.keys[i].name = name
	}
	var err error
	if s.loadRun, err = l.newRun(); err != nil {
		return nil, err
	}
	s.lock, err = waitConfig{u.Server, u.Server.pool(u.PoolSize), u.Approach, u.Lanes, u.TTL, u.Goroutines}.open()
	if err != nil {
		s.pacer.stop()
		return nil, err
	}
	s.which = draw(len(names), len(s.at))
	return s, nil
}

// draw draws for each of so many arrivals one of n keys.
func draw(n, arrivals int) []int32 {
	which := make([]int32, arrivals)
	if n == 1 {
		return which
	}
	zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), zipfExponent, 1, uint64(n-1))
	for i := range which {
		which[i] = int32(zipf.Uint64())
	}
	return which
}

// stop ends the waits. A fair Locker may take a moment for it, in which holders release.
func (s *sharedLoad) stop() {
	s.pacer.stop()
	close(s.over)
	go func() {
		defer close(s.closed)
		s.lock.close()
	}()
}

// finish ends the lock when all workers have ended. Who does not end in time, as a rival that does not hear that its
// wait is over, is left to end by itself, and its keys are then removed once more.
func (s *sharedLoad) finish(ctx context.Context, k *keys) {
	done := s.crew.server.endWithin(ctx, leavePatience, func() {
		s.crew.all.Wait()
		<-s.closed
		s.lock.end()
	})
	select {
	case <-done:
	default:
		go func() {
			<-done
			_ = k.removeAll(ctx, s.crew.server)
		}()
	}
}

// serveShared does not look at who gets a key when the time is up: it is not served, and a rival whose waits were
// ended may have lost it.
func (s *sharedLoad) serveShared(_, i int) (bool, error) {
	key := &s.keys[s.which[i]]
	release, err := s.lock.acquire(key.name)
	if err != nil {
		return false, s.failed(i, err)
	}
	if s.crew.stopped.Load() {
		return false, s.failed(i, release())
	}
	if err := key.holder.begin("arrival", i); err != nil {
		return false, err
	}
	holdFor(s.hold, s.over)
	if err := key.holder.end("arrival", i); err != nil {
		return false, err
	}
	if err := release(); err != nil {
		if err = s.failed(i, err); err != nil {
			err = fmt.Errorf("bench: the lock did not hold until its release, no figures: %w", err)
		}
		return false, err
	}
	return true, nil
}

// failed is nil for what may come to a lock that is overloaded, or whose waits were ended: a figure, not an error.
func (s *sharedLoad) failed(i int, err error) error {
	switch {
	case err == nil, s.crew.stopped.Load() && errors.Is(err, lock.ErrClosed):
		return nil
	case tooLate(err):
		s.took[i].Store(tookTooLong)
		return nil
	case s.crew.stopped.Load():
		return s.lock.ended(err)
	}
	return err
}

// tooLate says that there was no answer in time, and nothing worse.
func tooLate(err error) bool {
	if errors.Is(err, lock.ErrNotHeld) {
		return false
	}
	var broken net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, lock.ErrUnknown) ||
		errors.As(err, &broken) && broken.Timeout()
}
