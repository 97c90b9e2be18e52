package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// newPool returns a pool of an embedded server, so that the examples run everywhere. A program makes its pool with
// redigolock.NewPool("redis://localhost:6379"), or uses the *redis.Pool that it has.
func newPool() (pool *redis.Pool, stop func()) {
	server, err := redistest.RunMini()
	if err != nil {
		panic(err)
	}
	return server.Pool(), server.Stop
}

// Try once. Whoever gets the lock works, everybody else leaves.
func ExampleLocker_TryAcquire() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()
	locks := &redigolock.Locker{Pool: pool, Owner: "worker-1"}

	lock, err := locks.TryAcquire(ctx, "lock:report", 30*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = locks.TryAcquire(ctx, "lock:report", 30*time.Second)
	fmt.Println("held by another:", errors.Is(err, redigolock.ErrHeld))

	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// held by another: true
	// released: <nil>
}

// Wait for the lock, for two seconds at most.
func ExampleLocker_Acquire() {
	pool, stop := newPool()
	defer stop()
	locks := &redigolock.Locker{Pool: pool}

	// A process that crashed has left its lock behind. It ends with its ttl.
	if _, err := locks.TryAcquire(context.Background(), "lock:report", 50*time.Millisecond); err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	lock, err := locks.Acquire(ctx, "lock:report", 30*time.Second)
	if err != nil {
		fmt.Println(err) // errors.Is finds both ErrHeld and context.DeadlineExceeded in it
		return
	}
	defer lock.Release(ctx) // a ctx that has ended does not stop it

	fmt.Println("acquired", lock.Key())
	// Output:
	// acquired lock:report
}

// Acquire, keep alive, run, release. This is what most programs need.
func ExampleLocker_Do() {
	pool, stop := newPool()
	defer stop()
	locks := &redigolock.Locker{Pool: pool}

	err := locks.Do(context.Background(), "lock:report", 10*time.Second,
		func(ctx context.Context, lock *redigolock.Lock) error {
			// ctx ends when the lock is lost: pass it on to all that is done here.
			if err := ctx.Err(); err != nil {
				return err
			}
			fmt.Println("working under", lock.Key())
			return nil
		})
	fmt.Println("done:", err)
	// Output:
	// working under lock:report
	// done: <nil>
}

// A cron job on several hosts: one of them runs it, though they start one after the other and the job is short.
func ExampleLocker_TryDo() {
	pool, stop := newPool()
	defer stop()
	job := func(context.Context, *redigolock.Lock) error {
		fmt.Println("the report is made")
		return nil
	}
	for _, host := range []string{"host-1", "host-2"} {
		cron := &redigolock.Locker{Pool: pool, Owner: host, MinHold: time.Minute}
		err := cron.TryDo(context.Background(), "lock:report", 30*time.Second, job)
		var held *redigolock.HeldError
		if errors.As(err, &held) {
			owner, _, _ := strings.Cut(held.Holder, "#")
			fmt.Println(host, "leaves it to", owner)
		}
	}
	// Output:
	// the report is made
	// host-2 leaves it to host-1
}

// Work for longer than the ttl. The ttl is how long others wait after a crash, not how long the work may take.
func ExampleLock_KeepAlive() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()
	extended := make(chan struct{}, 1)
	locks := &redigolock.Locker{
		Pool: pool,
		Observer: &redigolock.Observer{Extended: func(context.Context, *redigolock.Lock, time.Duration) {
			select {
			case extended <- struct{}{}:
			default:
			}
		}},
	}

	lock, err := locks.TryAcquire(ctx, "lock:report", 3*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	first := lock.Deadline()
	work := lock.KeepAlive(ctx)

	select {
	case <-extended: // here: long work, that looks at work.Done() as any work looks at its context
	case <-work.Done():
		fmt.Println("stop at once:", context.Cause(work)) // ErrLost
	}
	fmt.Println("lasts longer:", lock.Deadline().After(first))
	fmt.Println("released:", lock.Release(ctx))
	fmt.Println("then:", context.Cause(work))
	// Output:
	// lasts longer: true
	// released: <nil>
	// then: context canceled
}

// Keep a holder that was stalled past its lease from writing: the resource refuses its lower number.
func ExampleLock_Fence() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()
	locks := &redigolock.Locker{Pool: pool}

	// write sets the balance, unless a holder with a higher number was there before.
	write := func(fence int64, balance int) error {
		c := pool.Get()
		defer c.Close()
		_, err := redigolock.GuardDo(ctx, c, "{account:7}:guard", fence, "SET", "{account:7}:balance", balance)
		return err
	}

	var stale int64
	err := locks.Do(ctx, "lock:account:7", 10*time.Second, func(ctx context.Context, lock *redigolock.Lock) (err error) {
		stale, err = lock.Fence(ctx)
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The first holder is stalled here, for longer than its lease. Meanwhile another takes the lock and writes.
	err = locks.Do(ctx, "lock:account:7", 10*time.Second, func(ctx context.Context, lock *redigolock.Lock) error {
		fence, err := lock.Fence(ctx)
		if err != nil {
			return err
		}
		return write(fence, 200)
	})
	fmt.Println("new holder:", err)
	fmt.Println("stale holder is fenced off:", errors.Is(write(stale, 100), redigolock.ErrFenced))
	// Output:
	// new holder: <nil>
	// stale holder is fenced off: true
}

// Take over a lock that another process has obtained, and that it has handed on with a job.
func ExampleLocker_Attach() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()
	locks := &redigolock.Locker{Pool: pool}

	// The process that accepts a job locks, and sends key and token along with the job.
	accepted, err := locks.TryAcquire(ctx, "lock:report", 30*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	key, token := accepted.Key(), accepted.Token()

	// The process that does the job.
	lock, err := locks.Attach(ctx, key, token, 30*time.Second)
	if err != nil {
		fmt.Println(err) // ErrNotHeld: the job lay around for too long
		return
	}
	fmt.Println("in time:", lock.Valid())
	fmt.Println("released:", lock.Release(ctx))
	// Output:
	// in time: true
	// released: <nil>
}

// Waiters are served in the order in which they came.
func ExampleLocker_fair() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()
	locks := &redigolock.Locker{Pool: pool, Fair: true}
	defer locks.Close()

	lock, err := locks.Acquire(ctx, "lock:report", 30*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan string)
	go func() {
		err := locks.Do(ctx, "lock:report", 30*time.Second, func(context.Context, *redigolock.Lock) error {
			served <- "the one who waited"
			return nil
		})
		served <- fmt.Sprint("done: ", err)
	}()
	fmt.Println("released:", lock.Release(ctx))
	fmt.Println(<-served)
	fmt.Println(<-served)
	// Output:
	// released: <nil>
	// the one who waited
	// done: <nil>
}
