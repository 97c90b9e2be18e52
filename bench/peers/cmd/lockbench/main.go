// Lockbench is the command cmd/lockbench of redigolock with the rivals of package peers: it measures them by
// -approaches and -ways, beside the locks of redigolock in the same shuffled rounds. The manual is that of cmd/lockbench.
//
//	cd bench/peers && go run ./cmd/lockbench [flags]
//	cd bench/peers && go run ./cmd/lockbench rivals
//
// The second tells the versions and the settings of the rivals.
//
// etcd and ZooKeeper are started when they are first needed, with their data in a folder of their own, and stopped in
// the end. REDIGOLOCK_ETCD and REDIGOLOCK_ZOOKEEPER (host:port) name servers to use instead.
package main

import (
	"os"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/bench/peers"
	"github.com/redigolock/redigolock/internal/lockbench"
)

func main() {
	peers.Add()
	bench.Join()
	code := lockbench.Main()
	peers.Stop()
	os.Exit(code)
}
