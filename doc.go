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

  - While k.Valid() is true, until k.Deadline() at most, nobody else holds the lock, whatever messages are lost or late.
    Deadline counts from before the send, less 1 % and 2 ms for the drift between the clocks.
  - A release, an extension or a clean-up changes the key only while it carries this lock's token, compared as a whole.
  - A lock that nobody holds any more is gone when its ttl ends, at the latest. After a lost reply it is looked for, and removed
    in the background when the caller has given up.
  - Nothing waits longer than its context and its OpTimeout allow, whatever the pool's dial, its TLS handshake or its test of
    idle connections do with a context. What hangs there is abandoned, and goes on until its own timeouts end it. While
    four of a Locker's go on like that, it begins no other, and takes only connections that are idle in the pool. So give the pool's dial timeouts to
    connect, to shake hands and to read, as [NewPool] does: a dial that never returns takes up one of the four places for a
    minute. One thing cannot be interrupted: a connection with only the six methods of [redis.Conn], as some wrappers make
    them, waits for a reply as long as its own timeout says.
  - Bad input is [ErrInvalid] before anything is sent. No message shows a password, nor a whole token.

# What it does not promise

A lock with a ttl is a lease: a process can stall after it has looked at the clock, and then act on a lock that another
has got meanwhile. To ask the server just before the write, with [Lock.Verify], does not help: the stall then falls
between the two. What closes that gap is not a better lock but a resource that refuses the late one: take a fencing
number with [Lock.Fence] and compare it where the write happens, on Redis with [GuardDo], in a database with a column.

Redis replicates asynchronously. A failover can lose the newest writes, and with them a lock; two can hold it until the
older one's Deadline. A server's clock that steps forward, eviction (use noeviction: every other policy may drop a lock)
and FLUSHALL have the same effect. Fencing numbers keep rising through all of these as long as the server's clock does
not also step back. Without Locker.Fair, waiters in different processes are not served in the order of their arrival.

# Which lock for what

	two seldom want the same key                Locker.TryAcquire, or Acquire: one round trip to take it, one to
	                                            release it; waiters poll, in no order among processes
	many goroutines lock at once                the same over a Mux, for different keys and for the same
	several wait for the same key for long      Locker.Fair: waits are even, and the server's work for an
	                                            acquisition does not grow with the waiters
	most of them wait in the same process       Fair with Cohort: most hand-offs need no command at all, and
	                                            other processes still get their share
	the work may outlast the ttl                Locker.Do, or Lock.KeepAlive with any of them
	the connection and the structure are yours  the verbs: SetNXVerified, Verify, Extend, Release
	the pool is one of go-redis                 redsync or redislock, on the same keys if need be
	a majority of independent servers decides   Quorum: it implements Redlock
	no failover may ever give it to a second    etcd or ZooKeeper, which agree and write to disk before they
	                                            answer, and take many times as long; fencing all the same

What this says of times, costs and fairness rests on what results/ holds; a test compares.

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

"Recognised" means that a verb which is called again with the same token succeeds again. So code ported from SET key nodeID NX,
with one value for each node, would let all goroutines of the node acquire at once. Use a new token for each acquire, as a
Locker does.

With [SetNX] a waiting acquire cannot tell its own token, after a lost reply, from another's; the Locker then asks by an
[Extend]. All others cost the same number of round trips; see results/ for what they cost in time.

# Sentinel

[Open] takes the URL of a group that Redis Sentinels watch, and makes a pool that leads to its master:

	pool, err := redigolock.Open("redis-sentinel://:secret@s1,s2,s3/0?master=mymaster")

When there is another master, connections to the old one are cut, also those in use, and all locks that are kept alive are renewed
at once: those that the failover has lost end with [ErrLost]. [Locker.Acquire] and [Locker.Do] wait until there is a master
again; other calls return within their bounds, with [ErrUnavailable] or [ErrUnknown]. A failover can still give a lock to a second
holder before the first is told, since Redis replicates asynchronously; fencing numbers are what helps. [NewPool] takes the same
URLs, and notices a failover later; [Sentinel] is for a pool of your own. See docs/sentinel.md.

Locker.Replicas waits until so many replicas have acknowledged an acquire, an Extend or a renewal (WAIT); with fewer in time an
acquire is undone, and is [ErrNotReplicated]. Only all replicas survive a failover: with one of two, the other may be promoted. And
with all, one replica that fails keeps everybody from locking. So it is off by default.

# Quorum

A [Quorum] takes a lock at a majority of several servers that know nothing of each other (Redlock), so that one of them may fail.
It waits for no node that hangs, removes what a failed try has obtained, and renews where a majority has the lock. It rests on
clocks, and on servers that do not forget: one that restarts without its data must stay away for the longest ttl. It has no
fencing numbers. See docs/quorum.md.

# Many goroutines

Each command is a system call or two on either side, and that is where the time goes when many goroutines lock at once. A
[Mux] in front of the pool commits their commands in groups, over one connection or a few:

	mux := &redigolock.Mux{Pool: pool}
	locks := &redigolock.Locker{Pool: mux}

From about ten goroutines at a time on, it is faster than any pool; a lone goroutine pays nothing for it, and two pay a
seventh to two fifths for sharing one connection, which Conns: 2 spares them. Use the pool for what needs a connection of
its own ([ReleaseTx], WATCH, subscriptions), and another Mux, or more Conns, beside commands that take long. KeepAlive
and clean-ups dial their own connections from the pool behind the Mux.

# Many waiters

Ten thousand goroutines of a process may wait for one key. At most four of a Locker's waiters for a key ask the server at a
time; the others take the newest answer, which counts as a try of theirs, and pause as Retry says. The waiters for all
keys together use at most half of a pool's MaxActive. So a holder's Release, Verify, Extend and Fence find a connection. The
first tries of calls that meet nobody are not limited: many that lock many free keys at once share the pool with releases. When
a lock is released by the same Locker, the waiter that came first asks at once, whatever its pause. That is no promise of
order, for another process may ask first: see below for one. [Locker.TryAcquire] always asks.

The pauses of [DefaultRetry], [Backoff], [Every] and [Tries] are kept by a timer, and their waiters sleep meanwhile. A Retry of
your own is called on its caller's goroutine, which wakes for it after each pause.

Share one Locker among all waiters of a process. Two Lockers know nothing of each other, and ask four times each.

# First come, first served

With Locker.Fair the waiters of a key queue on the server, and a release hands the lock to the next of them in its own script.
Nobody polls, and nobody overtakes. A contended cycle costs one script, however many wait, and one more for each second or so
that the lock is held meanwhile. It costs two where the Locker that releases has no other waiter for the key, and must queue
again.

	locks := &redigolock.Locker{Pool: pool, Fair: true}

The queue has one entry for each Locker that waits, and behind it the Locker has a queue of its own: the order is that of
arrival among the entries, and among the waiters inside each Locker. An entry that its last waiter gives up is taken out; the
entry of a process that died is passed over by the release that comes to it. So use one Locker for all waiters of a process.
Locker.Cohort lets a Locker hand the lock to its own next waiter without any command, within bounds of number, time and lease.

A waiting Locker subscribes to a channel for each key, on one connection of its own that is not the pool's and lives for some
seconds after the last wait. A message is a hint that the lock was granted; what is lost with it costs time, not the lock:

	a message is lost, or the subscription breaks    a second, or the rest of the holder's TTL if that is less
	the holder's process dies                        the rest of its ttl, and up to a tenth of the waiter's, at most 250 ms;
	                                                 or up to a second, if that is more
	a waiting process dies                           nothing once the server has seen its connection close; if
	                                                 it is granted the lock before that: as a holder that died
	a waiting process stands still                   once it is granted the lock: as a holder that died
	the key is deleted, or released by a client or   up to a second: they hand nothing over
	Locker that is not fair, or attached to and
	released elsewhere, also under a holder of the
	waiters' own Locker
	the server restarts without its data             a second; the order is lost
	no subscription can be had for now               waiters try, with pauses: not in the order of arrival

Each line is a test: TestFaults in bench has all but the last, which is TestFairSubscriptionOnTheWrongServer. A lease is never
cut short: on the server a holder that died looks like one that lives and whose subscription broke.

A fair Locker shares its keys with all others: they exclude each other as ever, but those that are not fair may overtake the
queue in the moment in which a lock expires. [Locker.TryAcquire] gets a lock only if nobody waits for it. All processes must
subscribe on the server that runs their scripts: a replica will not do, nor may the connections repeat commands by themselves.
A pool whose connections are bound to the node of a key (Redis Cluster) is [ErrUnsupported] as soon as somebody must wait.
Keys with a '}' but no hash tag are [ErrInvalid].

A wait of a fair Locker takes a connection of the pool only for the moment of a command, and waits for one where the pool's
bound is reached, as any Locker does. What settles a place or a lock that others wait for does not: after an OpTimeout without
a connection it dials one. Of such connections a Locker has at most eight at a time, and those of calls of [Lock.Release],
whose second try dials, too.

# Cron jobs

Several hosts start the same job at the same time, and one of them is to run it.

	run on every host, one after the other        Locker.Do: waits for its turn
	run on one host; the job takes longer than    Locker.TryDo: ErrHeld at once if another host has it
	the hosts' clocks are apart
	run on one host, once for each occasion       Locker.TryDo with MinHold
	run for as long as the process lives          Locker.Do in a loop: the others wait for the leader's end

TryDo alone is not enough for a short job: if a job takes 50 ms and the next host starts 100 ms later, that host finds the
lock free and runs it again. MinHold closes this gap:

	cron := &redigolock.Locker{Pool: pool, Owner: hostname, MinHold: time.Minute}
	err := cron.TryDo(ctx, "lock:report", 30*time.Second, report)
	if errors.Is(err, redigolock.ErrHeld) {
		return nil // another host runs it, or has run it a moment ago
	}

A [Lock.Release] that comes earlier than MinHold after the acquire does not delete the key. It changes the value to
token|left, so that nobody holds it and nothing late can renew or delete it, and lets it expire when MinHold is over. Others
get [ErrHeld] until then. So MinHold must be longer than the hosts may be apart, and shorter than the time to the
next occasion; where that is not sure, put the occasion into the key, as in lock:report:2026-11-30. It is the same whether
the job returned nil, an error, or panicked.

The ttl is something else: it says how long others wait after a crash. A holder that dies leaves the key for what is left
of its ttl, however long MinHold is, for the job did not end, and another host may run it. An acquire that is undone
([ErrExpired], [ErrUnknown]) deletes the key. A Release that fails, or that a panic of an Observer ends before anything was
sent, leaves the key as a holder that dies does: nothing deletes it before MinHold is over. To let the next host in before
its time, delete the key by hand, or call the verb [Release] with the token that [Inspect] shows. MinHold counts by the
monotonic clock.

That a job runs once is as sure as the lock is: after a crash in the middle, a failover that loses the lock, or a stall, it
may run twice. A job for which that is not good enough needs a record of its own, or a fencing number.

# Time to live

The ttl is whole milliseconds, 1 ms to 24 h, from 10 ms for a Locker. Choose it longer than the longest pause that a
process may have and be forgiven, not as long as the work: [Lock.KeepAlive] (and [Locker.Do], which uses it) renews the
lock when half of the ttl is left, and ends its context when the lock is lost. All locks of a Locker are renewed together,
on one connection that is not the pool's: a hundred thousand of them cost two goroutines. A lock counts as over as soon
as the monotonic or the wall clock says so, since the monotonic clock stands still while a machine is suspended: code
that must not act late asks [Lock.Valid], which looks at both.

# Unknown outcomes

A command that left and was not answered may have been carried out, may never be, or may be later. [ErrUnknown] says so.
Cancelling does not help: a server that was stopped carries out all the commands of clients long gone when it goes on.

A verb's caller closes the connection and decides: [Verify] or [Extend] with the same token on a new connection tells,
but not for good while the command may still be on its way. A Locker uses one token for a whole Acquire and recognises it
at the next try; it counts such a lock from the first send if the same try found it on another connection, and else from
the send of an Extend that confirmed it. A fair Locker asks what became of its
token, and takes another only when that one is nowhere. A call that gives up returns at once, and a goroutine removes
the token by compare-and-delete on connections of its own until the server has confirmed twice, an OpTimeout apart, that
it is not there, or until its ttl must be over. A place in a fair queue is given up once: what is queued after that is
passed over. [Locker.Close] waits for that, for three OpTimeouts at most.

# Errors

	ErrHeld         somebody else's token is in the key     wait or give up; errors.As *HeldError tells who
	ErrNotHeld      the key does not carry this token       stop the work: the lock was lost
	ErrLost         cause of a KeepAlive context            stop the work; context.Cause tells why
	ErrExpired      won, but without any validity left      undone already (with Fair: in the background); the ttl is too
	                                                        short for this network
	ErrUnknown      no reply came                           see above
	ErrInvalid      a bad argument, nothing was sent        mend the call
	ErrConflict     the key holds something that is no      choose another key, or DEL it by hand if it is a remnant;
	                lock: another type, or no TTL           a lock without TTL would be held for ever
	ErrUnsupported  the server, or a connection inside      use another verb, another connection
	                MULTI or of a Mux, cannot do this
	ErrUnavailable  nothing was carried out: no connection  try again later; calls that wait do
	                was to be had, or max clients
	ErrNotReplicated
	                fewer acknowledged in time than         an acquire is undone: try again later; Acquire does. A lock
	                Locker.Replicas                         that is held counts until its Deadline
	ErrFenced       Guard has seen a higher number          stop the work: there is a newer holder
	ErrClosed       the Locker, or its Mux, was closed      -

A wait that ends with its context is both that context's cause and, if the lock was held, ErrHeld. The server's or the
network's own error stays wrapped inside.

# Observing

An [Observer] is told what happens, for logs, metrics and traces. Each acquire begins with Waiting and ends with exactly one of
Acquired and GaveUp, so a span that Waiting starts is always ended. Each command that does not succeed is told once, also
if it is tried again:

	Contended  somebody else has the lock               count it; many mean that a key is wanted too often
	Failed     refused, or no connection was to be had  alert: a Do that waits for a server that is down is seen here
	Unknown    no reply came                            alert if there are many: timeouts, a network that loses
	Lost       a KeepAlive context ended with ErrLost   alert: work was cut short
	Extended   margin is what was left of the lease     alert when it comes near zero: the ttl is too short

Each func gets the context of the call, of KeepAlive, or of the waiter that a fair Locker works for in the background. What
Waiting returns gives its values to all that follows for the call, to its commands too, but does not change when it ends. The
funcs run where the event arises, so a slow one makes locks late. One that panics in a call ends that call, whose lock is
then removed in the background, but for what MinHold keeps; in a goroutine of the Locker's own it ends the process.

[Locker.Stats] counts what there is now: locks held, calls that wait, locks kept alive, tokens still to be removed, and
connections beside the pool's. testdata/day.txt shows all events of a day.

# When the server cannot

	condition        what you read                     Acquire       Release      Extend, KeepAlive
	NOAUTH           NOAUTH                            ends at once  refused      tried until Deadline
	WRONGPASS        WRONGPASS (when dialling)         ends at once  refused      tried until Deadline
	NOPERM           NOPERM                            ends at once  refused      tried until Deadline
	  in a script    ERR The user executing the        ends at once  refused      tried until Deadline
	                 script…; ERR ACL failure in
	                 script (Redis 8, Valkey 9)
	OOM              OOM                               ends at once  works        work
	WRONGTYPE        ErrConflict; TryAcquire with      ends at once  ErrConflict  ErrConflict; the context
	                 SetNX: ErrHeld                                               ends with ErrLost
	READONLY         READONLY                          tries again   refused      tried until Deadline
	MASTERDOWN       MASTERDOWN; SetNX: READONLY       tries again   refused      tried until Deadline
	LOADING          LOADING                           tries again   refused      tried until Deadline
	BUSY             BUSY                              tries again   refused      tried until Deadline
	MISCONF          MISCONF                           tries again   refused      tried until Deadline
	NOREPLICAS       NOREPLICAS                        tries again   refused      tried until Deadline
	refused          ErrUnavailable, connection        tries again   refused      tried until Deadline
	                 refused
	max clients      ErrUnavailable, ERR max number    tries again   refused      tried until Deadline
	                 of clients reached
	DENIED           DENIED (protected mode)           ends at once  refused      tried until Deadline
	no such host,    what the resolver or TLS says     ends at once  refused      tried until Deadline
	a certificate
	hung             ErrUnknown, i/o timeout           tries again   ErrUnknown   tried until Deadline
	reply cut short  ErrUnknown, EOF                   tries again   ErrUnknown   tried until Deadline

"Tries again" is until its context ends; it acquires as soon as the condition is over. "Tried until Deadline" is
KeepAlive; Extend itself returns the error once, and Deadline stays. If the condition ends before Deadline, the lock is
renewed and was never lost. A Release that was refused has used the handle up: the key stays until its TTL ends, unless it is of a
fair Locker, which repeats it in the background. A Release that is ErrUnknown may be carried out later. Each row is a
test: TestServerErrors, TestServerErrorsFair, TestServerErrorWrongType; TestLockersThatAreRefusedAtTheDoor and
TestNoConnection for what is refused before any command.

After a restart of the server, or behind a middlebox that closes what is idle, each idle connection of a pool is broken.
TryAcquire, Acquire, Attach, Verify, Extend and Fence then ask on another connection, within the same OpTimeout, and Release
has a second try. If a connection breaks or is not answered, a pool of NewPool tests those that were idle meanwhile before it
lends them, as it does with those that were idle for 10 s; of any other pool that says how many there are
([redis.Pool.IdleCount]) they are closed. A connection that swallows everything, with no end, takes one call its OpTimeout;
of a pool that has nothing but Get, where nobody knows what is idle, each such connection takes one. With forty of them and the
defaults, an Acquire takes three quarters of a minute there, and half a second to a second and a half over other pools.

# The least rights

	ACL SETUSER app reset on >password resetchannels ~lock:*
	    +set +get +pttl +pexpire +del +eval +evalsha

That is for a Locker as it is, with everything but Fence, and for one with SetNX. Besides:

	NewPool                    +ping
	Locker.Replicas            +wait
	SetNXScript                +setnx (+set is not needed then, but for MinHold)
	ReleaseTx                  +watch +multi +exec +discard
	Locker.Fair                +set +lpop +rpush +lrem +lpos +llen +publish +pubsub|numsub +subscribe
	                           ~{lock:*}:redigolock-q1 &redigolock:*
	                           and +unsubscribe +ping, or its connection hears all keys until it ends
	Fence                      +set +time ~{lock:*}:redigolock-fence
	Guard                      +set +get +eval +evalsha ~guard:*
	GuardDo                    as Guard, with the guarded command and its keys
	SetNX, ReleaseTx alone     +set +watch +get +multi +del +exec +discard
	SetNX, ReleaseNative alone +set +delifeq (Valkey), +set +delex (Redis 8.4)

What goes with a key that has a hash tag, lock:{report}, is under the same prefix, lock:{report}:redigolock-…: for such keys
~lock:* is enough for all. A key that looks like what goes with another, {lock:report}:redigolock-fence, is [ErrInvalid].

Where your own code gives connections back inside MULTI, inside WATCH or subscribed, redigo's Close sends more:
DISCARD, UNWATCH, or UNSUBSCRIBE, PUNSUBSCRIBE and ECHO. TestACLTheLeastRights takes each right away in turn.

# Redis Cluster and other servers

[Cluster] is a pool over a Redis Cluster:

	locks := &redigolock.Locker{Pool: &redigolock.Cluster{Addrs: []string{"n1:6379", "n2:6379"}}}

[Open] makes one from a URL, redis-cluster://user:secret@n1,n2.
A lock is one key, so one node serves it. Commands follow the key when its slot moves, and find its new node after a failover;
[Locker.Acquire] and [Locker.Do] wait meanwhile. Such a failover may lose a lock, as one of Sentinels may. See docs/cluster.md.

Other pools work in a cluster if their connections are bound to the key by their Bind method, as those of mna/redisc. That holds
while fewer than 64 calls of a Locker hang in Bind: Bind may dial, so give the cluster's dial a connect timeout of a few seconds.
In a cluster KeepAlive and clean-ups take a connection for each key, up to eight at a time, so that a node that hangs
does not cost the locks on another. Elsewhere KeepAlive extends locks together, and one by one what a
server or a proxy does not take together. A fencing counter is in its lock's slot; the key of a lock that
is to be fenced must not have a '}' without a hash tag. Redis from 6.2 and Valkey from 7.2 on will do; what needs more
says so.

# The articles, judged

What Go developers copy, what goes wrong with it on a real server, and what is done here instead.

	article  acquire                  release         what goes wrong                       here
	A        SETNX, 10 s, one fixed   DEL             removes the next holder's lock        1
	         value for all                            a compare would compare nothing       2
	B1       SET NX EX                DEL             removes the next holder's lock        1
	                                                  after a lost reply nobody holds it    3
	B2       EVAL SETNX, EXPIRE       DEL             as B1; a refused EXPIRE (1.5, too     1 3 4
	                                                  large, denied) leaves it for ever
	C        SET NX EX                Lua compare,    deletes nobody else's; but a lost     5
	                                  0 is success    lock is called success
	D        SETNX Unix time, EXISTS  DEL, then not   EXISTS proves somebody's lock;        1 6
	                                  EXISTS          after DEL it sees the next holder's   7
	E        SET NX PX, GET           GET, MULTI,     no WATCH: deletes another's lock      8
	                                  DEL, EXEC       the check costs a round trip          9
	                                                  and narrows the gap only              10
	E        the same, fixed value    Lua compare     the check and the compare are         2 6
	                                                  worthless
	(old)    SETNX, then EXPIRE       DEL             a client that dies between the two    1 11
	                                                  leaves a lock for ever

	 1  Release compares: ErrNotHeld        TestArticlesBareDelRemovesTheNextHoldersLock
	 2  a new token each time, NewToken     TestArticlesFixedValueMakesCompareAndDeleteWorthless
	 3  TryAcquire looks again, or          TestArticleBLostReplyLeavesALockThatNobodyHolds
	    ErrUnknown and a clean-up
	 4  SetNXScript checks the ttl first,   TestArticleB2LeavesALockWithoutTTLWhenExpireFails
	    and undoes the write
	 5  ErrNotHeld                          TestArticleCReleaseCallsALostLockSuccess
	 6  SetNXVerified compares the token    TestArticleDExistsProvesSomebodysLock
	 7  done when deleted, no look after    TestArticleDReleaseSeesTheNextHoldersLockAndFails
	 8  ReleaseTx watches                   TestArticleEMultiExecWithoutWatchDeletesAnothersLock
	 9  one pipeline                        TestArticleEDoubleCheckCostsASecondRoundTrip
	10  Lock.Deadline, Lock.Fence           TestArticleEDoubleCheckNarrowsTheGapButDoesNotCloseIt
	11  one command or script sets both     TestArticleSetNXThenExpireLeavesALockWithoutTTL

While the lease runs, all of them exclude: TestArticlesExcludeWhileTheLeaseRuns. ZooKeeper and etcd, which the articles
recommend where reliability matters more, agree by consensus before they answer, which Redis does not; a lease of theirs
can outlive its holder's patience just the same, so fencing is needed there, too.
*/
package redigolock
