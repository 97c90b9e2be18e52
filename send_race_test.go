package redigolock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

var discardLogger = log.New(io.Discard, "", 0)

// cutOnCancel relies on what redigo does, and does not promise: ReceiveContext with a context that is past its deadline
// closes the socket under redigo's mutex, and touches nothing else. The race detector pins it: goroutines with pooled
// connections are cancelled in all phases of single commands, pipelines and transactions, and then give them back.
// Each goroutine checks every reply against its own number, so that none is ever read by another or later command.
func TestCutOnCancelDoesNotRace(t *testing.T) {
	const goroutines, rounds = 16, 150
	s := newVerbSite(t, redistest.Start(t).Addr(), true)
	s.knowScripts()
	pool, err := redigolock.NewPool("redis://" + s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	typical := typicalTime(t, pool)
	var answered, lost atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			r := racer{pool: pool, me: g, rnd: rand.New(rand.NewPCG(1, uint64(g)))}
			for i := range rounds {
				err := r.round(i, typical)
				switch {
				case err == nil:
					answered.Add(1)
				case errors.Is(err, redigolock.ErrUnknown) && errors.Is(err, context.Canceled):
					lost.Add(1)
				case errors.Is(err, context.Canceled):
				default:
					t.Errorf("goroutine %d, round %d: %v", g, i, err)
				}
			}
		})
	}
	wg.Wait()
	if answered.Load() == 0 || lost.Load() == 0 {
		t.Errorf("%d answered, %d cancelled while a reply was awaited: nothing was tested", answered.Load(), lost.Load())
	}
}

// typicalTime is how long a command takes here and now.
func typicalTime(t *testing.T, pool *redis.Pool) time.Duration {
	t.Helper()
	c := pool.Get()
	defer c.Close()
	var all []time.Duration
	for range 21 {
		begin := time.Now()
		if _, err := c.Do("PING"); err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	return all[len(all)/2] // not the mean: one that took long is not typical
}

// A racer is a goroutine of TestCutOnCancelDoesNotRace.
type racer struct {
	pool *redis.Pool
	me   int
	rnd  *rand.Rand
}

// round is one exchange on a borrowed connection, with a context that is cancelled at any time: before, during, after.
func (r racer) round(i int, typical time.Duration) error {
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	c := r.pool.Get()
	defer c.Close() // with whatever is left of the cancellation running
	switch i % 5 {
	case 0: // none
	case 1: // a goroutine that is cancelled as soon as it is scheduled
		go cancel()
	default:
		phase := time.Duration(r.rnd.Int64N(int64(24 * typical)))
		defer time.AfterFunc(phase, cancel).Stop()
	}
	number := fmt.Sprintf("%d-%d", r.me, i)
	switch r.rnd.IntN(5) {
	case 0:
		return r.single(ctx, c, number)
	case 1:
		return r.pipeline(ctx, c, number)
	case 2:
		return r.contended(ctx, c, number)
	case 3:
		return r.transaction(ctx, c, number)
	default:
		return r.whole(ctx, c, number)
	}
}

// single asks a script to echo its number.
func (r racer) single(ctx context.Context, c redis.Conn, number string) error {
	reply, err := redis.String(redigolock.GuardDo(ctx, c, "guard", 7, "ECHO", number))
	if err == nil && reply != number {
		return fmt.Errorf("%s got the reply to %s", number, reply)
	}
	return err
}

// pipeline acquires a lock of its own, and then looks whose it is.
func (r racer) pipeline(ctx context.Context, c redis.Conn, number string) error {
	if err := redigolock.SetNXVerified(ctx, c, "lock:"+number, number, minute); err != nil {
		return err
	}
	info, err := redigolock.Inspect(ctx, c, "lock:"+number)
	if err == nil && info.Token != number {
		return fmt.Errorf("%s got the reply to %s", number, info.Token)
	}
	return err
}

// contended is told the holder of a lock that it has given away itself.
func (r racer) contended(ctx context.Context, c redis.Conn, number string) error {
	if err := redigolock.SetNX(ctx, c, "held:"+number, "holder-"+number, minute); err != nil {
		return err
	}
	err := redigolock.SetNXVerified(ctx, c, "held:"+number, "tok", minute)
	var held *redigolock.HeldError
	if !errors.As(err, &held) {
		return err
	}
	if held.Holder != redigolock.HolderOf("holder-"+number) {
		return fmt.Errorf("%s is said to be held by %s", number, held.Holder)
	}
	return nil
}

// transaction releases by WATCH and EXEC, its own lock and one that is not its own.
func (r racer) transaction(ctx context.Context, c redis.Conn, number string) error {
	if err := redigolock.SetNX(ctx, c, "tx:"+number, number, minute); err != nil {
		return err
	}
	if err := redigolock.ReleaseTx(ctx, c, "tx:"+number, "stranger"); !errors.Is(err, redigolock.ErrNotHeld) {
		return fmt.Errorf("release by a stranger: %w", err)
	}
	return redigolock.ReleaseTx(ctx, c, "tx:"+number, number)
}

// whole goes on using a connection as long as it lives.
func (r racer) whole(ctx context.Context, c redis.Conn, number string) error {
	key := "whole:" + number
	for _, v := range allVerbs {
		if v.name == "ReleaseNative" {
			continue
		}
		err := v.call(ctx, c, key, number, minute)
		switch {
		case errors.Is(err, redigolock.ErrUnknown), errors.Is(err, context.Canceled):
			return err
		case v.name == "SetNXVerified", v.name == "SetNXScript", v.name == "Inspect", v.name == "Guard", v.name == "GuardDo":
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
		}
	}
	return nil
}
