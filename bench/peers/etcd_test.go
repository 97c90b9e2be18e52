//go:build !noetcd

package peers_test

import (
	"os"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/redigolock/redigolock/internal/redistest"
)

func init() {
	leftOn["etcd"] = func(t *testing.T, _ *redistest.Server) (list []string) {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Getenv("REDIGOLOCK_ETCD")}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all, err := c.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range all.Kvs {
			list = append(list, string(kv.Key))
		}
		leases, err := c.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return append(list, slices.Repeat([]string{"a lease"}, len(leases.Leases))...)
	}
}
