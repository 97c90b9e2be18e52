// Package contract has one suite for all kinds of lockers: what a user may rely on whatever the pool is, and whatever server is behind
// it. Its tables are the kinds, the servers and the promises.
package contract
