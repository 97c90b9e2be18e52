package redigolock

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/errands"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/sentinel"
)

// A Pool lends connections: a *redis.Pool, a *[Mux], or whatever else has its Get.
//
// Three methods are used where they are there:
//   - GetContext(ctx) (redis.Conn, error) of the pool lends a connection; ctx ends when the caller waits no longer. If the
//     pool has no such method, or does not return when ctx ends, the caller returns all the same, and what the pool lends
//     later goes to the next caller. For that, each borrow has a goroutine, unless the pool is a Mux or was made by NewPool
//     and its Dial and Test fields were not changed.
//   - DialContext(ctx) (redis.Conn, error) of the pool makes connections for clean-ups, renewals, subscriptions and second
//     tries, which must not wait for a connection of the pool. Of a *redis.Pool, the field DialContext or Dial is used. A
//     pool that cannot dial lends these connections, too. KeepAlive keeps the one that it was lent for as long as any lock
//     of its Locker is kept alive.
//   - Bind(keys ...string) error of the connection is called with the lock's key, once, before anything is sent (Redis
//     Cluster, as in mna/redisc).
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
//	redis-sentinel://[user:password@]host[:port],host[:port],…[/db]?master=NAME[&sentinel_username=U][&sentinel_password=P]
//
// The last form names Sentinels, whose default port is 26379, and redis-sentinels:// is that with TLS to them and to the
// servers, each by the name of its address. The user and the password before the @ are those of the master, those in the
// query are the Sentinels'. opts are for both, but users, passwords, a database and a client's name in them are the master's.
// Such a pool asks the Sentinels whenever it dials. It finds out that there is another master when a write is refused
// (READONLY), when it dials because a connection broke, and by a ROLE before it lends a connection, at most once a second.
// [Open] makes a pool that is told.
//
// Every timeout is set: 2 s to connect, 2 s for the TLS handshake, 3 s for a read or a write. There are at most 64
// connections, and a caller waits for one when all are in use. A connection that was idle for 10 s is tested by a PING
// before it is lent, after 4 minutes it is closed. opts come last, and win.
//
// A URL that cannot be used is [ErrInvalid]. So is a user with an empty password: redigo would not log in at all, and act
// as the user default. For an ACL user that needs none (nopass), give any password. No message shows any part of the URL,
// since that may be the password.
func NewPool(rawURL string, opts ...redis.DialOption) (*redis.Pool, error) {
	p, _, err := newPool(rawURL, false, opts)
	return p, err
}

// newPool makes the pool and, if the URL names Sentinels, the group, which watches if it is to.
func newPool(rawURL string, watch bool, opts []redis.DialOption) (*redis.Pool, *sentinel.Group, error) {
	if isCluster(rawURL) {
		return nil, nil, badURL("the URL names a cluster, and a pool leads to one server: use Open, or a Cluster")
	}
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, nil, err
	}
	d := &dialer{network: at.network, addr: at.addr, opts: dialOptions(at.opts, opts), dials: errands.Group{Dial: true}}
	if at.network == overSentinels {
		d.sentinels = at.group(watch, opts)
	}
	return &redis.Pool{
		DialContext:         d.dialContext,
		TestOnBorrowContext: d.test,
		MaxIdle:             poolConnections,
		MaxActive:           poolConnections,
		IdleTimeout:         poolIdleTimeout,
		Wait:                true,
	}, d.sentinels, nil
}

// dialOptions are the timeouts of NewPool and, later ones win, more.
func dialOptions(more ...[]redis.DialOption) []redis.DialOption {
	bounds := []redis.DialOption{
		redis.DialConnectTimeout(dialTimeout),
		redis.DialTLSHandshakeTimeout(dialTimeout),
		redis.DialReadTimeout(readWriteTimeout),
		redis.DialWriteTimeout(readWriteTimeout),
	}
	return slices.Concat(append([][]redis.DialOption{bounds}, more...)...)
}

// A dialer makes and tests the connections of a pool of NewPool. Both of its funcs end with their context, so that the
// whole of such a pool does, and a Locker can borrow from it without a goroutine: see tuned.
type dialer struct {
	network, addr string
	opts          []redis.DialOption
	dials         errands.Group
	sentinels     *sentinel.Group // name the server; nil: it has one address

	// What was given back no later than that, in ns since 1970, is doubtful, or to be closed. See doubt.
	doubtful, dead atomic.Int64
}

// dialContext bounds the whole dial by ctx: connect, TLS handshake, AUTH, SELECT. redigo's own goes on with the handshake
// after ctx has ended.
func (d *dialer) dialContext(ctx context.Context) (redis.Conn, error) {
	if intro, ok := ctx.(*introduction); ok {
		intro.dialer = d
		return nil, errIntroduced
	}
	return d.dials.Fetch(ctx, d.dial)
}

func (d *dialer) dial(ctx context.Context) (redis.Conn, error) {
	if d.sentinels != nil {
		return d.sentinels.Dial(ctx)
	}
	return dial(ctx, d.network, d.addr, d.opts)
}

func dial(ctx context.Context, network, addr string, opts []redis.DialOption) (redis.Conn, error) {
	c, err := redis.DialContext(ctx, network, addr, opts...)
	if re, ok := err.(redis.Error); ok {
		return nil, fault.WithoutArgs(re) // a server without AUTH shows the password
	}
	return c, err
}

// doubt is told that a connection, borrowed at that time, has broken or was not answered. Those that were idle by then may
// well share its fate, as after a restart of the server or behind a middlebox that has forgotten them. Each is tested before
// it is lent; when the first fails its test, the others are closed without one, for a test may take long.
func (d *dialer) doubt(borrowed time.Time) { raise(&d.doubtful, borrowed.UnixNano()) }

// raise stores n unless there is more.
func raise(v *atomic.Int64, n int64) {
	for old := v.Load(); old < n && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

// test is the pool's TestOnBorrowContext: it tests by a PING what was idle for long, or is doubtful. A PING that is not
// answered leaves half of the time for a connection that works.
func (d *dialer) test(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	used, dead := lastUsed.UnixNano(), d.dead.Load()
	ask := ping
	switch {
	case dead != 0 && used <= dead && ctx.Err() == nil:
		return errDead
	case used > d.doubtful.Load() && time.Since(lastUsed) < poolTestAfter && d.sentinels == nil:
		return nil
	case used > d.doubtful.Load() && time.Since(lastUsed) < poolTestAfter:
		ask = d.sentinels.TestRole
	case d.sentinels != nil && sentinel.Current(c) != nil:
		return sentinel.Current(c)
	case d.sentinels != nil:
		ask = d.pingAndRole
	}
	half := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		half, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	err := ask(half, c)
	if (errors.Is(err, ErrUnknown) || half.Err() != nil) && err != nil && ctx.Err() == nil {
		raise(&d.dead, used)
		if used <= d.doubtful.Load() {
			raise(&d.dead, d.doubtful.Load())
		}
	}
	return err
}

// errDead: the server, or the way to it, had broken connections of the same age.
var errDead = errors.New("others that were idle as long are dead")

// pingAndRole: a PING is answered by a master that was replaced, too.
func (d *dialer) pingAndRole(ctx context.Context, c redis.Conn) error {
	if err := ping(ctx, c); err != nil {
		return err
	}
	return d.sentinels.TestRole(ctx, c)
}

// pingIdle tests a connection that was idle for long.
func pingIdle(ctx context.Context, c redis.Conn, lastUsed time.Time) error {
	if time.Since(lastUsed) < poolTestAfter {
		return nil
	}
	return ping(ctx, c)
}

func ping(ctx context.Context, c redis.Conn) error {
	_, err := do(ctx, c, "ping", "", "PING")
	return err
}

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

func (p *sentinelPool) isNil() bool { return p == nil }

// newSource is what the pool behind it can do for a Locker.
func (p *sentinelPool) newSource() *source { return newSource(p.Pool) }

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
