//go:build !noetcd

package peers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/redigolock/redigolock/bench"
)

// etcdServer is one etcd by itself. Each write waits for an fsync, as by default. Its election timeout is half of the
// default, or it would not take a lease of less than 2 s.
var etcdServer = &backend{name: "etcd", command: etcdCommand, healthy: etcdHealthy}

func init() { backends = append(backends, etcdServer) }

func etcdKinds() []bench.RivalKind {
	return []bench.RivalKind{
		on(etcdServer, "go.etcd.io/etcd/client/v3", openEtcd, "concurrency.Mutex, a Session of its own for each goroutine, kept for the next "+
			"lock; one client for the process; the ttl in whole seconds; one server, which waits for an fsync; election "+
			"timeout 500 ms, or it would take no short lease"),
	}
}

func etcdCommand(dir string) (*exec.Cmd, string, error) {
	path, err := found("etcd")
	if err != nil {
		return nil, "", err
	}
	addr, err := freeAddr()
	peer, peerErr := freeAddr()
	if err := errors.Join(err, peerErr); err != nil {
		return nil, "", err
	}
	return exec.Command(path, "--data-dir", filepath.Join(dir, "data"), "--log-level", "error",
		"--heartbeat-interval", "50", "--election-timeout", "500",
		"--listen-client-urls", "http://"+addr, "--advertise-client-urls", "http://"+addr,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer,
		"--initial-cluster", "default=http://"+peer), addr, nil
}

func etcdHealthy(addr string) error {
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport, Timeout: time.Second}).Get("http://" + addr + "/health")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("its health is %s", res.Status)
	}
	return nil
}

// An etcdRival is the Mutex of etcd's package concurrency, on one client for the process. Goroutines that share a
// Session share its locks too, so each that holds or waits has a Session of its own, which is kept for the next. A
// Session is kept alive all the time, with the ttl in whole seconds, rounded up.
type etcdRival struct {
	c   *clientv3.Client
	ttl int

	mu   sync.Mutex // protects what follows
	all  []*concurrency.Session
	free []*concurrency.Session
}

func openEtcd(config bench.RivalConfig) (bench.Rival, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{etcdServer.addr()}, DialTimeout: 5 * time.Second,
		Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	return &etcdRival{c: c, ttl: seconds(config.TTL)}, nil
}

func (e *etcdRival) TryAcquire(key string) (func() error, error) {
	return e.lock(noContext, key, (*concurrency.Mutex).TryLock)
}

func (e *etcdRival) Acquire(ctx context.Context, key string) (func() error, error) {
	return e.lock(ctx, key, (*concurrency.Mutex).Lock)
}

func (e *etcdRival) lock(ctx context.Context, key string,
	lock func(*concurrency.Mutex, context.Context) error) (func() error, error) {
	s, err := e.take()
	if err != nil {
		return nil, err
	}
	m := concurrency.NewMutex(s, key)
	if err := lock(m, ctx); err != nil {
		if errors.Is(err, concurrency.ErrLocked) {
			e.giveBack(s)
		}
		return nil, err // what else it was, its key may be there
	}
	return func() error {
		select {
		case <-s.Done():
			return errNotHeld
		default:
		}
		// Unlock deletes the key, and does not tell whether it was there.
		if err := m.Unlock(noContext); err != nil {
			return err
		}
		e.giveBack(s)
		return nil
	}, nil
}

func (e *etcdRival) take() (*concurrency.Session, error) {
	e.mu.Lock()
	if n := len(e.free); n > 0 {
		s := e.free[n-1]
		e.free = e.free[:n-1]
		e.mu.Unlock()
		return s, nil
	}
	e.mu.Unlock()
	s, err := concurrency.NewSession(e.c, concurrency.WithTTL(e.ttl))
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, s)
	return s, nil
}

func (e *etcdRival) giveBack(s *concurrency.Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.free = append(e.free, s)
}

// Close revokes the leases, and with them what keys are left.
func (e *etcdRival) Close() {
	var all sync.WaitGroup
	for _, s := range e.all {
		all.Go(func() { _ = s.Close() })
	}
	all.Wait()
	_ = e.c.Close()
}
