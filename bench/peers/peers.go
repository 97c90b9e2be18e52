// Package peers measures other libraries with the workloads of package bench. It is a module of its own, so that none
// of them is a dependency of redigolock.
//
// Each rival has a file, whose comments say why it has its settings; [Kinds] lists them, and lockbench rivals prints
// them with their versions. A program that calls [Add] can name them as the approach of an Uncontended or a Load, and as
// the way of a Contention or a Recovery. They make connections of their own, without the user and password of the
// server's URL, but for those on redigo. etcd and ZooKeeper are started when they are first needed, where they are
// installed (scripts/install.sh peers); REDIGOLOCK_ETCD and REDIGOLOCK_ZOOKEEPER name the host:port of running ones
// instead. The tests use them with REDIGOLOCK_PEERS=1 only, and then they must be installed.
//
// lockbench over the same code (cmd/lockbench) measures them. Two benchmarks here do what it does not: rivals that renew,
// and Quorum beside redsync.
//
//	cd bench/peers && go test -run '^$' -bench KeepAlive -benchtime 1x -locks 1000,10000 -ttl 10s -time 20s
//	cd bench/peers && go test -run '^$' -bench Quorum -benchtime 1x -count 40 -round 200ms -goroutines 1,16
package peers

import "github.com/redigolock/redigolock/bench"

// KeepAlive is the workload in our ways and in those of redsync and rueidislock. rueidislock makes a connection of its
// own, without the user and password of the server's URL.
func KeepAlive(k bench.KeepAlive) []bench.Workload {
	var list []bench.Workload
	for _, way := range bench.Ways() {
		k.Way, k.Open = way, nil
		list = append(list, k)
	}
	k.Way, k.Open = "redsync", openRedsyncKeeper
	list = append(list, k)
	k.Way, k.Open = "rueidislock", openRueidisKeeper
	return append(list, k)
}

// Add makes the rivals known to package bench. A program calls it before bench.Join, and Stop in its end.
func Add() { bench.AddRivals(Kinds()...) }
