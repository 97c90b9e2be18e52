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
func Open(rawURL string, opts ...redis.DialOption) (OpenPool, error) {
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

// cutHosts takes the hosts out of a URL that names Sentinels: package url reads one host only.
func cutHosts(rawURL string) (hosts []string, rest string) {
	scheme, after, ok := strings.Cut(rawURL, "://")
	if !ok || scheme != "redis-sentinel" && scheme != "redis-sentinels" {
		return nil, rawURL
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	at := strings.LastIndex(after[:end], "@") + 1
	return strings.Split(after[at:end], ","), scheme + "://" + after[:at] + "sentinels" + after[end:]
}

// readSentinels reads what only a URL with Sentinels has.
func (at *endpoint) readSentinels(u *url.URL, hosts []string) error {
	at.network, at.opts, at.sentinelOpts = overSentinels, useTLS(u), useTLS(u)
	for _, host := range hosts {
		one, err := url.Parse("redis-sentinel://" + host)
		if host == "" || err != nil || one.User != nil || one.Host != host {
			return badURL("the URL names Sentinels as redis-sentinel://host[:port],host[:port]/db?master=NAME")
		}
		addr, err := hostPort(one, sentinelPort)
		if err != nil {
			return err
		}
		if slices.Contains(at.sentinels, addr) {
			return badURL("the URL names a Sentinel twice")
		}
		at.sentinels = append(at.sentinels, addr)
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
		Addrs: at.sentinels, Master: at.master, Watch: watch,
		Dial:         func(ctx context.Context, addr string) (redis.Conn, error) { return dial(ctx, "tcp", addr, servers) },
		DialSentinel: func(ctx context.Context, addr string) (redis.Conn, error) { return dial(ctx, "tcp", addr, sentinels) },
	})
}
