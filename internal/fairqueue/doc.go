// Package fairqueue decides what a fair Locker does for one key. A [Slot] is told what happens, and each event returns what
// follows from it, the [Actions]: the commands to send, the waits and handles that end, whether to listen to the slot's channel,
// when to call again. It does no I/O, starts no goroutine, takes no mutex and reads no clock: time, tokens and chance come from
// outside, so whoever has the same events gets the same actions. internal/fairmodel explores what it does; testdata tells it event
// by event for cases that people ask about.
//
// # Names
//
// K is the lock's key, Q the queue's. A slot has a FIFO of local waiters; the token that waits for the first of them at the
// server; the holder, if a handle of this Locker holds K; the tokens that it owes, whose release is not confirmed; and the dead,
// tokens that were given up, remembered for as long as the server may keep them. A token is sent by at most one command that can
// queue it or take K for it, ever: after an unknown outcome the slot only asks what became of it (Poke). A token that was given up
// is dead for ever, whatever the reply.
//
// # States
//
// A slot's state is what has become of the token that waits. The holder, and what is owed, go along with any state.
//
//	idle      no token waits
//	entering  a token was sent by Try, by Enter, or along with a Release, and no reply has told its place
//	queued    a reply has told that it is queued; or a message that it has K, with so little left of its lease that the slot pokes
//	quitting  the token was given up, and its Quit is not answered: until then the slot queues no other
//
// # Events
//
// For each event: the states that it may come in, what follows, and the states that it may lead to. At the end of each event the
// slot does what is due, whatever the event was: see "What is due".
//
// The Locker's calls:
//
//	Joined    any       The waiter joins the FIFO. If it is the first, the slot idle and its channel not heard, the waiter sends
//	                    Try itself: entering.
//	Left      any       The waiter leaves the FIFO. If it was the last, the token is given up as soon as no command is in flight
//	                    that names it; whoever joins until then inherits it.
//	Released  any       Within the cohort's bounds the first waiter gets the holder's token without any command; where too little
//	                    is left of the lease, after an Extend. Else Release sends the token back, and the handle is the slot's no
//	                    more. If it was, the slot is idle, its channel heard and somebody waits, a new token goes along: entering.
//	Extended  any       The Extend of Released is answered: the hand-off is made, or Release sent, as above.
//	Forgone   any       Lock.Release has given up: the slot repeats the Release in the background.
//	Deserted  any       Nobody has the handle: its token is owed.
//	Ended     any       The handle was lost, by what the server said to it: the first waiter goes for K.
//	Moved     any       The handle was extended: its Deadline is later.
//	Tried     any       A TryAcquire was granted K: its handle is the holder. A holder with another token has lost its lock.
//	TryLost   any       A TryAcquire has no answer: its token is owed, and must be confirmed twice.
//	TryRefused any      A TryAcquire was told who holds K.
//	Closing   any       Waiters leave, nothing is queued or poked any more, what is owed or given up is sent soon.
//	Closed    any       What is owed or given up is forgotten: quitting becomes idle.
//
// A reply to a command that names the token that waits. A reply about any other token changes nothing, except that a token which
// was granted is owed, unless it is the holder's or owed already:
//
//	granted   entering, queued   Nobody waits any more, or nothing is left of the lease: the token is owed, idle. Else the first
//	                             waiter has K until the command's send + the PTTL in the reply, less drift: idle.
//	held      entering, queued   To Try: idle, and the slot listens. Else the token is in Q: queued, and a message counts from the
//	                             send of this command. Behind a string without TTL all waiters fail: quitting.
//	nosub     entering, queued   To Enter: it was not queued, idle. To Poke: queued, and a message counts from where it did. The
//	                             subscription is made again on another connection.
//	mute      entering, queued   It is queued, but the server refuses its beats, so it would be taken for dead: all waiters fail,
//	                             quitting.
//	gone      entering, queued   The token is dead: idle. If what had sent it got no answer, it is owed an OpTimeout later, too: that
//	                             may still be on its way. But after a message that came while the Poke was in flight, another
//	                             Poke decides.
//	Quit      quitting, idle     Quit is answered, and whatever the reply says, nothing is left of the token: idle. As for gone,
//	                             what got no answer may still be on its way, and is owed. No other state can see the answer: a
//	                             slot that quits queues no token before it, and only Closed makes the slot idle earlier.
//
// Any reply to a Release settles the debt; where it must be confirmed twice, the second does. If a reply names a dead token as K's
// holder, a command was carried out late: the token is owed again.
//
// A Release that fails once may have taken an entry along. Its token is given up by the Releases that follow, alone, and what
// became of the entry is asked by Poke: two commands, which the server may carry out in either order.
//
// A command without a reply of its own:
//
//	lost      entering, queued   It may have been carried out: Poke, after a pause, on a connection of its own.
//	          quitting           Quit again.
//	unsent    entering, queued   It was not: a Poke goes again after a pause; of others the token is dropped: idle. A Release that
//	                             the server did not take because the slot is moving goes again for the lock's key alone, and
//	                             the next Poke of anybody finds K free.
//	          quitting           Quit again.
//	refused   entering, queued   It will not be. Poke: all waiters fail, quitting. Try, Enter: the first waiter fails, idle.
//	                             Release: the token that went along is dropped, idle; the debt stays.
//	          quitting           All waiters fail; Quit goes again, until a minute after its lease if nobody waits.
//	unread    entering, queued   An answer came that cannot be read: the first waiter fails, quitting.
//
// While the slot is moving, which may take minutes, a command that the server does not take for that reason is repeated soon a few
// times, and then once in a cap (see "What is due").
//
// A message that a token was granted, Told:
//
//	the token that waits    entering, queued   The first waiter has K until the time that the message counts from + the ttl in the
//	                                           entry, less drift: idle. If that leaves less than half of the waiter's ttl, Poke,
//	                                           which extends the lease and tells what is left: queued. Nobody waits: owed, idle.
//	the holder's, or owed   any                Nothing: to pass it on would release a lock that is held.
//	any other               any                It is owed. So is a token that quits: its Quit may have been carried out before a
//	                                           late Enter that was granted.
//
// The subscription and the time:
//
//	Heard     any       The channel is heard: a message may have been missed, so the token that waits is poked at once. Pauses
//	                    after failures end: where the slot was moving, it has moved.
//	Unheard   any       The connection is gone, and another is being made.
//	Silenced  any       Nobody needs it any more.
//	Refused   any       It cannot be had; for good: all waiters fail.
//	Wake      any       Time has passed.
//	Elsewhere any       The server may be another one, or is back: what is owed, or quits, is sent soon.
//
// # What is due
//
// The cap is the longest time that a waiting Locker goes without asking (pokeCap, 1 s).
//
// An owed token: its Release, at once, and again after each failure, until it is confirmed or its lease must be over.
//
// The token that waits: Poke, min(PTTL + jitter, the cap) after the newest reply. The Poke beats, unless the last one that did was
// sent shortly before. If nobody waits for the token any more: Quit, or, if Try has sent the token, Release.
//
// No token waits, and somebody does here: Enter, if the channel is heard; else Try, after a pause, while the subscription is made. Before
// the holder's Deadline nothing of that is due: its Release takes the first waiter along. But once K has not been known to be the
// holder's for a cap, Check asks. If it is not, the handle is lost, and the first waiter goes for K.
//
// # Why a message counts only for the token that waits
//
// The server writes a token into K only for the entry that carries it, and one command at most ever queues a token. So a message for the
// token that waits means the grant of this very entry, however late it comes. How long the grant is good for counts from a send before
// it: the newest whose reply said that the token is queued, or, until there is a reply, the one that was to queue it. It never counts
// from the message's arrival, which may be late by any amount.
//
// A message for another token says nothing about the one that waits, so the first waiter must not get K by it. The slot acts by what
// that other token is:
//   - It is the holder's, or owed: the slot knows of the grant already. If it released the token now, it would release a lock that
//     somebody relies on, or release it twice.
//   - It was given up, or was never the slot's: K may carry it, for nobody. When it was sent is not remembered, so nobody can say how
//     long it is good for. The slot owes it: the Release hands K on to the first in Q, which may be the slot's own entry. If K carries
//     another token by then, the Release changes nothing.
//
// # When two tokens of one slot were granted
//
// An Acquire and a TryAcquire of one Locker may be under way at once, and both be granted K, if somebody deletes K between them.
// The slot keeps the grant that it hears of last, and tells the holder of the other that its lock is lost. That may be the wrong
// one: the Try of a is sent, that of b after it, and both are answered; whether K was a, was deleted, and is b, or the other way
// round, nothing that the slot has seen tells, neither the order of the sends, which need not be that in which the server has
// carried them out, nor the order of the replies, nor what is left of the leases. So no rule would be right. To end one of them is safe in
// both cases, and Release of a handle that was ended still gives its token up.
//
// # What becomes of a waiter whose machine vanishes
//
// Its entry stays in Q until the lock is to be handed on. The script that does that (lua/parts/pump.lua) asks the server whether
// anybody hears the entry's channel. If the server knows that the connection is gone, nobody does: the script drops the entry, and
// takes the next. If the connection is half open, it counts as heard: the script sets K for the dead waiter, which never answers, and K
// expires after the ttl in its entry. The next waiter pokes then, and its Poke hands K on. So one such waiter costs those behind it
// one ttl, and several would cost one ttl each, until the server's tcp-keepalive ends their connections (by default after five
// minutes).
//
// Beats keep them from adding up (lua/parts/beat.lua). A Poke that beats notes in H, a hash beside Q, that the Locker of its entry
// is alive. H has a clock of its own, in ticks: a tick ends when one and the same entry has beaten twice in it, which takes three
// quarters of a cap or more by the clock of that entry's Locker. An entry that has been silent for more than four ticks is dropped. So
// waiters that vanish together cost those behind them one ttl and eight caps at most, however many they were.
//
// The beats drop nobody else. A server that stalls, restarts or is cut off makes all miss their beats together, and no tick ends. A
// waiter that was dropped while it is alive learns it at its next Poke (gone), and queues again: it has lost its place, and nothing
// is unsafe, since an entry is a right to be granted K, and not K. A Poke that only repeats what was not answered does not beat, nor
// does a first Poke that comes soon after its token was sent: a client that pokes every few milliseconds would have tick after tick
// end, and all others dropped.
//
// An older version of this package does not beat. Those that do would drop it, so it waits in another queue (q1), and each version
// hands on to its own. K has one holder all the same, but there is no order between the two queues: a waiter in one of them gets K when a
// release finds the other empty, and then at its next Poke.
//
// # Moves
//
// What each event has done to the state of a slot, over all explorations; internal/fairmodel compares this table with what it
// sees. A slot may go on at once with what is due: idle → entering, where a waiter sends its Try or Enter.
//
// CHECK and QUIT are the commands Check and Quit. REL is a Release, and REL1 one for the lock's key alone. Rows that begin with a small
// letter are about the commands that name a token which waits, or has waited: so "granted: idle → idle" is a reply about a token
// that was given up.
//
//	CHECK answered: entering → entering
//	CHECK answered: idle → entering, idle
//	CHECK answered: queued → queued
//	CHECK answered: quitting → quitting
//	CHECK lost: entering → entering
//	CHECK lost: idle → entering, idle
//	CHECK lost: queued → queued
//	CHECK refused: entering → entering
//	CHECK refused: idle → entering, idle
//	CHECK refused: queued → queued
//	CHECK unsent: entering → entering
//	CHECK unsent: idle → entering, idle
//	CHECK unsent: queued → queued
//	Closed: entering → entering
//	Closed: idle → idle
//	Closed: queued → queued
//	Closed: quitting → idle
//	Closing: entering → entering
//	Closing: idle → idle
//	Closing: queued → queued
//	Closing: quitting → quitting
//	Ended: entering → entering
//	Ended: idle → entering, idle
//	Ended: queued → queued
//	Ended: quitting → quitting
//	Extended: idle → entering, idle
//	Forgone: entering → entering
//	Forgone: idle → idle
//	Forgone: queued → queued
//	Forgone: quitting → quitting
//	Heard: entering → entering
//	Heard: idle → entering, idle
//	Heard: queued → queued
//	Heard: quitting → quitting
//	Joined: entering → entering
//	Joined: idle → entering, idle
//	Joined: queued → queued
//	Joined: quitting → quitting
//	Left: entering → entering, idle, quitting
//	Left: idle → entering, idle
//	Left: queued → queued, quitting
//	Left: quitting → quitting
//	Moved: idle → idle
//	QUIT answered: idle → idle
//	QUIT answered: quitting → entering, idle
//	REL answered: entering → entering
//	REL answered: idle → entering, idle
//	REL answered: queued → queued
//	REL answered: quitting → quitting
//	REL lost: entering → entering
//	REL lost: idle → entering, idle
//	REL lost: queued → queued
//	REL lost: quitting → quitting
//	REL refused: entering → entering
//	REL refused: idle → entering, idle
//	REL refused: queued → queued
//	REL refused: quitting → quitting
//	REL unsent: entering → entering
//	REL unsent: idle → idle
//	REL unsent: queued → queued
//	REL unsent: quitting → quitting
//	REL1 answered: entering → entering
//	REL1 answered: idle → entering, idle
//	REL1 answered: queued → queued
//	REL1 answered: quitting → quitting
//	Released: entering → entering
//	Released: idle → entering, idle
//	Released: queued → queued
//	Released: quitting → quitting
//	Silenced: entering → entering
//	Silenced: idle → idle
//	Silenced: queued → queued
//	Silenced: quitting → quitting
//	Told: entering → entering, idle, queued
//	Told: idle → entering, idle
//	Told: queued → idle, queued
//	Told: quitting → quitting
//	Tried: entering → entering
//	Tried: idle → idle
//	Tried: queued → queued
//	Tried: quitting → quitting
//	TryLost: entering → entering
//	TryLost: idle → entering, idle
//	TryLost: queued → queued
//	TryRefused: entering → entering
//	TryRefused: idle → entering, idle
//	TryRefused: queued → queued
//	TryRefused: quitting → quitting
//	Unheard: entering → entering
//	Unheard: idle → idle
//	Unheard: queued → queued
//	Unheard: quitting → quitting
//	Wake: entering → entering
//	Wake: idle → entering, idle
//	Wake: queued → queued
//	Wake: quitting → quitting
//	gone: entering → entering, idle
//	gone: idle → idle
//	gone: queued → entering, idle, queued, quitting
//	granted: entering → entering, idle, queued
//	granted: idle → idle
//	granted: queued → idle, queued
//	held: entering → entering, idle, queued, quitting
//	held: idle → idle
//	held: queued → queued, quitting
//	held: quitting → quitting
//	lost: entering → entering, quitting
//	lost: idle → idle
//	lost: queued → queued, quitting
//	lost: quitting → quitting
//	nosub: entering → entering, idle
//	nosub: idle → idle
//	nosub: queued → queued, quitting
//	refused: entering → entering, idle
//	refused: idle → idle
//	refused: queued → quitting
//	refused: quitting → quitting
//	unsent: entering → idle
//	unsent: idle → idle
//	unsent: queued → queued, quitting
//	unsent: quitting → quitting
package fairqueue
