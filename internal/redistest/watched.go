package redistest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// MasterName is what the Sentinels of a [Watched] call its master.
const MasterName = "locks"

// A WatchedConfig says what [StartWatched] starts.
type WatchedConfig struct {
	Replicas, Sentinels        int           // Zero: two and three.
	DownAfter                  time.Duration // The Sentinels take a server for down after that; zero: 500 ms.
	Password, SentinelPassword string        // Of the servers, and of the Sentinels; "": none.
	Args, SentinelArgs         []string      // Further arguments of each server, and of each Sentinel.
}

// A Watched is a master with replicas, and the Sentinels that watch them and elect another master when it fails. The
// Sentinels ask and tell each other ten times as often as they do by default, so that a failover takes about a second.
type Watched struct {
	Servers   []*Server // The first was the master at the start.
	Sentinels []*Server
}

// StartWatched returns when every replica follows its master and every Sentinel knows all the others. The servers end with
// the test; without a redis-server it is skipped, or fails, as with [Start].
func StartWatched(tb testing.TB, config WatchedConfig) *Watched {
	tb.Helper()
	if config.Replicas == 0 {
		config.Replicas = 2
	}
	if config.Sentinels == 0 {
		config.Sentinels = 3
	}
	if config.DownAfter == 0 {
		config.DownAfter = 500 * time.Millisecond
	}
	args := config.Args
	if config.Password != "" {
		args = append(slices.Clone(args), "--requirepass", config.Password, "--masterauth", config.Password)
	}
	w := &Watched{Servers: StartReplicated(tb, config.Replicas, args...)}
	master := w.Servers[0]
	dir := tb.TempDir()
	w.Sentinels = startMany(tb, config.Sentinels, func(i int) (*Server, error) {
		file := filepath.Join(dir, fmt.Sprintf("sentinel%d.conf", i))
		return runSentinel(file, config, master.port)
	})
	need(tb, until("Sentinels that know each other", func() error { return w.agree(config) }))
	return w
}

// StartReplicated starts a master, the first that it returns, and n replicas of it, and returns when they follow it. Otherwise it is
// [StartMany].
func StartReplicated(tb testing.TB, n int, args ...string) []*Server {
	tb.Helper()
	args = append([]string{"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"}, args...)
	master := Start(tb, args...)
	replicas := StartMany(tb, n, append(args, "--replicaof", "127.0.0.1", strconv.Itoa(master.port))...)
	master.awaitReplicas(tb, n)
	return append([]*Server{master}, replicas...)
}

// awaitReplicas waits until the server has so many replicas that have acknowledged something. Until its first acknowledgement, which may
// take a second, a replica is sent nothing, though it is online.
func (s *Server) awaitReplicas(tb testing.TB, n int) {
	tb.Helper()
	need(tb, until("replicas that follow their master", func() error {
		_, _ = s.Do("PUBLISH", "redistest", "") // is replicated, and leaves no key
		info, err := s.info("replication")
		for i := range n {
			if of := info[fmt.Sprintf("slave%d", i)]; !strings.Contains(of, "state=online") || strings.Contains(of, "offset=0,") {
				return fmt.Errorf("replica %d: %s, %w", i, of, err)
			}
		}
		return err
	}))
}

// runSentinel starts a Sentinel, which keeps what it learns in its configuration file.
func runSentinel(file string, config WatchedConfig, port int) (*Server, error) {
	lines := []string{
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", MasterName, port, config.Sentinels/2+1),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", MasterName, config.DownAfter.Milliseconds()),
		fmt.Sprintf("sentinel failover-timeout %s 1500", MasterName),
		fmt.Sprintf("sentinel parallel-syncs %s %d", MasterName, config.Replicas),
	}
	if config.Password != "" {
		lines = append(lines, fmt.Sprintf("sentinel auth-pass %s %s", MasterName, config.Password))
	}
	var args []string
	if config.SentinelPassword != "" {
		lines = append(lines, "sentinel sentinel-pass "+config.SentinelPassword)
		args = []string{"--requirepass", config.SentinelPassword}
	}
	args = append(args, config.SentinelArgs...)
	bin, err := binary()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("redistest: write a Sentinel's configuration: %w", err)
	}
	s, err := RunBinary([]string{bin, file, "--sentinel"}, args...)
	if err == nil {
		err = hasten(s)
	}
	return s, err
}

// hasten has a Sentinel do often what it does seldom by default. A restart undoes it. A Sentinel promotes no replica whose INFO
// is older than five PING-PERIODs, and during a failover it asks for INFO once a second, so 200 would not be enough.
func hasten(s *Server) error {
	_, err := s.Do("SENTINEL", "DEBUG", "INFO-PERIOD", 200, "PING-PERIOD", 300, "ASK-PERIOD", 100, "PUBLISH-PERIOD", 200,
		"MIN-LINK-RECONNECT-PERIOD", 200, "ELECTION-TIMEOUT", 2000, "TILT-TRIGGER", 10000, "TILT-PERIOD", 1000)
	return err
}

// agree returns nil if every Sentinel knows all the others and all the replicas.
func (w *Watched) agree(config WatchedConfig) error {
	for _, s := range w.Sentinels {
		fields, err := redis.StringMap(s.Do("SENTINEL", "MASTER", MasterName))
		if err != nil {
			return err
		}
		if fields["flags"] != "master" || fields["num-slaves"] != strconv.Itoa(config.Replicas) ||
			fields["num-other-sentinels"] != strconv.Itoa(config.Sentinels-1) {
			return fmt.Errorf("%s: %v", s.Addr(), fields)
		}
	}
	return nil
}

// Addrs returns host:port of each Sentinel.
func (w *Watched) Addrs() (addrs []string) {
	for _, s := range w.Sentinels {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Master returns the server that says it is the master, nil if none does. While two say so, it is the one that was promoted
// last, as the Sentinels have it.
func (w *Watched) Master() *Server {
	var masters []*Server
	for _, s := range w.Servers {
		if s.IsMaster() {
			masters = append(masters, s)
		}
	}
	for _, s := range masters {
		if len(masters) == 1 || s.Addr() == w.told() {
			return s
		}
	}
	return nil
}

// told is the master's address of the Sentinel with the highest configuration epoch.
func (w *Watched) told() (addr string) {
	most := -1
	for _, s := range w.Sentinels {
		fields, err := redis.StringMap(s.Do("SENTINEL", "MASTER", MasterName))
		if epoch, _ := strconv.Atoi(fields["config-epoch"]); err == nil && epoch > most {
			most, addr = epoch, fields["ip"]+":"+fields["port"]
		}
	}
	return addr
}

// Settled waits until one server is the master, every Sentinel names it, and all others that run follow it.
func (w *Watched) Settled(tb testing.TB) *Server {
	tb.Helper()
	var master *Server
	need(tb, until("master that all agree on", func() error {
		if master = w.Master(); master == nil {
			return errors.New("no server is the master, or two are")
		}
		for _, s := range w.Sentinels {
			pair, err := redis.Strings(s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName))
			if err == nil && strings.Join(pair, ":") != master.Addr() {
				return fmt.Errorf("%s names %v, the master is %s", s.Addr(), pair, master.Addr())
			}
		}
		for _, s := range w.Servers {
			if info, err := s.info("replication"); s != master && err == nil &&
				(info["master_link_status"] != "up" || info["master_port"] != strconv.Itoa(master.port)) {
				return fmt.Errorf("%s does not follow %s", s.Addr(), master.Addr())
			}
		}
		return nil
	}))
	return master
}

// PromoteAnother has the Sentinels promote a replica though the master is well, and returns once that says it is the master. What they
// refuse, or give up, which they do where the machine stands still, is asked for again.
func (w *Watched) PromoteAnother(tb testing.TB) {
	tb.Helper()
	old, asked := w.Master(), time.Time{}
	need(tb, until("replica that was promoted", func() error {
		if m := w.Master(); m != nil && m != old {
			return nil
		}
		err := errors.New("a Sentinel has agreed to")
		if time.Since(asked) > time.Second {
			asked = time.Now()
			if _, refused := w.Sentinels[0].Do("SENTINEL", "FAILOVER", MasterName); refused != nil {
				err = refused
			}
		}
		return err
	}))
}

// IsMaster reports whether the server answers, and says that it is no replica.
func (s *Server) IsMaster() bool {
	role, err := redis.Values(s.Do("ROLE"))
	if err != nil || len(role) == 0 {
		return false
	}
	name, _ := redis.String(role[0], nil)
	return name == "master"
}
