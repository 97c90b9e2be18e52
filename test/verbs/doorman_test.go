package verbs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gomodule/redigo/redis"
	"github.com/redigolock/redigolock"
)

const (
	maxClients = "ERR max number of clients reached"
	denied     = "DENIED Redis is running in protected mode because protected mode is enabled"
)

// A doorman is a server that answers the first bytes of each connection with one line, and closes it, as Redis does with
// those that it does not let in.
type doorman struct {
	addr  string
	conns atomic.Int64
}

func newDoorman(t *testing.T, line string) *doorman {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &doorman{addr: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := r.Peek(1); err != nil { // before that, the line would be a reply to AUTH
					return
				}
				_, _ = io.WriteString(c, "-"+line+"\r\n")
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, r) // or the line could be lost with a reset
			})
		}
	})
	return d
}

func (d *doorman) pool(t *testing.T) *redis.Pool {
	t.Helper()
	pool, err := redigolock.NewPool("redis://" + d.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return pool
}

func TestRefusedAtTheDoorIsDefinite(t *testing.T) {
	for line, unavailable := range map[string]bool{maxClients: true, denied: false} {
		d := newDoorman(t, line)
		for _, v := range allVerbs {
			t.Run(line[:3]+"/"+v.name, func(t *testing.T) {
				pool := d.pool(t)
				for range 2 { // the second must not get the first one's connection
					c := pool.Get()
					err := v.call(bg, c, "k", "tok", minute)
					wantTurnedAway(t, err, line, unavailable)
					if c.Err() == nil {
						t.Error("the connection seems to be usable")
					}
					c.Close()
				}
				if n := pool.IdleCount(); n != 0 {
					t.Errorf("%d connections went back to the pool", n)
				}
			})
		}
	}
}

// wantTurnedAway wants a definite error that carries the server's text.
func wantTurnedAway(t *testing.T, err error, line string, unavailable bool) {
	t.Helper()
	var re redis.Error
	if !errors.As(err, &re) || string(re) != line {
		t.Errorf("%v, want the server's text %q", err, line)
	}
	wantsNot(t, err, redigolock.ErrUnknown, redigolock.ErrHeld, redigolock.ErrNotHeld)
	if errors.Is(err, redigolock.ErrUnavailable) != unavailable {
		t.Errorf("%v: ErrUnavailable should be %v", err, unavailable)
	}
}

// Of those that travel together, all were turned away.
func TestMuxTurnedAwayWithManyCallers(t *testing.T) {
	d := newDoorman(t, maxClients)
	m := &redigolock.Mux{Pool: d.pool(t)}
	defer m.Close()
	l := &redigolock.Locker{Pool: m}
	defer l.Close()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 5 {
				_, err := l.TryAcquire(bg, fmt.Sprint("k", i), minute)
				wantTurnedAway(t, err, maxClients, true)
			}
		})
	}
	wg.Wait()
}
