package crowd

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redigolock/redigolock/internal/fault"
)

// Crowds are those of a Locker. Init comes first.
type Crowds struct {
	env     Env
	alone   [placesAlone]atomic.Pointer[string] // the keys of tries of those that found no crowd
	crowded [placesAlone]atomic.Int32           // how many crowds there are of the keys that begin there
	freed   [placesAlone]atomic.Uint32          // how many releases there were of those keys

	mu      sync.Mutex // protects what follows, down to each waiter; taken for moments only, never while anything is sent
	keys    map[string]*crowd
	polling int // tries in flight, for all keys, of those who have been told before that it is held
}

// placesAlone is a power of two. Where a key finds no place, its call makes a crowd, which costs no more than time.
const placesAlone = 256

var keySeed = maphash.MakeSeed()

func placeOf(key string) uint64 { return maphash.String(keySeed, key) % placesAlone }

// Init comes before the first use.
func (cs *Crowds) Init(env Env) { cs.env = env }

// Acquire tries until ctx ends, or the Locker is closed.
func (cs *Crowds) Acquire(ctx context.Context, key *string, call Call) error {
	var w *member
	if place := cs.enterAlone(key); place == nil {
		w = cs.join(*key, call)
	} else if err := cs.askAlone(ctx, *key, call, place, &w); w == nil {
		return err
	}
	defer cs.leave(w)
	return w.run(ctx)
}

// askAlone asks outside of the crowd. It makes a member if the call goes on.
func (cs *Crowds) askAlone(ctx context.Context, key string, call Call, place *atomic.Pointer[string], w **member) (err error) {
	freed := cs.freed[placeOf(key)].Load()
	err = errPanicked
	defer func() {
		returned := err != errPanicked
		goesOn := returned && !call.Final(ctx, err)
		*w = cs.endAlone(place, freed, key, call, err, returned && call.Shared(ctx, err), goesOn)
	}()
	return call.Try(ctx, nil, cs.env.Bound)
}

// enterAlone counts a try if there is no crowd for its key, without the mutex and a map, since most calls meet nobody. It
// returns nil if the call must join the crowd.
func (cs *Crowds) enterAlone(key *string) *atomic.Pointer[string] {
	at := placeOf(*key)
	if cs.crowded[at].Load() > 0 {
		return nil
	}
	for i := range uint64(MaxAsking) {
		p := &cs.alone[(at+i)%placesAlone]
		if p.Load() != nil || !p.CompareAndSwap(nil, key) {
			continue
		}
		if cs.crowded[at].Load() == 0 {
			return p
		}
		p.Store(nil) // a crowd may have counted it: join passes the room on
		break
	}
	return nil
}

// endAlone is what follows a try outside of the crowd. It returns a member if the call goes on.
// freed is what freed was before the try: after a release since then, what the try was told may be older.
func (cs *Crowds) endAlone(p *atomic.Pointer[string], freed uint32, key string, call Call, err error, shared, goesOn bool) (w *member) {
	p.Store(nil)
	if !goesOn && cs.crowded[placeOf(key)].Load() == 0 {
		return nil
	}
	if goesOn {
		w = cs.newMember(key, call)
		w.meet(err)
		w.note(err)
		w.wake <- toDecide
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.keys[key]
	if goesOn {
		c = cs.crowdOf(key)
		w.c, w.inLine = c, c.line.PushFront(w) // who is there has come later
		w.again = cs.freed[c.at].Load() != freed
	}
	if c == nil {
		return nil
	}
	now := time.Now()
	if shared {
		var h Holder
		if w != nil {
			h = w.h
		}
		c.share(c.answer(call, &h, err), now)
		if w != nil {
			w.took = c.newest.n
		}
	}
	c.pass(now)
	c.arm(now)
	return w
}

func (cs *Crowds) crowdOf(key string) *crowd {
	c := cs.keys[key]
	if c == nil {
		c = &crowd{of: cs, key: key, at: placeOf(key)}
		if cs.keys == nil {
			cs.keys = map[string]*crowd{}
		}
		cs.keys[key] = c
		cs.crowded[c.at].Add(1)
	}
	return c
}

// join has a call wait that has not tried yet. It sleeps: that it may ask at once is a wake-up.
func (cs *Crowds) join(key string, call Call) *member {
	w := cs.newMember(key, call)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, now := cs.crowdOf(key), time.Now()
	w.c, w.inLine = c, c.line.PushBack(w)
	c.proceed(w, now)
	c.pass(now)
	c.arm(now)
	return w
}

// pause has w sleep until then.
func (cs *Crowds) pause(w *member, due time.Time) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	now := time.Now()
	w.c.sleep(w, pausing, due)
	if w.again {
		w.c.call()
	}
	w.c.pass(now)
	w.c.arm(now)
}

// asked is what follows a try of w that ended with err.
func (cs *Crowds) asked(w *member, err error, shared bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, now := w.c, time.Now()
	c.stopAsking(w)
	if shared {
		c.share(c.answer(w.call, &w.h, err), now)
		w.took = c.newest.n
	}
	w.leads = w.leads && err != nil && !errors.Is(err, fault.Held)
	w.again = w.again && err != nil
	c.pass(now)
	c.arm(now)
}

// leave takes w out, whatever it does, and returns what it did.
func (cs *Crowds) leave(w *member) memberState {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, did, now := w.c, w.state, time.Now()
	switch did {
	case left:
		return did
	case asking: // it has had its turn, and not used it
		c.stopAsking(w)
	case pausing, waiting:
		c.unsleep(w)
	}
	w.state = left
	c.line.Remove(w.inLine)
	if c.called == w || w.leads || w.again {
		c.call()
	}
	if c.line.Len() == 0 {
		cs.forget(c)
		return did
	}
	c.pass(now)
	c.arm(now)
	return did
}

func (cs *Crowds) forget(c *crowd) {
	c.gone = true
	if c.timer != nil {
		c.timer.Stop()
	}
	delete(cs.keys, c.key)
	if len(cs.keys) == 0 {
		cs.keys = nil // a map does not shrink
	}
	cs.crowded[c.at].Add(-1)
}

// Freed is told of a release: the waiter that came first asks at once; the others take for a moment what they know already.
func (cs *Crowds) Freed(key string) {
	at := placeOf(key)
	cs.freed[at].Add(1) // before crowded is read: a try outside of the crowd makes one, and then reads freed
	if cs.crowded[at].Load() == 0 {
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, now := cs.keys[key], time.Now()
	if c == nil {
		return
	}
	c.newest.n++
	c.newest.at = now
	c.call()
	c.pass(now)
	c.arm(now)
}

// Count counts the crowds, the tries outside of them, and those in flight, for tests.
func (cs *Crowds) Count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	n := len(cs.keys) + cs.polling
	for i := range cs.alone {
		n += int(cs.crowded[i].Load())
		if cs.alone[i].Load() != nil {
			n++
		}
	}
	return n
}
