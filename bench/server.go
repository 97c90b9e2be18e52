package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

const (
	openTimeout  = 3 * time.Second // to reach the server
	adminTimeout = 2 * time.Second // for one thing besides the workload, such as the removal of keys
)

// A Server is what the workloads run against. Its pool is unbounded, as that of the hand-written redigo that the Locker
// is compared with: a bounded one, which an Uncontended can have too, measures the wait for a connection. It may be a Redis
// Cluster, of which Uncontended, Contention, Load and Recovery can measure our own ways.
type Server struct {
	Name    string        // as in benchmark names: "redis", "valkey", "miniredis"; "redis-unix" where that is the socket; "redis-cluster"
	Version string        // "redis 7.0.15"; "redis, version unknown" where INFO is denied; of a Cluster with its number of masters
	URL     string        // where it is, without user and password
	Native  bool          // it has a command for ReleaseNative, and allows it
	Pool    *redis.Pool   // nil of a Cluster
	Delay   time.Duration // that a link adds to each round trip: see Behind

	rawURL string // for the processes of a Contention
	opts   []redis.DialOption
	locks  lock.OpenPool // of our own ways: Pool, or the Cluster
	admin  []*redis.Pool // of the server, or of each master, for what is no part of a workload
	mini   *redistest.Mini
	local  interface{ Stop() }
	link   *link // of one behind a delay
}

// Open reaches the server at rawURL, whose forms are those of redigolock.Open; opts win over what the URL says. It
// waits for at most 3 s. A URL that cannot be used is redigolock.ErrInvalid. The processes of a Contention are told the
// URL, and none of opts. The caller calls Close.
func Open(ctx context.Context, rawURL string, opts ...redis.DialOption) (*Server, error) {
	s := &Server{Name: "redis", URL: withoutUser(rawURL), rawURL: rawURL, opts: opts}
	bounded := append([]redis.DialOption{redis.DialReadTimeout(adminTimeout)}, opts...)
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, errNoAnswer)
	defer cancel()
	var err error
	if strings.HasPrefix(rawURL, "redis-cluster") {
		err = s.makeCluster(ctx, opts, bounded)
	} else {
		err = s.makePools(opts, bounded)
	}
	if err == nil {
		err = s.probe(ctx)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// makePools makes the pools of one server.
func (s *Server) makePools(opts, bounded []redis.DialOption) (err error) {
	if s.Pool, err = newPool(s.rawURL, opts); err != nil {
		return err
	}
	admin, _ := newPool(s.rawURL, bounded) // as the one before, which was no error
	s.locks, s.admin = s.Pool, []*redis.Pool{admin}
	return nil
}

// OpenEmbedded starts a miniredis in this process. The caller calls Close.
func OpenEmbedded(ctx context.Context) (*Server, error) {
	mini, err := redistest.RunMini()
	if err != nil {
		return nil, err
	}
	s, err := Open(ctx, mini.URL())
	if err != nil {
		mini.Stop()
		return nil, err
	}
	s.mini = mini
	s.Name, s.Version, s.URL = "miniredis", "miniredis"+moduleVersion("github.com/alicebob/miniredis/v2"), ""
	return s, nil
}

// ErrNoLocal is in the error of OpenLocal if there is no redis-server on PATH.
var ErrNoLocal = redistest.ErrNoServer

// OpenLocal starts the redis-server that is on PATH, without persistence, and reaches it on a Unix socket of its own. The
// caller calls Close, which stops it; it also ends with this process.
func OpenLocal(ctx context.Context) (*Server, error) {
	local, err := redistest.Run()
	if err != nil {
		return nil, err
	}
	return openStarted(ctx, "unix://"+local.Socket(), local)
}

// openStarted reaches what was started for it, which it stops if that fails.
func openStarted(ctx context.Context, rawURL string, local interface{ Stop() }) (*Server, error) {
	s, err := Open(ctx, rawURL)
	if err != nil {
		local.Stop()
		return nil, err
	}
	s.local = local
	return s, nil
}

// Started reports whether the server, or the Cluster, was started for this process alone, from PATH.
func (s *Server) Started() bool { return s.local != nil }

// Embedded reports whether the server is a miniredis in this process, so that its work is counted as ours.
func (s *Server) Embedded() bool { return s.mini != nil }

// AtAll has what is done at these servers counted with what is done at s, and a run's keys removed there, too: of a lock
// that is at all of them. They are closed after s.
func (s *Server) AtAll(others ...*Server) {
	for _, o := range others {
		s.admin = append(s.admin, o.admin...)
	}
}

// Close closes the connections, and the embedded server.
func (s *Server) Close() {
	if s.locks != nil {
		_ = s.locks.Close()
	}
	for _, p := range s.admin {
		_ = p.Close()
	}
	if s.link != nil {
		s.link.close()
	}
	if s.mini != nil {
		s.mini.Stop()
	}
	if s.local != nil {
		s.local.Stop()
	}
}

func newPool(rawURL string, opts []redis.DialOption) (*redis.Pool, error) {
	p, err := lock.NewPool(rawURL, opts...)
	if err != nil {
		return nil, err
	}
	p.MaxActive, p.Wait, p.MaxIdle = 0, false, MaxWorkers+1
	return p, nil
}

// bounded is a new pool of at most n connections, for which one waits.
func (s *Server) bounded(n int) *redis.Pool {
	return &redis.Pool{
		DialContext:         s.Pool.DialContext,
		TestOnBorrowContext: s.Pool.TestOnBorrowContext,
		MaxActive:           n, MaxIdle: n, Wait: true,
	}
}

// probe finds out what the server is.
func (s *Server) probe(ctx context.Context) error {
	c, err := s.admin[0].GetContext(ctx)
	if err == nil {
		_, err = redis.DoContext(c, ctx, "PING")
		defer c.Close()
	}
	if err != nil {
		return unreached(ctx, "a PING", err)
	}
	s.Version = "redis, version unknown"
	if text, err := redis.String(redis.DoWithTimeout(c, adminTimeout, "INFO", "server")); err == nil {
		s.Name, s.Version = versionOf(text)
	}
	if strings.HasPrefix(s.URL, "unix:") {
		s.Name += "-unix"
	}
	if s.isCluster() {
		s.Name, s.Version = s.Name+"-cluster", fmt.Sprintf("%s, a cluster of %d masters", s.Version, len(s.admin))
		c = s.locks.Get() // which leads to the master of the key
		defer c.Close()
	}
	err = lock.ReleaseNative(ctx, c, newKeys(1).names[0], lock.NewToken())
	s.Native = err == nil || errors.Is(err, lock.ErrNotHeld)
	return nil
}

// unreached is why a server that was asked for something is not measured.
func unreached(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if refused := redis.Error(""); errors.As(err, &refused) {
		return fmt.Errorf("bench: ask the server for %s: %w", what, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// ErrUnreachable is in the error of an Open that finds no server, or one that does not answer.
var ErrUnreachable = errors.New("bench: the server cannot be reached")

var errNoAnswer = errors.New("no answer within 3s")

// versionOf reads INFO. Valkey also reports a redis_version, that of the Redis it is compatible to.
func versionOf(info string) (name, version string) {
	if v := field(info, "valkey_version"); v != "" {
		return "valkey", "valkey " + v
	}
	if v := field(info, "redis_version"); v != "" {
		return "redis", "redis " + v
	}
	return "redis", "redis, version unknown"
}

func field(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return v
		}
	}
	return ""
}

// administer lends a connection that is not the workload's, of each master one after the other. It goes on after ctx has ended.
func (s *Server) administer(ctx context.Context, f func(c redis.Conn, timeout time.Duration) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminTimeout)
	defer cancel()
	for _, p := range s.admin {
		if err := lendTo(ctx, p, f); err != nil {
			return err
		}
	}
	return nil
}

func lendTo(ctx context.Context, p *redis.Pool, f func(c redis.Conn, timeout time.Duration) error) error {
	c, err := p.GetContext(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	return f(c, max(time.Until(deadline), time.Millisecond))
}

// withoutUser is a URL as it may be shown.
func withoutUser(rawURL string) string {
	if strings.HasPrefix(rawURL, "redis-") { // several hosts, which package url does not read, and a password in the query
		scheme, rest, _ := strings.Cut(rawURL, "://")
		rest, _, _ = strings.Cut(rest, "?")
		return scheme + "://" + rest[strings.LastIndex(rest, "@")+1:]
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// moduleVersion is " v1.2.3" of a module in this program, "" if that is not known, as of one that another stands in for.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path && m.Replace == nil {
			return " " + m.Version
		}
	}
	return ""
}
