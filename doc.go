/*
Package redigolock gives code that uses [github.com/gomodule/redigo] distributed locks on Redis or Valkey.

A lock is one plain string: key = token, with a time to live. That is all, so it works together with every other
SET NX lock on the same key (redsync, redislock, redis-py, node-redlock), and redis-cli shows it.

There are two layers. The verbs are stateless functions on a [redis.Conn], one round trip each ([ReleaseTx]: two; a script
that the server does not know yet: one more): [SetNX], [SetNXVerified], [SetNXScript], [Verify], [Extend], [Release],
[ReleaseTx], [ReleaseNative], [Fence], [Guard], [GuardDo], [Inspect]. They are for those who want the command right and
keep their own structure. A [Locker] is configuration over a pool. It returns a [Lock], a handle that exists only
because a lock was obtained, and does what is hard: it knows until when the lock may be relied on, copes with lost
replies, waits, renews, and cleans up after itself.

	pool, err := redigolock.NewPool("redis://localhost:6379")
	locks := &redigolock.Locker{Pool: pool}
	err = locks.Do(ctx, "invoice:17", 10*time.Second, func(ctx context.Context, k *redigolock.Lock) error {
		return send(ctx, invoice) // ends early when ctx ends: the lock is lost then
	})

# What it promises

On one server that keeps its data and whose clock does not jump:

  - While time.Now().Before(k.Deadline()), nobody else holds the lock, whatever messages are lost or late. Deadline counts
    from before the send, less 1 % and 2 ms for the drift between the clocks.
  - A release, an extension or a clean-up touches only the key that carries one's own token, compared whole.
  - A lock that is in nobody's hands goes at the latest with its ttl. After a lost reply it is looked for, and removed
    in the background when the caller has given up.
  - Nothing waits longer than its context and its OpTimeout allow, provided that the pool's dial has timeouts.
  - Bad input is [ErrInvalid] before anything is sent. No message shows a password, nor a whole token.

# What it does not promise

A lock with a ttl is a lease: a process can stall after it has looked at the clock, and then act on a lock that another
has got meanwhile. What closes that gap is not a better lock but a resource that refuses the late one: take a fencing
number with [Lock.Fence] and compare it where the write happens, on Redis with [GuardDo], in a database with a column.

Redis replicates asynchronously. A failover can lose the newest writes, and with them a lock; two can hold it until the
older one's Deadline. A server's clock that steps forward, eviction (use noeviction: every other policy may drop a lock)
and FLUSHALL have the same effect. Fencing numbers keep rising through all of these as long as the server's clock does
not also step back. Locks that wait are not served in order of arrival.

# Choosing

Locker with its defaults is right for most: SET NX PX and GET in one pipeline, compare-and-delete by script.

	AcquireWith     commands on the wire           tells the holder  sees a conflict  own token
	SetNX           SET key token NX PX            no                no               looks held
	SetNXVerified   SET NX PX, GET (one pipeline)  yes               other type       recognised
	SetNXScript     EVALSHA (SETNX, PEXPIRE)       yes, with TTL     yes              recognised

	ReleaseWith     commands on the wire                 needs
	Release         EVALSHA (GET, DEL)                   scripts
	ReleaseTx       WATCH GET MULTI, then DEL EXEC       nothing else; two round trips
	ReleaseNative   DELEX and DELIFEQ (one pipeline)     Redis 8.4 or Valkey 9

With [SetNX] a waiting acquire cannot tell its own token, after a lost reply, from another's; the Locker then asks by an
[Extend]. All others cost the same number of round trips; see results/ for what they cost in time.

# Time to live

The ttl is whole milliseconds, 1 ms to 24 h, from 10 ms for a Locker. Choose it longer than the longest pause that a
process may have and be forgiven, not as long as the work: [Lock.KeepAlive] (and [Locker.Do], which uses it) renews the
lock when half of the ttl is left, and ends its context when the lock is lost. A lock counts as over as soon as the
monotonic or the wall clock says so, since the monotonic clock stands still while a machine is suspended.

# Unknown outcomes

A command that left and was not answered may have been carried out, may never be, or may be later. [ErrUnknown] says so.
Cancelling does not help: a server that was stopped carries out all the commands of clients long gone when it goes on.

A verb's caller closes the connection and decides: [Verify] or [Extend] with the same token on a new connection tells,
but not for good while the command may still be on its way. A Locker uses one token for a whole Acquire and recognises it
at the next try; it counts such a lock from the send of an Extend that confirmed it. A call that gives up returns at once, and a
goroutine removes the token by compare-and-delete on connections of its own until the server has confirmed twice, an
OpTimeout apart, that it is not there, or until its ttl must be over. [Locker.Close] waits for that.

# Errors

	ErrHeld         somebody else's token is in the key     wait or give up; errors.As *HeldError tells who
	ErrNotHeld      the key does not carry this token       stop the work: the lock was lost
	ErrLost         cause of a KeepAlive context            stop the work; context.Cause tells why
	ErrExpired      won, but without any validity left      undone already; the ttl is too short for this network
	ErrUnknown      no reply came                           see above
	ErrInvalid      a bad argument, nothing was sent        mend the call
	ErrConflict     the key holds something that is no      choose another key, or DEL it by hand if it is a remnant;
	                lock: another type, or no TTL           a lock without TTL would be held for ever
	ErrUnsupported  the server, or a connection inside      use another verb, another connection
	                MULTI, cannot do this
	ErrFenced       Guard has seen a higher number          stop the work: there is a newer holder
	ErrClosed       the Locker was closed                   -

A wait that ends with its context is both that context's cause and, if the lock was held, ErrHeld. The server's or the
network's own error stays wrapped inside.
*/
package redigolock
