package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// A badServer is a server in a condition, with those who use it.
type badServer struct {
	*testing.T
	cond   serverCondition
	srv    *redistest.Server
	proxy  *redistest.Proxy
	admin  redis.Conn // authenticated before the condition began
	busy   chan error // ends with the script that keeps the server busy
	pool   *redis.Pool
	failed atomic.Int64 // renewals of the lock that is kept alive
	skew   atomic.Int64 // the Lockers' clock is ahead by that
}

func newBadServer(t *testing.T, cond serverCondition) *badServer {
	if len(cond.args) > 0 && !knowsConfig(t, strings.TrimPrefix(cond.args[len(cond.args)-2], "--")) {
		t.Skipf("this server cannot be started with %v", cond.args)
	}
	srv := redistest.Start(t, cond.args...)
	s := &badServer{T: t, cond: cond, srv: srv, proxy: redistest.NewProxy(t, srv.Addr())}
	var err error
	if s.admin, err = srv.Dial(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.admin.Close() })
	s.do("ACL", "SETUSER", "locker", "on", ">secret", "~*", "+@all")
	s.pool = srv.Pool()
	if cond.pool != nil {
		s.pool = cond.pool(s)
	}
	s.pool.MaxIdle = 0 // each command meets the condition on a new connection
	return s
}

func knowsConfig(t *testing.T, name string) bool {
	found, err := redis.Strings(redistest.Start(t).Do("CONFIG", "GET", name))
	if err != nil {
		t.Fatal(err)
	}
	return len(found) == 2
}

// background runs f, which must not end the test.
func (s *badServer) background(f func()) (done <-chan struct{}) {
	ch := make(chan struct{})
	s.Cleanup(func() { <-ch })
	go func() {
		defer close(ch)
		f()
	}()
	return ch
}

// A countedPool counts how often a connection was borrowed.
type countedPool struct {
	*redis.Pool
	borrowed atomic.Int64
}

func (p *countedPool) GetContext(ctx context.Context) (redis.Conn, error) {
	p.borrowed.Add(1)
	return p.Pool.GetContext(ctx)
}

func (s *badServer) locker(pool redigolock.Pool) *redigolock.Locker {
	l := &redigolock.Locker{Pool: pool, OpTimeout: 5 * time.Second}
	if s.cond.is != nil {
		l.OpTimeout = time.Second // each command waits for that long, or Close does
	}
	testbed.SetClock(l, func() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) })
	s.Cleanup(func() { l.Close() })
	return l
}

// warmUp has the server learn the scripts, so that it carries out those that it does not answer.
func (s *badServer) warmUp() {
	ctx, l := context.Background(), s.locker(s.pool)
	l.AcquireWith = redigolock.SetNXScript
	lock, err := l.TryAcquire(ctx, "warm up", serverTTL)
	if err != nil {
		s.Fatal(err)
	}
	if err := errors.Join(lock.Extend(ctx, serverTTL), lock.Release(ctx)); err != nil {
		s.Fatal(err)
	}
}

func (s *badServer) hold(key string) *redigolock.Lock {
	s.Helper()
	l := s.locker(s.pool)
	note := func(_ context.Context, _, verb string, _ error) {
		if key == "kept" && verb == "extend" {
			s.failed.Add(1)
		}
	}
	l.Observer = &redigolock.Observer{Failed: note, Unknown: note}
	lock, err := l.TryAcquire(context.Background(), key, serverTTL)
	if err != nil {
		s.Fatal(err)
	}
	return lock
}

// approaches are those that meet the condition, with the name of the verb in their errors.
func (s *badServer) approaches() []approach {
	var found []approach
	for _, a := range []approach{
		{"SetNX", "setnx", redigolock.SetNX},
		{"SetNXVerified", "setnx verified", redigolock.SetNXVerified},
		{"SetNXGet", "setnx get", redigolock.SetNXGet},
		{"SetNXScript", "setnx script", redigolock.SetNXScript},
	} {
		if s.cond.dials {
			a.verb = "acquire"
		}
		if s.cond.approaches == nil || slices.Contains(s.cond.approaches, a.name) {
			found = append(found, a)
		}
	}
	return found
}

type approach struct {
	name, verb string
	acquire    redigolock.AcquireFunc
}

// How the conditions of TestServerErrors are brought about and lifted.

// do is a command of the administrator.
func (s *badServer) do(cmd string, args ...any) any {
	s.Helper()
	reply, err := s.srv.Do(cmd, args...)
	if err != nil {
		s.Fatal(cmd, args, err)
	}
	return reply
}

func config(name string, value any) func(*badServer) {
	return func(s *badServer) { s.do("CONFIG", "SET", name, value) }
}

// asAdmin works when the server wants a password from whoever comes new.
func (s *badServer) asAdmin(cmd string, args ...any) {
	s.Helper()
	if _, err := s.admin.Do(cmd, args...); err != nil {
		s.Fatal(cmd, args, err)
	}
}

func beginNoAuth(s *badServer) { s.asAdmin("CONFIG", "SET", "requirepass", "secret") }
func liftNoAuth(s *badServer)  { s.asAdmin("CONFIG", "SET", "requirepass", "") }

// userPool is the pool of the user "locker".
func userPool(s *badServer) *redis.Pool {
	pool, err := redigolock.NewPool(strings.Replace(s.srv.URL(), "redis://", "redis://locker:secret@", 1))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { pool.Close() })
	return pool
}

func beginWrongPass(s *badServer) { s.do("ACL", "SETUSER", "locker", "resetpass", ">another") }
func liftWrongPass(s *badServer)  { s.do("ACL", "SETUSER", "locker", "resetpass", ">secret") }

func denyUser(commands ...string) func(*badServer) {
	args := []any{"SETUSER", "locker"}
	for _, c := range commands {
		args = append(args, "-"+c)
	}
	return func(s *badServer) { s.do("ACL", args...) }
}

func allowUser(s *badServer) { s.do("ACL", "SETUSER", "locker", "+@all") }

// beginReplica demotes the server to a replica of a master that is not there.
func beginReplica(servesStale string) func(*badServer) {
	return func(s *badServer) {
		s.do("CONFIG", "SET", "replica-serve-stale-data", servesStale)
		s.do("REPLICAOF", "127.0.0.1", 1)
	}
}

func liftReplica(s *badServer) { s.do("REPLICAOF", "NO", "ONE") }

// A server with these loads one key in a millisecond, and looks at its connections every few keys.
var loadingArgs = []string{"--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"}

// beginLoading restarts the server with 30,000 keys, half a minute's loading if nobody lifts the delay.
func beginLoading(s *badServer) {
	s.do("EVAL", "for i = 1, 30000 do redis.call('SET', 'filler:' .. i, i) end", 0)
	s.do("SAVE")
	if err := s.srv.Restart(); err != nil {
		s.Fatal(err)
	}
	if _, err := s.srv.Do("GET", "filler:1"); err == nil || !strings.HasPrefix(err.Error(), "LOADING ") {
		s.Fatalf("the server does not load: %v", err)
	}
}

func liftLoading(s *badServer) {
	s.do("CONFIG", "SET", "key-load-delay", 0)
	eventually(s.T, "the server has loaded", func() bool { _, err := s.srv.Do("GET", "filler:1"); return err == nil })
	s.do("EVAL", "for i = 1, 30000 do redis.call('DEL', 'filler:' .. i) end", 0)
}

// beginBusy runs a script without end.
func beginBusy(s *badServer) {
	s.do("CONFIG", "SET", "lua-time-limit", 1)
	c, err := s.srv.Dial(redis.DialReadTimeout(0))
	if err != nil {
		s.Fatal(err)
	}
	s.busy = make(chan error, 1)
	go func() {
		defer c.Close()
		_, err := c.Do("EVAL", "while true do end", 0)
		s.busy <- err
	}()
	eventually(s.T, "the server is busy", func() bool {
		_, err := s.srv.Do("PING")
		return err != nil && strings.HasPrefix(err.Error(), "BUSY ")
	})
}

func liftBusy(s *badServer) {
	s.do("SCRIPT", "KILL")
	if err := <-s.busy; err == nil {
		s.Error("the script was not killed")
	}
}

// beginMisconf makes the server fail to save: where its file should go, there is a folder.
func beginMisconf(s *badServer) {
	if err := os.Mkdir(s.dump(), 0o700); err != nil {
		s.Fatal(err)
	}
	s.do("CONFIG", "SET", "save", "3600 1")
	s.saves("err")
}

func liftMisconf(s *badServer) {
	if err := os.Remove(s.dump()); err != nil {
		s.Fatal(err)
	}
	s.saves("ok")
}

func (s *badServer) dump() string {
	name, err := redis.Strings(s.srv.Do("CONFIG", "GET", "dbfilename"))
	if err != nil || len(name) != 2 {
		s.Fatal(name, err)
	}
	return filepath.Join(s.srv.Dir(), name[1])
}

func (s *badServer) saves(status string) {
	s.do("BGSAVE")
	eventually(s.T, "BGSAVE ends with "+status, func() bool {
		return strings.Contains(fmt.Sprintf("%s", s.do("INFO", "persistence")), "rdb_last_bgsave_status:"+status)
	})
}

func beginRefused(s *badServer) { s.srv.Kill() }

func liftRefused(s *badServer) {
	if err := s.srv.Restart(); err != nil {
		s.Fatal(err)
	}
}

func (s *badServer) pause()  { s.srv.Pause() }
func (s *badServer) resume() { s.srv.Resume() }

func proxyPool(s *badServer) *redis.Pool { return s.proxy.Pool() }

// beginTruncate lets one byte of each reply through.
func beginTruncate(s *badServer) {
	s.proxy.Rule(func(redistest.Request) redistest.Action { return redistest.Truncate(1) })
}

func liftTruncate(s *badServer) { s.proxy.Rule(nil) }
