package quorum

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redigolock/redigolock/internal/fault"
)

// Acquaintances are the servers that the nodes have turned out to lead to: two databases of one server would vote twice. A server that
// does not tell, or may not be asked, is taken for another.
type Acquaintances struct {
	known []atomic.Bool // of each node: it has been asked
	twice atomic.Pointer[error]

	mu     sync.Mutex // protects what follows
	runIDs []string   // "": the server does not tell
}

// Init must be called first.
func (a *Acquaintances) Init(nodes int) {
	a.known, a.runIDs = make([]atomic.Bool, nodes), make([]string, nodes)
}

// Known reports whether the server of a node has been met, and is no other's.
func (a *Acquaintances) Known(node int) bool { return a.known[node].Load() }

// Refused is what Meet has returned, if it has refused a server.
func (a *Acquaintances) Refused() error {
	if twice := a.twice.Load(); twice != nil {
		return *twice
	}
	return nil
}

// Meet learns from its INFO by which name the server of a node has run since its start, and refuses that of another node.
func (a *Acquaintances) Meet(node int, info string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runIDs[node] = runID(info)
	for other, id := range a.runIDs {
		if other != node && id != "" && id == a.runIDs[node] {
			err := fault.Invalidf("acquire", "Quorum.Pools[%d] and [%d] lead to the same server", min(node, other), max(node, other))
			a.twice.Store(&err)
			return err
		}
	}
	a.known[node].Store(true)
	return nil
}

// runID finds the name of a run of a server in its INFO; "": it is not there.
func runID(info string) string {
	_, id, _ := strings.Cut(info, "\nrun_id:")
	id, _, _ = strings.Cut(id, "\n")
	return strings.Trim(id, "\r0") // a proxy may say 000…
}
