// Package cluster has the tests of Cluster as its users see it: on real clusters whose slots move and whose nodes die, and on one in
// memory.
package cluster
