package doctor

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// A Check is one thing that may endanger locks.
type Check struct {
	Name  string
	Level Level
	Asks  string // what is looked at
	Why   string // what it does to locks
	Mend  string // the command that mends it, or what to do

	at    func(*server) bool // the servers that it is for
	needs string             // what must have been answered: a word of asking.do
	look  func(*server) []string
}

// What checks are for.
func dead(s *server) bool        { return s.dead != "" }
func anyServer(s *server) bool   { return s.dead == "" && s.role != "sentinel" }
func master(s *server) bool      { return s.role == "master" }
func replica(s *server) bool     { return s.role == "replica" }
func ofURL(s *server) bool       { return s.first && s.dead == "" }
func clusterNode(s *server) bool { return s.clustered && s.info["cluster_enabled"] == "1" }
func ofQuorum(s *server) bool    { return s.first && s.quorum && s.dead == "" }
func sentinel(s *server) bool    { return s.role == "sentinel" && s.dead == "" }

// Checks are all that there are. TestManualHasTheChecks holds the table in docs/operations.md to them.
var Checks = []Check{
	{
		Name: "unreachable", Level: Warning, at: dead,
		Asks: "each server and each Sentinel of the URL, each replica, and each node of a cluster",
		Why:  "who cannot be asked cannot stand in for another, and was not examined",
		Mend: "start it; or mend the way from here, or its password",
		look: func(s *server) []string { return when(true, "it does not answer: %s", s.dead) },
	},
	{
		Name: "eviction", Level: Danger, at: anyServer,
		Asks: "maxmemory-policy, where there is a maxmemory",
		Why:  "a server that is full may delete the key of a lock that is held; then another gets it, too",
		Mend: "CONFIG SET maxmemory-policy noeviction",
		look: func(s *server) []string {
			policy := s.info["maxmemory_policy"]
			return when(s.number("maxmemory") > 0 && policy != "" && policy != "noeviction",
				"maxmemory-policy is %s, %s keys were evicted since the start", policy, s.info["evicted_keys"])
		},
	},
	{
		Name: "memory", Level: Warning, at: anyServer,
		Asks: "used_memory against maxmemory",
		Why:  "a full server refuses every acquire (OOM), or evicts locks",
		Mend: "CONFIG SET maxmemory with more, or remove data",
		look: func(s *server) []string {
			used, most := s.number("used_memory"), s.number("maxmemory")
			return when(most > 0 && used/9 > most/10, "%d of %d bytes are used", used, most)
		},
	},
	{
		Name: "persistence", Level: Warning, at: anyServer, needs: "config",
		Asks: "appendonly and save",
		Why: "a server that restarts has forgotten locks whose holders go on, and others get them, too; " +
			"one with replicas empties them as well",
		Mend: "CONFIG SET appendonly yes, and the same in its configuration file",
		look: func(s *server) []string {
			if s.config["save"] == "" {
				return when(s.info["aof_enabled"] == "0", "nothing is saved")
			}
			return when(s.info["aof_enabled"] == "0", "snapshots only: what came after the last one is lost")
		},
	},
	{
		Name: "fsync", Level: Warning, at: anyServer, needs: "config",
		Asks: "appendfsync",
		Why:  "a machine that crashes loses the locks of half a minute; everysec, the default, loses those of a second",
		Mend: "CONFIG SET appendfsync everysec, or always",
		look: func(s *server) []string {
			return when(s.info["aof_enabled"] == "1" && s.config["appendfsync"] == "no", "appendfsync is no")
		},
	},
	{
		Name: "disk", Level: Danger, at: master, needs: "config",
		Asks: "the outcome of the last snapshot and of the last write to the log",
		Why:  "the server refuses every write (MISCONF): no lock can be acquired, renewed or released",
		Mend: "free the disk, or mend its rights; see the server's log",
		look: func(s *server) []string {
			snapshot := s.info["rdb_last_bgsave_status"] == "err" && s.config["stop-writes-on-bgsave-error"] == "yes" && s.config["save"] != ""
			return append(when(snapshot, "the last snapshot failed"),
				when(s.info["aof_last_write_status"] == "err", "the last write to the append-only file failed")...)
		},
	},
	{
		Name: "min-replicas", Level: Warning, at: master, needs: "config",
		Asks: "min-replicas-to-write of a master with replicas",
		Why:  "a master that is cut off goes on granting locks while its replica is promoted, which grants them again",
		Mend: "CONFIG SET min-replicas-to-write 1, with min-replicas-max-lag 10",
		look: func(s *server) []string {
			return when(s.number("connected_slaves") > 0 && s.setting("min-replicas-to-write") == 0, "min-replicas-to-write is 0")
		},
	},
	{
		Name: "too-few-replicas", Level: Danger, at: master, needs: "config",
		Asks: "replicas in good state against min-replicas-to-write",
		Why:  "the server refuses every write (NOREPLICAS): no lock can be acquired, renewed or released",
		Mend: "start replicas, or CONFIG SET min-replicas-to-write with fewer",
		look: func(s *server) []string {
			most, good := s.setting("min-replicas-to-write"), s.number("min_slaves_good_slaves")
			return when(good < most, "min-replicas-to-write is %d, in good state are %d", most, good)
		},
	},
	{
		Name: "replica-link", Level: Warning, at: anyServer,
		Asks: "whether replicas keep up with their master",
		Why:  "a failover to such a replica loses the locks that it has not heard of",
		Mend: "look into the replica's log, and at its network",
		look: func(s *server) (found []string) {
			for _, r := range s.replicas() {
				lag, _ := strconv.Atoi(r["lag"])
				found = append(found, when(r["state"] != "online" || lag > 10,
					"replica %s:%s is %s, %d s behind", r["ip"], r["port"], r["state"], lag)...)
			}
			return append(found, when(s.info["master_link_status"] == "down", "its link to the master is down")...)
		},
	},
	{
		Name: "to-replica", Level: Danger, at: ofURL,
		Asks: "whether the URL leads to a replica",
		Why:  "a replica refuses every acquire (READONLY); one that is promoted later has another master's locks",
		Mend: "name the master in -url, or its Sentinels with redis-sentinel://",
		look: func(s *server) []string {
			return when(replica(s) && !s.clustered && !s.quorum, "it is a replica of %s:%s", s.info["master_host"], s.info["master_port"])
		},
	},
	{
		Name: "writable-replica", Level: Danger, at: replica, needs: "config",
		Asks: "replica-read-only",
		Why:  "a replica that takes writes grants locks that the master knows nothing of",
		Mend: "CONFIG SET replica-read-only yes",
		look: func(s *server) []string { return when(s.info["slave_read_only"] == "0", "replica-read-only is no") },
	},
	{
		Name: "version", Level: Danger, at: anyServer,
		Asks: "redis_version, valkey_version",
		Why:  "the library is for Redis from 6.2 and Valkey from 7.2 on",
		Mend: "update the server",
		look: func(s *server) []string {
			least := "6.2"
			if s.info["valkey_version"] != "" {
				least = "7.2"
			}
			_, number, _ := strings.Cut(s.version(), " ")
			return when(older(number, least), "it is %s", s.version())
		},
	},
	{
		Name: "timeout", Level: Warning, at: anyServer, needs: "config",
		Asks: "timeout against the 10 s after which a pool tests what was idle",
		Why:  "the server closes connections that the pool still trusts: the next command on each ends with ErrUnknown",
		Mend: "CONFIG SET timeout 0",
		look: func(s *server) []string {
			t := s.setting("timeout")
			return when(t > 0 && t <= 10, "timeout is %d s", t)
		},
	},
	{
		Name: "tcp-keepalive", Level: Warning, at: anyServer, needs: "config",
		Asks: "tcp-keepalive",
		Why: "the server takes a process whose machine has vanished for a live one until its connection ends: in a fair queue it " +
			"may be handed a lock for a whole ttl, and where only TryAcquire waits, nothing else takes it out",
		Mend: "CONFIG SET tcp-keepalive 60; 5 ends such a connection within about 10 s",
		look: func(s *server) []string {
			t := s.setting("tcp-keepalive")
			return when(t == 0 || t > 300, "tcp-keepalive is %d s", t)
		},
	},
	{
		Name: "pubsub-limit", Level: Warning, at: anyServer, needs: "config",
		Asks: "client-output-buffer-limit of pubsub",
		Why: "where it is small the server cuts off who waits in the queue, and they lose their places; " +
			"where there is none a subscriber that hangs takes all memory",
		Mend: `CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"`,
		look: func(s *server) []string {
			_, limits, _ := strings.Cut(s.config["client-output-buffer-limit"], "pubsub ")
			words := strings.Fields(limits)
			if len(words) < 3 {
				return nil
			}
			hard, _ := strconv.Atoi(words[0])
			soft, _ := strconv.Atoi(words[1])
			return append(when(hard == 0 && soft == 0, "there is none"),
				when(hard > 0 && hard < 1<<20 || soft > 0 && soft < 1<<18, "it is %d bytes, and %d for %s s", hard, soft, words[2])...)
		},
	},
	{
		Name: "clients", Level: Warning, at: anyServer, needs: "config",
		Asks: "connected clients against maxclients",
		Why:  "a server with too many clients turns away new connections: locks cannot be acquired, nor renewed after a break",
		Mend: "CONFIG SET maxclients with more, or look for who opens connections: CLIENT LIST",
		look: func(s *server) []string {
			now, most := s.number("connected_clients"), s.setting("maxclients")
			return when(most > 0 && now*10 > most*9, "%d of %d clients are connected", now, most)
		},
	},
	{
		Name: "open", Level: Danger, at: anyServer, needs: "acl",
		Asks: "bind, protected-mode, and whether the default user has a password",
		Why:  "whoever reaches the server can take, break and read every lock",
		Mend: "CONFIG SET requirepass, or ACL SETUSER default off",
		look: func(s *server) []string {
			return when(s.openToAll && s.config["protected-mode"] == "no" && !loopback(s.config["bind"]),
				"it listens on %q without a password, and protected-mode is no", s.config["bind"])
		},
	},
	{
		Name: "clock", Level: Warning, at: anyServer, needs: "time",
		Asks: "TIME against the clock here",
		Why: "fencing numbers follow the server's clock: after a failover to a clock that is behind they may fall; " +
			"and a replica that is ahead ends the locks of a master early",
		Mend: "run NTP on the server, and here",
		look: func(s *server) []string {
			return when(s.ahead.Abs() > time.Second, "its clock is %v from the one here", s.ahead.Round(100*time.Millisecond))
		},
	},
	{
		Name: "slow", Level: Warning, at: anyServer, needs: "slowlog",
		Asks: "commands of 100 ms and more in the slow log, within the last hour",
		Why:  "the server does one thing at a time: meanwhile no lock is acquired, renewed or released",
		Mend: "SLOWLOG GET shows who sent them; use SCAN for KEYS, UNLINK for DEL, shorter scripts",
		look: func(s *server) []string {
			n, worst := 0, slowCommand{}
			for _, c := range s.slow {
				if c.took < 100*time.Millisecond {
					continue
				}
				if n++; c.took > worst.took {
					worst = c
				}
			}
			return when(n > 0, "%d of them, the slowest %s took %v", n, worst.name, worst.took.Round(time.Millisecond))
		},
	},
	{
		Name: "fork", Level: Warning, at: anyServer,
		Asks: "latest_fork_usec",
		Why:  "while the server forks for a snapshot it answers nobody",
		Mend: "use less memory for each server, and no transparent huge pages; or have a replica save",
		look: func(s *server) []string {
			took := time.Duration(s.number("latest_fork_usec")) * time.Microsecond
			return when(took >= 100*time.Millisecond, "the last fork took %v", took.Round(time.Millisecond))
		},
	},
	{
		Name: "endless", Level: Warning, at: master, needs: "keys",
		Asks: "strings without TTL whose value has the form of this library's tokens, in the first 100,000 keys",
		Why:  "a lock without TTL whose holder has died is held for ever",
		Mend: "redigolock break KEY, if it is a lock; and acquire by one command: SET key token NX PX ttl",
		look: func(s *server) []string {
			return when(len(s.endless) > 0, "%d of them, as %s", len(s.endless), strings.Join(s.endless[:min(3, len(s.endless))], ", "))
		},
	},
	rightsCheck("rights", Danger, "to acquire, renew and release"),
	rightsCheck("rights-fair", Note, "to wait in a queue (Locker.Fair)"),
	rightsCheck("rights-fence", Note, "to give out fencing numbers (Fence)"),
	rightsCheck("rights-replicas", Note, "to wait for replicas (Locker.Replicas)"),
	{
		Name: "watched", Level: Warning, at: ofURL, needs: "clients",
		Asks: "whether Sentinels are connected to a server that the URL names directly",
		Why:  "after a failover such clients stay with the old master, which is a replica then",
		Mend: "name the Sentinels: redis-sentinel://host,host/?master=NAME",
		look: func(s *server) []string {
			return when(s.sentinels && !s.bySentinel, "Sentinels watch it, and the URL does not name them")
		},
	},
	{
		Name: "cluster-url", Level: Danger, at: ofURL,
		Asks: "whether URL and server agree that it is a Redis Cluster",
		Why:  "a client that does not follow a cluster's redirects gets locks of one node only; one that expects a cluster gets none",
		Mend: "use redis-cluster:// for a cluster, and redis:// else",
		look: func(s *server) []string {
			is := s.info["cluster_enabled"] == "1"
			return append(when(is && !s.clustered, "it is a node of a cluster, and the URL is not redis-cluster://"),
				when(!is && s.clustered, "it is no node of a cluster, and the URL is redis-cluster://")...)
		},
	},
	{
		Name: "cluster-state", Level: Danger, at: clusterNode, needs: "cluster",
		Asks: "CLUSTER INFO",
		Why:  "locks whose slot nobody serves cannot be had; with cluster-require-full-coverage no lock can",
		Mend: "redis-cli --cluster check HOST:PORT, then --cluster fix",
		look: func(s *server) []string {
			return when(s.cluster["cluster_state"] != "ok" || s.cluster["cluster_slots_ok"] != "16384",
				"cluster_state is %s, %s of 16384 slots are well", s.cluster["cluster_state"], s.cluster["cluster_slots_ok"])
		},
	},
	{
		Name: "cluster-node", Level: Warning, at: func(s *server) bool { return clusterNode(s) && s.lead }, needs: "cluster",
		Asks: "nodes that failed, and masters without a replica",
		Why:  "the locks of a master that fails and has no replica are lost, and its slots are served by nobody",
		Mend: "start the node, or add a replica: redis-cli --cluster add-node NEW HOST:PORT --cluster-slave",
		look: func(s *server) (found []string) {
			followed := map[string]bool{}
			for _, n := range s.nodes {
				followed[n.master] = followed[n.master] || !n.failed
			}
			for _, n := range s.nodes {
				found = append(found, when(n.failed, "%s is down", n.addr)...)
				found = append(found, when(n.isMaster && n.slots && !followed[n.id], "master %s has no replica", n.addr)...)
			}
			return found
		},
	},
	{
		Name: "cluster-migration", Level: Note, at: clusterNode, needs: "cluster",
		Asks: "slots that are being moved",
		Why:  "until the move ends, fair queues and fencing numbers in such a slot may wait (TRYAGAIN)",
		Mend: "let the move end, or redis-cli --cluster fix HOST:PORT",
		look: func(s *server) (found []string) {
			for _, n := range s.nodes {
				found = append(found, when(n.moving, "%s has slots that are being moved", n.addr)...)
			}
			return found
		},
	},
	{
		Name: "sentinel-count", Level: Warning, at: sentinel,
		Asks: "how many Sentinels know each other",
		Why:  "with fewer than three, one that fails leaves no majority, and nobody is promoted",
		Mend: "run three Sentinels, on three machines",
		look: func(s *server) []string {
			others, _ := strconv.Atoi(s.watched["num-other-sentinels"])
			return when(others < 2, "it knows %d others", others)
		},
	},
	{
		Name: "sentinel-quorum", Level: Danger, at: sentinel,
		Asks: "SENTINEL CKQUORUM",
		Why:  "the Sentinels cannot agree on a failover: when the master fails, no lock can be had",
		Mend: "start Sentinels, or SENTINEL SET NAME quorum with fewer",
		look: func(s *server) []string { return when(s.noQuorum != "", "%s", s.noQuorum) },
	},
	{
		Name: "sentinel-replicas", Level: Warning, at: sentinel,
		Asks: "how many replicas the Sentinel knows",
		Why:  "there is nobody to promote when the master fails",
		Mend: "start a replica: REPLICAOF HOST PORT",
		look: func(s *server) []string { return when(s.watched["num-slaves"] == "0", "it knows none") },
	},
	{
		Name: "sentinel-master", Level: Danger, at: sentinel,
		Asks: "which master each Sentinel names, and whether it is down",
		Why:  "clients of different Sentinels lock at different servers, or at none",
		Mend: "wait for the failover to end; else SENTINEL RESET NAME at the one that is wrong",
		look: func(s *server) (found []string) {
			for _, other := range s.all {
				if other.dead == "" && other.master() != s.master() {
					found = append(found, fmt.Sprintf("it names %s, and %s names %s", s.master(), other.addr, other.master()))
				}
			}
			return append(found, when(strings.Contains(s.watched["flags"], "down"), "%s is down", s.master())...)
		},
	},
	{
		Name: "quorum-independent", Level: Danger, at: ofQuorum,
		Asks: "whether the servers of a quorum are different servers, and independent",
		Why:  "one server that fails takes several votes with it, so that two holders can have a majority",
		Mend: "use servers of which none replicates another, each named once",
		look: func(s *server) []string {
			twice := false
			for _, other := range s.all {
				twice = twice || other != s && other.first && other.info["run_id"] == s.info["run_id"]
			}
			return append(when(twice, "another -url leads to it, too"),
				when(replica(s), "it is a replica of %s:%s", s.info["master_host"], s.info["master_port"])...)
		},
	},
	{
		Name: "quorum-size", Level: Note, at: func(s *server) bool { return s.quorum && s.lead },
		Asks: "the number of servers of a quorum",
		Why:  "four servers bear no more failures than three",
		Mend: "use three or five",
		look: func(s *server) []string { return when(s.votes < 3 || s.votes%2 == 0, "there are %d", s.votes) },
	},
}

// rightsCheck is what a user may not do.
func rightsCheck(mode string, level Level, what string) Check {
	return Check{
		Name: mode, Level: level, at: master, needs: "rights",
		Asks: "ACL DRYRUN of what is needed " + what,
		Why:  "without these rights this user is not able " + what,
		Mend: "ACL SETUSER with what docs/rights.md of the library lists",
		look: func(s *server) []string {
			return when(len(s.denied[mode]) > 0, "it may not do %s", strings.Join(s.denied[mode], ", "))
		},
	}
}

// when is what was found, if it was.
func when(is bool, format string, args ...any) []string {
	if !is {
		return nil
	}
	return []string{fmt.Sprintf(format, args...)}
}

// loopback reports whether all addresses are of the machine itself.
func loopback(addrs string) bool {
	for addr := range strings.FieldsSeq(addrs) {
		if ip := net.ParseIP(strings.TrimPrefix(addr, "-")); ip == nil || !ip.IsLoopback() {
			return false
		}
	}
	return addrs != ""
}

// older reports whether a version comes before another, by its first two numbers. What is no version is not older.
func older(version, least string) bool {
	var a, b [2]int
	if n, _ := fmt.Sscanf(version, "%d.%d", &a[0], &a[1]); n < 2 {
		return false
	}
	_, _ = fmt.Sscanf(least, "%d.%d", &b[0], &b[1])
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}
