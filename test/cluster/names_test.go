package cluster

import (
	"context"

	"github.com/redigolock/redigolock/internal/redistest"
	"github.com/redigolock/redigolock/internal/testbed"
)

// Short names for what is in internal/testbed.
var (
	bg         = context.Background()
	eventually = testbed.Eventually
)

// otherMaster is a master that is not s.
func otherMaster(c *redistest.Cluster, s *redistest.Server) *redistest.Server {
	if s == c.Servers[0] {
		return c.Servers[1]
	}
	return c.Servers[0]
}
