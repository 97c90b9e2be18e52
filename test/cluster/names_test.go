package cluster

import (
	"context"

	"github.com/redigolock/redigolock/internal/testbed"
)

// Short names for what is in internal/testbed.
var (
	bg         = context.Background()
	eventually = testbed.Eventually
)
