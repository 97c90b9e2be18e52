package bench

import (
	"context"
	"fmt"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/inspect"
	"github.com/redigolock/redigolock/internal/redistest"
)

// OpenLocalCluster is OpenLocal for a Redis Cluster of three masters, on ports of 127.0.0.1.
func OpenLocalCluster(ctx context.Context) (*Server, error) {
	local, err := redistest.RunCluster(redistest.ClusterConfig{})
	if err != nil {
		return nil, err
	}
	return openStarted(ctx, local.URL(), local)
}

// makeCluster makes the Cluster, and a pool for each of the masters that there are now.
func (s *Server) makeCluster(ctx context.Context, opts, bounded []redis.DialOption) error {
	c, err := openCluster(s.rawURL, opts)
	if err != nil {
		return err
	}
	s.locks = c
	admin, _ := openCluster(s.rawURL, bounded) // as the one before, which was no error
	defer admin.Close()
	conn, err := admin.GetContext(ctx)
	if err != nil {
		return unreached(ctx, "its masters", err)
	}
	defer conn.Close()
	masters, err := inspect.Masters(ctx, conn, admin.Addrs[0])
	if err != nil {
		return unreached(ctx, "its masters", err)
	}
	if len(masters) == 0 {
		return fmt.Errorf("%w: no node of the cluster has slots", ErrUnreachable)
	}
	for _, addr := range masters {
		dial := func(ctx context.Context) (redis.Conn, error) { return admin.Dial(ctx, addr) }
		s.admin = append(s.admin, &redis.Pool{DialContext: dial, MaxIdle: 1})
	}
	return nil
}

// openCluster makes a Cluster whose pools are in fact not bounded.
func openCluster(rawURL string, opts []redis.DialOption) (*lock.Cluster, error) {
	p, err := lock.Open(rawURL, opts...)
	if err != nil {
		return nil, err
	}
	c := p.(*lock.Cluster)
	c.MaxIdle, c.MaxActive = MaxWorkers+1, MaxWorkers+1
	return c, nil
}

func (s *Server) isCluster() bool { return s.locks != nil && s.Pool == nil }

// checkOneServer refuses a Cluster for what is measured at one server only.
func checkOneServer(s *Server, what string) error {
	if s.isCluster() {
		return badConfig("%s at a Redis Cluster: it is measured at one server", what)
	}
	return nil
}
