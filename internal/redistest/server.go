package redistest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// ErrNoServer is wrapped by the error of [Run] when there is no redis-server
// to run.
var ErrNoServer = errors.New("redistest: no redis-server")

// Server is one server process that belongs to a test. Its methods may be
// called from several goroutines; those that start, stop or signal the process
// run one after the other.
type Server struct {
	argv []string // the command, before the arguments of ours
	args []string // the caller's arguments, which come last and win
	dir  string
	port int

	mu      sync.Mutex // protects proc and stopped
	proc    *Command
	stopped bool

	pools pools
}

// Run starts redis-server on a free port of 127.0.0.1 and on a unix socket in
// a folder of its own, without persistence, and returns once it answers (that
// it loads its data set or wants a password is an answer too). The binary is
// $REDIGOLOCK_SERVER, or redis-server on PATH; without one the error wraps
// [ErrNoServer]. The args are appended to the command line, as in
// Run("--maxmemory", "1mb"), so they override what is set here. With
// --tls-cert-file its port speaks TLS. The caller calls [Server.Stop].
func Run(args ...string) (*Server, error) {
	bin, err := binary()
	if err != nil {
		return nil, err
	}
	return RunBinary([]string{bin}, args...)
}

// binary is the path of the redis-server that Run starts.
func binary() (string, error) {
	name := os.Getenv("REDIGOLOCK_SERVER")
	if name == "" {
		name = "redis-server"
	}
	bin, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	return bin, nil
}

// RunBinary is [Run] with a given command: the binary and what must stand
// before the arguments, for example a loader, or the configuration file of a
// Sentinel.
func RunBinary(argv []string, args ...string) (*Server, error) {
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, fmt.Errorf("redistest: make a folder for the server: %w", err)
	}
	s := &Server{argv: argv, args: args, dir: dir}
	if err := s.startOnFreePort(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// Start is [Run] for a test, which stops the server when it ends. Without a
// redis-server the test is skipped, or fails where real servers are compulsory:
// with REDIGOLOCK_REAL=1, or in CI.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s, err := Run(args...)
	need(tb, err)
	tb.Cleanup(s.Stop)
	return s
}

// StartMany is [Start] for n servers that know nothing of each other. They start side by side.
func StartMany(tb testing.TB, n int, args ...string) []*Server {
	tb.Helper()
	return startMany(tb, n, func(int) (*Server, error) { return Run(args...) })
}

func startMany(tb testing.TB, n int, run func(i int) (*Server, error)) []*Server {
	tb.Helper()
	servers, err := runMany(n, run)
	need(tb, err)
	for _, s := range servers {
		tb.Cleanup(s.Stop)
	}
	return servers
}

// runMany runs n servers side by side, or none.
func runMany(n int, run func(i int) (*Server, error)) ([]*Server, error) {
	servers, errs := make([]*Server, n), make([]error, n)
	var starting sync.WaitGroup
	for i := range n {
		starting.Go(func() { servers[i], errs[i] = run(i) })
	}
	starting.Wait()
	err := errors.Join(errs...)
	if err == nil {
		return servers, nil
	}
	for _, s := range servers {
		if s != nil {
			s.Stop()
		}
	}
	return nil, err
}

// need ends the test if there is no server.
func need(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, ErrNoServer) && !isSet("REDIGOLOCK_REAL") && !isSet("CI") {
		tb.Skipf("%v (REDIGOLOCK_REAL=1 makes this a failure)", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// isSet says whether the environment variable is there and does not deny.
func isSet(name string) bool {
	v := os.Getenv(name)
	return v != "" && v != "0" && v != "false"
}

// Addr returns host:port of the TCP listener. It stays the same after
// [Server.Restart].
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Socket returns the path of the unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "sock") }

// URL returns the address as redis://host:port, without any password.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Dir returns the server's working folder; [Server.Stop] removes it.
func (s *Server) Dir() string { return s.dir }

// Pool returns a new unbounded pool of TCP connections whose connect, read and
// write are bounded by 5 s each. It does not authenticate. The caller or
// [Server.Stop] closes it.
func (s *Server) Pool() *redis.Pool { return s.pools.open(s.Addr()) }

// Dial opens a TCP connection with the bounds of [Server.Pool], which opts
// override. It does not authenticate unless opts do. The caller closes it.
func (s *Server) Dial(opts ...redis.DialOption) (redis.Conn, error) {
	return dial("tcp", s.Addr(), opts...)
}

// Do sends one administrative command on a connection of its own, through the
// unix socket, with the password if --requirepass was among the arguments.
func (s *Server) Do(cmd string, args ...any) (any, error) {
	c, err := dial("unix", s.Socket(), redis.DialPassword(s.password()))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do(cmd, args...)
}

// password returns what the arguments set with --requirepass, or "".
func (s *Server) password() string {
	if i := slices.Index(s.args, "--requirepass"); i >= 0 {
		return s.args[i+1]
	}
	return ""
}
