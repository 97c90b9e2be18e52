package peers_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/bench/peers"
)

// dialZookeeper reaches the server that has been started for the rivals, until the end of the test.
func dialZookeeper(t *testing.T) *zk.Conn {
	t.Helper()
	c, events, err := zk.Connect([]string{os.Getenv("REDIGOLOCK_ZOOKEEPER")}, 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		for range events {
		}
	})
	return c
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// leftOn lists what is on the server.
var leftOn = map[string]func(t *testing.T) []string{
	"etcd": func(t *testing.T) []string {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Getenv("REDIGOLOCK_ETCD")}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all, err := c.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		leases, err := c.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, kv := range all.Kvs {
			list = append(list, string(kv.Key))
		}
		for range leases.Leases {
			list = append(list, "a lease")
		}
		return list
	},
	"zookeeper": func(t *testing.T) []string {
		list, _, err := dialZookeeper(t).Children("/")
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(list, func(name string) bool { return name == "zookeeper" }) // its own
	},
}

// The rivals' own servers serve both workloads, say what they cost, and are left as they were.
func TestOtherServersAreMeasuredAndLeftEmpty(t *testing.T) {
	needServers(t)
	peers.Stop() // what killed processes have left on them goes with them
	s, _ := server(t)
	for _, kind := range kinds(t) {
		if kind.Server == "" {
			continue
		}
		for _, w := range []bench.Workload{
			bench.Uncontended{Server: s, Approach: kind.Name, Goroutines: 8, Time: 300 * time.Millisecond},
			bench.Contention{Server: s, Way: kind.Name, Waiters: 8, Processes: 2, Time: 300 * time.Millisecond},
		} {
			res, err := w.Run(context.Background())
			if err != nil {
				t.Fatalf("%s: %v", w.Name(), err)
			}
			if !strings.Contains(w.Name(), "/server="+kind.Server+"/") {
				t.Errorf("it is called %s", w.Name())
			}
			if known := res.CPU.Server >= 0; known != (runtime.GOOS == "linux") {
				t.Errorf("%s: the server has used %v", w.Name(), res.CPU.Server)
			}
		}
		if left := leftOn[kind.Server](t); len(left) != 0 {
			t.Errorf("%s: left %q", kind.Server, left)
		}
	}
}

// A process that is killed cannot stop its servers: the kernel must.
func TestOtherServersDieWithTheProcess(t *testing.T) {
	if note := os.Getenv("PEERS_CHILD"); note != "" {
		startAndTell(t, note)
		<-t.Context().Done() // never: it is killed
	}
	needServers(t)
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	folder := t.TempDir()
	note := filepath.Join(folder, "addresses")
	cmd := exec.Command(os.Args[0], "-test.run=^TestOtherServersDieWithTheProcess$")
	cmd.Env = append(os.Environ(), "PEERS_CHILD="+note, "TMPDIR="+folder, "REDIGOLOCK_ETCD=", "REDIGOLOCK_ZOOKEEPER=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addrs []string
	eventually(t, "the servers of the process serve", func() bool {
		text, _ := os.ReadFile(note)
		addrs = strings.Fields(string(text))
		return strings.HasSuffix(string(text), "\n")
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(addrs) < len(kinds(t))-len(peers.Kinds())+2 {
		t.Errorf("started %q", addrs)
	}
	for _, addr := range addrs {
		eventually(t, addr+" is gone", func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
	}
}

// startAndTell writes the addresses of all servers that are installed, in one line.
func startAndTell(t *testing.T, note string) {
	for _, kind := range kinds(t) {
		if kind.Ready != nil && kind.Ready() != nil {
			t.Fatal(kind.Ready())
		}
	}
	text := os.Getenv("REDIGOLOCK_ETCD") + " " + os.Getenv("REDIGOLOCK_ZOOKEEPER") + "\n"
	if err := os.WriteFile(note+".part", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(note+".part", note); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok returns true, and fails the test after three minutes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within three minutes: %s", what)
		}
	}
}

func TestOtherServersEndAndCanStartAgain(t *testing.T) {
	needServers(t)
	for _, kind := range kinds(t) {
		if kind.Ready == nil {
			continue
		}
		name := "REDIGOLOCK_" + strings.ToUpper(kind.Server)
		peers.Stop()
		if addr := os.Getenv(name); addr != "" {
			t.Errorf("%s is still at %s", kind.Name, addr)
		}
		if _, ok := kind.ServerCPU(); ok {
			t.Errorf("%s: a processor time is known of what does not run", kind.Name)
		}
		if err := kind.Ready(); err != nil {
			t.Fatal(err)
		}
		if os.Getenv(name) == "" {
			t.Errorf("nobody is told where %s is", kind.Name)
		}
	}
}
