package peers

import "github.com/redigolock/redigolock/bench"

// The modules that rivals are made of.
const (
	redsyncModule   = "github.com/go-redsync/redsync/v4"
	redislockModule = "github.com/bsm/redislock"
	rueidisModule   = "github.com/redis/rueidis"
	redigoModule    = "github.com/gomodule/redigo"
	goRedisModule   = "github.com/redis/go-redis/v9"
	valkeyModule    = "github.com/valkey-io/valkey-go"
	etcdModule      = "go.etcd.io/etcd/client/v3"
	zookeeperModule = "github.com/go-zookeeper/zk"
)

// What several settings have.
const (
	rawCommands = "a client without a lock: SET NX PX and EVALSHA; "
	goRedisPool = "go-redis's default pool of 10 connections for each processor"
	tracking    = "hears of releases by client-side caching, on one connection; KeyMajority 1 and NoLoopTracking, as its " +
		"manual advises for one server; a try may take half of the ttl"
)

// Kinds are the rivals.
func Kinds() []bench.RivalKind {
	var list []bench.RivalKind
	for _, group := range [][]bench.RivalKind{clients(), redsyncs(), onGoRedis(), trackers(), articles()} {
		list = append(list, group...)
	}
	return append(list,
		on(etcdServer, etcdModule, openEtcd, "concurrency.Mutex, a Session of its own for each goroutine, kept for the next "+
			"lock; one client for the process; the ttl in whole seconds; one server, which waits for an fsync; election "+
			"timeout 500 ms, or it would take no short lease"),
		on(zookeeperServer, zookeeperModule, openZookeeper, "zk.Lock on one connection for the process; one server, which "+
			"waits for an fsync; tick 100 ms, for short sessions"))
}

func clients() []bench.RivalKind {
	rueidis, goRedis := []string{rueidisModule}, []string{goRedisModule}
	const multiplexed = rawCommands + "automatic pipelining on its default of a connection for each processor, at most " +
		"4; client-side caching off"
	return []bench.RivalKind{
		{Name: "rueidis", Open: openRueidis, OneTry: true, Modules: rueidis, Settings: multiplexed},
		{Name: "rueidis-conn1", Open: openRueidisConn1, OneTry: true, Modules: rueidis,
			Settings: rawCommands + "automatic pipelining on one connection; client-side caching off"},
		{Name: "rueidis-copy", Open: openRueidis, OneTry: true, Modules: rueidis,
			Settings: "rueidis once more, as a control: what differs from it is noise"},
		{Name: "go-redis", Open: openGoRedis, OneTry: true, Modules: goRedis, Settings: rawCommands + goRedisPool},
		{Name: "go-redis-auto", Open: openGoRedisAuto, OneTry: true, Modules: goRedis,
			Settings: rawCommands + "its experimental AutoPipeline with its defaults"},
	}
}

func redsyncs() []bench.RivalKind {
	onRedigo, onGoRedis := []string{redsyncModule, redigoModule}, []string{redsyncModule, goRedisModule}
	const settings = "tries every 5 ms, chosen for 64 waiters, until the context ends; a try may take half of the ttl; "
	return []bench.RivalKind{
		{Name: "redsync", Open: openRedsync, Modules: onRedigo, Settings: settings + "unbounded pool"},
		{Name: "redsync-default", Open: openRedsyncDefault, Modules: onRedigo, Settings: "tries after its default of 50 to " +
			"250 ms at random, until the context ends instead of 32 times; a try may take its default of a twentieth of the " +
			"ttl; unbounded pool"},
		{Name: "redsync-pool16", Open: openRedsyncPool16, Modules: onRedigo, Settings: settings + "pool of 16 connections"},
		{Name: "redsync-goredis", Open: openRedsyncGoRedis, Modules: onGoRedis, Settings: settings + goRedisPool},
	}
}

func onGoRedis() []bench.RivalKind {
	redislock := []string{redislockModule, goRedisModule}
	return []bench.RivalKind{
		{Name: "redislock", Open: openRedislock, Modules: redislock,
			Settings: "LinearBackoff(5 ms), chosen for 64 waiters; by default it does not wait; " + goRedisPool},
		{Name: "redislock-linear100", Open: openRedislockLinear100, Modules: redislock,
			Settings: "LinearBackoff(100 ms), as in its manual's example, but without its limit of 3; " + goRedisPool},
		{Name: "redislock-exp", Open: openRedislockExp, Modules: redislock,
			Settings: "ExponentialBackoff(16 ms, 250 ms), of which its manual advises the 16; " + goRedisPool},
		{Name: "goredis-setnx", Open: openGoRedisSetNX, Modules: []string{goRedisModule},
			Settings: "the articles' SetNX and a script that compares; tries every 5 ms, which is left to the reader; " +
				goRedisPool},
	}
}

func trackers() []bench.RivalKind {
	return []bench.RivalKind{
		{Name: "rueidislock", Open: openRueidislock, Renews: true, Modules: []string{rueidisModule}, Settings: tracking},
		{Name: "valkeylock", Open: openValkeylock, Renews: true, Modules: []string{valkeyModule}, Settings: tracking},
	}
}

func articles() []bench.RivalKind {
	redigo := []string{redigoModule}
	const release = "; unbounded pool; release by a script that compares"
	return []bench.RivalKind{
		{Name: "article-setnx", Open: openArticleSetNX, Modules: redigo,
			Settings: "SET NX PX; tries every second, as its article says" + release},
		{Name: "article-script", Open: openArticleScript, Modules: redigo,
			Settings: "EVAL of SETNX and EXPIRE; tries every 5 ms, which is left to the reader" + release},
		{Name: "article-verified", Open: openArticleVerified, Modules: redigo,
			Settings: "SET NX PX, then GET; tries every 5 ms, which is left to the reader" + release},
	}
}

// on is the rival that is named like its server, and whose session is renewed.
func on(b *backend, module string, open func(bench.RivalConfig) (bench.Rival, error), settings string) bench.RivalKind {
	return bench.RivalKind{Name: b.name, Open: open, Modules: []string{module}, Settings: settings, Renews: true,
		Ready: b.start, Server: b.name, ServerCPU: b.cpu}
}
