//go:build noetcd

package peers

import "github.com/redigolock/redigolock/bench"

// etcdKinds are none with the tag noetcd, which is for tests that do not run it: etcd's client is a hundred packages, and they take as
// long to compile as all the others.
func etcdKinds() []bench.RivalKind { return nil }
