package redistest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/names"
)

// A ClusterConfig says what [StartCluster] starts.
type ClusterConfig struct {
	Masters, Replicas int           // Zero: three masters; Replicas is for each of them.
	NodeTimeout       time.Duration // A node is taken for down after that; zero: 1 s.
	Args              []string      // Further arguments of each server.
}

// A Cluster is a Redis Cluster of real servers.
type Cluster struct {
	Servers []*Server // The masters of the start, and then their replicas, in the same order.
	ids     map[string]*Server
}

// RunCluster returns when every node says that the cluster is well, and every replica follows its master. The slots are shared out
// evenly, in order. The caller calls [Cluster.Stop].
func RunCluster(config ClusterConfig) (*Cluster, error) {
	if config.Masters == 0 {
		config.Masters = 3
	}
	if config.NodeTimeout == 0 {
		config.NodeTimeout = time.Second
	}
	if _, err := binary(); err != nil { // once, and not for each node
		return nil, err
	}
	args := append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", strconv.FormatInt(config.NodeTimeout.Milliseconds(), 10),
		"--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no",
		"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"}, config.Args...)
	servers, err := runMany(config.Masters*(1+config.Replicas), func(int) (*Server, error) { return Run(args...) })
	if err != nil {
		return nil, err
	}
	c := &Cluster{Servers: servers, ids: map[string]*Server{}}
	if err := c.form(config); err != nil {
		c.Stop()
		return nil, fmt.Errorf("redistest: form a cluster: %w", err)
	}
	return c, nil
}

// StartCluster is [RunCluster] for a test, at whose end the servers end. Without a redis-server it is skipped, or fails, as with
// [Start].
func StartCluster(tb testing.TB, config ClusterConfig) *Cluster {
	tb.Helper()
	c, err := RunCluster(config)
	need(tb, err)
	tb.Cleanup(c.Stop)
	return c
}

// Stop stops all servers.
func (c *Cluster) Stop() {
	for _, s := range c.Servers {
		s.Stop()
	}
}

// form gives each master its slots, has the nodes meet, and has the replicas follow.
func (c *Cluster) form(config ClusterConfig) error {
	if err := c.meet(config); err != nil {
		return err
	}
	err := until("nodes that know each other", func() error { return c.eachSays("cluster_known_nodes", strconv.Itoa(len(c.Servers))) })
	if err != nil {
		return err
	}
	for i, s := range c.Servers[config.Masters:] {
		if _, err := s.Do("CLUSTER", "REPLICATE", c.ID(c.Servers[i%config.Masters])); err != nil {
			return err
		}
	}
	return until("cluster that is well", c.settled)
}

// meet gives each master its slots, and has the nodes meet.
func (c *Cluster) meet(config ClusterConfig) error {
	for i, s := range c.Servers {
		id, err := redis.String(s.Do("CLUSTER", "MYID"))
		if err == nil {
			_, err = s.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		}
		if err == nil && i < config.Masters {
			err = addSlots(s, i*names.Slots/config.Masters, (i+1)*names.Slots/config.Masters)
		}
		if err != nil {
			return err
		}
		c.ids[id] = s
	}
	for _, s := range c.Servers {
		for _, other := range c.Servers {
			if _, err := s.Do("CLUSTER", "MEET", "127.0.0.1", other.port); s != other && err != nil {
				return err
			}
		}
	}
	return nil
}

func addSlots(s *Server, from, to int) error {
	args := redis.Args{"ADDSLOTS"}
	for slot := from; slot < to; slot++ {
		args = args.Add(slot)
	}
	_, err := s.Do("CLUSTER", args...)
	return err
}

// eachSays returns nil if every node that answers has this in CLUSTER INFO.
func (c *Cluster) eachSays(field, value string) error {
	for _, s := range c.Servers {
		text, err := redis.String(s.Do("CLUSTER", "INFO"))
		if err == nil && !strings.Contains(text, field+":"+value+"\r\n") {
			return fmt.Errorf("%s: no %s:%s", s.Addr(), field, value)
		}
	}
	return nil
}

// Settled waits until every node that answers says that the cluster is well, has all slots at the same nodes, and follows its master
// if it is a replica.
func (c *Cluster) Settled(tb testing.TB) {
	tb.Helper()
	need(tb, until("cluster that is well", c.settled))
}

func (c *Cluster) settled() error {
	if err := c.eachSays("cluster_state", "ok"); err != nil {
		return err
	}
	slots := ""
	for _, s := range c.Servers {
		reply, err := s.Do("CLUSTER", "SLOTS")
		if err != nil {
			continue
		}
		if info, err := s.info("replication"); err == nil && info["role"] == "slave" && info["master_link_status"] != "up" {
			return fmt.Errorf("%s does not follow its master", s.Addr())
		}
		said := owners(reply)
		if slots == "" {
			slots = said
		}
		if slots != said {
			return fmt.Errorf("%s has other slots: %s, not %s", s.Addr(), said, slots)
		}
	}
	if slots == "" {
		return errors.New("no node answers")
	}
	return nil
}

// owners is the ranges of a CLUSTER SLOTS reply with their masters.
func owners(reply any) string {
	var text strings.Builder
	list, _ := reply.([]any)
	for _, r := range list {
		if r, ok := r.([]any); ok && len(r) > 2 {
			if node, ok := r[2].([]any); ok && len(node) > 1 {
				fmt.Fprintf(&text, "%v-%v:%v ", r[0], r[1], node[1])
			}
		}
	}
	return text.String()
}

// until polls until ok returns nil.
func until(what string, ok func() error) error {
	deadline := time.Now().Add(startTimeout)
	for err := ok(); err != nil; err = ok() {
		if time.Now().After(deadline) {
			return fmt.Errorf("redistest: no %s within %v: %w", what, startTimeout, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// Addrs returns host:port of each node.
func (c *Cluster) Addrs() (addrs []string) {
	for _, s := range c.Servers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// URL returns the addresses as redis-cluster://host:port,host:port.
func (c *Cluster) URL() string { return "redis-cluster://" + strings.Join(c.Addrs(), ",") }

// ID returns what the cluster calls the node.
func (c *Cluster) ID(s *Server) string {
	for id, other := range c.ids {
		if other == s {
			return id
		}
	}
	return ""
}

// Owner returns the node that says of itself that it is the master of a slot, nil if none does.
func (c *Cluster) Owner(slot int) *Server { return c.Owners()[slot] }

// Owners returns the node of each slot that says of itself that it is its master.
func (c *Cluster) Owners() (owners [names.Slots]*Server) {
	for _, s := range c.Servers {
		text, err := redis.String(s.Do("CLUSTER", "NODES"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if fields := strings.Fields(line); len(fields) > 8 && strings.Contains(fields[2], "myself,master") {
				own(&owners, s, fields[8:])
			}
		}
	}
	return owners
}

// own gives a node the slots of these ranges, 5 or 7-9.
func own(owners *[names.Slots]*Server, s *Server, ranges []string) {
	for _, r := range ranges {
		first, last, isRange := strings.Cut(r, "-")
		from, err := strconv.Atoi(first) // fails for [slot->-node]
		to := from
		if isRange && err == nil {
			to, err = strconv.Atoi(last)
		}
		for ; err == nil && from <= to; from++ {
			owners[from] = s
		}
	}
}

// ReplicaOf returns a replica that follows the node now, nil if there is none.
func (c *Cluster) ReplicaOf(master *Server) *Server {
	for _, s := range c.Servers {
		info, err := s.info("replication")
		if err == nil && info["role"] == "slave" && info["master_port"] == strconv.Itoa(master.port) {
			return s
		}
	}
	return nil
}

// KeySlot returns the slot of a key.
func (c *Cluster) KeySlot(key string) (slot int) {
	for _, s := range c.Servers {
		if slot, err := redis.Int(s.Do("CLUSTER", "KEYSLOT", key)); err == nil {
			return slot
		}
	}
	return -1
}

// BeginMigration begins to move a slot by hand, as redis-cli does: keys that are there stay, for all others the source says ASK.
func (c *Cluster) BeginMigration(slot int, from, to *Server) error {
	if _, err := to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", c.ID(from)); err != nil {
		return err
	}
	_, err := from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", c.ID(to))
	return err
}

// MoveKeys moves the keys of a slot that is being moved.
func (c *Cluster) MoveKeys(slot int, from, to *Server) error {
	for {
		keys, err := redis.Values(from.Do("CLUSTER", "GETKEYSINSLOT", slot, 100))
		if err != nil || len(keys) == 0 {
			return err
		}
		args := redis.Args{"127.0.0.1", to.port, "", 0, 5000, "REPLACE", "KEYS"}.Add(keys...)
		if _, err := from.Do("MIGRATE", args...); err != nil {
			return err
		}
	}
}

// EndMigration gives the slot to its new master. The other nodes learn it by gossip.
func (c *Cluster) EndMigration(slot int, from, to *Server) error {
	for _, s := range []*Server{to, from} {
		if _, err := s.Do("CLUSTER", "SETSLOT", slot, "NODE", c.ID(to)); err != nil {
			return err
		}
	}
	return nil
}

// Migrate moves a slot.
func (c *Cluster) Migrate(slot int, from, to *Server) error {
	err := c.BeginMigration(slot, from, to)
	for range 3 { // a key may have been made meanwhile
		if err == nil {
			err = c.MoveKeys(slot, from, to)
		}
	}
	if err != nil {
		return err
	}
	return c.EndMigration(slot, from, to)
}

// MigrateAtOnce moves a slot as a whole, which Valkey can from 9.0 on.
func (c *Cluster) MigrateAtOnce(slot int, from, to *Server) error {
	if _, err := from.Do("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", c.ID(to)); err != nil {
		return err
	}
	for begin := time.Now(); c.Owner(slot) != to; time.Sleep(time.Millisecond) {
		if time.Since(begin) > startTimeout {
			return fmt.Errorf("slot %d does not move within %v", slot, startTimeout)
		}
	}
	return nil
}

// Failover has a replica take the place of its master, which is well, without any loss. It returns before that is done.
func (c *Cluster) Failover(replica *Server) error {
	_, err := replica.Do("CLUSTER", "FAILOVER")
	return err
}
