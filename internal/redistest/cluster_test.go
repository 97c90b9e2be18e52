package redistest_test

import (
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

// TestCluster starts one, moves a slot with its key, and loses a master, whose replica takes over.
func TestCluster(t *testing.T) {
	begin := time.Now()
	c := redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1})
	t.Logf("%d nodes in %v", len(c.Servers), time.Since(begin))
	slot := c.KeySlot("foo")
	if slot != 12182 {
		t.Fatalf("slot %d of foo", slot)
	}
	from, to := c.Owner(slot), c.Servers[0]
	if from != c.Servers[2] {
		t.Fatal("foo is not at the third master")
	}
	if _, err := from.Do("SET", "foo", "x"); err != nil {
		t.Fatal(err)
	}
	if err := c.Migrate(slot, from, to); err != nil {
		t.Fatal(err)
	}
	c.Settled(t)
	if reply, err := to.Do("EXISTS", "foo"); reply != int64(1) || err != nil || c.Owner(slot) != to {
		t.Fatalf("%v, %v: the key was not moved", reply, err)
	}
	replica := c.ReplicaOf(to)
	to.Kill()
	killed := time.Now()
	eventually(t, "the replica takes over", func() bool { return c.Owner(slot) == replica })
	c.Settled(t)
	t.Logf("the replica took over after %v", time.Since(killed))
	if err := to.Restart(); err != nil {
		t.Fatal(err)
	}
	c.Settled(t)
	if c.ReplicaOf(replica) != to {
		t.Fatal("the old master does not follow the new one")
	}
}
