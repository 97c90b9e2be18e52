package fairdriver

import "github.com/redigolock/redigolock/internal/fairqueue"

// A State is what a Driver has at a moment. Tests look at it.
type State struct {
	Keys      int  // that it has a slot for
	Joining   int  // channels that are to be subscribed to over a connection that there is
	Listens   bool // its subscription lives
	Owes      bool // the release of some token is not confirmed yet
	IsAwaited bool // by Close
}

// State is that of this moment.
func (d *Driver) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := State{Keys: len(d.slots), Joining: d.lines.Joining(), Listens: d.lines.Alive(), IsAwaited: d.idle != nil}
	for _, s := range d.slots {
		x.Owes = x.Owes || s.q.Owes()
	}
	return x
}

// Look calls f with the queue of a key, if there is one. f must not change it.
func (d *Driver) Look(key string, f func(q *fairqueue.Slot)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.slots[key]; s != nil {
		f(s.q)
	}
}
