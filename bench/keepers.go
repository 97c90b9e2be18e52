package bench

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	lock "github.com/redigolock/redigolock"
)

// A lockerKeeper is one Locker for all.
type lockerKeeper struct {
	*Keeping
	locker *lock.Locker
	locks  []*lock.Lock
	due    []time.Time // each belongs to who extends the lock; KeepAlive hands it over to the renewer
}

func openLockerKeeper(k *Keeping) (Keeper, error) {
	n := len(k.Keys)
	l := &lockerKeeper{Keeping: k, locks: make([]*lock.Lock, n), due: make([]time.Time, n)}
	l.locker = &lock.Locker{Pool: k.Pool, Observer: &lock.Observer{Extended: l.extended, Lost: l.lost}}
	return l, nil
}

func (l *lockerKeeper) Acquire(i int) error {
	k, err := l.locker.TryAcquire(bg, l.Keys[i], l.TTL)
	if err != nil {
		return err
	}
	l.locks[i], l.due[i] = k, k.Deadline().Add(-l.TTL/2)
	if i == 0 {
		return k.Extend(bg, l.TTL) // loads the script
	}
	return nil
}

func (l *lockerKeeper) Keep(i int) error {
	l.locks[i].KeepAlive(bg)
	return nil
}

func (l *lockerKeeper) extended(_ context.Context, k *lock.Lock, _ time.Duration) {
	i := KeyNumber(k.Key())
	l.Renewed(l.due[i])
	l.due[i] = l.locks[i].Deadline().Add(-l.TTL / 2)
}

func (l *lockerKeeper) lost(_ context.Context, k *lock.Lock, cause error) {
	l.Lost(KeyNumber(k.Key()), cause)
}

func (l *lockerKeeper) End() { _ = l.locker.Close() }

// KeyNumber is the number of the lock in Keeping.Keys that has the key.
func KeyNumber(key string) int {
	i, _ := strconv.Atoi(key[strings.LastIndexByte(key, ':')+1:])
	return i
}

// A Loop has a goroutine and a ticker for each lock, as most libraries that keep locks alive, and what is written by
// hand.
type Loop struct {
	*Keeping
	extend func(i int) error
	stop   chan struct{}
	all    sync.WaitGroup
}

// NewLoop makes one. The func sends a renewal and waits for its reply; its error is the loss of the lock.
func NewLoop(k *Keeping, extend func(i int) error) *Loop {
	return &Loop{Keeping: k, extend: extend, stop: make(chan struct{})}
}

// Start begins to renew a lock that was acquired by a command sent at that time.
func (l *Loop) Start(i int, sent time.Time) {
	l.all.Add(1)
	go l.run(i, sent)
}

func (l *Loop) run(i int, sent time.Time) {
	defer l.all.Done()
	due := sent.Add(l.TTL / 2)
	ticker := time.NewTicker(max(time.Until(due), 1))
	defer ticker.Stop()
	for first := true; ; first = false {
		select {
		case <-ticker.C:
		case <-l.stop:
			return
		}
		if first { // it was shorter, for what had passed since the acquire
			ticker.Reset(l.TTL / 2)
		}
		sent := time.Now()
		if err := l.extend(i); err != nil {
			l.Lost(i, err)
			return
		}
		l.Renewed(due)
		due = sent.Add(l.TTL / 2)
	}
}

// End ends all goroutines.
func (l *Loop) End() {
	close(l.stop)
	l.all.Wait()
}

// loopScript is the release of the Redis manual, made to extend.
var loopScript = redis.NewScript(1, `
if redis.call("get",KEYS[1]) == ARGV[1] then
  return redis.call("pexpire",KEYS[1],ARGV[2])
else
  return 0
end`)

var errLoopNotHeld = errors.New("bench: loop: not held")

// A loopKeeper is what somebody writes by hand with redigo.
type loopKeeper struct {
	*Loop
	tokens []string
	sent   []time.Time // of the acquire
}

func openLoopKeeper(k *Keeping) (Keeper, error) {
	c := k.Pool.Get()
	defer c.Close()
	if err := loopScript.Load(c); err != nil {
		return nil, err
	}
	l := &loopKeeper{tokens: make([]string, len(k.Keys)), sent: make([]time.Time, len(k.Keys))}
	l.Loop = NewLoop(k, l.renew)
	return l, nil
}

func (l *loopKeeper) Acquire(i int) error {
	l.tokens[i], l.sent[i] = uuid.NewString(), time.Now()
	return floorAcquire(l.Pool, l.Keys[i], l.tokens[i], l.TTL)
}

func (l *loopKeeper) Keep(i int) error {
	l.Start(i, l.sent[i])
	return nil
}

func (l *loopKeeper) renew(i int) error {
	c := l.Pool.Get()
	defer c.Close()
	n, err := redis.Int(loopScript.Do(c, l.Keys[i], l.tokens[i], l.TTL.Milliseconds()))
	if err == nil && n == 0 {
		err = errLoopNotHeld
	}
	return err
}
