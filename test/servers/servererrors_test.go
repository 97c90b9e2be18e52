package servers

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// What a server that cannot, or may not, serve a lock does to those who try, wait and hold. The table in docs/outages.md says
// the same. Each condition is brought about on a real server, and is lifted while somebody waits for it.

// A serverCondition is a row.
type serverCondition struct {
	name        string
	args        []string // of the server
	begin, lift func(*badServer)
	pool        func(*badServer) *redis.Pool // nil: the server's

	reads      string   // what the server's reply begins with, or the network's error contains; a|b: either
	is         error    // what TryAcquire is besides; nil: nothing
	approaches []string // which acquire meets it; nil: all
	dials      bool     // it is met when the connection is made, before any verb
	retried    bool     // Acquire tries again; else it ends at once
	holds      string   // what Extend and Release read; "": both work
	carriedOut bool     // the server carries out what it does not answer
}

var serverConditions = []serverCondition{
	{name: "NOAUTH", begin: beginNoAuth, lift: liftNoAuth, reads: "NOAUTH ", holds: "NOAUTH "},
	{name: "WRONGPASS", begin: beginWrongPass, lift: liftWrongPass, pool: userPool, dials: true,
		reads: "WRONGPASS ", holds: "WRONGPASS "},
	{name: "NOPERM", begin: denyUser("set", "eval", "evalsha"), lift: allowUser, pool: userPool,
		reads: "NOPERM ", holds: "NOPERM "},
	{name: "NOPERM inside a script", begin: denyUser("setnx", "pexpire", "del"), lift: allowUser, pool: userPool,
		approaches: []string{"SetNXScript"}, reads: deniedInScript, holds: deniedInScript},
	{name: "READONLY", begin: beginReplica("yes"), lift: liftReplica, retried: true,
		reads: "READONLY ", holds: "READONLY "},
	{name: "MASTERDOWN", begin: beginReplica("no"), lift: liftReplica, retried: true,
		approaches: []string{"SetNXVerified", "SetNXScript"}, reads: "MASTERDOWN ", holds: "MASTERDOWN "},
	{name: "MASTERDOWN read by SET alone", begin: beginReplica("no"), lift: liftReplica, retried: true,
		approaches: []string{"SetNX", "SetNXGet"}, reads: "READONLY ", holds: "MASTERDOWN "},
	{name: "LOADING", args: loadingArgs, begin: beginLoading, lift: liftLoading, retried: true,
		reads: "LOADING ", holds: "LOADING "},
	{name: "BUSY", begin: beginBusy, lift: liftBusy, retried: true, reads: "BUSY ", holds: "BUSY "},
	{name: "MISCONF", begin: beginMisconf, lift: liftMisconf, retried: true, reads: "MISCONF ", holds: "MISCONF "},
	{name: "NOREPLICAS", begin: config("min-replicas-to-write", 1), lift: config("min-replicas-to-write", 0),
		retried: true, reads: "NOREPLICAS ", holds: "NOREPLICAS "},
	{name: "OOM", begin: config("maxmemory", 1), lift: config("maxmemory", 0), reads: "OOM "},
	{name: "refused", args: []string{"--appendonly", "yes", "--appendfsync", "always"}, begin: beginRefused,
		lift: liftRefused, dials: true, retried: true, reads: "connection refused", holds: "connection refused"},
	{name: "hung", begin: (*badServer).pause, lift: (*badServer).resume, is: redigolock.ErrUnknown, retried: true,
		carriedOut: true, reads: "i/o timeout", holds: "i/o timeout"},
	{name: "cut in the middle of the reply", begin: beginTruncate, lift: liftTruncate, pool: proxyPool,
		is: redigolock.ErrUnknown, retried: true, carriedOut: true, reads: "EOF", holds: "EOF"},
}

// Redis 6.2, 7.0 and newer servers, in that order.
const deniedInScript = "The user executing the script|ERR The user executing the script|ERR ACL failure in script"

const serverTTL = time.Minute // no lock expires within a test

func TestServerErrors(t *testing.T) {
	for _, c := range serverConditions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newBadServer(t, c)
			s.warmUp()
			extended, released, kept := s.hold("extended"), s.hold("released"), s.hold("kept")
			c.begin(s)
			tried := s.background(s.testTryAcquire)
			holder := s.background(func() { s.testHolder(extended, released) })
			waiting := s.testAcquireWaits()
			<-tried
			<-holder
			testRenewed := s.testKeepAliveTriesOn(kept)
			c.lift(s)
			s.testAcquired(waiting)
			testRenewed()
			s.testStillHeld(extended, kept)
			s.testLeftovers()
		})
	}
}

// checkRead looks at what the user reads: the key, the verb, and the server's own words, of which there may be several
// versions.
func (s *badServer) checkRead(what string, err error, key, verb, reads string) {
	s.Helper()
	if err == nil {
		s.Errorf("%s: no error, want %q", what, reads)
		return
	}
	for _, part := range []string{strconv.Quote(key), verb} {
		if !strings.Contains(err.Error(), part) {
			s.Errorf("%s: the message does not have %q: %v", what, part, err)
		}
	}
	var re redis.Error
	isReply := errors.As(err, &re)
	wantReply := reads != "connection refused" && reads != "i/o timeout" && reads != "EOF"
	if !slices.ContainsFunc(strings.Split(reads, "|"), func(words string) bool {
		if wantReply {
			return isReply && strings.HasPrefix(string(re), words)
		}
		return strings.Contains(err.Error(), words)
	}) {
		s.Errorf("%s: %v, want %q inside, as the server or the network said it", what, err, reads)
	}
	if s.cond.is != nil && !errors.Is(err, s.cond.is) {
		s.Errorf("%s: %v, want %v", what, err, s.cond.is)
	}
	if s.cond.is == nil && errors.Is(err, redigolock.ErrUnknown) {
		s.Errorf("%s: ErrUnknown, although the outcome is definite: %v", what, err)
	}
}

func (s *badServer) testTryAcquire() {
	var all sync.WaitGroup
	for _, a := range s.approaches() {
		l := s.locker(s.pool)
		l.AcquireWith = a.acquire
		all.Go(func() {
			key := "try " + a.name
			_, err := l.TryAcquire(context.Background(), key, serverTTL)
			s.checkRead("TryAcquire with "+a.name, err, key, a.verb, s.cond.reads)
		})
	}
	all.Wait()
}

// An acquiring is an Acquire in the background.
type acquiring struct {
	approach
	key   string
	tries atomic.Int64 // that failed and are tried again
	lock  *redigolock.Lock
	err   error
	done  chan struct{}
}

// acquire starts one that pauses for so long after its second try.
func (s *badServer) acquire(ctx context.Context, a approach, key string, pause time.Duration) *acquiring {
	w := &acquiring{approach: a, key: key, done: make(chan struct{})}
	l := s.locker(s.pool)
	l.AcquireWith = a.acquire
	l.Retry = func(attempt int, _ time.Duration) time.Duration {
		w.tries.Store(int64(attempt))
		if attempt == 2 {
			return pause
		}
		return 10 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(ctx)
	s.Cleanup(func() { cancel(); <-w.done })
	go func() {
		defer close(w.done)
		w.lock, w.err = l.Acquire(ctx, key, serverTTL)
	}()
	return w
}

// testAcquireWaits starts an Acquire with each approach. Those that end at once are judged here, and so are those that
// give up while the condition lasts; the others are returned.
func (s *badServer) testAcquireWaits() (waiting []*acquiring) {
	if !s.cond.retried {
		for _, a := range s.approaches() {
			s.testAcquireEnds(s.acquire(context.Background(), a, "wait "+a.name, time.Hour))
		}
		return nil
	}
	gaveUp := errors.New("the caller gave up")
	ctx, giveUp := context.WithCancelCause(context.Background())
	defer giveUp(nil)
	var leaving []*acquiring
	for _, a := range s.approaches() {
		waiting = append(waiting, s.acquire(context.Background(), a, "wait "+a.name, 0))
		leaving = append(leaving, s.acquire(ctx, a, "leave "+a.name, time.Hour))
	}
	for _, w := range append(leaving, waiting...) {
		eventually(s.T, "Acquire with "+w.name+" tries again", func() bool { return w.tries.Load() >= 2 })
	}
	giveUp(gaveUp)
	for _, w := range leaving {
		<-w.done
		s.checkRead("Acquire with "+w.name+" that gave up", w.err, w.key, "acquire", s.cond.reads)
		if !errors.Is(w.err, gaveUp) || !errors.Is(w.err, context.Canceled) {
			s.Errorf("Acquire with %s: %v, want its context's error and cause", w.name, w.err)
		}
	}
	return waiting
}

// testAcquireEnds expects that it ends at its first try.
func (s *badServer) testAcquireEnds(w *acquiring) {
	eventually(s.T, "Acquire with "+w.name+" ends, or tries again", func() bool {
		select {
		case <-w.done:
			return true
		default:
			return w.tries.Load() > 0
		}
	})
	if w.tries.Load() > 0 {
		s.Errorf("Acquire with %s tries again", w.name)
		return
	}
	s.checkRead("Acquire with "+w.name, w.err, w.key, w.verb, s.cond.reads)
}

// testHolder looks at what a holder can do while the condition lasts.
func (s *badServer) testHolder(extended, released *redigolock.Lock) {
	ctx := context.Background()
	before := extended.Deadline()
	extendErr, releaseErr := extended.Extend(ctx, 2*serverTTL), released.Release(ctx)
	if s.cond.holds == "" {
		if extendErr != nil || !extended.Deadline().After(before) || releaseErr != nil {
			s.Errorf("a held lock: extend: %v, release: %v; want that both work", extendErr, releaseErr)
		}
		return
	}
	s.checkRead("Extend", extendErr, extended.Key(), "extend", s.cond.holds)
	s.checkRead("Release", releaseErr, released.Key(), "release", s.cond.holds)
	if errors.Is(extendErr, redigolock.ErrNotHeld) || errors.Is(releaseErr, redigolock.ErrNotHeld) {
		s.Errorf("a lock that is held is called not held: extend: %v, release: %v", extendErr, releaseErr)
	}
	if extended.Deadline() != before {
		s.Error("Deadline moved although the server did not say that the lock was extended")
	}
}

// testKeepAliveTriesOn lets half of the lock's ttl pass, by the Locker's clock, and waits until its renewal has failed
// and is tried again.
func (s *badServer) testKeepAliveTriesOn(kept *redigolock.Lock) (testRenewed func()) {
	s.skew.Store(int64(serverTTL * 6 / 10))
	deadline := kept.Deadline()
	work := kept.KeepAlive(context.Background())
	if s.cond.holds != "" {
		eventually(s.T, "the renewal is tried again", func() bool { return s.failed.Load() >= 2 })
	}
	return func() {
		s.Helper()
		eventually(s.T, "the renewal succeeds", func() bool { return kept.Deadline().After(deadline) || work.Err() != nil })
		if work.Err() != nil {
			s.Errorf("KeepAlive ended, although the condition was lifted before Deadline: %v", context.Cause(work))
		}
	}
}

// testAcquired expects those who waited to get the lock as soon as the condition is lifted.
func (s *badServer) testAcquired(waiting []*acquiring) {
	for _, w := range waiting {
		<-w.done
		if w.err != nil {
			s.Errorf("Acquire with %s while the condition was lifted: %v", w.name, w.err)
			continue
		}
		if err := w.lock.Release(context.Background()); err != nil {
			s.Errorf("release of what Acquire with %s got: %v", w.name, err)
		}
	}
}

func (s *badServer) testStillHeld(locks ...*redigolock.Lock) {
	for _, lock := range locks {
		if err := lock.Extend(context.Background(), 2*serverTTL); err != nil {
			s.Errorf("%s: extend after the condition: %v", lock.Key(), err)
		}
		if err := lock.Release(context.Background()); err != nil {
			s.Errorf("%s: release after the condition: %v", lock.Key(), err)
		}
	}
}

// testLeftovers: of those who gave up nothing is left. A lock whose release was refused goes with its TTL.
func (s *badServer) testLeftovers() {
	for _, a := range s.approaches() {
		for _, key := range []string{"try " + a.name, "leave " + a.name, "wait " + a.name} {
			eventually(s.T, key+" is free", func() bool { return s.do("EXISTS", key) == int64(0) })
		}
	}
	refused := s.cond.holds != "" && !s.cond.carriedOut
	eventually(s.T, "what was not answered is carried out", func() bool {
		ttl := s.do("PTTL", "released").(int64)
		return refused && ttl > 0 || !refused && ttl == -2
	})
}

// A key of another type is refused for good. SET NX alone cannot tell it from a lock; a waiting acquire looks.
func TestServerErrorWrongType(t *testing.T) {
	srv := redistest.Start(t)
	for _, tt := range []struct {
		name    string
		acquire redigolock.AcquireFunc
		try     error
	}{
		{"SetNX", redigolock.SetNX, redigolock.ErrHeld},
		{"SetNXVerified", redigolock.SetNXVerified, redigolock.ErrConflict},
		{"SetNXGet", redigolock.SetNXGet, redigolock.ErrConflict},
		{"default", nil, redigolock.ErrConflict},
		{"SetNXScript", redigolock.SetNXScript, redigolock.ErrConflict},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: srv.Pool(), AcquireWith: tt.acquire}
			defer l.Close()
			testWrongType(t, srv, l, tt.name, tt.try)
		})
	}
}

func testWrongType(t *testing.T, srv *redistest.Server, l *redigolock.Locker, key string, try error) {
	ctx := context.Background()
	lock, err := l.TryAcquire(ctx, key, serverTTL)
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range [][]any{{"DEL", key}, {"LPUSH", key, "no lock"}} {
		if _, err := srv.Do(cmd[0].(string), cmd[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.TryAcquire(ctx, key, serverTTL); !errors.Is(err, try) {
		t.Errorf("TryAcquire: %v, want %v", err, try)
	}
	_, acquireErr := l.Acquire(ctx, key, serverTTL)
	_, attachErr := l.Attach(ctx, key, lock.Token(), serverTTL)
	for verb, err := range map[string]error{
		"Acquire": acquireErr, "Attach": attachErr, "Extend": lock.Extend(ctx, serverTTL), "Release": lock.Release(ctx),
	} {
		var re redis.Error
		if !errors.Is(err, redigolock.ErrConflict) || !errors.As(err, &re) || !strings.HasPrefix(string(re), "WRONGTYPE ") ||
			!strings.Contains(err.Error(), strconv.Quote(key)) {
			t.Errorf("%s: %v, want ErrConflict with WRONGTYPE and the key", verb, err)
		}
	}
	if n, err := redis.Int(srv.Do("LLEN", key)); n != 1 || err != nil {
		t.Errorf("the list has %d elements, %v; want it left alone", n, err)
	}
}

// A lock that is kept alive, and whose key becomes something else, is lost.
func TestServerErrorWrongTypeEndsKeepAlive(t *testing.T) {
	ctx, srv := context.Background(), redistest.Start(t)
	l := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: srv.Pool()}
	defer l.Close()
	lock, err := l.TryAcquire(ctx, "key", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := srv.Do("DEL", "key"); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.Do("LPUSH", "key", "no lock"); err != nil {
		t.Fatal(err)
	}
	deadline, work := lock.Deadline(), lock.KeepAlive(ctx)
	select {
	case <-work.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the work goes on under a lock that is lost")
	}
	if cause := context.Cause(work); !errors.Is(cause, redigolock.ErrLost) || lock.Deadline() != deadline {
		t.Errorf("cause %v, Deadline moved by %v; want ErrLost", cause, lock.Deadline().Sub(deadline))
	}
	if err := lock.Release(ctx); !errors.Is(err, redigolock.ErrConflict) && !errors.Is(err, redigolock.ErrNotHeld) {
		t.Errorf("release: %v, want ErrConflict or ErrNotHeld", err)
	}
}
