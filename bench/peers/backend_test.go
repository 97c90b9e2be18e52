package peers_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/bench/peers"
	"github.com/redigolock/redigolock/internal/redistest"
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

// leftOn lists what is on the server of a rival.
var leftOn = map[string]func(t *testing.T, r *redistest.Server) []string{
	"": func(t *testing.T, r *redistest.Server) []string {
		keys, err := redis.Strings(r.Do("KEYS", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	},
	"zookeeper": func(t *testing.T, _ *redistest.Server) []string {
		list, _, err := dialZookeeper(t).Children("/")
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(list, func(name string) bool { return name == "zookeeper" }) // its own
	},
}

// wantNothing fails the test if the rival has left something on its server.
func wantNothing(t *testing.T, kind bench.RivalKind, r *redistest.Server) {
	t.Helper()
	if left := leftOn[kind.Server](t, r); len(left) != 0 {
		t.Errorf("%s: left %q", kind.Name, left)
	}
}

// With them goes what killed processes have left on them.
func TestOtherServersEndAndCanStartAgain(t *testing.T) {
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
