//go:build unix

package bench_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

// What goes wrong while fair waiters wait, and how long the lock then stands still. This shows the figures of 50 times, and
// adds them to a file in the Go benchmark format, a line for each case; the file's path is best absolute:
//
//	REDIGOLOCK_LONG=1 go test -run Fault -v -parallel 8 -timeout 1h ./bench/ -faults-out $PWD/faults.txt

var faultsOut = flag.String("faults-out", "", "add what TestFaults has measured to this `file`")

// long says that figures are made, which are all told as they are, on a machine that is quiet.
var long = os.Getenv("REDIGOLOCK_LONG") != ""

// peerTTL is of the process that comes to harm, so that a case that has to wait for it is over soon. longPeerTTL is longer
// than fair waiters go without asking.
const (
	peerTTL     = 300 * time.Millisecond
	longPeerTTL = 2 * time.Second
)

// holderTTL is of who holds when the harm comes. A machine that stalls must not take the lock from it before.
var holderTTL = func() time.Duration {
	if long {
		return peerTTL
	}
	return longPeerTTL
}()

// poke is how long a fair Locker waits at most before it asks, and its jitter.
const poke = 1250 * time.Millisecond

// jitter is how long after the end of a lease that it has seen coming it asks, at most.
const jitter = 250 * time.Millisecond

// A fault is one case.
type fault struct {
	name   string
	do     func(h *harm) gap
	asked  time.Duration // beyond the lease, on an idle machine: what is asked of Fair
	bound  time.Duration // the same on a machine that is not: the test fails if all tries are above it
	sleeps bool          // mostly, so that several can run side by side
	args   []string      // of the server
}

// persistent is a server that keeps its data.
var persistent = []string{"--appendonly", "yes", "--appendfsync", "always"}

var faults = []fault{
	{"waiting process killed", waitingPeer(peerTTL, 0, killed), 20 * time.Millisecond, 250 * time.Millisecond, false, nil},
	{"waiting process killed at the release", waitingPeer(peerTTL, peerTTL, killedNow), poke, 2 * poke, true, nil},
	{"waiting process killed at the release, a long ttl", waitingPeer(longPeerTTL, longPeerTTL, killedNow), jitter, 2 * poke, true, nil},
	{"holding process killed", killedHolder, poke, 2 * poke, true, nil},
	{"waiting process stopped", waitingPeer(peerTTL, peerTTL, stopped), poke, 2 * poke, true, nil},
	{"subscriber's connection cut", meanwhile(cutSubscriber), poke, 2 * poke, false, nil},
	{"holder's connections cut", meanwhile(cutHolder), 20 * time.Millisecond, 250 * time.Millisecond, false, nil},
	{"waiter's connections cut", meanwhile(cutWaiter), 20 * time.Millisecond, 250 * time.Millisecond, false, nil},
	{"all connections cut", meanwhile(cutAll), poke, 2 * poke, false, nil},
	{"scripts flushed", meanwhile(flushScripts), 20 * time.Millisecond, 250 * time.Millisecond, false, nil},
	{"message lost", lostMessage, poke, 2 * poke, true, nil},
	{"key deleted", abandoned(time.Minute, deleted), poke, 2 * poke, true, nil},
	{"released by a Locker that is not fair", plainRelease, poke, 2 * poke, true, nil},
	{"server restarted without data", abandoned(time.Minute, restartedEmpty), 2 * poke, 4 * poke, false, nil},
	{"server restarted with its data", meanwhile(restart), poke, 2 * poke, false, persistent},
	{"server restarted with its data, holder dead", abandoned(holderTTL, restarted), poke, 2 * poke, false, persistent},
}

func TestFaults(t *testing.T) {
	for _, x := range faults {
		t.Run(x.name, func(t *testing.T) {
			if x.sleeps && !long { // where figures are made, nothing else is to happen meanwhile
				t.Parallel()
			}
			server := redistest.Start(t, x.args...)
			gaps := make([]gap, times())
			repeat(t, len(gaps), x.sleeps, func(t *testing.T, i int) { gaps[i] = x.gap(t, server) })
			if !t.Failed() {
				x.report(t, server, gaps)
			}
		})
	}
}

func times() int {
	if long {
		return 50
	}
	return 2
}

// repeat does something so often, several at a time if it mostly sleeps.
func repeat(t *testing.T, times int, sleeps bool, do func(t *testing.T, i int)) {
	t.Run("all", func(t *testing.T) {
		for i := range times {
			t.Run("", func(t *testing.T) {
				if sleeps {
					t.Parallel()
				}
				do(t, i)
			})
		}
	})
}

// gap tries again what the machine may have spoilt, unless figures are made.
func (x fault) gap(t *testing.T, server *redistest.Server) (g gap) {
	once(t, func() error {
		g = x.do(newHarm(t, server))
		if beyond := g.all - g.lease; beyond > x.bound && !long {
			return fmt.Errorf("it took %v beyond the lease, more than %v", beyond, x.bound)
		}
		return nil
	})
	return g
}

// report judges the gaps, and tells them.
func (x fault) report(t *testing.T, server *redistest.Server, gaps []gap) {
	n := len(gaps)
	var all, beyond []time.Duration
	for _, g := range gaps {
		all, beyond = append(all, g.all), append(beyond, g.all-g.lease)
	}
	slices.Sort(all)
	slices.Sort(beyond)
	worst := beyond[n-1]
	t.Logf("%s, %d times: nobody held for %v (median), %v (p90), %v (worst); beyond the lease %v (worst), asked is %v",
		x.name, n, all[n/2], all[n*9/10], all[n-1], worst, x.asked)
	if worst > x.bound {
		t.Errorf("it took %v beyond the lease, more than %v", worst, x.bound)
	}
	name := strings.NewReplacer(" ", "-", "'", "", ",", "").Replace(x.name)
	record(t, server, fmt.Sprintf("Fault/server=redis/case=%s %d %d p50-ns %d p90-ns %d worst-ns %d worst-beyond-lease-ns %d asked-ns",
		name, n, all[n/2], all[n*9/10], all[n-1], worst, x.asked))
}

// record adds a line to the file, if there is to be one.
func record(t *testing.T, server *redistest.Server, line string) {
	t.Helper()
	if *faultsOut == "" {
		return
	}
	if err := addFigure(*faultsOut, server.Version(), line); err != nil {
		t.Error(err)
	}
}

func addFigure(path, version, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		_, err = fmt.Fprintf(f, "goos: %s\ngoarch: %s\nserver: redis\nredis-version: %s\ngo: %s\n\n",
			runtime.GOOS, runtime.GOARCH, version, runtime.Version())
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "Benchmark%s\n", line)
	}
	return err
}
