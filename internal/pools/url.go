package pools

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/sentinel"
)

// An endpoint is what a URL of NewPool says.
type endpoint struct {
	network, addr string
	opts          []redis.DialOption

	hosts []string // of overSentinels and overCluster

	// Of overSentinels only.
	master       string
	sentinelOpts []redis.DialOption // their own
}

// parseURL reads a URL of NewPool.
func parseURL(rawURL string) (at endpoint, err error) {
	hosts, rawURL := cutHosts(rawURL)
	u, err := url.Parse(rawURL)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return at, badURL("the URL cannot be parsed; its form is redis://[user:password@]host[:port][/db], " +
			"with %-escapes for special characters in user and password")
	}
	db := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
		at.network, at.opts = "tcp", useTLS(u)
		if u.RawQuery != "" {
			return at, badURL("the URL has a query, which only unix:// and redis-sentinel:// may have")
		}
		if at.addr, err = hostPort(u, "6379"); err != nil {
			return at, err
		}
	case "redis-sentinel", "redis-sentinels":
		if err := at.readSentinels(u, hosts); err != nil {
			return at, err
		}
	case "redis-cluster", "redis-clusters":
		if err := at.readCluster(u, hosts); err != nil {
			return at, err
		}
		db = ""
	case "unix":
		if db, err = at.readSocket(u); err != nil {
			return at, err
		}
	default:
		return at, badURL("the URL begins with none of redis:// rediss:// valkey:// valkeys:// unix:// redis-sentinel:// redis-sentinels:// redis-cluster:// redis-clusters://")
	}
	err = at.readSession(u, db)
	return at, err
}

// readSession reads who logs in, and the database.
func (at *endpoint) readSession(u *url.URL, db string) error {
	if password, given := u.User.Password(); given && password == "" && u.User.Username() != "" {
		return badURL("the URL has a user with an empty password, as whom redigo cannot log in: " +
			"give its password, or any for a user that needs none")
	}
	if n, err := strconv.ParseUint(db, 10, 31); err == nil && n > 0 {
		at.opts = append(at.opts, redis.DialDatabase(int(n)))
	} else if err != nil && db != "" {
		return badURL("the URL's database is no number")
	}
	at.opts = append(at.opts, credentials(u.User)...)
	return nil
}

// badURL is the error of a URL that cannot be used. It shows nothing of it.
func badURL(reason string) error { return fault.Invalidf("new pool", "%s", reason) }

func useTLS(u *url.URL) []redis.DialOption {
	return []redis.DialOption{redis.DialUseTLS(u.Scheme != "redis" && strings.HasSuffix(u.Scheme, "s"))}
}

// hostPort checks the host, and fills in localhost and the port, which are the defaults of the scheme's registration.
func hostPort(u *url.URL, port string) (string, error) {
	if _, err := strconv.ParseUint(u.Port(), 10, 16); err != nil && u.Port() != "" {
		return "", badURL("the URL's port is out of range")
	}
	if strings.Contains(u.Host, ",") {
		return "", badURL("the URL names several hosts, and a pool leads to one server: redis://host:port")
	}
	host := u.Hostname()
	if strings.ContainsAny(host, "[]") || u.Host != "" && u.Host[0] == '[' && !strings.Contains(host, ":") {
		return "", badURL("the URL's brackets are not those of an IPv6 address")
	}
	if strings.Contains(host, ":") && u.Host[0] != '[' {
		return "", badURL("the URL has two ports, or an IPv6 address without brackets")
	}
	if host == "" {
		host = "localhost"
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(host, port), nil
}

// credentials reads user:password, and a lone user as the password, as redigo and redis-cli do.
func credentials(u *url.Userinfo) []redis.DialOption {
	password, ok := u.Password()
	if !ok {
		return []redis.DialOption{redis.DialPassword(u.Username())}
	}
	return []redis.DialOption{redis.DialUsername(u.Username()), redis.DialPassword(password)}
}

// overSentinels is the network of an endpoint whose address is asked for.
const overSentinels = "sentinel"

// overCluster is the network of an endpoint that is many.
const overCluster = "cluster"

// The default ports.
const (
	ClusterPort  = "6379"
	SentinelPort = "26379"
)

// IsCluster reports whether a URL names nodes of a Redis Cluster.
func IsCluster(rawURL string) bool {
	scheme, _, _ := strings.Cut(rawURL, "://")
	return scheme == "redis-cluster" || scheme == "redis-clusters"
}

// Nodes are the addresses of a URL of a cluster, and what dials them.
func Nodes(rawURL string, opts []redis.DialOption) (addrs []string, dialNode func(context.Context, string) (redis.Conn, error), err error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, nil, err
	}
	nodes := dialOptions(at.opts, opts)
	return at.hosts, func(ctx context.Context, addr string) (redis.Conn, error) { return dial(ctx, "tcp", addr, nodes) }, nil
}

// readSocket reads what only a socket's URL has, and returns its database.
func (at *endpoint) readSocket(u *url.URL) (db string, err error) {
	at.network, at.addr = "unix", u.Path
	if u.Host != "" || u.Path == "" {
		return "", badURL("a socket's URL is unix:///path/to/socket")
	}
	q, err := url.ParseQuery(u.RawQuery) // u.Query() would drop what it cannot read, and lock in database 0
	if err != nil || len(q) > 1 || len(q) == 1 && len(q["db"]) != 1 {
		return "", badURL("a socket's URL has one parameter only, db")
	}
	return q.Get("db"), nil
}

// readCluster reads what only a URL with the nodes of a cluster has.
func (at *endpoint) readCluster(u *url.URL, hosts []string) (err error) {
	at.network, at.opts = overCluster, useTLS(u)
	if u.RawQuery != "" || u.Path != "" && u.Path != "/" && u.Path != "/0" {
		return badURL("the URL of a cluster has neither a database nor a query: redis-cluster://host[:port],host[:port]")
	}
	return at.readHosts(hosts, "redis-cluster", ClusterPort)
}

// readHosts reads the hosts of a URL that names several.
func (at *endpoint) readHosts(hosts []string, scheme, port string) error {
	for _, host := range hosts {
		one, err := url.Parse(scheme + "://" + host)
		if host == "" || err != nil || one.User != nil || one.Host != host {
			return badURL("the URL names its hosts as " + scheme + "://host[:port],host[:port]")
		}
		addr, err := hostPort(one, port)
		if err != nil {
			return err
		}
		if slices.Contains(at.hosts, addr) {
			return badURL("the URL names a host twice")
		}
		at.hosts = append(at.hosts, addr)
	}
	return nil
}

// cutHosts takes the hosts out of a URL that names several: package url reads one host only.
func cutHosts(rawURL string) (hosts []string, rest string) {
	scheme, after, ok := strings.Cut(rawURL, "://")
	if !ok || scheme != "redis-sentinel" && scheme != "redis-sentinels" && !IsCluster(rawURL) {
		return nil, rawURL
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	at := strings.LastIndex(after[:end], "@") + 1
	return strings.Split(after[at:end], ","), scheme + "://" + after[:at] + "hosts" + after[end:]
}

// readSentinels reads what only a URL with Sentinels has.
func (at *endpoint) readSentinels(u *url.URL, hosts []string) error {
	at.network, at.opts, at.sentinelOpts = overSentinels, useTLS(u), useTLS(u)
	if err := at.readHosts(hosts, "redis-sentinel", SentinelPort); err != nil {
		return err
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return badURL("the URL's query cannot be parsed; special characters in it must be %-escaped")
	}
	for name, values := range q {
		if !slices.Contains([]string{"master", "sentinel_username", "sentinel_password"}, name) || len(values) != 1 || values[0] == "" {
			return badURL("a URL with Sentinels has the parameters master, sentinel_username and sentinel_password, each once at most, and with a value")
		}
	}
	user, password := q.Get("sentinel_username"), q.Get("sentinel_password")
	switch at.master = q.Get("master"); {
	case at.master == "":
		return badURL("the URL names Sentinels, and not the master that they are to be asked for: add ?master=NAME")
	case user != "" && password == "":
		return badURL("the URL has a sentinel_username without a sentinel_password")
	}
	at.sentinelOpts = append(at.sentinelOpts, redis.DialUsername(user), redis.DialPassword(password))
	return nil
}

// group makes the Sentinels of a URL. opts are for the servers and for them, but what a Sentinel cannot have, or has its own.
func (at *endpoint) group(watch bool, opts []redis.DialOption) *sentinel.Group {
	servers := dialOptions(at.opts, opts)
	noSession := []redis.DialOption{redis.DialDatabase(0), redis.DialClientName("")}
	sentinels := dialOptions(opts, noSession, at.sentinelOpts)
	return sentinel.New(sentinel.Env{
		Addrs: at.hosts, Master: at.master, Watch: watch,
		Dial:         func(ctx context.Context, addr string) (redis.Conn, error) { return dial(ctx, "tcp", addr, servers) },
		DialSentinel: func(ctx context.Context, addr string) (redis.Conn, error) { return dial(ctx, "tcp", addr, sentinels) },
	})
}

// WithPort is host:port of an address that may lack the port, "" if it is none.
func WithPort(addr, port string) string {
	host := strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
	if h, p, err := net.SplitHostPort(addr); err == nil {
		host, port = h, p
	} else if strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return ""
	}
	if host == "" || port == "" || strings.ContainsAny(host, "[]/ ") {
		return ""
	}
	return net.JoinHostPort(host, port)
}
