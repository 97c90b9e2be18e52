/*
Package redigolock gives code that uses [github.com/gomodule/redigo] distributed locks on Redis or Valkey.

	pool, err := redigolock.NewPool("redis://localhost:6379") // or your own *redis.Pool
	locks := &redigolock.Locker{Pool: pool, Owner: "billing-7"} // one for the whole process

	err = locks.Do(ctx, "lock:invoice:17", 10*time.Second, func(ctx context.Context, k *redigolock.Lock) error {
		return send(ctx, invoice) // ctx ends early if the lock is lost
	})

A lock is one string key with a token as its value and a time to live (ttl). Other libraries that lock with SET NX
(redsync, redislock, redis-py, node-redlock) respect it on the same key, and redis-cli shows it.

There are two layers. A [Locker] acquires locks, waits for them, renews them and cleans up; an acquire returns a [Lock].
Below it are the verbs, functions on a [redis.Conn] of your own, for code that is not to change its structure: [SetNX], [SetNXVerified],
[SetNXGet], [SetNXScript], [Verify], [Extend], [Release], [ReleaseTx], [ReleaseNative], [Fence], [Guard], [GuardDo], [Inspect].

Longer answers are in the pages of docs/: which lock to choose, what happens while Redis is down, rights, cron jobs, fencing,
migration, operations. docs/README.md lists them, with a glossary.

# What it promises

On one server that keeps its data and whose clock does not jump:

  - While [Lock.Valid] reports true, nobody else holds the lock, whatever messages are lost or late. [Lock.Deadline] counts from
    before the command was sent, less 1 % and 2 ms for the drift between the clocks.
  - A release, an extension or a clean-up changes the key only while it carries this lock's token.
  - A lock that nobody holds any more is gone when its ttl ends, at the latest. If the reply to an acquire was lost and the caller
    has given up, the Locker removes in the background what the acquire may have left.
  - Every call returns when its context ends, and each exchange with the server takes at most OpTimeout. For that, the pool's dial
    must set timeouts, as that of [NewPool] does. docs/outages.md has the exceptions.
  - For a bad argument a call returns [ErrInvalid] and sends nothing. No message shows a password or a whole token.

# What it does not promise

A lock with a ttl is a lease. A process can stall after it has checked the clock, and then act on a lock that somebody else
holds by now. [Lock.Verify] just before the write does not help: the process can stall after that, too. What helps is a resource that
refuses the late write. Take a fencing number with [Lock.Fence], and compare it where the write happens: on Redis with
[GuardDo], in a database with a column (docs/fencing.md).

Redis replicates asynchronously. A failover can lose the newest writes, and with them a lock; then two can hold it until the
Deadline of the first holder. Eviction, FLUSHALL, and a server clock that steps forward do the same. Set maxmemory-policy to noeviction.
Fencing numbers keep rising through all of these, unless the server's clock also steps back.

Without Locker.Fair there is no order among waiters in different processes.

# Which lock for what

	two seldom want the same key                   Locker.TryAcquire, or Acquire: one round trip to take it, one to
	                                               release it; waiters poll, in no order among processes
	only one of several hosts is to run a job      Locker.TryDo; also set MinHold if the job is short (docs/cron.md)
	many goroutines lock at once                   a Locker over a Mux, for different keys and for the same key
	several wait for the same key for long         Locker.Fair: waits are even, and the server's work for an
	                                               acquisition does not grow with the waiters
	most of the waiters are in the same process    Fair with Cohort: most hand-offs need no command at all, and
	                                               other processes still get their share
	the work may take longer than the ttl          Locker.Do, or Lock.KeepAlive
	your code holds the connection itself          the verbs: SetNXVerified, Verify, Extend, Release
	Redis runs with Sentinels, or as a cluster     Open with their URL
	a majority of independent servers decides      Quorum, which implements Redlock
	no failover may ever give a lock to a second   etcd or ZooKeeper, which agree and write to disk before they
	                                               answer, and take many times as long; and fencing with them, too
	the code uses go-redis, not redigo             redsync or redislock; they respect the same keys

docs/choosing.md says more, and compares the ways to acquire and to release. The figures are in results/, and a test compares
this text with them.

# How long the ttl should be

The ttl is how long others wait after a crash, not how long the work takes. Choose it longer than any pause that you want a
process to survive: 10 s to 30 s is a good start. It is a whole number of milliseconds, at most 24 h, from 10 ms for a Locker and from 1 ms for the verbs.

[Lock.KeepAlive], and [Locker.Do], which uses it, renew the lock when half of the ttl is left. They end their context when the
lock is lost, with a cause that is [ErrLost]. All locks of a Locker are renewed together, on a connection that the Locker dials
for itself: a hundred thousand of them cost two goroutines. Over a [Cluster] each node that has some of them has a
goroutine and a connection.

On a machine that was suspended, the monotonic clock has stood still. [Lock.Valid] looks at both clocks, so ask it before you act.

# When a reply is lost

A command that was sent and not answered may have been carried out, or may be carried out later, even after the caller has gone.
That is [ErrUnknown].

A Locker handles this. It uses one token for the whole Acquire, so at its next try it recognises its own lock.
An Acquire that gives up returns at once. In the background the Locker then removes the token by compare-and-delete, until the
server has confirmed twice that it is gone, or until its ttl is over. It repeats a Release without an answer in the same way.
Call [Locker.Close] at a graceful shutdown, before the pool's Close: it waits for these removals, for three OpTimeouts in
most cases.

The caller of a verb closes the connection and decides. [Verify] or [Extend] with the same token, on a new connection, tells what
happened so far.

# Errors

	ErrHeld           somebody else has the lock                wait or give up; errors.As with *HeldError tells who
	ErrNotHeld        the key does not carry this token         stop the work: the lock was lost
	ErrLost           cause of a context of Do or KeepAlive     stop the work; context.Cause tells why
	ErrExpired        acquired, but too late to be of use       it has been undone; the ttl is too short for this network
	                                                            or this machine
	ErrUnknown        no reply came                             see above
	ErrUnavailable    no connection could be had, or the        nothing was carried out: try again later; Acquire and Do
	                  server has too many clients               do so by themselves
	ErrInvalid        a bad argument; nothing was sent          correct the call
	ErrConflict       the key holds something that is no        choose another key, or delete it by hand; a lock without a
	                  lock: another type, or no ttl             ttl would be held for ever
	ErrUnsupported    the server or the connection cannot       use another verb or another connection
	                  do this
	ErrNotReplicated  too few replicas acknowledged in time     the acquire was undone; a lock that is held counts until
	                                                            its Deadline
	ErrNoQuorum       a Quorum got no majority                  try again later; Acquire does
	ErrFenced         a Guard has seen a higher number          stop the work: there is a newer holder
	ErrClosed         the Locker or the Mux was closed

If the context ends a wait, the error wraps the context's cause and, if somebody else had the lock, also ErrHeld. Errors wrap
what the server or the network said, for errors.Is and errors.As. docs/outages.md lists what each call returns when the server
is down, full, read-only or loading, or when it refuses the command.

# Many goroutines, many waiters

A [Mux] in front of the pool sends the commands of many goroutines in groups, over one connection or a few:

	locks := &redigolock.Locker{Pool: &redigolock.Mux{Pool: pool}}

From about ten goroutines at a time on, it is faster than any pool; a lone goroutine pays nothing for it, and two may pay a
little for sharing one connection, which Conns: 2 spares them.

Ten thousand goroutines may wait for one key. At most four of a Locker's waiters for a key ask the server at a time, and together
the waiters use at most half of a pool's MaxActive, so that a Release finds a connection. Share one Locker among all
goroutines of a process: two Lockers know nothing of each other.

With Locker.Fair, waiters queue on the server, and a release hands the lock to the next in one script. A contended cycle costs
one script, however many wait. It costs two where the Locker that releases has no other waiter for the key. What happens when a
message is lost or a waiter dies is in docs/waiting.md.

# Sentinel, Cluster, Quorum

[Open] makes a pool from a URL: of one server, of Sentinels (redis-sentinel://s1,s2,s3/0?master=NAME), or of a Redis Cluster
(redis-cluster://n1,n2). Locks are renewed at once on a new master, and those that the failover has lost end with [ErrLost].
With the types [Sentinel] and [Cluster] you configure such a pool yourself. Locker.Replicas waits until replicas have acknowledged a lock (WAIT).
[Quorum] locks at a majority of independent servers, with the commands of a Locker. See docs/sentinel.md, docs/cluster.md and
docs/quorum.md.

# Observing

An [Observer] is told what happens, for logs, metrics and traces. Each acquire begins with Waiting and ends with exactly one of
Acquired and GaveUp.

	Contended  somebody else has the lock               count it: the key is wanted often
	Failed     refused, or no connection                alert: a Do that waits for a server that is down shows here
	Unknown    no reply came                            alert if there are many: timeouts, a network that loses packets
	Lost       a context of Do or KeepAlive has ended   alert: work was cut short
	Extended   margin is what was left of the lease     alert when it comes near zero: the ttl is too short

The funcs run on the goroutine that reports the event, so a slow func delays locks. One that panics in a call ends that call,
and the lock is then removed in the background; one that panics in a goroutine of the Locker ends the process. [Locker.Stats]
has the current numbers of locks held, calls that wait, locks that are renewed, tokens still to be removed, and connections
that are not the pool's. docs/observability.md has metrics, traces and alerts.

# What the server needs

Redis 6.2 or Valkey 7.2, or newer; the documentation of what needs a newer version says so. The least rights of a Locker are

	ACL SETUSER app reset on >password resetchannels ~lock:*
	    +set +get +pttl +pexpire +del +eval +evalsha

and +ping for [NewPool]. docs/rights.md has those of everything else. Do not send locks to replicas, and do not use a proxy or a
wrapper that repeats commands by itself.
*/
package redigolock
