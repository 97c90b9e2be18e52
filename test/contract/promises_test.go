package contract

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redigolock/redigolock"
)

// promises are what each kind keeps. Each has keys of its own.
var promises = []struct {
	name string
	test func(s *site)
}{
	{"acquire", func(s *site) {
		begin := time.Now()
		k := s.must(s.l.TryAcquire(bg, s.key, ttl))
		if !k.Valid() || k.Key() != s.key || k.Token() == "" || k.Deadline().Before(begin) || k.Deadline().After(time.Now().Add(ttl)) {
			s.Errorf("%v, valid %v, until %v", k, k.Valid(), time.Until(k.Deadline()))
		}
		s.ok(k.Release(bg))
	}},
	{"held", func(s *site) {
		k := s.must(s.l.TryAcquire(bg, s.key, ttl))
		for _, l := range []locker{s.l, s.other} {
			_, err := l.TryAcquire(bg, s.key, ttl)
			s.wants(err, redigolock.ErrHeld)
			s.wants(l.TryDo(bg, s.key, ttl, func(context.Context, *redigolock.Lock) error { return nil }), redigolock.ErrHeld)
		}
		s.ok(k.Verify(bg))
		s.ok(k.Release(bg))
	}},
	{"waits", func(s *site) {
		k := s.must(s.l.Acquire(bg, s.key, ttl))
		var released atomic.Bool
		done := s.inBackground(func() error {
			k, err := s.other.Acquire(bg, s.key, ttl)
			if err == nil && !released.Load() {
				err = errors.New("granted before the release")
			}
			return errors.Join(err, k.Release(bg))
		})
		time.Sleep(100 * time.Millisecond)
		released.Store(true)
		s.ok(k.Release(bg))
		s.ok(<-done)
	}},
	{"release", func(s *site) {
		k := s.must(s.l.TryAcquire(bg, s.key, ttl))
		s.ok(k.Release(bg))
		if k.Valid() {
			s.Error("valid after Release")
		}
		s.wants(k.Release(bg), redigolock.ErrNotHeld)
		s.wants(k.Verify(bg), redigolock.ErrNotHeld)
		again := s.must(s.other.TryAcquire(bg, s.key, ttl))
		s.wants(k.Release(bg), redigolock.ErrNotHeld) // which is another's by now
		s.ok(again.Verify(bg))
		s.ok(again.Release(bg))
	}},
	{"extend", func(s *site) {
		k := s.must(s.l.TryAcquire(bg, s.key, ttl))
		s.ok(k.Extend(bg, 2*ttl))
		long := k.Deadline()
		if time.Until(long) < 3*ttl/2 {
			s.Errorf("%v are left after Extend", time.Until(long))
		}
		s.ok(k.Extend(bg, ttl)) // never lowers what is left
		if k.Deadline().Before(long) {
			s.Error("a shorter Extend has shortened the lease")
		}
		s.del()
		s.wants(k.Extend(bg, ttl), redigolock.ErrNotHeld)
	}},
	{"verify", func(s *site) {
		k := s.must(s.l.TryAcquire(bg, s.key, ttl))
		s.ok(k.Verify(bg))
		s.del()
		s.wants(k.Verify(bg), redigolock.ErrNotHeld)
		s.wants(k.Release(bg), redigolock.ErrNotHeld)
	}},
	{"expire", func(s *site) {
		k := s.must(s.l.TryAcquire(bg, s.key, short))
		again := s.must(s.other.Acquire(bg, s.key, ttl))
		if k.Valid() {
			s.Error("two holders")
		}
		s.wants(k.Verify(bg), redigolock.ErrNotHeld)
		s.wants(k.Extend(bg, ttl), redigolock.ErrNotHeld)
		s.wants(k.Release(bg), redigolock.ErrNotHeld)
		s.ok(again.Verify(bg))
		s.ok(again.Release(bg))
	}},
	{"attach", func(s *site) {
		if s.attach == nil {
			s.Skip("this kind has no Attach")
		}
		k := s.must(s.l.TryAcquire(bg, s.key, ttl))
		a := s.must(s.attach(bg, s.key, k.Token(), ttl))
		s.ok(a.Verify(bg))
		s.ok(a.Release(bg))
		s.wants(k.Verify(bg), redigolock.ErrNotHeld)
		_, err := s.attach(bg, s.key, k.Token(), ttl)
		s.wants(err, redigolock.ErrNotHeld)
	}},
	{"keep alive", func(s *site) {
		k := s.must(s.l.TryAcquire(bg, s.key, kept))
		ctx := k.KeepAlive(bg)
		time.Sleep(3 * kept / 2)
		if ctx.Err() != nil || !k.Valid() {
			s.Errorf("lost: %v", context.Cause(ctx))
		}
		s.ok(k.Verify(bg))
		s.ok(k.Release(bg))
		if context.Cause(ctx) != context.Canceled {
			s.Errorf("after Release: %v", context.Cause(ctx))
		}
	}},
	{"lost", func(s *site) {
		k := s.must(s.l.TryAcquire(bg, s.key, kept))
		ctx := k.KeepAlive(bg)
		s.del()
		select {
		case <-ctx.Done():
		case <-time.After(ttl):
			s.Fatal("the loss is not told")
		}
		s.wants(context.Cause(ctx), redigolock.ErrLost)
		if k.Valid() {
			s.Error("valid")
		}
		s.wants(k.Release(bg), redigolock.ErrNotHeld)
	}},
	{"context ends", func(s *site) {
		k := s.must(s.l.TryAcquire(bg, s.key, ttl))
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(bg)
		time.AfterFunc(short, func() { cancel(gone) }) // by then the first try has been answered
		begin := time.Now()
		_, err := s.other.Acquire(ctx, s.key, ttl)
		s.wants(err, context.Canceled, gone, redigolock.ErrHeld)
		if took := time.Since(begin); took > short+opTimeout {
			s.Errorf("it took %v", took)
		}
		s.ok(k.Release(bg))
		s.ok(s.must(s.other.Acquire(bg, s.key, ttl)).Release(bg)) // nothing of the one that left stands in the way
	}},
	{"do", func(s *site) {
		var inside, ran atomic.Int32
		var done []<-chan error
		for i := range 6 {
			l := []locker{s.l, s.other}[i%2]
			done = append(done, s.inBackground(func() error {
				return l.Do(bg, s.key, ttl, func(ctx context.Context, k *redigolock.Lock) error {
					if inside.Add(1) != 1 {
						return errors.New("two at once")
					}
					time.Sleep(5 * time.Millisecond)
					ran.Add(1)
					inside.Add(-1)
					return ctx.Err()
				})
			}))
		}
		for _, d := range done {
			s.ok(<-d)
		}
		failure := errors.New("the job has failed")
		s.wants(s.l.Do(bg, s.key, ttl, func(context.Context, *redigolock.Lock) error { return failure }), failure)
		if ran.Load() != 6 {
			s.Errorf("%d ran", ran.Load())
		}
		s.ok(s.must(s.l.TryAcquire(bg, s.key, ttl)).Release(bg))
	}},
	{"close", func(s *site) {
		l := s.open()
		k := s.must(l.Acquire(bg, s.key, ttl))
		kept := s.must(l.Acquire(bg, s.key+"kept", ttl))
		ctx := kept.KeepAlive(bg)
		waiting := s.inBackground(func() error {
			_, err := l.Acquire(bg, s.key, ttl)
			return err
		})
		time.Sleep(100 * time.Millisecond)
		s.ok(l.Close())
		s.wants(<-waiting, redigolock.ErrClosed)
		s.wants(context.Cause(ctx), redigolock.ErrClosed)
		_, err := l.TryAcquire(bg, s.key, ttl)
		s.wants(err, redigolock.ErrClosed)
		s.ok(k.Release(bg)) // what is held is not taken away
		s.ok(s.must(s.other.TryAcquire(bg, s.key, ttl)).Release(bg))
		s.ok(kept.Release(bg))
		s.ok(l.Close())
	}},
	{"fence", func(s *site) {
		last := int64(0)
		for range 3 {
			k := s.must(s.l.Acquire(bg, s.key, ttl))
			n, err := k.Fence(bg)
			if !s.fences {
				s.wants(err, redigolock.ErrUnsupported)
			} else if s.ok(err); n <= last {
				s.Errorf("%d after %d", n, last)
			}
			last = n
			s.ok(k.Release(bg))
			if _, err := k.Fence(bg); err == nil {
				s.Error("a number without the lock")
			}
		}
	}},
	{"bad input", func(s *site) {
		for _, c := range []struct {
			key string
			ttl time.Duration
		}{{"", ttl}, {s.key, 0}, {s.key, time.Microsecond}, {s.key, 48 * time.Hour}} {
			_, err := s.l.TryAcquire(bg, c.key, c.ttl)
			s.wants(err, redigolock.ErrInvalid)
		}
		ctx, cancel := context.WithCancel(bg)
		cancel()
		_, err := s.l.Acquire(ctx, s.key, ttl)
		s.wants(err, context.Canceled)
	}},
}
