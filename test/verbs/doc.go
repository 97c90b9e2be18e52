// Package verbs has the tests of the verbs, which need no Locker: each way to acquire, extend, verify, fence, release and inspect, on
// miniredis and on a real server, and over connections that are not redigo's; and of the errors that they return.
package verbs
