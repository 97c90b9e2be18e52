package errands_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/errands"
)

// A conn is a connection that knows its number, and whether it was closed.
type conn struct {
	redis.Conn
	n      int
	closed chan struct{}
}

func (c *conn) Close() error { close(c.closed); return nil }

func (c *conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// A dialer takes its time for each connection, whatever the context says.
type dialer struct {
	takes func(n int) time.Duration

	mu    sync.Mutex // protects what follows
	now   int        // dials under way
	most  int
	conns []*conn
}

func (d *dialer) fetch(context.Context) (redis.Conn, error) {
	d.mu.Lock()
	c := &conn{n: len(d.conns), closed: make(chan struct{})}
	d.conns = append(d.conns, c)
	d.now++
	d.most = max(d.most, d.now)
	d.mu.Unlock()
	time.Sleep(d.takes(c.n))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now--
	return c, nil
}

// seen is what was dialled so far, and how many dials went on at a time.
func (d *dialer) seen() (conns []*conn, most int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.conns), d.most
}

func always(takes time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return takes }
}

func within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// inBubble runs f in virtual time, and then lets all dials end.
func inBubble(t *testing.T, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		f(t)
		time.Sleep(time.Hour)
	})
}

// numberOf is that of a connection, -1 for none.
func numberOf(c redis.Conn) int {
	if c == nil {
		return -1
	}
	return c.(*conn).n
}

func TestLateDialGoesToWhoSeeksLongest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := &dialer{takes: func(n int) time.Duration { return []time.Duration{3, 60}[n] * time.Second }}
		g := &errands.Group{Dial: true}
		if _, err := g.Fetch(within(time.Second), d.fetch); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a dial of 3 s within 1 s: %v", err)
		}
		start := time.Now()
		c, err := g.Fetch(within(time.Minute), d.fetch)
		if took := time.Since(start); numberOf(c) != 0 || err != nil || took != 2*time.Second {
			t.Errorf("who came next got connection %d after %v: %v", numberOf(c), took, err)
		}
	})
}

func TestLateDialIsKeptForAMomentAndThenClosed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := &dialer{takes: always(2 * time.Second)}
		g := &errands.Group{Dial: true}
		for range 2 {
			_, _ = g.Fetch(within(time.Second), d.fetch)
			time.Sleep(1500 * time.Millisecond)
			if c, err := g.Fetch(within(time.Nanosecond), d.fetch); numberOf(c)%2 != 0 || err != nil {
				t.Errorf("0.5 s after it came: %d, %v", numberOf(c), err)
			}
			_, _ = g.Fetch(within(time.Second), d.fetch)
			time.Sleep(2500 * time.Millisecond)
		}
		conns, _ := d.seen()
		for _, c := range conns {
			if late := c.n%2 == 1; c.isClosed() != late {
				t.Errorf("connection %d, of which half were taken: closed is %v", c.n, c.isClosed())
			}
		}
	})
}

func TestWhatIsBorrowedLateGoesBackToThePool(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d, g := &dialer{takes: always(2 * time.Second)}, &errands.Group{}
		_, _ = g.Fetch(within(time.Second), d.fetch)
		<-g.Calm()
		synctest.Wait()
		if conns, _ := d.seen(); !conns[0].isClosed() {
			t.Error("a connection that was lent late was kept")
		}
	})
}

// What binds leads to the node of one key: nobody else can use it.
func TestKeyedErrandsServeTheirOwnCallers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := &dialer{takes: func(n int) time.Duration { return []time.Duration{3, 4}[n] * time.Second }}
		g := &errands.Group{Keyed: true}
		_, _ = g.Fetch(within(time.Second), d.fetch)
		if c, err := g.Fetch(within(time.Minute), d.fetch); numberOf(c) != 1 || err != nil {
			t.Errorf("the second caller got connection %d: %v", numberOf(c), err)
		}
	})
}

func TestNoErrandBeginsWhileFourAreLeft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d, g := &dialer{takes: always(30 * time.Second)}, &errands.Group{Dial: true}
		for range 20 {
			_, _ = g.Fetch(within(time.Second), d.fetch)
		}
		if _, most := d.seen(); most != 4 {
			t.Errorf("%d dials went on for nobody, not 4", most)
		}
		<-g.Calm()
		if all, notBegun := g.Seeking(); all+notBegun != 0 {
			t.Errorf("%d seek a connection still", all+notBegun)
		}
		g.Close()
	})
}

// A dial that no timeout ends must not end all others: one of them counts no longer after a minute, and no more than one a
// minute.
func TestStuckErrandsAreGivenUpOneAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		hangs := make(chan struct{})
		g := &errands.Group{Dial: true}
		var begun atomic.Int32
		fetch := func(context.Context) (redis.Conn, error) {
			begun.Add(1)
			<-hangs
			return nil, errors.New("in vain")
		}
		for range 5*60 + 30 {
			_, _ = g.Fetch(within(time.Second), fetch)
		}
		if n := begun.Load(); n != 4+5 {
			t.Errorf("in 5.5 minutes %d dials began, not 4 and one a minute", n)
		}
		close(hangs)
	})
}

func TestIdleConnectionsAreFetchedThoughFourAreLeft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var idle atomic.Int32
		g := &errands.Group{Idle: func() bool { return idle.Load() > 0 }}
		hang := func(context.Context) (redis.Conn, error) {
			time.Sleep(10 * time.Second)
			return nil, errors.New("no server")
		}
		for range 4 {
			_, _ = g.Fetch(within(time.Second), hang)
		}
		d := &dialer{takes: always(0)}
		_, err := g.Fetch(within(time.Second), d.fetch)
		if conns, _ := d.seen(); err == nil || len(conns) != 0 {
			t.Errorf("a fifth errand began: %v", err)
		}
		idle.Store(1)
		if _, err := g.Fetch(within(time.Second), d.fetch); err != nil {
			t.Errorf("what is idle was not fetched: %v", err)
		}
	})
}

func TestAtMostMostAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d, g := &dialer{takes: always(time.Second)}, &errands.Group{Dial: true, Most: 3}
		var all sync.WaitGroup
		var served []int
		var mu sync.Mutex
		for range 9 {
			all.Go(func() {
				c, err := g.Fetch(within(time.Minute), d.fetch)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				served = append(served, numberOf(c))
			})
		}
		all.Wait()
		slices.Sort(served)
		if _, most := d.seen(); most != 3 || len(slices.Compact(served)) != 9 {
			t.Errorf("%d dials at a time, for %v", most, served)
		}
	})
}

func TestPanicIsItsCallersBusiness(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := &errands.Group{}
		defer func() {
			if p := recover(); p != "of the user's" {
				t.Errorf("the caller saw the panic %v", p)
			}
		}()
		_, _ = g.Fetch(within(time.Second), func(context.Context) (redis.Conn, error) { panic("of the user's") })
	})
}

func TestAsideIsPartOfTheCalm(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g, start := &errands.Group{}, time.Now()
		g.Aside(func() { time.Sleep(time.Second) })
		<-g.Calm()
		if took := time.Since(start); took != time.Second {
			t.Errorf("calm after %v", took)
		}
	})
}

// The errand for what is idle may be the one that is stuck: those that wait by then get what is idle from the next.
func TestIdleConnectionsAreFetchedAfterTheErrandForThemIsStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var idle atomic.Bool
		g := &errands.Group{Idle: idle.Load}
		errVain := errors.New("in vain")
		hang := func(d time.Duration) func(context.Context) (redis.Conn, error) {
			return func(context.Context) (redis.Conn, error) { time.Sleep(d); return nil, errVain }
		}
		var began sync.WaitGroup
		for range 4 {
			began.Go(func() { _, _ = g.Fetch(within(time.Second), hang(30*time.Second)) })
			began.Go(func() { _, _ = g.Fetch(within(40*time.Second), hang(30*time.Minute)) })
		}
		time.Sleep(2 * time.Second) // four are left
		idle.Store(true)
		_, _ = g.Fetch(within(time.Second), hang(30*time.Minute)) // for what is idle; left before the four that hang as long
		idle.Store(false)
		began.Wait()
		start := time.Now() // 40 s
		time.AfterFunc(time.Second, func() { idle.Store(true) })
		d := &dialer{takes: always(0)}
		c, err := g.Fetch(within(5*time.Minute), d.fetch)
		if took := time.Since(start); numberOf(c) != 0 || err != nil || took != 23*time.Second { // a minute after it was left
			t.Errorf("connection %d after %v: %v", numberOf(c), took, err)
		}
	})
}

// A pool that panics where it is asked what is idle does not say it. Nobody's call waits for ever, and no goroutine ends the program.
func TestIdleThatPanicsDoesNotSay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := &errands.Group{Idle: func() bool { panic("of the user's") }}
		d := &dialer{takes: always(10 * time.Second)}
		for range 4 {
			_, _ = g.Fetch(within(time.Second), d.fetch)
		}
		if _, err := g.Fetch(within(time.Second), d.fetch); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if all, notBegun := g.Seeking(); all+notBegun != 0 {
			t.Errorf("%d seek a connection still", all+notBegun)
		}
		if c, err := g.Fetch(within(time.Minute), d.fetch); c == nil || err != nil {
			t.Errorf("%v, %v", c, err)
		}
	})
}

// Who finds that another asks already what is idle leaves it to that one, which asks once more.
func TestWhatIsIdleIsAskedAgainForWhoCameMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var idle atomic.Bool
		g := &errands.Group{Idle: func() bool {
			defer time.Sleep(time.Second)
			return idle.Load()
		}}
		d := &dialer{takes: always(0)}
		for range 4 {
			_, _ = g.Fetch(within(time.Second), func(context.Context) (redis.Conn, error) {
				time.Sleep(time.Minute)
				return nil, errors.New("in vain")
			})
		}
		time.AfterFunc(time.Second/2, func() {
			idle.Store(true)
			g.FetchIdle()
		})
		start := time.Now()
		c, err := g.Fetch(within(10*time.Second), d.fetch)
		if took := time.Since(start); numberOf(c) != 0 || err != nil || took != 2*time.Second {
			t.Errorf("connection %d after %v: %v", numberOf(c), took, err)
		}
	})
}

// A borrow sees its caller's end: a pool that honours it leaves nothing behind.
func TestBorrowEndsWithItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g, start := &errands.Group{}, time.Now()
		_, _ = g.Fetch(within(time.Second), func(ctx context.Context) (redis.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		<-g.Calm()
		if took := time.Since(start); took != time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}

func TestCloseKeepsNoLateConnection(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d, g := &dialer{takes: func(n int) time.Duration { return []time.Duration{2, 4}[n] * time.Second }}, &errands.Group{Dial: true}
		for range 2 {
			go func() { _, _ = g.Fetch(within(time.Second), d.fetch) }()
		}
		time.Sleep(2500 * time.Millisecond)
		g.Close()
		if conns, _ := d.seen(); !conns[0].isClosed() {
			t.Error("one that had come before was kept")
		}
		<-g.Calm()
		synctest.Wait()
		if conns, _ := d.seen(); !conns[1].isClosed() {
			t.Error("one that came after it was kept")
		}
	})
}

// A connection that comes with an error, as that of a pool without GetContext does, is closed also if its caller has left.
func TestLateConnectionWithAnErrorIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d, g := &dialer{takes: always(2 * time.Second)}, &errands.Group{}
		_, _ = g.Fetch(within(time.Second), func(ctx context.Context) (redis.Conn, error) {
			c, _ := d.fetch(ctx)
			return c, errors.New("it is broken")
		})
		<-g.Calm()
		synctest.Wait()
		if conns, _ := d.seen(); !conns[0].isClosed() {
			t.Error("it was dropped as it is")
		}
	})
}

// Whoever is served by the late dial of another leaves its own dial: that counts until it ends.
func TestWhoIsServedByAnothersDialLeavesItsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := &dialer{takes: func(n int) time.Duration { return []time.Duration{3, 10, 20}[n] * time.Second }}
		g, start := &errands.Group{Dial: true}, time.Now()
		_, _ = g.Fetch(within(time.Second), d.fetch)
		later := make(chan int)
		go func() {
			time.Sleep(time.Second)
			c, _ := g.Fetch(within(time.Minute), d.fetch)
			later <- numberOf(c)
		}()
		calm := make(chan time.Duration, 1)
		go func() {
			time.Sleep(time.Second)
			<-g.Calm()
			calm <- time.Since(start)
		}()
		if c, err := g.Fetch(within(time.Minute), d.fetch); numberOf(c) != 0 || time.Since(start) != 3*time.Second {
			t.Errorf("who has sought longest got connection %d after %v: %v", numberOf(c), time.Since(start), err)
		}
		if n := <-later; n != 1 || time.Since(start) != 11*time.Second {
			t.Errorf("who came last got connection %d after %v", n, time.Since(start))
		}
		if after := <-calm; after != 22*time.Second {
			t.Errorf("calm after %v", after)
		}
	})
}

// Those that are found stuck in the same minute count, one of them a minute, no longer, though nobody comes to ask for that.
func TestOthersBeginWhenOneIsFoundStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		hangs := make(chan struct{})
		defer close(hangs)
		hang := func(context.Context) (redis.Conn, error) { <-hangs; return nil, errors.New("in vain") }
		g, start := &errands.Group{Dial: true}, time.Now()
		for range 4 {
			go func() { _, _ = g.Fetch(within(time.Second), hang) }()
		}
		time.Sleep(2 * time.Second)
		go func() { _, _ = g.Fetch(within(time.Minute), hang) }() // begins after 61 s, and is left after 62 s
		d := &dialer{takes: always(0)}
		time.Sleep(time.Minute + time.Second) // 63 s
		_, err := g.Fetch(within(10*time.Minute), d.fetch)
		if took := time.Since(start); err != nil || took != 121*time.Second {
			t.Errorf("the next was found stuck after %v: %v", took, err)
		}
	})
}

// An errand that was found stuck is not counted a second time when it ends.
func TestStuckErrandThatEndsLeavesTheLimitAsItIs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := &errands.Group{Dial: true, Most: 1}
		_, _ = g.Fetch(within(time.Second), func(context.Context) (redis.Conn, error) {
			time.Sleep(65 * time.Second)
			return nil, errors.New("in vain")
		})
		d := &dialer{takes: always(10 * time.Second)}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if _, err := g.Fetch(within(10*time.Minute), d.fetch); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if conns, most := d.seen(); most != 1 || len(conns) != 3 {
			t.Errorf("%d dials, %d at a time", len(conns), most)
		}
	})
}
