package redigolock

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/sentinel"
)

// An OpenPool is what [Open] returns.
type OpenPool interface {
	Pool
	Close() error
}

// Open makes a pool for the server, or the servers, at a URL: see [NewPool], whose forms, options and defaults it has. Where
// the URL names Sentinels, the pool also subscribes to them while connections are out, so that it knows another master as
// soon as they do: connections to the old one are cut at once. Close ends the subscription, and closes the pool.
//
// redis-cluster:// and redis-clusters:// (TLS) name nodes of a Redis Cluster, whose default port is 6379:
//
//	redis-cluster://[user:password@]host[:port],host[:port],…
//
// Open makes a [Cluster] for them, with its defaults. NewPool does not take such a URL.
func Open(rawURL string, opts ...redis.DialOption) (OpenPool, error) {
	if isCluster(rawURL) {
		return openCluster(rawURL, opts)
	}
	p, sentinels, err := newPool(rawURL, true, opts)
	switch {
	case err != nil:
		return nil, err
	case sentinels != nil:
		return &sentinelPool{p, sentinels}, nil
	}
	return p, nil
}

// A sentinelPool is a pool over Sentinels that it is subscribed to.
type sentinelPool struct {
	*redis.Pool
	sentinels *sentinel.Group
}

// DialContext dials a connection that is not the pool's.
func (p *sentinelPool) DialContext(ctx context.Context) (redis.Conn, error) {
	return p.Pool.DialContext(ctx)
}

// Close closes the pool, and ends the subscription and every dial.
func (p *sentinelPool) Close() error {
	err := p.Pool.Close()
	p.sentinels.Close()
	return err
}

// overSentinels is the network of an endpoint whose address is asked for.
const overSentinels = "sentinel"

// overCluster is the network of an endpoint that is many.
const overCluster = "cluster"

func isCluster(rawURL string) bool {
	scheme, _, _ := strings.Cut(rawURL, "://")
	return scheme == "redis-cluster" || scheme == "redis-clusters"
}

// openCluster makes a Cluster for a URL.
func openCluster(rawURL string, opts []redis.DialOption) (OpenPool, error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	nodes := dialOptions(at.opts, opts)
	return &Cluster{Addrs: at.hosts, Dial: func(ctx context.Context, addr string) (redis.Conn, error) {
		return dial(ctx, "tcp", addr, nodes)
	}}, nil
}

// readCluster reads what only a URL with the nodes of a cluster has.
func (at *endpoint) readCluster(u *url.URL, hosts []string) (err error) {
	at.network, at.opts = overCluster, useTLS(u)
	if u.RawQuery != "" || u.Path != "" && u.Path != "/" && u.Path != "/0" {
		return badURL("the URL of a cluster has neither a database nor a query: redis-cluster://host[:port],host[:port]")
	}
	return at.readHosts(hosts, "redis-cluster", clusterPort)
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
	if !ok || scheme != "redis-sentinel" && scheme != "redis-sentinels" && !isCluster(rawURL) {
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
	if err := at.readHosts(hosts, "redis-sentinel", sentinelPort); err != nil {
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
