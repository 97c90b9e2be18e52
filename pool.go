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

type contextPool interface {
	GetContext(ctx context.Context) (redis.Conn, error)
}

// errBusyPool: the pool had no connection within OpTimeout. It hides the context error of the bound, which is not the
// caller's.
var errBusyPool = errors.New("no connection came free, or none could be made, within OpTimeout")

// borrow takes a connection from the pool, bound to the lock's key, for an exchange that must be over at b.deadline.
// Nothing has been sent when it fails. Every borrow is followed by one giveBack.
func (b *boundConn) borrow(ctx context.Context, p Pool, limit context.Context, verb, key string) error {
	var err error
	cp, ok := p.(contextPool)
	m, isMux := p.(*Mux)
	switch {
	case isMux:
		b.mux = muxConn{mux: m}
		b.Conn, err = &b.mux, m.check()
	case !ok:
		b.Conn = p.Get()
	case dialsUnbounded(p):
		b.Conn, err = dialBounded(limit, func() (redis.Conn, error) { return cp.GetContext(limit) })
	default:
		b.Conn, err = cp.GetContext(limit)
	}
	if err == nil {
		err = b.Conn.Err()
	}
	if err == nil {
		err = b.bind(key)
	}
	if err == nil {
		return nil
	}
	b.giveBack(nil)
	return noConnection(ctx, verb, key, err)
}

// noConnection is the error of an exchange that got no connection.
func noConnection(ctx context.Context, verb, key string, err error) error {
	if ctxErr := ended(ctx); ctxErr != nil {
		return failed(verb, key, ctxErr)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errBusyPool
	}
	return failed(verb, key, err)
}

// dialsUnbounded reports whether the next connection of p probably has to be dialled by a func that takes no context.
func dialsUnbounded(p Pool) bool {
	rp, ok := p.(*redis.Pool)
	return ok && rp.DialContext == nil && rp.IdleCount() == 0
}

// bind tells a connection of a cluster which node it must lead to.
func (b *boundConn) bind(key string) error {
	if binder, ok := b.Conn.(interface{ Bind(keys ...string) error }); ok {
		return binder.Bind(key)
	}
	return nil
}

// giveBack returns the connection. err is what its last exchange ended with: a connection whose reply is still due is
// dead by then, which the pool sees; one that leads to a server that may not write any more is cut here, so that the
// pool dials anew, perhaps a server that may.
func (b *boundConn) giveBack(err error) {
	if cc, ok := b.Conn.(redis.ConnWithContext); ok && err != nil && readOnly(err) {
		cut(cc)
	}
	if b.Conn != nil {
		_ = b.Conn.Close()
	}
}

// dialOwn makes a connection that is not the pool's, so that a clean-up neither waits for a connection nor gets a
// broken one. A pool that cannot dial lends one, which its user closes as if it were dialled.
func dialOwn(ctx context.Context, p Pool) (redis.Conn, error) {
	if m, ok := p.(*Mux); ok {
		return dialOwn(ctx, m.Pool)
	}
	if rp, ok := p.(*redis.Pool); ok {
		switch {
		case rp.DialContext != nil:
			return rp.DialContext(ctx)
		case rp.Dial != nil:
			return dialBounded(ctx, rp.Dial)
		}
	}
	if d, ok := p.(interface {
		DialContext(ctx context.Context) (redis.Conn, error)
	}); ok {
		return d.DialContext(ctx)
	}
	if cp, ok := p.(contextPool); ok {
		return cp.GetContext(ctx)
	}
	c := p.Get()
	if err := c.Err(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// dials reports whether what dialOwn returns was dialled, and not lent by p.
func dials(p Pool) bool {
	if m, ok := p.(*Mux); ok {
		return dials(m.Pool)
	}
	if rp, ok := p.(*redis.Pool); ok {
		return rp.DialContext != nil || rp.Dial != nil
	}
	_, ok := p.(interface {
		DialContext(ctx context.Context) (redis.Conn, error)
	})
	return ok
}

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
