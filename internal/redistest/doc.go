// Package redistest gives tests and benchmarks servers to lock against: real
// redis-server and Valkey processes ([Start], [StartMany], [StartValkey],
// [StartRedis8]), a master with replicas and Sentinels ([StartWatched]), a cluster ([StartCluster]), an embedded miniredis
// whose TTLs run ([StartMini]), and a TCP proxy that stands before any of them, records the requests and injects faults
// ([NewProxy]). [FakeConn] is for connections in memory.
//
// Everything listens on loopback only, and nothing outlives the test that
// started it: no process, no goroutine, no file. A test binary that is killed
// leaves its servers' folders behind, and where the system is not Linux its
// servers too.
//
// Its own tests are those of what would have other tests pass without testing anything, or leave something behind. What would
// have them fail is left to them.
//
// Environment:
//
//   - REDIGOLOCK_SERVER names the redis-server binary that [Run] starts; unset,
//     it is looked up on PATH.
//   - REDIGOLOCK_REAL=1, or CI set to anything but 0 and false, makes a missing
//     redis-server fail the tests that need one. Elsewhere they are skipped.
//   - REDIGOLOCK_SERVERS is the folder that fetch-newer.sh filled with newer
//     servers; unset, it is redigolock/servers in [os.UserCacheDir].
//   - REDIGOLOCK_NEWER=1 makes missing newer servers fail the tests that need
//     them. Elsewhere they are skipped.
package redistest
