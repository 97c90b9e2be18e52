package bench

import (
	"encoding/gob"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

// A part is what a child does for its job.
type part struct {
	job
	server *Server
	crew   crew
	clock  sharedClock
	way    *way
	out    *gob.Encoder // safe for concurrent use

	holder holding
	cycles [][]cycle     // each belongs to its waiter until all have ended
	counts atomic.Int64  // ops count that were acquired since this moment; 0: none yet
	any    atomic.Bool   // acquisition that counts
	marks  []mark        // belongs to the goroutine that takes orders
	begun  chan struct{} // closed by the order to begin
	stop   chan struct{} // closed by the order to stop
}

// do does the job.
func (j job) do(in *gob.Decoder, out *gob.Encoder) error {
	s, err := Open(bg, j.URL)
	if err != nil {
		return err
	}
	defer s.Close()
	p := &part{
		job: j, server: s, clock: newSharedClock(), out: out, cycles: make([][]cycle, len(j.Own)),
		begun: make(chan struct{}), stop: make(chan struct{}),
	}
	if p.way, err = p.open(); err != nil {
		return err
	}
	go p.takeOrders(in)
	p.crew = crew{server: s, workers: len(j.Own), time: forever, warm: p.warm, work: p.wait, full: p.stop}
	p.crew.start = func() {
		if err := out.Encode(news{Ready: true}); err != nil {
			p.crew.fail(err)
			return
		}
		<-p.begun
	}
	closed := make(chan struct{})
	// Closing ends the waits at once, and lets the tries be that are on their way: a context would cut those, and leave
	// their connections dead and their tokens to be cleaned up.
	p.crew.stop = func() {
		go func() {
			defer close(closed)
			p.way.close()
		}()
	}
	err = p.crew.run(bg)
	<-closed
	p.way.end()
	if err != nil {
		return err
	}
	return out.Encode(news{Report: &report{Process: j.Process, Cycles: p.cycles, Marks: p.marks}})
}

func (p *part) open() (*way, error) {
	if p.Way == "floor" {
		return newRing(p)
	}
	return wayConfig{server: p.server, name: p.Way, lanes: p.Lanes, ttl: p.TTL, goroutines: len(p.Own)}.open()
}

// warm does without those who will not need a connection, nor a slot.
func (p *part) warm(w int) error {
	if w > 0 && isFair(p.Way) {
		return nil
	}
	return p.way.once(p.Own[w])
}

const forever = 1000 * time.Hour

// takeOrders is a goroutine that lives as long as the process.
func (p *part) takeOrders(in *gob.Decoder) {
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			os.Exit(1) // the parent is gone, or wants no figures any more
		}
		switch o {
		case orderBegin:
			close(p.begun)
		case orderMark:
			p.mark()
		case orderStop:
			close(p.stop)
		}
	}
}

// mark notes what was used. The first one begins to count.
func (p *part) mark() {
	var m mark
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.CPU, m.CPUOK = ownCPU()
	m.Allocs = mem.Mallocs
	p.marks = append(p.marks, m)
	p.counts.CompareAndSwap(0, p.clock.now())
}

// wait is what a waiter does.
func (p *part) wait(w int) error {
	for !p.crew.stopped.Load() {
		c := cycle{Asked: p.clock.now()}
		release, err := p.way.acquire(w, p.Key)
		if err != nil {
			p.cycles[w] = append(p.cycles[w], c)
			return p.way.ended(err)
		}
		c.Got = p.clock.now()
		if err := p.holder.begin("waiter", w); err != nil {
			return err
		}
		if err := p.count(c); err != nil {
			return err
		}
		holdFor(p.Hold, p.stop)
		c.Left = p.clock.now()
		p.cycles[w] = append(p.cycles[w], c)
		if err := p.holder.end("waiter", w); err != nil {
			return err
		}
		if err := release(); err != nil {
			return fmt.Errorf("bench: the lock did not hold until its release, no figures: %w", err)
		}
	}
	return nil
}

// count tells the parent of the first acquisition that counts.
func (p *part) count(c cycle) error {
	if from := p.counts.Load(); from == 0 || c.Got < from || p.any.Swap(true) {
		return nil
	}
	first := c // or every c would be allocated
	return p.out.Encode(news{First: &first})
}
