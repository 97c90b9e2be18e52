package main

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/doctor"
	"github.com/redigolock/redigolock/internal/inspect"
)

// A splitURL is a URL that redigolock.Open takes, as far as the verbs must know it that ask each server for itself.
type splitURL struct {
	scheme, user string
	hosts        []string // none of a socket
	path, query  string
}

func split(rawURL string) splitURL {
	var u splitURL
	var rest string
	u.scheme, rest, _ = strings.Cut(rawURL, "://")
	rest, u.query, _ = strings.Cut(rest, "?")
	authority, path, ok := strings.Cut(rest, "/")
	if ok {
		u.path = "/" + path
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		u.user, authority = authority[:at+1], authority[at+1:]
	}
	if u.hosts = strings.Split(authority, ","); u.scheme == "unix" {
		u.hosts = nil
	}
	return u
}

// name is the address, or the socket, without user and password.
func (u splitURL) name() string {
	if u.scheme == "unix" {
		return u.path
	}
	return strings.Join(u.hosts, ",")
}

func (u splitURL) isCluster() bool  { return strings.HasPrefix(u.scheme, "redis-cluster") }
func (u splitURL) isSentinel() bool { return strings.HasPrefix(u.scheme, "redis-sentinel") }

// one is the URL of one of the servers.
func (u splitURL) one(addr string) string {
	scheme := "redis"
	if u.scheme != "redis" && strings.HasSuffix(u.scheme, "s") {
		scheme = "rediss"
	}
	if u.isCluster() || u.scheme == "unix" {
		u.path = ""
	}
	return scheme + "://" + u.user + addr + u.path
}

// at returns a func that connects to a server of the i-th URL.
func (s *servers) at(i int, rawURL string) func(context.Context) (redis.Conn, error) {
	return dialURL(rawURL, slices.Concat(s.tls, s.logins[i]))
}

func dialURL(rawURL string, opts []redis.DialOption) func(context.Context) (redis.Conn, error) {
	return func(ctx context.Context) (redis.Conn, error) {
		pool, err := redigolock.NewPool(rawURL, opts...)
		if err != nil {
			return nil, err
		}
		return pool.DialContext(ctx)
	}
}

// keepers returns the servers that have the keys of the i-th URL: one, or the masters of a cluster.
func (s *servers) keepers(ctx context.Context, i int) ([]doctor.Target, error) {
	u := split(s.urls[i])
	if !u.isCluster() {
		return []doctor.Target{{Addr: u.name(), Dial: func(ctx context.Context) (redis.Conn, error) { return lend(ctx, s.pools[i]) }}}, nil
	}
	var first error
	for _, host := range u.hosts {
		masters, err := mastersBy(ctx, host, s.at(i, u.one(host)))
		if err == nil {
			var keepers []doctor.Target
			for _, addr := range masters {
				keepers = append(keepers, doctor.Target{Addr: addr, Dial: s.at(i, u.one(addr))})
			}
			return keepers, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func mastersBy(ctx context.Context, host string, dial func(context.Context) (redis.Conn, error)) ([]string, error) {
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return inspect.Masters(ctx, c, host)
}

// site is what doctor examines.
func (s *servers) site(keys []string, skip map[string]bool) *doctor.Site {
	site := &doctor.Site{Cluster: split(s.urls[0]).isCluster(), Keys: keys, Skip: skip}
	for i, rawURL := range s.urls {
		u := split(rawURL)
		add := func(addr string, dial func(context.Context) (redis.Conn, error)) {
			site.Servers = append(site.Servers, doctor.Target{Addr: addr, Dial: dial, DialOther: func(ctx context.Context, addr string) (redis.Conn, error) {
				return s.at(i, u.one(addr))(ctx)
			}})
		}
		switch {
		case u.isCluster():
			for _, host := range u.hosts {
				add(host, s.at(i, u.one(host)))
			}
		case u.isSentinel():
			query, _ := url.ParseQuery(u.query) // Open has read it
			master := query.Get("master")
			add("master "+master, func(ctx context.Context) (redis.Conn, error) { return lend(ctx, s.pools[i]) })
			site.Groups = append(site.Groups, doctor.Group{Master: master, Sentinels: s.sentinels(u, query)})
		default:
			add(u.name(), s.at(i, rawURL))
		}
	}
	return site
}

func (s *servers) sentinels(u splitURL, query url.Values) (targets []doctor.Target) {
	login := slices.Concat(s.tls, []redis.DialOption{
		redis.DialUsername(query.Get("sentinel_username")), redis.DialPassword(query.Get("sentinel_password")),
	})
	u.user, u.path = "", ""
	for _, host := range u.hosts {
		if !strings.Contains(host[strings.LastIndex(host, "]")+1:], ":") {
			host += ":26379"
		}
		targets = append(targets, doctor.Target{Addr: host, Dial: dialURL(u.one(host), login)})
	}
	return targets
}
