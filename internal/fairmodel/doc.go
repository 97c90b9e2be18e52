// Package fairmodel explores what internal/fairqueue does, state by state: one to four processes, each with the very slot
// that ships, a server, lost, late and repeated commands, lost and late messages, expiry, crashes, stalls, waiters that give up
// or panic, foreign clients, cohort passes. It searches breadth first and fails with the shortest trace that breaks a property.
// The server's scripts, the network and what a Locker does around a slot are models; the table of a slot's states and events is
// in internal/fairqueue.
//
// # Names
//
// K is the lock's key, Q the queue's, H that of the hash in which those who wait beat. TRY, ENTER, REL, POKE, QUIT and EXTEND are the scripts (CHECK is an EXTEND by 1 ms); pump is
// their common end: K absent and Q not empty hands K to the first entry whose channel is heard. entry2 is the entry that a REL
// takes along.
//
// # How a slot is explored
//
// It is always the same time. When a tick passes, all that a slot knows of is moved back by one (fairqueue.Slot.Copy); what lies
// far back or far ahead is cut off, tokens and debts are renamed, and a dead token that nothing else names is forgotten. So states
// that behave alike are one. What a slot has sent again after a pause goes when the explorer says so; a timer that is due fires
// then, or later, or not before another event does what was due.
//
// # What the model leaves out
//
// Time is counted in ticks of one cap, in which a slot's POKE beats once; that it may beat after three quarters of one, and with
// jitter, is left to tests in virtual time (TestFairDeadWaitersDoNotAddUp, TestFairLivingWaitersKeepTheirPlaces). No beat is refused
// (mute). A ttl is two to five of them, and drift is none: clocks agree. There is no jitter, all
// connections are alike, and an OpTimeout takes no time. No subscription is refused, no answer is one that cannot be read, and no
// handle is left to nobody (Deserted). A tick while something is on its way is a budget (Slow), since nothing else bounds how many
// commands a stalled process may have left behind.
// The reply to a bare REL is read when it is executed, or lost. A dead token is never forgotten while anything names it. A token
// that nothing names any more is used again. The server never loses K before its time, so a failover and a restart
// without data are not explored, but for the loss of Q. Ghosts (commands whose client has given up on them) are
// executed at any time later, or never.
//
// What is checked: whoever believes to hold, holds (exclusion); K is never taken past an entry that is heard, and no
// entry of a live process is dropped (skip); a process has one place (twice); after each script K is held or Q is empty
// (I1); nobody gives up a lock that is in K; where timers are punctual, nobody waits for more than a tick behind a holder
// of the same process whose lock was taken away (late), and who lives is not dropped as silent (skip), in worlds of four processes
// with less patience than the script has; crashed processes that are still heard do not have K for the sum of their ttls (waste);
// and from every state, when no further fault happens, every waiter
// is served (lost wake-up), and what is then at the server is known to the process that put it there (leak). What a ghost takes K
// for counts, too, unless its process had been told twice by then that it is not there, or its lease was over: an ENTER may be carried out after its
// POKE has said gone, or after its QUIT.
//
// # How far it goes
//
// Most explorations have a bound, and only those that end below it have seen all that there is. Of processes whose calls have the same
// ttls one order is explored (symmetry.go), which makes the states of two processes half as many, those of four a 24th.
//
// go test -short runs 257 explorations of 15,000 states at most, of which 101 end by themselves: 3.3 million states, 7.4 million steps between
// them, in 31 s of processor time. Without -short there are some 700, of 25,000 states, and of 400,000 where a bound would hide what is
// looked for. With REDIGOLOCK_LONG the bound is 100,000, and a million for the largest worlds: a run of 2026-11-30 ended all worlds, and
// was stopped among the rules that are broken: 76 million states, 207 million steps, 0 failures. Each rule of the scripts is broken by a
// mutant here, and each rule of a slot by one of internal/mutants, and all break the property that the table in mutants_test.go names.
package fairmodel
