// Package peers measures other libraries with the workloads of package bench. It is a module of its own, so that none
// of them is a dependency of redigolock.
//
// Each rival has a file, whose comments say why it has its settings; [Kinds] lists them, and lockbench rivals prints
// them with their versions. A program that calls [Add] can name them as the approach of an Uncontended or a Load, and as
// the way of a Contention, a Recovery or a KeepAlive. They make connections of their own, without the user and password of the
// server's URL, but for those on redigo. etcd and ZooKeeper are started when they are first needed, where they are
// installed (scripts/install.sh peers); REDIGOLOCK_ETCD and REDIGOLOCK_ZOOKEEPER name the host:port of running ones
// instead. The tests use them with REDIGOLOCK_PEERS=1 only, and then they must be installed.
//
// lockbench over the same code (cmd/lockbench) measures them. A benchmark here does what it does not: Quorum beside redsync.
//
//	cd bench/peers && go test -run '^$' -bench Quorum -benchtime 1x -count 40 -round 200ms -goroutines 1,16
package peers

import "github.com/redigolock/redigolock/bench"

// Add makes the rivals known to package bench. A program calls it before bench.Join, and Stop in its end.
func Add() { bench.AddRivals(Kinds()...) }
