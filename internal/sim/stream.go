package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A stream is one direction of a connection: bytes in flight, each of which arrives at a time of its own, in the order in
// which they were written. It has one writer and one reader at a time.
type stream struct {
	mu      sync.Mutex // protects what follows
	changed *sync.Cond
	flight  []chunk
	size    int       // bytes in flight
	room    int       // so many bytes at most are in flight; zero: any number
	last    time.Time // when the newest chunk arrives: no later one arrives before
	frozen  bool      // nothing arrives
	end     error     // what the reader finds behind the last chunk; nil: the stream goes on
	endAt   time.Time // when it finds that
	deaf    bool      // the reader has closed
	mute    error     // what the writer gets from now on; nil: the stream is open
	reset   bool      // the reader gets this, too, before anything else
	readBy  time.Time
	writeBy time.Time
	sent    time.Time                        // when what was read last was written
	gap     func(at time.Time) time.Duration // how much later than at arrives what must not arrive with something else; Server.Apart
}

type chunk struct {
	data []byte
	sent time.Time
	due  time.Time
	held bool // does not arrive, and nothing behind it
}

func newStream(room int) *stream {
	s := &stream{room: room, gap: func(time.Time) time.Duration { return 0 }}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case s.deaf:
			return 0, net.ErrClosed
		case s.reset:
			return 0, syscall.ECONNRESET
		case passed(s.readBy, now):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		arrives, ok := s.arrival()
		if ok && !now.Before(arrives) {
			if len(s.flight) == 0 {
				return 0, s.end
			}
			return s.take(p), nil
		}
		s.wait(earliest(s.readBy, arrives))
	}
}

// arrival is when the next chunk or the end arrives; not ok: nothing is on its way. It drops empty chunks that have come.
func (s *stream) arrival() (at time.Time, ok bool) {
	if s.frozen {
		return time.Time{}, false
	}
	for len(s.flight) > 0 && len(s.flight[0].data) == 0 && !s.flight[0].held {
		s.flight = s.flight[1:]
	}
	switch {
	case len(s.flight) == 0:
		return s.endAt, s.end != nil
	case s.flight[0].held:
		return time.Time{}, false
	}
	return s.flight[0].due, true
}

// take moves bytes of the first chunk to p.
func (s *stream) take(p []byte) int {
	n := copy(p, s.flight[0].data)
	s.sent = s.flight[0].sent
	s.flight[0].data = s.flight[0].data[n:]
	if len(s.flight[0].data) == 0 {
		s.flight = s.flight[1:]
	}
	s.size -= n
	if s.room > 0 {
		s.changed.Broadcast()
	}
	return n
}

// write sends p, to arrive after delay.
func (s *stream) write(p []byte, delay time.Duration) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 {
		now := time.Now()
		switch {
		case s.mute != nil:
			return n, s.mute
		case s.deaf:
			return n, syscall.EPIPE
		case passed(s.writeBy, now):
			return n, os.ErrDeadlineExceeded
		}
		part := len(p)
		if s.room > 0 {
			part = min(part, s.room-s.size)
		}
		if part <= 0 {
			s.wait(s.writeBy)
			continue
		}
		s.put(chunk{data: append([]byte(nil), p[:part]...), sent: now, due: now.Add(delay)})
		p, n = p[part:], n+part
	}
	return n, nil
}

// put appends a chunk, behind those in flight.
func (s *stream) put(c chunk) {
	if !c.due.After(s.last) {
		c.due = s.last.Add(s.gap(s.last))
	}
	s.last = c.due
	s.flight = append(s.flight, c)
	s.size += len(c.data)
	s.changed.Broadcast()
}

// late is when a deadline ends a wait: as timers are, not before it, and by what Apart says not with something else that is due then, such
// as the context that it comes from.
func (s *stream) late(t time.Time) time.Time {
	if t.After(time.Now()) {
		return t.Add(s.gap(t))
	}
	return t
}

// hold lets nothing that is written from now on arrive before release is called.
func (s *stream) hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := []byte{0} // finds the chunk again
	s.put(chunk{data: mark, due: time.Now(), held: true})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, c := range s.flight {
			if c.held && &c.data[0] == &mark[0] {
				s.flight[i] = chunk{due: c.due}
				s.size--
			}
		}
		s.changed.Broadcast()
	}
}

// readable reports whether a read would not wait.
func (s *stream) readable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.arrival()
	return ok && !time.Now().Before(at)
}

// lastSent is when what was read last was written.
func (s *stream) lastSent() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// wait waits for a change, until the given time at most; zero: for ever.
func (s *stream) wait(until time.Time) {
	if !until.IsZero() {
		timer := time.AfterFunc(time.Until(until), func() {
			s.mu.Lock()
			s.changed.Broadcast()
			s.mu.Unlock()
		})
		defer timer.Stop()
	}
	s.changed.Wait()
}

// change runs f under the lock, and wakes whoever waits.
func (s *stream) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.changed.Broadcast()
}

// closeWrite ends the stream behind what is in flight.
func (s *stream) closeWrite(delay time.Duration) {
	s.change(func() {
		s.mute = net.ErrClosed
		if s.end == nil {
			s.end, s.endAt = io.EOF, time.Now().Add(delay)
			if !s.endAt.After(s.last) {
				s.endAt = s.last.Add(s.gap(s.last))
			}
		}
	})
}

// freeze lets nothing arrive, or what has been kept.
func (s *stream) freeze(frozen bool) {
	s.change(func() {
		if s.frozen && !frozen {
			s.arriveFrom(time.Now())
		}
		s.frozen = frozen
	})
}

// arriveFrom has what was due by now arrive, one after another.
func (s *stream) arriveFrom(now time.Time) {
	for i := range s.flight {
		if c := &s.flight[i]; !c.due.After(now) {
			c.due = now.Add(s.gap(now))
			now = c.due
		}
	}
	if s.end != nil && !s.endAt.After(now) {
		s.endAt = now.Add(s.gap(now))
	}
	s.last = later(s.last, now)
}

// closeRead drops what is in flight.
func (s *stream) closeRead() {
	s.change(func() { s.deaf, s.flight, s.size = true, nil, 0 })
}

// cut drops what is in flight, for both sides. What has arrived can still be read if keep is set.
func (s *stream) cut(keep bool) {
	s.change(func() {
		var arrived []chunk
		size := 0
		for _, c := range s.flight {
			if !keep || s.frozen || c.held || c.due.After(time.Now()) {
				break
			}
			arrived, size = append(arrived, c), size+len(c.data)
		}
		s.flight, s.size, s.frozen = arrived, size, false
		s.mute = syscall.ECONNRESET
		s.end, s.endAt = syscall.ECONNRESET, time.Now()
		s.reset = !keep
	})
}

func passed(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earliest is the earlier one of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
