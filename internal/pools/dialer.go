package pools

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/errands"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/sentinel"
	"github.com/redigolock/redigolock/internal/wire"
)

// What NewPool sets. A later DialOption changes those of a connection, a field of the pool those of the pool.
const (
	poolConnections = 64
	poolIdleTimeout = 4 * time.Minute // most middleboxes drop an idle connection after five
	// TestAfter is how long a connection is idle before it is tested.
	TestAfter        = 10 * time.Second
	dialTimeout      = 2 * time.Second // connect and TLS handshake, each
	readWriteTimeout = 3 * time.Second
)

// New makes the pool of NewPool and, if the URL names Sentinels, the group, which watches if it is to.
func New(rawURL string, watch bool, opts []redis.DialOption) (*redis.Pool, *sentinel.Group, error) {
	if IsCluster(rawURL) {
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
	if intro, ok := ctx.(*Introduction); ok {
		intro.dialer = d
		return nil, ErrIntroduced
	}
	return d.dials.Fetch(ctx, d.dial)
}

func (d *dialer) dial(ctx context.Context) (redis.Conn, error) {
	if d.sentinels != nil {
		return d.sentinels.Dial(ctx)
	}
	return dial(ctx, d.network, d.addr, d.opts)
}

// Plain connects to host:port by TCP, without a password, with the timeouts of NewPool.
func Plain(ctx context.Context, addr string) (redis.Conn, error) {
	return dial(ctx, "tcp", addr, dialOptions())
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
	case used > d.doubtful.Load() && time.Since(lastUsed) < TestAfter && d.sentinels == nil:
		return nil
	case used > d.doubtful.Load() && time.Since(lastUsed) < TestAfter:
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
	if (errors.Is(err, fault.Unknown) || half.Err() != nil) && err != nil && ctx.Err() == nil {
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
	if time.Since(lastUsed) < TestAfter {
		return nil
	}
	return ping(ctx, c)
}

func ping(ctx context.Context, c redis.Conn) error {
	reqs := [1]wire.Request{{Cmd: "PING"}}
	var replies [1]any
	if res := wire.Exchange(ctx, c, reqs[:], replies[:]); res.Err != nil {
		return fault.Unanswered(ctx, "ping", "", res.Sent, res.Err)
	}
	if re, ok := replies[0].(redis.Error); ok {
		return re
	}
	return nil
}
