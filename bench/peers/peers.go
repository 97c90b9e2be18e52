// Package peers measures other libraries with the workloads of package bench. It is a module of its own, so that none
// of them is a dependency of redigolock.
//
//	cd bench/peers && go test -run '^$' -bench KeepAlive -benchtime 1x -locks 1000,10000 -ttl 10s -time 20s
//	cd bench/peers && go test -run '^$' -bench AcquireRelease -benchtime 1x -count 10 -round 300ms
//	cd bench/peers && go test -run '^$' -bench Ratio -benchtime 1x -count 200 -round 30ms -timeout 1h
//
// The first two are figures of each, the last are paired ratios of the time of acquire + release to raw rueidis, as it
// is and on one connection.
// All rounds are interleaved; -socket goes through the server's unix socket instead of TCP.
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

// Uncontended is the workload by raw rueidis as it is, and on one connection, which are the first two; by an identical
// copy of the first as the control; by raw go-redis, and go-redis with its automatic pipelining; by redigo by hand, and
// by our Locker on a pool and through a Mux. The others make connections of their own, without the user and password of
// the server's URL.
func Uncontended(u bench.Uncontended) []bench.Uncontended {
	var list []bench.Uncontended
	add := func(v bench.Uncontended) {
		v.Server, v.Goroutines, v.TTL, v.Time = u.Server, u.Goroutines, u.TTL, u.Time
		list = append(list, v)
	}
	add(bench.Uncontended{Approach: "rueidis", Open: openRueidis})
	add(bench.Uncontended{Approach: "rueidis", Open: openRueidis, Lanes: 1, Label: "rueidis-conn1"})
	add(bench.Uncontended{Approach: "rueidis", Open: openRueidis, Label: "rueidis-copy"})
	add(bench.Uncontended{Approach: "go-redis", Open: openGoRedis})
	add(bench.Uncontended{Approach: "go-redis-auto", Open: openGoRedisAuto})
	add(bench.Uncontended{Approach: "floor"})
	add(bench.Uncontended{Approach: "locker"})
	for _, lanes := range bench.Lanes() {
		add(bench.Uncontended{Approach: "locker", Lanes: lanes})
	}
	return list
}
