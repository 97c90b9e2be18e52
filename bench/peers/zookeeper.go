package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/redigolock/redigolock/bench"
)

// zookeeperServer is one ZooKeeper by itself, of Debian's package. Each write waits for an fsync, as by default. The
// number of connections from one host is not bounded, which by default is 60; and its tick is 100 ms instead of 2 s, so
// that a session can be as short as 200 ms, and its end is noticed that early; it can be as long as an hour.
// Its first seconds are slow, until Java has compiled what it does often: they are over before anything is measured.
var zookeeperServer = &backend{name: "zookeeper", command: zookeeperCommand, healthy: zookeeperHealthy,
	warmUp: warmZookeeper}

const (
	zookeeperJar  = "/usr/share/java/zookeeper.jar"
	zookeeperMain = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
)

func zookeeperCommand(dir string) (*exec.Cmd, string, error) {
	path, err := found("java")
	if err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(zookeeperJar); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	host, port, _ := strings.Cut(addr, ":")
	lines := []string{"tickTime=100", "maxSessionTimeout=3600000", "dataDir=" + filepath.Join(dir, "data"),
		"clientPortAddress=" + host, "clientPort=" + port, "maxClientCnxns=0", "admin.enableServer=false",
		"4lw.commands.whitelist=srvr", ""}
	config := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		return nil, "", err
	}
	// Its performance data would stay in a file of the temporary folder.
	return exec.Command(path, "-XX:-UsePerfData", "-cp", zookeeperJar, zookeeperMain, config), addr, nil
}

func zookeeperHealthy(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("srvr")); err != nil {
		return err
	}
	said, err := io.ReadAll(c)
	if err == nil && !bytes.Contains(said, []byte("Mode: standalone")) {
		err = fmt.Errorf("it says %q", said)
	}
	return err
}

// A zookeeperRival is the Lock of go-zookeeper on one connection for the process, whose session lasts for the ttl after
// the connection was lost. Lock knows no context: a wait that is given up goes on until it has the lock, and releases
// it. Below the node of each lock is one for each that holds or waits; it stays until Close, and
// for good if the process is killed.
type zookeeperRival struct {
	c      *zk.Conn
	events <-chan zk.Event
	waits  sync.WaitGroup // those that go on

	mu    sync.Mutex // protects nodes
	nodes map[string]bool
}

const zookeeperTimeout = 20 * time.Second

var zookeeperACL = zk.WorldACL(zk.PermAll)

// silent is a log of nothing.
type silent struct{}

func (silent) Printf(string, ...any) {}

func openZookeeper(config bench.RivalConfig) (bench.Rival, error) {
	return dialZookeeper(zookeeperServer.addr(), config.TTL)
}

func dialZookeeper(addr string, timeout time.Duration) (bench.Rival, error) {
	c, events, err := zk.Connect([]string{addr}, timeout, zk.WithLogger(silent{}))
	if err != nil {
		return nil, err
	}
	z := &zookeeperRival{c: c, events: events, nodes: make(map[string]bool)}
	for late := time.After(zookeeperTimeout); ; {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return z, nil
			}
		case <-late:
			z.Close()
			return nil, errors.New("peers: zookeeper: there was no session in time")
		}
	}
}

// warmZookeeper acquires and releases a few thousand times.
func warmZookeeper(addr string) error {
	z, err := dialZookeeper(addr, zookeeperTimeout)
	if err != nil {
		return err
	}
	defer z.Close()
	const workers = 16
	errs := make(chan error, workers)
	for w := range workers {
		go func() { errs <- repeat(z, "warm"+strconv.Itoa(w), 300) }()
	}
	for range workers {
		err = errors.Join(err, <-errs)
	}
	return err
}

// repeat acquires and releases n times.
func repeat(r bench.Rival, key string, n int) error {
	for range n {
		release, err := r.TryAcquire(key)
		if err == nil {
			err = release()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// node is the one of the lock, which is remembered for its removal.
func (z *zookeeperRival) node(key string) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.nodes["/"+key] = true
	return "/" + key
}

// TryAcquire waits, if it must: Lock has no form that does not.
func (z *zookeeperRival) TryAcquire(key string) (func() error, error) {
	return z.Acquire(noContext, key)
}

func (z *zookeeperRival) Acquire(ctx context.Context, key string) (func() error, error) {
	l := zk.NewLock(z.c, z.node(key), zookeeperACL)
	if ctx.Done() == nil {
		return l.Unlock, l.Lock()
	}
	done := make(chan error, 1)
	z.waits.Go(func() { done <- l.Lock() })
	select {
	case err := <-done:
		return l.Unlock, err
	case <-ctx.Done():
	}
	z.waits.Go(func() {
		if <-done == nil {
			_ = l.Unlock()
		}
	})
	return nil, context.Cause(ctx)
}

// Close removes the nodes of the locks, unless another process still uses them, which then does. If somebody still
// holds, or waits after 5 s, the session ends with the connection, and what it has; the nodes then stay.
func (z *zookeeperRival) Close() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		z.waits.Wait()
	}()
	select {
	case <-ended:
		for node := range z.nodes {
			_ = z.c.Delete(node, -1)
		}
	case <-time.After(5 * time.Second):
	}
	z.c.Close()
	for range z.events { // closed when its goroutines have ended
	}
	<-ended
}
