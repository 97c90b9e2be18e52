// Package peers measures other libraries with the workloads of package bench. It is a module of its own, so that none
// of them is a dependency of redigolock.
//
//	cd bench/peers && go test -run '^$' -bench KeepAlive -benchtime 1x -locks 1000,10000 -ttl 10s -time 20s
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
	k.Way, k.Open = "redsync", openRedsync
	list = append(list, k)
	k.Way, k.Open = "rueidislock", openRueidislock
	return append(list, k)
}
