package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Rival is another lock library, or a lock written by hand, as the goroutines of one process use it.
type Rival interface {
	// TryAcquire tries once. release fails if the lock was not held until then, where the library can tell.
	TryAcquire(key string) (release func() error, err error)
	// Acquire waits until it has the lock, or ctx ends.
	Acquire(ctx context.Context, key string) (release func() error, err error)
	// Close ends what it has started. Nobody holds or waits by then.
	Close()
}

// A RivalConfig is what a Rival is made for.
type RivalConfig struct {
	Server *Server
	TTL    time.Duration
}

// A RivalKind is a Rival that can be measured: as the Approach of an Uncontended or a Load, and as the Way of a
// Contention, a Recovery or a KeepAlive.
type RivalKind struct {
	Name string
	Open func(RivalConfig) (Rival, error)
	// Modules are the paths of the Go modules that it is made of, and Settings is a sentence about how it is used here, for
	// those who read its figures.
	Modules  []string
	Settings string
	// OneTry says that it has TryAcquire only: a client without a lock of its own.
	OneTry bool
	// Keep makes what a KeepAlive needs, whose Way it then can be. Nil: it cannot.
	Keep func(*Keeping) (Keeper, error)
	// Ready is called before a workload uses it, by the process that runs the workload, and not by those that a Contention
	// starts, which inherit its environment. It may start the server. Nil: there is nothing to do.
	Ready func() error
	// Renews says that it keeps its locks alive by itself while their process lives, or has them end with its session.
	// Then nobody outside knows when the lease of one who was killed is over.
	Renews bool
	// Server is the name of the server that it uses instead of the run's, such as "etcd". Empty: the run's.
	Server string
	// ServerCPU is the processor time that the other server has used until now; false where that is not known.
	ServerCPU func() (time.Duration, bool)
}

var (
	rivalsMu sync.RWMutex // protects rivals
	rivals   []RivalKind
)

// AddRivals makes rivals known. A program calls it before Join: the processes of a Contention are to know them too. It
// panics if a name is taken.
func AddRivals(kinds ...RivalKind) {
	own := slices.Concat(ownApproaches, ContentionWays())
	rivalsMu.Lock()
	defer rivalsMu.Unlock()
	for _, k := range kinds {
		if k.Name == "" || slices.Contains(own, k.Name) ||
			slices.ContainsFunc(rivals, func(r RivalKind) bool { return r.Name == k.Name }) {
			panic(fmt.Sprintf("bench: the rival's name %q is taken", k.Name))
		}
		rivals = append(rivals, k)
	}
}

// Versions are the modules, each with its version if this program knows it.
func (k RivalKind) Versions() []string {
	var list []string
	for _, path := range k.Modules {
		list = append(list, path+moduleVersion(path))
	}
	return list
}

// RivalKinds are those that are known.
func RivalKinds() []RivalKind {
	rivalsMu.RLock()
	defer rivalsMu.RUnlock()
	return slices.Clone(rivals)
}

// Rivals are their names.
func Rivals() []string {
	var names []string
	for _, k := range RivalKinds() {
		names = append(names, k.Name)
	}
	return names
}

// WaitingRivals are the names of those that can wait for a lock, and so be the Way of a Contention.
func WaitingRivals() []string {
	var names []string
	for _, k := range RivalKinds() {
		if !k.OneTry {
			names = append(names, k.Name)
		}
	}
	return names
}

func rivalNamed(name string) (RivalKind, bool) {
	known := RivalKinds()
	i := slices.IndexFunc(known, func(k RivalKind) bool { return k.Name == name })
	if i < 0 {
		return RivalKind{}, false
	}
	return known[i], true
}

// readyFor is the Ready of an approach or a way.
func readyFor(way string) error {
	if k, ok := rivalNamed(way); ok && k.Ready != nil {
		return k.Ready()
	}
	return nil
}

// serverOf is what names call the server of an approach or a way.
func (s *Server) serverOf(way string) string {
	if k, ok := rivalNamed(way); ok && k.Server != "" {
		return k.Server
	}
	return s.Name
}
