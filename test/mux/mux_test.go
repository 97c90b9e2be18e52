package mux

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

func TestLockerOverMux(t *testing.T) {
	s := redistest.Start(t)
	m := &redigolock.Mux{Pool: s.Pool()}
	t.Cleanup(func() { m.Close() })
	l := &redigolock.Locker{Pool: m, OpTimeout: testbed.Unhurried}
	var wg sync.WaitGroup
	for w := range 128 {
		wg.Go(func() {
			for i := range 200 {
				k, err := l.TryAcquire(bg, fmt.Sprint("key", w), time.Minute)
				if err != nil {
					t.Error(i, err)
					return
				}
				if err := k.Release(bg); err != nil {
					t.Error(i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
