// Package peers measures other libraries with the workloads of package bench. It is a module of its own, so that none
// of them is a dependency of redigolock.
//
// Each rival has a file, whose comments say with which settings; [Kinds] lists them. A program that calls [Add] can
// name them as the approach of an Uncontended or a Load, and as the way of a Contention. They make connections of their
// own, without the user and password of the server's URL, but for those on redigo. etcd and ZooKeeper are started when
// they are first needed, where they are installed (scripts/install.sh peers); REDIGOLOCK_ETCD and REDIGOLOCK_ZOOKEEPER
// name the host:port of running ones instead. With REDIGOLOCK_PEERS=1 the tests fail where they are not installed.
//
//	cd bench/peers && go test -run '^$' -bench KeepAlive -benchtime 1x -locks 1000,10000 -ttl 10s -time 20s
//	cd bench/peers && go test -run '^$' -bench AcquireRelease -benchtime 1x -count 10 -round 300ms
//	cd bench/peers && go test -run '^$' -bench Contention -benchtime 1x -count 10 -round 1s -rivals redsync,redislock,etcd
//	cd bench/peers && go test -run '^$' -bench Ratio -benchtime 1x -count 200 -round 30ms -timeout 1h
//
// The first three are figures of each, the last are paired ratios of the time of acquire + release to the first two
// rivals, by default raw rueidis as it is and on one connection. All rounds are interleaved; -socket goes through the
// server's unix socket instead of TCP.
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

// Kinds are the rivals.
func Kinds() []bench.RivalKind {
	return []bench.RivalKind{
		{Name: "rueidis", Open: openRueidis, OneTry: true},
		{Name: "rueidis-conn1", Open: openRueidisConn1, OneTry: true},
		{Name: "rueidis-copy", Open: openRueidis, OneTry: true}, // the control: what differs from rueidis is noise
		{Name: "go-redis", Open: openGoRedis, OneTry: true},
		{Name: "go-redis-auto", Open: openGoRedisAuto, OneTry: true},
		{Name: "redsync", Open: openRedsync},
		{Name: "redsync-default", Open: openRedsyncDefault},
		{Name: "redsync-pool16", Open: openRedsyncPool16},
		{Name: "redsync-goredis", Open: openRedsyncGoRedis},
		{Name: "redislock", Open: openRedislock},
		{Name: "redislock-linear100", Open: openRedislockLinear100},
		{Name: "redislock-exp", Open: openRedislockExp},
		{Name: "goredis-setnx", Open: openGoRedisSetNX},
		{Name: "rueidislock", Open: openRueidislock, Renews: true},
		{Name: "valkeylock", Open: openValkeylock, Renews: true},
		{Name: "article-setnx", Open: openArticleSetNX},
		{Name: "article-script", Open: openArticleScript},
		{Name: "article-verified", Open: openArticleVerified},
		on(etcdServer, openEtcd),
		on(zookeeperServer, openZookeeper),
	}
}

// on is the rival that is named like its server, and whose session is renewed.
func on(b *backend, open func(bench.RivalConfig) (bench.Rival, error)) bench.RivalKind {
	return bench.RivalKind{Name: b.name, Open: open, Renews: true, Ready: b.start, Server: b.name, ServerCPU: b.cpu}
}

// Add makes the rivals known to package bench. A program calls it before bench.Join, and Stop in its end.
func Add() { bench.AddRivals(Kinds()...) }
