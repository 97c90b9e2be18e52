package redigolock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A Pool lends connections: a *redis.Pool, a *[Mux], or whatever else has its Get.
//
// Two methods are used where they are there. GetContext(ctx) (redis.Conn, error) of the pool bounds the wait for a
// connection by ctx and by OpTimeout; a pool without it can make a call wait for longer. Bind(keys ...string) error of the
// connection is called with the lock's key before anything is sent (Redis Cluster, as in mna/redisc).
type Pool interface{ Get() redis.Conn }

// What NewPool sets. A later DialOption changes those of a connection, a field of the pool those of the pool.
const (
	poolConnections  = 64
	poolIdleTimeout  = 4 * time.Minute // most middleboxes drop an idle connection after five
	poolTestAfter    = 10 * time.Second
	dialTimeout      = 2 * time.Second // connect and TLS handshake, each
	readWriteTimeout = 3 * time.Second
)

// NewPool makes a *redis.Pool for a server, tuned for locks; it connects only when it is used. The URL is
// redis://, rediss:// (TLS), valkey:// or valkeys://, as in
//
//	redis://[user:password@]host[:port][/db]
//	unix://[user:password@]/path/to/socket[?db=N]
//
// Every timeout is set: 2 s to connect, 2 s for the TLS handshake, 3 s for a read or a write. There are at most 64
// connections, and a caller waits for one when all are in use. A connection that was idle for 10 s is tested by a PING
// before it is lent, after 4 minutes it is closed. opts come last, and win.
//
// A URL that cannot be used is [ErrInvalid]. No message shows any part of it, since that may be the password.
func NewPool(rawURL string, opts ...redis.DialOption) (*redis.Pool, error) {
	network, addr, fromURL, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	all := append([]redis.DialOption{
		redis.DialConnectTimeout(dialTimeout),
		redis.DialTLSHandshakeTimeout(dialTimeout),
		redis.DialReadTimeout(readWriteTimeout),
		redis.DialWriteTimeout(readWriteTimeout),
	}, append(fromURL, opts...)...)
	return &redis.Pool{
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			c, err := redis.DialContext(ctx, network, addr, all...)
			if re, ok := err.(redis.Error); ok {
				return nil, withoutArgs(re) // a server without AUTH shows the password
			}
			return c, err
		},
		TestOnBorrowContext: pingIdle,
		MaxIdle:             poolConnections,
		MaxActive:           poolConnections,
		IdleTimeout:         poolIdleTimeout,
		Wait:                true,
	}, nil
}

// pingIdle tests a connection that was idle for long.
func pingIdle(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	if time.Since(lastUsed) < poolTestAfter {
		return nil
	}
	_, err := do(ctx, c, "ping", "", "PING")
	return err
}

// parseURL reads a URL of NewPool.
func parseURL(rawURL string) (network, addr string, opts []redis.DialOption, err error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return "", "", nil, invalid("new pool", "the URL cannot be parsed; its form is redis://[user:password@]host[:port][/db], "+
			"with %%-escapes for special characters in user and password")
	}
	db := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
		network, addr = "tcp", hostPort(u)
		opts = append(opts, redis.DialUseTLS(u.Scheme == "rediss" || u.Scheme == "valkeys"))
		if u.RawQuery != "" {
			return "", "", nil, invalid("new pool", "the URL has a query, which only unix:// may have")
		}
		if _, err := strconv.ParseUint(u.Port(), 10, 16); err != nil && u.Port() != "" {
			return "", "", nil, invalid("new pool", "the URL's port is out of range")
		}
		if strings.Contains(u.Hostname(), ":") && u.Host[0] != '[' {
			return "", "", nil, invalid("new pool", "the URL has two ports, or an IPv6 address without brackets")
		}
	case "unix":
		q, err := url.ParseQuery(u.RawQuery) // u.Query() would drop what it cannot read, and lock in database 0
		network, addr, db = "unix", u.Path, q.Get("db")
		if u.Host != "" || u.Path == "" {
			return "", "", nil, invalid("new pool", "a socket's URL is unix:///path/to/socket")
		}
		if err != nil || len(q) > 1 || len(q) == 1 && len(q["db"]) != 1 {
			return "", "", nil, invalid("new pool", "a socket's URL has one parameter only, db")
		}
	default:
		return "", "", nil, invalid("new pool", "the URL begins with none of redis:// rediss:// valkey:// valkeys:// unix://")
	}
	if n, err := strconv.ParseUint(db, 10, 31); err == nil && n > 0 {
		opts = append(opts, redis.DialDatabase(int(n)))
	} else if err != nil && db != "" {
		return "", "", nil, invalid("new pool", "the URL's database is no number")
	}
	return network, addr, append(opts, credentials(u.User)...), nil
}

// hostPort fills in localhost and 6379, which are the defaults of the scheme's registration.
func hostPort(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "6379"
	}
	return net.JoinHostPort(host, port)
}

// credentials reads user:password, and a lone user as the password, as redigo and redis-cli do.
func credentials(u *url.Userinfo) []redis.DialOption {
	password, ok := u.Password()
	if !ok {
		return []redis.DialOption{redis.DialPassword(u.Username())}
	}
	return []redis.DialOption{redis.DialUsername(u.Username()), redis.DialPassword(password)}
}

// errBusyPool: the pool had no connection within OpTimeout. It hides the context error of the bound, which is not the
// caller's.
var errBusyPool = errors.New("no connection came free, or none could be made, within OpTimeout")

// dialBounded leaves a dial that takes no context when ctx ends; the dial goes on by itself until its own timeout, and
// what it brings is closed.
func dialBounded(ctx context.Context, dial func() (redis.Conn, error)) (redis.Conn, error) {
	type dialled struct {
		c   redis.Conn
		err error
	}
	ch := make(chan dialled)
	go func() {
		c, err := dial()
		select {
		case ch <- dialled{c, err}:
		case <-ctx.Done():
			if err == nil {
				_ = c.Close()
			}
		}
	}()
	select {
	case d := <-ch:
		return d.c, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("dial: %w", ctx.Err())
	}
}
