package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/inspect"
)

// A server is what one server has answered.
type server struct {
	addr, role string
	first      bool      // the URL names it
	lead       bool      // it is the first that answers
	clustered  bool      // the URL says redis-cluster
	bySentinel bool      // the URL names Sentinels
	quorum     bool      // the URLs name several independent servers
	votes      int       // how many
	all        []*server // of the site, without Sentinels

	info, config, cluster map[string]string
	nodes                 []node        // of the cluster, as it sees them
	release               string        // how a lock is released
	ahead                 time.Duration // of our clock, less what the network may account for
	slow                  []slowCommand
	endless               []string            // keys that look like a lock without TTL
	openToAll             bool                // the default user needs no password
	sentinels             bool                // Sentinels are connected
	denied                map[string][]string // commands that its user may not send, by what they are needed for

	refused map[string]string // what was not answered, and why
	dead    string            // why it does not answer at all

	// Of a Sentinel.
	watched  map[string]string // what it says of the master
	noQuorum string            // why there is none
}

type slowCommand struct {
	name string
	took time.Duration
}

// A node is a line of CLUSTER NODES.
type node struct {
	id, addr, master string
	isMaster, failed bool
	slots            bool // it has some
	moving           bool // some move from or to it; only a node's own line says so
}

// ask asks one server.
func (site *Site) ask(ctx context.Context, t Target) (*server, error) {
	s := &server{
		addr: t.Addr, clustered: site.Cluster, bySentinel: len(site.Groups) > 0,
		votes: len(site.Servers), quorum: len(site.Servers) > 1 && !site.Cluster,
		denied: map[string][]string{}, refused: map[string]string{},
	}
	c, err := t.Dial(ctx)
	if err != nil {
		return s, err
	}
	defer c.Close()
	if s.info, err = infoOf(ctx, c, "all"); err != nil {
		return s, err
	}
	s.role = "master"
	if s.info["role"] == "slave" {
		s.role = "replica"
	}
	q := asking{ctx, c, s}
	q.askConfig()
	q.askClock()
	q.askSlow()
	q.askRelease()
	q.askClients()
	q.askRights(site.Keys)
	if s.info["cluster_enabled"] == "1" {
		q.askCluster()
	}
	if s.role == "master" {
		q.askEndless()
	}
	return s, nil
}

// asking fills in what a server answers.
type asking struct {
	ctx context.Context
	c   redis.Conn
	s   *server
}

// do sends one command. What the server refuses is noted under what it was asked for.
func (q asking) do(what, cmd string, args ...any) (any, error) {
	reply, err := redis.DoContext(q.c, q.ctx, cmd, args...)
	if err != nil {
		q.s.refused[what] = fmt.Sprintf("%s: %v", cmd, reasonOf(err))
	}
	return reply, err
}

// reasonOf is err without the arguments of a command, of which a server shows some.
func reasonOf(err error) error {
	var no redis.Error
	if errors.As(err, &no) {
		return fault.WithoutArgs(no)
	}
	return err
}

func infoOf(ctx context.Context, c redis.Conn, section string) (map[string]string, error) {
	text, err := redis.String(redis.DoContext(c, ctx, "INFO", section))
	return fields(text), err
}

// fields reads lines of name:value.
func fields(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			m[name] = value
		}
	}
	return m
}

func (q asking) askConfig() {
	q.s.config = map[string]string{}
	for _, name := range []string{
		"save", "appendfsync", "stop-writes-on-bgsave-error", "min-replicas-to-write", "timeout", "tcp-keepalive",
		"client-output-buffer-limit", "maxclients", "bind", "protected-mode",
	} {
		reply, err := q.do("config", "CONFIG", "GET", name)
		pair, _ := redis.StringMap(reply, err)
		if err != nil {
			return
		}
		q.s.config[name] = pair[name]
	}
}

// askClock compares the server's clock with ours. It lies between what it was when the command left and when the reply
// came.
func (q asking) askClock() {
	left := time.Now()
	reply, err := redis.Int64s(q.do("time", "TIME"))
	came := time.Now()
	if err != nil || len(reply) != 2 {
		return
	}
	switch at := time.Unix(reply[0], reply[1]*1000); {
	case at.After(came):
		q.s.ahead = at.Sub(came)
	case at.Before(left):
		q.s.ahead = at.Sub(left)
	}
}

const slowSince = time.Hour

func (q asking) askSlow() {
	now := time.Now().Add(q.s.ahead)
	entries, _ := redis.Values(q.do("slowlog", "SLOWLOG", "GET", 128))
	for _, e := range entries {
		fields, _ := redis.Values(e, nil)
		if len(fields) < 4 {
			continue
		}
		at, _ := redis.Int64(fields[1], nil)
		took, _ := redis.Int64(fields[2], nil)
		args, _ := redis.Strings(fields[3], nil)
		if len(args) > 0 && now.Sub(time.Unix(at, 0)) < slowSince {
			q.s.slow = append(q.s.slow, slowCommand{strings.ToUpper(args[0]), time.Duration(took) * time.Microsecond})
		}
	}
}

// askRelease finds out whether the server has a compare-and-delete of its own.
func (q asking) askRelease() {
	q.s.release = "script"
	infos, _ := redis.Values(q.do("command", "COMMAND", "INFO", "DELEX", "DELIFEQ"))
	for i, name := range []string{"DELEX", "DELIFEQ"} {
		if i < len(infos) && infos[i] != nil {
			q.s.release = name
		}
	}
}

func (q asking) askClients() {
	list, err := redis.String(q.do("clients", "CLIENT", "LIST"))
	q.s.sentinels = err == nil && strings.Contains(list, " name=sentinel-")
	user, err := redis.Values(q.do("acl", "ACL", "GETUSER", "default"))
	for i := 0; err == nil && i+1 < len(user); i += 2 {
		if name, _ := redis.String(user[i], nil); name == "flags" {
			flags, _ := redis.Strings(user[i+1], nil)
			q.s.openToAll = strings.Contains(strings.Join(flags, " "), "nopass")
		}
	}
}

const (
	endlessPages = 200 // of 500 keys each
	mostEndless  = 100
)

var errEnough = errors.New("enough")

func (q asking) askEndless() {
	scan := inspect.Scan{Endless: true, Pages: endlessPages, Found: func(l inspect.Lock) error {
		if q.s.endless = append(q.s.endless, fault.Quote(l.Key)); len(q.s.endless) == mostEndless {
			return errEnough
		}
		return nil
	}}
	all, err := scan.Run(q.ctx, q.c)
	switch {
	case err != nil && err != errEnough:
		q.s.refused["keys"] = reasonOf(err).Error()
	case !all && len(q.s.endless) == 0:
		q.s.refused["keys"] = "only the first 100,000 keys were looked at; they have none"
	}
}

func (q asking) askCluster() {
	text, _ := redis.String(q.do("cluster", "CLUSTER", "INFO"))
	q.s.cluster = fields(text)
	text, _ = redis.String(q.do("cluster", "CLUSTER", "NODES"))
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 8 {
			continue
		}
		addr, _, _ := strings.Cut(words[1], "@")
		if strings.HasPrefix(addr, ":") { // it does not know its own
			host, _, _ := net.SplitHostPort(q.s.addr)
			addr = host + addr
		}
		flags := "," + words[2] + ","
		q.s.nodes = append(q.s.nodes, node{
			id: words[0], addr: addr, master: words[3],
			isMaster: strings.Contains(flags, ",master,"),
			failed:   strings.Contains(flags, "fail") || strings.Contains(flags, "noaddr"),
			slots:    len(words) > 8,
			moving:   strings.Contains(line, "->-") || strings.Contains(line, "-<-"),
		})
	}
}

// others are the addresses of servers that this one knows: its replicas, or the nodes of its cluster.
func (s *server) others() (addrs []string) {
	for _, n := range s.nodes {
		if s.clustered && !n.failed {
			addrs = append(addrs, n.addr)
		}
	}
	for _, r := range s.replicas() {
		addrs = append(addrs, net.JoinHostPort(r["ip"], r["port"]))
	}
	return addrs
}

// replicas are what a master says of each of its own.
func (s *server) replicas() (list []map[string]string) {
	for i := range s.number("connected_slaves") {
		if text := s.info["slave"+strconv.Itoa(i)]; text != "" {
			list = append(list, fields(strings.NewReplacer("=", ":", ",", "\n").Replace(text)))
		}
	}
	return list
}

// number is a number of INFO, 0 if it is not there.
func (s *server) number(name string) int {
	n, _ := strconv.Atoi(s.info[name])
	return n
}

// setting is a number of CONFIG, 0 if it is not there.
func (s *server) setting(name string) int {
	n, _ := strconv.Atoi(s.config[name])
	return n
}

func (s *server) version() string {
	if v := s.info["valkey_version"]; v != "" {
		return "valkey " + v
	}
	return "redis " + s.info["redis_version"]
}
