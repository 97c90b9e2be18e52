package peers

import "github.com/redigolock/redigolock/bench"

// The modules that rivals are made of.
const (
	redsyncModule   = "github.com/go-redsync/redsync/v4"
	redislockModule = "github.com/bsm/redislock"
	rueidisModule   = "github.com/redis/rueidis"
	redigoModule    = "github.com/gomodule/redigo"
	goRedisModule   = "github.com/redis/go-redis/v9"
	zookeeperModule = "github.com/go-zookeeper/zk"
)

const goRedisPool = "go-redis's default pool of 10 connections for each processor"

// Kinds are the rivals. One has two settings where what its manual says by default is far from what suits many waiters.
func Kinds() []bench.RivalKind {
	list := []bench.RivalKind{
		{Name: "redsync", Open: openRedsync, Keep: openRedsyncKeeper, Modules: []string{redsyncModule, redigoModule},
			Settings: "tries every 5 ms, chosen for 64 waiters, until the context ends; a try may take half of the ttl; " +
				"unbounded pool"},
		{Name: "redsync-default", Open: openRedsyncDefault, Modules: []string{redsyncModule, redigoModule},
			Settings: "tries after its default of 50 to 250 ms at random, until the context ends instead of 32 times; a try " +
				"may take its default of a twentieth of the ttl; unbounded pool"},
		{Name: "redislock", Open: openRedislock, Modules: []string{redislockModule, goRedisModule},
			Settings: "LinearBackoff(5 ms), chosen for 64 waiters; by default it does not wait; " + goRedisPool},
		{Name: "rueidislock", Open: openRueidislock, Keep: openRueidisKeeper, Renews: true, Modules: []string{rueidisModule},
			Settings: "hears of releases by client-side caching, on one connection; KeyMajority 1 and NoLoopTracking, as its " +
				"manual advises for one server; a try may take half of the ttl"},
		{Name: "goredis-setnx", Open: openGoRedisSetNX, Modules: []string{goRedisModule},
			Settings: "the articles' SetNX and a script that compares; tries every 5 ms, which is left to the reader; " +
				goRedisPool},
		{Name: "rueidis", Open: openRueidis, OneTry: true, Modules: []string{rueidisModule},
			Settings: "a client without a lock: SET NX PX and EVALSHA; automatic pipelining on its default of a connection " +
				"for each processor, at most 4; client-side caching off"},
		ofArticle("article-setnx", openArticleSetNX, "SET NX PX; tries every second, as its article says"),
		ofArticle("article-script", openArticleScript,
			"EVAL of SETNX and EXPIRE; tries every 5 ms, which is left to the reader"),
		ofArticle("article-verified", openArticleVerified,
			"SET NX PX, then GET; tries every 5 ms, which is left to the reader"),
	}
	list = append(list, etcdKinds()...)
	return append(list, on(zookeeperServer, zookeeperModule, openZookeeper, "zk.Lock on one connection for the process; one server, which "+
		"waits for an fsync; tick 100 ms, for short sessions"))
}

func ofArticle(name string, open func(bench.RivalConfig) (bench.Rival, error), settings string) bench.RivalKind {
	return bench.RivalKind{Name: name, Open: open, Modules: []string{redigoModule},
		Settings: settings + "; unbounded pool; release by a script that compares"}
}

// on is the rival that is named like its server, and whose session is renewed.
func on(b *backend, module string, open func(bench.RivalConfig) (bench.Rival, error), settings string) bench.RivalKind {
	return bench.RivalKind{Name: b.name, Open: open, Modules: []string{module}, Settings: settings, Renews: true,
		Ready: b.start, Server: b.name, ServerCPU: b.cpu}
}
