package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/wait"
	"github.com/redigolock/redigolock/internal/wire"
)

// A line is the subscriptions at one server, or the channels whose server is to be found out.
type line struct {
	of       *Lines
	server   string
	channels map[string]*Channel // by name
	pending  []question          // what is not answered, in order
	joining  []*Channel          // to subscribe to on conn
	leaving  []string            // channels to unsubscribe from
	wake     chan struct{}       // capacity 1: something is to be sent, or the end
	conn     redis.Conn          // the present one
	done     chan struct{}       // closed when the goroutines have ended; nil while there are none
}

// A question is what was sent on the connection: a SUBSCRIBE with its number, what takes it back, or the zero value for a PING.
type question struct {
	channel string
	ask     uint64 // 0: of an UNSUBSCRIBE
}

// places reports whether the line has no server, but finds out those of its channels.
func (n *line) places() bool { return n.of.sharded() && n.server == "" }

// add takes a channel.
func (n *line) add(c *Channel) {
	c.line = n
	n.channels[c.Name] = c
	n.join(c)
}

// join has a channel of the line heard.
func (n *line) join(c *Channel) {
	c.ask = 0
	if n.conn != nil { // else serve takes all
		n.joining = append(n.joining, c)
	}
	if n.done == nil {
		n.done = make(chan struct{})
		go n.run(n.done, 0)
	}
	wait.Wake(n.wake)
}

// renew makes a new connection.
func (n *line) renew() {
	if n.conn != nil {
		hangUp(n.conn)
	}
}

// hangUp lets a Receive on another goroutine return.
func hangUp(c redis.Conn) {
	if cc, ok := c.(redis.ConnWithContext); ok {
		wire.Cut(cc)
		return
	}
	_ = c.Close()
}

// end ends the line, and returns what is closed when it has ended, nil if it has.
func (n *line) end(now time.Time) <-chan struct{} {
	for _, c := range inOrder(n.channels) {
		n.silence(c, now)
	}
	if n.done == nil {
		return nil
	}
	wait.Wake(n.wake)
	return n.done
}

// forget drops a channel that nobody needs, or that cannot be heard here. The caller tells its Ear.
func (n *line) forget(c *Channel) {
	delete(n.channels, c.Name)
	if c.ask != 0 {
		n.leaving = append(n.leaving, c.Name)
		wait.Wake(n.wake)
	}
	c.ask, c.line = 0, nil
}

// silence drops a channel that nobody needs.
func (n *line) silence(c *Channel, now time.Time) {
	n.forget(c)
	c.Ear.Silenced(now)
}

// run dials, and dials again. If the user's code ends its goroutine, another goes on.
func (n *line) run(done chan<- struct{}, failures int) {
	over := false
	defer func() {
		if !over {
			go n.goOn(done, failures)
		}
	}()
	for !over {
		began := time.Now()
		if n.places() {
			n.place()
		} else if c, err := n.dial(); err != nil {
			n.failed(err)
		} else {
			n.serve(c)
		}
		if time.Since(began) > pingEvery {
			failures = 0
		}
		over = n.rest(failures)
		failures++
	}
	close(done)
}

// goOn goes on for a goroutine that was ended.
func (n *line) goOn(done chan<- struct{}, failures int) {
	if n.rest(failures) {
		close(done)
		return
	}
	n.run(done, failures+1)
}

// rest pauses after so many failures in a row, and says whether nobody needs the line any more.
func (n *line) rest(failures int) (over bool) {
	mu := n.of.env.Mutex
	pause := time.NewTimer(wait.Pause(failures))
	defer pause.Stop()
	for {
		mu.Lock()
		if over = n.over(); over {
			n.done = nil
			delete(n.of.lines, n.server)
		}
		mu.Unlock()
		if over {
			return true
		}
		select {
		case <-pause.C:
			return false
		case <-n.wake:
		}
	}
}

// over lets go of the channels that nobody has waited for, for long.
func (n *line) over() bool {
	now := n.of.env.Now()
	for _, c := range inOrder(n.channels) {
		if c.Ear.Rests(now) {
			n.silence(c, now)
		}
	}
	return len(n.channels) == 0
}

// place finds out the servers of the line's channels, and gives them to their lines. It returns when none is left, or the map is not
// known.
func (n *line) place() {
	for {
		due, next := n.toPlace()
		for _, c := range due {
			if !n.placeOne(c) {
				return
			}
		}
		switch {
		case len(due) > 0:
			continue
		case next.IsZero():
			return
		}
		pause := time.NewTimer(time.Until(next))
		select {
		case <-pause.C:
		case <-n.wake:
		}
		pause.Stop()
	}
}

// toPlace is which channels are to be placed now, and when the next is; zero: there is none.
func (n *line) toPlace() (due []*Channel, next time.Time) {
	mu := n.of.env.Mutex
	mu.Lock()
	defer mu.Unlock()
	now := time.Now()
	for _, c := range inOrder(n.channels) {
		if !c.placeAt.After(now) {
			due = append(due, c)
		} else if next.IsZero() || c.placeAt.Before(next) {
			next = c.placeAt
		}
	}
	return due, next
}

// placeOne reports whether the map is known.
func (n *line) placeOne(c *Channel) bool {
	ctx, cancel := context.WithTimeout(context.Background(), n.of.env.Bound)
	server, err := n.of.env.Nodes.Of(ctx, c.Key)
	cancel()
	if err != nil {
		n.failed(fmt.Errorf("redigolock: subscribe: %w", err))
		return false
	}
	mu := n.of.env.Mutex
	mu.Lock()
	defer mu.Unlock()
	if c.line != n { // nobody needs it any more
		return true
	}
	delete(n.channels, c.Name)
	to := n.of.at(server)
	if c.doubted == to {
		to.renew()
	}
	c.doubted = nil
	to.add(c)
	return true
}

func (n *line) dial() (redis.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), n.of.env.Bound)
	defer cancel()
	c, err := n.of.env.Dial(ctx, n.server)
	if err != nil {
		return nil, fmt.Errorf("redigolock: subscribe: %w", err)
	}
	return c, nil
}

// failed tells those that wait that no subscription can be had.
func (n *line) failed(err error) {
	defer n.of.tell()
	mu := n.of.env.Mutex
	mu.Lock()
	defer mu.Unlock()
	for _, c := range inOrder(n.channels) {
		n.refused(c, err)
	}
	n.scatter()
}

// scatter has the servers of all channels found out again: theirs may have been replaced.
func (n *line) scatter() {
	if n.server == "" {
		return
	}
	for _, c := range inOrder(n.channels) {
		n.of.stray(c)
	}
}

// refused goes by what a channel cannot be heard for.
func (n *line) refused(c *Channel, err error) {
	forGood := !fault.Transient(err)
	if forGood {
		n.forget(c)
	}
	c.Ear.Refused(n.of.env.Now(), err, forGood)
}
