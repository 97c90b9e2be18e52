package redigolock

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// A stray is a token that an acquire may have left in a key, or may still put there: its SET was sent, and no reply came.
// Each is removed by compare-and-delete on a newly dialled connection, again and again, until the server has confirmed
// twice, an OpTimeout apart, that it is not there, or until its ttl must be over.
//
// What can go wrong: the SET is carried out after the first confirmation: the second finds it. After the second: the
// key lives for one ttl, with nobody as its holder. The server is away: tried until the ttl is over. This process
// dies: one ttl.
type stray struct {
	key, token string
	ctx        context.Context // for the Observer
	until      time.Time       // its ttl is over, whenever within OpTimeout of the send it began
	next       time.Time       // when to try again
	confirmed  bool            // the server has said once that it is not there
	over       bool            // nothing is left to do
	failures   int             // in a row
}

// strays is the clean-up of a Locker: one goroutine for all its strays, which lives only while there are some.
type strays struct {
	mu      sync.Mutex // protects what follows; taken for moments only, never while anything is sent
	list    []*stray
	stop    context.CancelFunc // ends the goroutine; nil while there is none
	done    chan struct{}      // closed when the goroutine has ended
	added   chan struct{}      // capacity 1
	drained bool               // the Locker is closed and no longer waits: a new stray gets one try
}

func (st *strays) count() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.list)
}

// owe leaves the token to the clean-up.
func (k *Lock) owe() { k.oweFrom(time.Now()) }

// oweFrom has the clean-up begin then.
func (k *Lock) oweFrom(next time.Time) {
	l := k.core
	s := &stray{key: k.key, token: k.token, ctx: k.lostTry.ctx, next: next, until: k.lostTry.since.Add(k.ttl + l.opTimeout())}
	if next.After(s.until) {
		return
	}
	st := &l.strays
	st.mu.Lock()
	defer st.mu.Unlock()
	st.list = append(st.list, s)
	if st.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		st.stop, st.done, st.added = stop, make(chan struct{}), make(chan struct{}, 1)
		if st.drained {
			time.AfterFunc(l.opTimeout(), stop)
		}
		go l.cleanUp(ctx, st.added, st.done)
		return
	}
	select {
	case st.added <- struct{}{}:
	default: // it has been told already
	}
}

// closeStrays waits for the clean-up, for so long at most, and then ends it.
func (l *core) closeStrays(most time.Duration) {
	st := &l.strays
	st.mu.Lock()
	st.drained = true
	stop, done := st.stop, st.done
	st.mu.Unlock()
	if stop == nil {
		return
	}
	waitFor(most, done)
	stop()
	waitFor(l.opTimeout(), done) // whatever it waits for ends with its context, but for a dial that ignores that
}

// cleanUp is the goroutine. If an Observer ends it, or a func of the pool's, another goes on.
func (l *core) cleanUp(ctx context.Context, added <-chan struct{}, done chan<- struct{}) {
	over := false
	defer func() {
		if over {
			close(done)
		} else {
			go l.cleanUp(ctx, added, done)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-added:
		case <-ctx.Done():
		}
		next, more := l.cleanDue(ctx)
		if over = !more; over {
			return
		}
		timer.Reset(time.Until(next))
	}
}

// cleanDue tries all strays that are due, and returns when the next one is. It says no more if none is left or ctx has
// ended, and then the goroutine has been signed off under the lock, so that the next stray starts a new one.
func (l *core) cleanDue(ctx context.Context) (next time.Time, more bool) {
	now, st := time.Now(), &l.strays
	st.mu.Lock()
	var due []*stray
	for _, s := range st.list {
		if !s.next.After(now) {
			due = append(due, s)
		}
	}
	st.mu.Unlock()
	l.cleanAll(ctx, due)

	st.mu.Lock()
	defer st.mu.Unlock()
	now = time.Now()
	var left []*stray
	for _, s := range st.list {
		if s.over || now.After(s.until) || ctx.Err() != nil {
			continue
		}
		left = append(left, s)
		if next.IsZero() || s.next.Before(next) {
			next = s.next
		}
	}
	st.list = left
	if len(left) == 0 {
		st.stop()
		st.stop = nil
	}
	return next, len(left) > 0
}

// cleanAll tries each of due once: on one new connection, or, where connections bind, each on one for its key. Only the
// goroutine and those it waits for touch what it changes.
func (l *core) cleanAll(ctx context.Context, due []*stray) {
	if len(due) == 0 {
		return
	}
	if !l.home.source.binds() {
		l.cleanTogether(ctx, due)
		return
	}
	places := make(chan struct{}, maxDials)
	var all sync.WaitGroup
	for _, s := range due {
		places <- struct{}{}
		all.Go(func() {
			l.cleanAlone(ctx, s)
			<-places
		})
	}
	all.Wait()
}

// cleanAlone tries one on a connection of its own. The end of ctx is that of the Locker, not of a caller.
func (l *core) cleanAlone(ctx context.Context, s *stray) {
	err := ctx.Err()
	if err == nil {
		err = l.home.onOwn(ctx, "clean up", s.key, s.token, l.opTimeout(), func(c redis.Conn) error {
			return undo(ctx, c, s.key, s.token)
		})
	}
	l.cleaned(s, err)
}

// cleanTogether tries several on one connection.
func (l *core) cleanTogether(ctx context.Context, due []*stray) {
	var c redis.Conn
	hangUp := func() {
		if c != nil {
			_ = c.Close()
			l.conns.Add(-1)
		}
		c = nil
	}
	defer func() { hangUp() }()
	for _, s := range due {
		err := ctx.Err()
		if err == nil && (c == nil || c.Err() != nil) {
			hangUp()
			if c, err = l.dialStray(ctx); err == nil {
				l.conns.Add(1)
			} else {
				c, err = nil, fault.NoConnection(ctx, "clean up", s.key, err)
			}
		}
		if err == nil {
			b := &boundConn{Conn: c, key: s.key, token: s.token, deadline: time.Now().Add(l.opTimeout())}
			err = undo(ctx, b, s.key, s.token)
		}
		l.cleaned(s, err)
	}
}

// undo deletes the key if it carries the token, as all must that takes an acquire back: never by Locker.ReleaseWith, which
// may do more than that, or panic, which on a goroutine of the Locker's own would end the process. A user of the server that
// may run no script may have the right to a transaction.
func undo(ctx context.Context, c redis.Conn, key, token string) error {
	err := Release(ctx, c, key, token)
	if re, ok := fault.Reply(err); ok && (fault.Word(re) == "NOPERM" || fault.UnknownCommand(re)) {
		again := ReleaseTx(ctx, c, key, token)
		if again == nil || errors.Is(again, ErrNotHeld) || errors.Is(again, ErrUnknown) {
			return again
		}
	}
	return err
}

func (l *core) dialStray(ctx context.Context) (redis.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opTimeout())
	defer cancel()
	return l.home.source.dial(ctx)
}

// cleaned notes and tells how a try ended.
func (l *core) cleaned(s *stray, err error) {
	s.judge(err, time.Now(), l.opTimeout())
	if err == nil {
		l.by.freed(s.key)
	}
	if !isGone(err) {
		l.observer.outcome(s.ctx, s.key, "clean up", err)
	}
}

// isGone reports whether a try of a clean-up says that the token is not in the key.
func isGone(err error) bool {
	return err == nil || errors.Is(err, ErrNotHeld) || errors.Is(err, ErrConflict)
}

// judge decides when to try again.
func (s *stray) judge(err error, now time.Time, apart time.Duration) {
	switch {
	case isGone(err):
		s.over, s.confirmed, s.failures = s.confirmed, true, 0
		s.next = now.Add(apart)
	case !fault.Transient(err):
		s.over = true // refused for good: nothing can be done here
	default:
		s.failures++
		s.next = now.Add(min(apart<<min(s.failures-1, 6), time.Minute))
	}
}
