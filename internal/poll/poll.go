// Package poll asks several voters at once, and does not wait for those that hang longer than it must. It is a leaf.
package poll

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Group is the voters. Each is asked on a goroutine of its own, which may go on after the poll has returned.
type Group struct {
	Voters int // numbered from 0
	Needed int // how many must agree

	polled atomic.Bool // a poll has returned

	start sync.Once     // makes next and stop
	next  chan func()   // to a goroutine that waits for something to run
	stop  chan struct{} // closed when none is to wait

	mu     sync.Mutex // protects what follows
	n      int        // how many run
	ending bool
	ended  chan struct{}
}

// A vote is what a voter has said.
type vote struct {
	voter int
	err   error
	panic any
}

// leastGrace is how long the slower voters have, at least, after the others have decided.
const leastGrace = time.Millisecond

// Ask asks all voters, for so long at most, and returns what each has said; of one that has not answered, silence. As soon as
// enough have agreed, or cannot agree any more, the others have as long again: in health all answer, and one that hangs does
// not hold up the others. In the first poll they have all the time, so that the same voter is found which is there twice.
//
// A panic of ask reaches the caller while it waits for that voter. Afterwards nobody is there whom it could reach, and it ends that
// goroutine alone: whether a voter is late is chance, and chance must not decide whether a process ends.
func (g *Group) Ask(most time.Duration, silence error, ask func(voter int) error) []error {
	box, begin, answers := make(chan vote, g.Voters), time.Now(), make([]error, g.Voters)
	for i := range answers {
		answers[i] = silence
		g.Go(func() {
			x := vote{voter: i, err: silence}
			defer func() { box <- x }()
			defer func() { x.panic = recover() }()
			x.err = ask(i)
		})
	}
	defer g.polled.Store(true)
	timer := time.NewTimer(most)
	defer timer.Stop()
	yes, no := 0, 0
	for range answers {
		select {
		case x := <-box:
			if x.panic != nil {
				panic(x.panic)
			}
			if answers[x.voter] = x.err; x.err == nil {
				yes++
			} else {
				no++
			}
		case <-timer.C:
			return answers
		}
		if g.polled.Load() && (yes == g.Needed || no == g.Voters-g.Needed+1) {
			taken := time.Since(begin)
			timer.Reset(min(most-taken, max(taken, leastGrace)))
		}
	}
	return answers
}

// Go runs f on a goroutine that Ended waits for. A panic of f ends that goroutine alone.
//
// What a poll calls is deep, and to grow the stack of a new goroutine for it took a fifth of the processor time of a lock. So a
// goroutine that is done waits a while for the next f.
func (g *Group) Go(f func()) {
	g.init()
	g.mu.Lock()
	g.n++
	g.mu.Unlock()
	select {
	case g.next <- f:
	default:
		go g.work(f)
	}
}

func (g *Group) init() {
	g.start.Do(func() { g.next, g.stop = make(chan func()), make(chan struct{}) })
}

// linger is how long a goroutine waits for something to run.
const linger = 50 * time.Millisecond

func (g *Group) work(f func()) {
	idle := time.NewTimer(linger)
	defer idle.Stop()
	for {
		g.run(f)
		idle.Reset(linger)
		select {
		case f = <-g.next:
		case <-idle.C:
			return
		case <-g.stop:
			return
		}
	}
}

func (g *Group) run(f func()) {
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.n--; g.n == 0 && g.ended != nil {
			close(g.ended)
			g.ended = nil
		}
	}()
	defer func() { _ = recover() }()
	f()
}

// Ended returns a channel that is closed as soon as nothing runs. From this call on no goroutine waits for more.
func (g *Group) Ended() <-chan struct{} {
	g.init()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ending {
		g.ending = true
		close(g.stop)
	}
	if g.ended == nil {
		g.ended = make(chan struct{})
	}
	ended := g.ended
	if g.n == 0 {
		close(g.ended)
		g.ended = nil
	}
	return ended
}
