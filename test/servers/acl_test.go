package servers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// The least rights of a user of the server. Each set works, and without any one of its commands or keys something in it
// does not. The table in docs/rights.md is this.

// An aclSet is what one use of the package needs.
type aclSet struct {
	name     string
	commands string
	keys     string // and channels
	use      func(s *aclSite) error
}

const aclKey, aclTagged = "lock:report", "lock:{report}"

const aclLocker = "get pttl pexpire del eval evalsha "

var aclSets = []aclSet{
	{"Locker", aclLocker + "set", "~lock:*", useLocker(nil, nil)},
	{"Locker with SetNX", aclLocker + "set", "~lock:*", useLocker(redigolock.SetNX, nil)},
	{"Locker with SetNXVerified", aclLocker + "set", "~lock:*", useLocker(redigolock.SetNXVerified, nil)},
	{"Locker with SetNXGet", aclLocker + "set", "~lock:*", useLocker(redigolock.SetNXGet, nil)},
	{"Locker with SetNXScript", aclLocker + "setnx", "~lock:*", useLocker(redigolock.SetNXScript, nil)},
	{"Locker with SetNXScript and MinHold", aclLocker + "setnx set", "~lock:*", useMinHold},
	{"Locker with ReleaseTx", aclLocker + "set watch multi exec discard", "~lock:*", useLocker(nil, redigolock.ReleaseTx)},
	{"Fence", "set get pttl time eval evalsha", "~lock:* ~{lock:*}:redigolock-fence", useFence},
	{"Locker.Fair", aclLocker + "set lpop rpush lrem lpos llen lrange hmget hgetall hset publish pubsub|numsub subscribe",
		"~lock:* ~{lock:*}:redigolock-q2 ~{lock:*}:redigolock-h2 &redigolock:*", useFair},
	{"Guard", "set get eval evalsha", "~guard:*", useGuard},
	{"GuardDo", "set get eval evalsha hset", "~guard:* ~account:*", useGuardDo},
	{"SetNX and ReleaseTx alone", "set watch get multi del exec discard", "~lock:*", useWithoutScripts},
	{"NewPool", "ping", "", useTestOnBorrow},
	{"Close inside MULTI", "multi discard", "", useCloseInMulti},
	{"Close inside WATCH", "watch get multi exec unwatch", "~lock:*", useCloseInWatch},
	{"Close while subscribed", "subscribe unsubscribe punsubscribe echo", "&events", useCloseSubscribed},
}

// An aclSite is a server with a user of limited rights.
type aclSite struct {
	srv   *redistest.Server
	admin redis.Conn
	pool  *redis.Pool // of the user

	replicas int // of the server, which its Lockers wait for
}

func newACLSite(t *testing.T, srv *redistest.Server) *aclSite {
	admin, err := srv.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	return &aclSite{srv: srv, admin: admin}
}

// allow gives the user exactly these rights, and a clean server.
func (s *aclSite) allow(commands, keys []string) error {
	args := []any{"SETUSER", "locker", "reset", "on", ">secret", "resetchannels"}
	for _, k := range keys {
		args = append(args, k)
	}
	for _, c := range commands {
		args = append(args, "+"+c)
	}
	for _, cmd := range [][]any{{"FLUSHALL"}, {"SCRIPT", "FLUSH"}, append([]any{"ACL"}, args...)} {
		if _, err := s.admin.Do(cmd[0].(string), cmd[1:]...); err != nil {
			return fmt.Errorf("%v: %w", cmd, err)
		}
	}
	return nil
}

// try uses the set with these rights on fresh connections.
func (s *aclSite) try(set aclSet, commands, keys []string) error {
	if err := s.allow(commands, keys); err != nil {
		return err
	}
	pool, err := redigolock.NewPool(strings.Replace(s.srv.URL(), "redis://", "redis://locker:secret@", 1))
	if err != nil {
		return err
	}
	defer pool.Close()
	s.pool = pool
	return set.use(s)
}

func TestACLTheLeastRights(t *testing.T) {
	t.Parallel()
	for _, set := range aclSets {
		t.Run(set.name, func(t *testing.T) {
			t.Parallel()
			site := newACLSite(t, redistest.Start(t)) // its user has the rights of this set
			set.testLeast(t, func(t *testing.T) *aclSite {
				if set.name == "Locker.Fair" { // without a right it waits for seconds

					t.Parallel()
					return newACLSite(t, redistest.Start(t))
				}
				return site
			})
		})
	}
}

// testLeast shows that the set works, and that nothing can be left out of it.
func (set aclSet) testLeast(t *testing.T, site func(*testing.T) *aclSite) {
	commands, keys := strings.Fields(set.commands), strings.Fields(set.keys)
	t.Run("all", func(t *testing.T) {
		if err := site(t).try(set, commands, keys); err != nil {
			t.Fatalf("with +%s %s: %v", strings.Join(commands, " +"), set.keys, err)
		}
	})
	for i, c := range commands {
		t.Run("without "+c, func(t *testing.T) {
			if err := site(t).try(set, without(commands, i), keys); err == nil {
				t.Error("it works")
			}
		})
	}
	for i, k := range keys {
		t.Run("without "+k, func(t *testing.T) {
			if err := site(t).try(set, commands, without(keys, i)); err == nil {
				t.Error("it works")
			}
		})
	}
}

// The native release needs the command that the server has.
func TestACLTheLeastRightsOfReleaseNative(t *testing.T) {
	srv := redistest.StartValkey(t)
	set := aclSet{"SetNX and ReleaseNative alone", "set delifeq", "~lock:*", func(s *aclSite) error {
		ctx, c := context.Background(), s.pool.Get()
		defer c.Close()
		if err := redigolock.SetNX(ctx, c, aclKey, "token", 30*time.Second); err != nil {
			return err
		}
		return redigolock.ReleaseNative(ctx, c, aclKey, "token")
	}}
	site := newACLSite(t, srv)
	set.testLeast(t, func(*testing.T) *aclSite { return site })
}

// A Locker uses the native release where it may, and the script where it may not: its rights are those of every server.
func TestACLOfALockerOnAServerWithANativeRelease(t *testing.T) {
	site := newACLSite(t, redistest.StartValkey(t))
	for _, native := range []bool{false, true} {
		set := aclSet{"Locker", aclLocker + "set", "~lock:*", useLocker(nil, nil)}
		if native {
			set.commands += " delifeq"
		}
		if err := site.try(set, strings.Fields(set.commands), strings.Fields(set.keys)); err != nil {
			t.Errorf("with +%s: %v", set.commands, err)
		}
		calls, err := site.srv.Calls()
		if err != nil || calls["delifeq"] > 0 != native {
			t.Errorf("with +%s: %d times DELIFEQ, %v", set.commands, calls["delifeq"], err)
		}
	}
}

// A Locker with Replicas needs a server that has one.
func TestACLTheLeastRightsOfReplicas(t *testing.T) {
	t.Parallel()
	site := newACLSite(t, redistest.StartReplicated(t, 1)[0])
	site.replicas = 1
	set := aclSet{"Locker.Replicas", aclLocker + "set wait", "~lock:*", useLocker(nil, nil)}
	set.testLeast(t, func(*testing.T) *aclSite { return site })
}

// SET with GET reads the key: a user who may only write it can use SetNX. That refusal comes before anything is set, and says
// nothing of what the server knows.
func TestACLSetNXGetNeedsTheRightToRead(t *testing.T) {
	ctx, site := context.Background(), newACLSite(t, redistest.Start(t))
	if err := site.allow([]string{"set", "get"}, []string{"%W~lock:*"}); err != nil {
		t.Fatal(err)
	}
	pool, err := redigolock.NewPool(strings.Replace(site.srv.URL(), "redis://", "redis://locker:secret@", 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	l := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: pool}
	t.Cleanup(func() { l.Close() })
	for name, acquire := range map[string]func(c redis.Conn) error{
		"SetNXGet": func(c redis.Conn) error { return redigolock.SetNXGet(ctx, c, aclKey, "token", 30*time.Second) },
		"Locker": func(redis.Conn) error {
			_, err := l.TryAcquire(ctx, aclKey, 30*time.Second)
			return err
		},
	} {
		c := pool.Get()
		var re redis.Error
		if err := acquire(c); !errors.As(err, &re) || !strings.HasPrefix(string(re), "NOPERM") || errors.Is(err, redigolock.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := redis.Int(site.admin.Do("EXISTS", aclKey)); n != 0 || err != nil {
			t.Errorf("%s has left %d keys, %v", name, n, err)
		}
		c.Close()
	}
	c := pool.Get()
	defer c.Close()
	if err := redigolock.SetNX(ctx, c, aclKey, "token", 30*time.Second); err != nil {
		t.Error(err)
	}
}

func without(list []string, i int) []string { return slices.Delete(slices.Clone(list), i, i+1) }

// all runs the steps until one fails.
func all(steps ...func() error) error {
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func useLocker(acquire redigolock.AcquireFunc, release redigolock.ReleaseFunc) func(*aclSite) error {
	return func(s *aclSite) error { return s.useLockerWith(acquire, release) }
}

// useMinHold has a Release leave one key, and goes through all else with another Locker.
func useMinHold(s *aclSite) error {
	l := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: s.pool, AcquireWith: redigolock.SetNXScript, MinHold: time.Minute}
	defer l.Close()
	lock, err := l.TryAcquire(context.Background(), "lock:cron", 30*time.Second)
	if err == nil {
		err = lock.Release(context.Background())
	}
	if err != nil {
		return err
	}
	return s.useLockerWith(redigolock.SetNXScript, nil)
}

// useFair has one Locker wait behind another, give up, and wait again until it has beaten twice, which ends a tick.
func useFair(s *aclSite) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	holder, waiter := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: s.pool, Fair: true}, &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: s.pool, Fair: true}
	defer holder.Close()
	defer waiter.Close()
	lock, err := holder.Acquire(ctx, aclKey, 30*time.Second)
	if err != nil {
		return err
	}
	if err := s.giveUpFair(ctx, waiter); err != nil {
		return err
	}
	waiter = &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: s.pool, Fair: true}
	got := make(chan error, 1)
	go func() {
		k, err := waiter.Acquire(ctx, aclKey, 30*time.Second)
		if err == nil {
			err = k.Release(ctx)
		}
		got <- err
	}()
	pokes, err := s.pokes()
	for n := pokes; err == nil && n < pokes+2 && len(got) == 0 && ctx.Err() == nil; n, err = s.pokes() {
		time.Sleep(10 * time.Millisecond)
	}
	err = errors.Join(err, lock.Extend(ctx, time.Minute), lock.Release(ctx), <-got)
	return errors.Join(err, waiter.Close())
}

// giveUpFair has a Locker wait in the queue, and leave it.
func (s *aclSite) giveUpFair(ctx context.Context, waiter *redigolock.Locker) error {
	queued := func() (int64, error) { return redis.Int64(s.admin.Do("LLEN", "{"+aclKey+"}:redigolock-q2")) }
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	gaveUp := make(chan error, 1)
	go func() {
		_, err := waiter.Acquire(ctx, aclKey, 30*time.Second)
		gaveUp <- err
	}()
	n, err := queued()
	for ; err == nil && n == 0 && len(gaveUp) == 0 && ctx.Err() == nil; n, err = queued() {
		time.Sleep(time.Millisecond)
	}
	stop()
	if waitErr := <-gaveUp; err != nil || !errors.Is(waitErr, context.Canceled) {
		return fmt.Errorf("the wait ended with %w, the queue's length: %w", waitErr, err)
	}
	if err := waiter.Close(); err != nil { // its QUIT is answered, or not
		return err
	}
	if n, err := queued(); err != nil || n != 0 {
		return fmt.Errorf("%v entries are left, %w", n, err)
	}
	return nil
}

// pokes counts what only a POKE does.
func (s *aclSite) pokes() (int64, error) {
	calls, err := s.srv.Calls()
	return calls["lpos"], err
}

// useLockerWith goes through all that a Locker does.
func (s *aclSite) useLockerWith(acquire redigolock.AcquireFunc, release redigolock.ReleaseFunc) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l := &redigolock.Locker{OpTimeout: testbed.Unhurried, Pool: s.pool, AcquireWith: acquire, ReleaseWith: release, Retry: threeTries, Replicas: s.replicas}
	defer l.Close()
	lock, err := l.TryAcquire(ctx, aclKey, 30*time.Second)
	if err != nil {
		return err
	}
	return all(
		func() error { return lock.Verify(ctx) },
		func() error { return lock.Extend(ctx, time.Minute) },
		func() error { return s.contend(ctx, l) },
		func() error { _, err := l.Attach(ctx, aclKey, lock.Token(), 30*time.Second); return err },
		func() error { return s.inspect(ctx, lock) },
		func() error { return lock.Release(ctx) },
		func() error { return s.releaseLost(ctx, l) },
	)
}

// contend tries for a lock that is held, once, and as one who waits does.
func (s *aclSite) contend(ctx context.Context, l *redigolock.Locker) error {
	if _, err := l.TryAcquire(ctx, aclKey, 30*time.Second); !errors.Is(err, redigolock.ErrHeld) {
		return fmt.Errorf("try acquire of a held lock: %w", err)
	}
	if _, err := l.Acquire(ctx, aclKey, 30*time.Second); !errors.Is(err, redigolock.ErrHeld) {
		return fmt.Errorf("acquire of a held lock: %w", err)
	}
	return nil
}

// threeTries ends an acquire after its third.
func threeTries(attempt int, _ time.Duration) time.Duration {
	if attempt == 3 {
		return -1
	}
	return time.Millisecond
}

func (s *aclSite) inspect(ctx context.Context, lock *redigolock.Lock) error {
	c := s.pool.Get()
	defer c.Close()
	info, err := redigolock.Inspect(ctx, c, lock.Key())
	if err == nil && (info.Token != lock.Token() || info.TTL <= 0) {
		err = errors.New("inspect shows another lock")
	}
	return err
}

// releaseLost releases a lock that somebody else has got, which looks at what it finds.
func (s *aclSite) releaseLost(ctx context.Context, l *redigolock.Locker) error {
	lock, err := l.TryAcquire(ctx, aclKey, 30*time.Second)
	if err != nil {
		return err
	}
	if _, err := s.admin.Do("SET", aclKey, "another", "PX", 30000); err != nil {
		return err
	}
	if err := lock.Release(ctx); !errors.Is(err, redigolock.ErrNotHeld) {
		return fmt.Errorf("release of a lost lock: %w", err)
	}
	return nil
}

func useFence(s *aclSite) error {
	ctx, c := context.Background(), s.pool.Get()
	defer c.Close()
	for _, key := range []string{aclKey, aclTagged} {
		if _, err := s.admin.Do("SET", key, "token", "PX", 30000); err != nil {
			return err
		}
		for range 2 {
			if _, err := redigolock.Fence(ctx, c, key, "token"); err != nil {
				return err
			}
		}
	}
	return nil
}

func useGuard(s *aclSite) error {
	ctx, c := context.Background(), s.pool.Get()
	defer c.Close()
	if err := redigolock.Guard(ctx, c, "guard:7", 2); err != nil {
		return err
	}
	if err := redigolock.Guard(ctx, c, "guard:7", 1); !errors.Is(err, redigolock.ErrFenced) {
		return fmt.Errorf("guard of a lower number: %w", err)
	}
	return nil
}

func useGuardDo(s *aclSite) error {
	c := s.pool.Get()
	defer c.Close()
	_, err := redigolock.GuardDo(context.Background(), c, "guard:7", 2, "HSET", "account:7", "balance", 100)
	return err
}

// useWithoutScripts needs no rights to scripts.
func useWithoutScripts(s *aclSite) error {
	ctx, c := context.Background(), s.pool.Get()
	defer c.Close()
	if err := redigolock.SetNX(ctx, c, aclKey, "token", 30*time.Second); err != nil {
		return err
	}
	if err := redigolock.ReleaseTx(ctx, c, aclKey, "another"); !errors.Is(err, redigolock.ErrNotHeld) {
		return fmt.Errorf("release of another's lock: %w", err)
	}
	return redigolock.ReleaseTx(ctx, c, aclKey, "token")
}

// useTestOnBorrow tests a connection that was idle for long, as the pool does before it lends one.
func useTestOnBorrow(s *aclSite) error {
	c := s.pool.Get()
	defer c.Close()
	return s.pool.TestOnBorrowContext(context.Background(), c, time.Now().Add(-time.Hour))
}

// What redigo's Close sends when the connection was left in some state. It ignores what the server says to it; so
// without these rights the next borrower gets a connection in that state, or the pool throws it away.

func useCloseInMulti(s *aclSite) error {
	c := s.pool.Get()
	if _, err := c.Do("MULTI"); err != nil {
		return err
	}
	c.Close()
	c = s.pool.Get()
	defer c.Close()
	_, err := c.Do("MULTI") // refused inside MULTI
	return err
}

func useCloseInWatch(s *aclSite) error {
	c := s.pool.Get()
	if _, err := c.Do("WATCH", aclKey); err != nil {
		return err
	}
	c.Close()
	if _, err := s.admin.Do("SET", aclKey, "touched", "PX", 30000); err != nil {
		return err
	}
	c = s.pool.Get()
	defer c.Close()
	for _, cmd := range [][]any{{"MULTI"}, {"GET", aclKey}} {
		if _, err := c.Do(cmd[0].(string), cmd[1:]...); err != nil {
			return err
		}
	}
	if reply, err := c.Do("EXEC"); err != nil || reply == nil {
		return fmt.Errorf("exec: reply %v: %w", reply, err)
	}
	return nil
}

func useCloseSubscribed(s *aclSite) error {
	c := s.pool.Get()
	if err := (redis.PubSubConn{Conn: c}).Subscribe("events"); err != nil {
		return err
	}
	if _, err := c.Receive(); err != nil {
		return err
	}
	c.Close()
	if s.pool.IdleCount() != 1 {
		return errors.New("the connection was thrown away")
	}
	return nil
}
