/*
Package locktest is a Redis server in memory for tests of code that locks with redigolock. It can lose a lock, hold one for
somebody else, be down, hang, lose replies and refuse commands, each by one line:

	func TestStopsWhenTheLockIsLost(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			redis := locktest.Start(t)
			locks := redis.Locker()
			err := locks.Do(t.Context(), "report", 10*time.Second, func(ctx context.Context, k *redigolock.Lock) error {
				redis.Lose("report")
				<-ctx.Done() // the work: it must end when the lock is lost
				return context.Cause(ctx)
			})
			if !errors.Is(err, redigolock.ErrLost) {
				t.Errorf("got %v, want ErrLost", err)
			}
		})
	}

No socket is opened. The server ends with the test, and nothing is left of it: no goroutine, no connection. It fails the test
if a lock is left that nobody has released, which names the key and the Owner of its Locker; see [Server.Leave].

# Time

In a bubble of [testing/synctest] all of it runs in virtual time: TTLs, renewals, timeouts and the pauses of those who wait. The
test above takes 0.00 s, a test of an hour not much more. Pass Start the bubble's t. The network takes 50 µs each way there, or a
loop of commands would never let the time go on.

Without a bubble all of it runs in real time; the test above then waits some seconds, for a renewal. TTLs run there, too.

# Faults

Each fault begins with a call of a method, and ends with a call of the func that it returns, or with the test. Faults add up.

Some concern certain commands only. They take verbs, the words that [redigolock.Observer] has for what is asked of the server:

	acquire  an acquire or a try of one, in each of the ways that the library has
	extend   Extend and the renewals of KeepAlive and Do
	release  Release, and the removal of what an acquire may have left
	verify   Verify and Attach
	fence    Fence
	guard    Guard and GuardDo
	inspect  Inspect
	poke     with Fair, a waiter asks for its place in the queue
	quit     with Fair, a waiter leaves the queue

or they take the name of a command in capitals, as "SUBSCRIBE" or "SET". A verb that is not one of these fails the test at once.

# Beside miniredis

Package miniredis makes the server; [Server.Pool] leads to it, so the code under test may keep other data there, too.
Commands that block (BLPOP, XREAD BLOCK …) are refused with an error.

A miniredis of your own can run in the same test, and serves a Locker, too. But it misleads: its TTLs run out only when the test
says so (FastForward), unless ClockTTL has them run. A lock that nobody renews is then never lost, a holder that died keeps
others out for ever, and a test passes, or hangs, for the wrong reason. A miniredis that was started listens on a socket: the
time of a bubble stands still as long as a goroutine in it waits for one. And it can neither lose a reply nor hang.

It is no real server, though: what depends on rights, replicas, persistence or memory must be tested on one. It has no
replicas, and says so: an acquire with Locker.Replicas above 0 ends with redigolock.ErrNotReplicated.
*/
package locktest
