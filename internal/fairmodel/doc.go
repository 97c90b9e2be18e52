// Package fairmodel explores the protocol behind Locker.Fair state by state: two or three processes, a server, lost,
// late and repeated commands, lost and late messages, expiry, crashes, stalls, waiters that give up or panic, foreign
// clients, cohort passes. It searches breadth first and fails with the shortest trace that breaks a property. It shares no code
// with the implementation; what the two share are the names of the states and the table below.
//
// # Names
//
// K is the lock's key, Q the queue's. TRY, ENTER, REL, REL+POKE, POKE, QUIT and EXTEND are the scripts (CHECK is an EXTEND by 1 ms); pump is their
// common end: K absent and Q not empty hands K to the first entry whose channel is heard. One slot per Locker and key:
//
//	w     the token that waits at the server: its entry (byte for byte as first sent), its basis, how it was sent
//	h     the token held, its Deadline, the one handle that may use it
//	owed  tokens whose REL or QUIT is not confirmed; each has at most one command in flight
//	dead  tokens dropped or given up, remembered for one ttl after they were
//	fifo  the local waiters, oldest first; the head is the one for whom w waits
//	sub   none, making, confirmed: the subscription of this slot's channel
//
// # States
//
// A slot's state is what w and h say; owed is a state of a token and goes along with any of them.
//
//	idle      no w, no h. fifo may be non-empty: its head waits for sub, for a TRY's pause, or for a QUIT (quitting)
//	entering  w sent by TRY, ENTER or as entry2 of a REL, and no reply has told its place; basis = that send
//	queued    w, and a reply said queued; basis = the send of the newest command that was answered so
//	held      h, no w; before its Deadline or after it
//	held+w    h past its Deadline and not released, and w entering or queued for the local head
//	          (also: a TryAcquire was granted while w was entering)
//	quitting  w was given up, no command names it any more, and its QUIT runs until answered. No w, no ENTER, no TRY by
//	          Acquire, no entry2 meanwhile. May go along with held
//	owed      token t: REL (or QUIT) sent or due; t is dead for ever (T2)
//
// # Table
//
// "drop w" is: w = none, t joins dead. "owe t" is: t joins owed and dead, a REL of t is due at once. "adopt(t, D)" is:
// if D leaves nothing or nobody waits: owe t; else h = t with Deadline D, w = none, the head leaves fifo with a new
// handle; an older h is latched and is no longer the slot's. "serve" is: if fifo is not empty and there is no w, no
// quitting, and no h before its Deadline: the head goes the way of Acquire (row Acquire, as if it came now).
// A cell that is not named is impossible or changes nothing. p is the PTTL in the reply, s the command's send.
//
// Local calls
//
//	Acquire      any       ctx is looked at first; the waiter joins fifo. Is it the head (else nothing but sub):
//	             idle      sub none → new w, register w and basis, TRY: entering. sub making → wait for it,
//	                       but for a TRY after each pause. sub confirmed → new w, register w and basis, ENTER: entering
//	             held      before Deadline: wait for Release or the Deadline; past it: as idle, giving held+w.
//	                       Whoever waits behind a holder starts sub
//	             quitting  wait for QUIT's answer, then serve
//	TryAcquire   any       own token t, TRY t, never w; granted → h = t (an older h is latched), held → ErrHeld;
//	                       unknown → owe t, the REL confirmed twice, an OpTimeout apart
//	give-up      any       the waiter leaves fifo and returns at once. Not the last: nothing else, the next inherits w
//	             entering  the last one: w stays until the command that names it is answered, or its outcome is unknown;
//	                       whoever comes meanwhile inherits it. Then QUIT w: quitting (sent by TRY: owe w instead)
//	             queued    the last one: the same, if a POKE is in flight; else QUIT w at once
//	             held+w    the last one: as entering or queued; h stays
//	Release      held      of h: latch, stop renewal and wait for it, owe h. By fifo and T3:
//	                       cohort allows and V-rules of the pass hold → no command: h stays, new handle for the head
//	                       fifo empty → bare REL: idle. fifo not empty and sub confirmed and no QUIT unanswered →
//	                       new w, register w and basis, REL(entry2 = w): entering. Else bare REL, then serve
//	             held+w    of h: bare REL, h = none, w as it is: entering or queued
//	             any       of a handle whose token is not h (it was latched): bare REL, the slot does not change
//	Close        any       every waiter gets ErrClosed; w → QUIT (quitting), owed RELs are sent (bounded), h is left
//	                       alone and its Release still works; then sub ends. No new w, no poke after it. What is owed
//	                       or given up only when the bound is over, is tried once
//
// Replies to a command that names t (a reply is never late: once OpTimeout passed, the outcome is unknown)
//
//	granted, p   t == w    entering, queued, held+w: adopt(t, s + p − drift)
//	             t == h    ignore (the message was first). t in owed: ignore, its REL is due or on its way
//	             else      t unknown, not of a TryAcquire: owe t
//	queued, p    t == w    entering, queued, held+w: basis = s, state queued, timer = min(p + jitter, cap)
//	             else      ignore (a late queued does not undo a grant that a message brought)
//	held, p      TRY       w = none (it never was in Q), sub is started, when confirmed: new w, ENTER. Until then: pause,
//	                       and TRY again with a new token
//	nosub        ENTER     w was never queued: w = none, sub is renewed at this node; meanwhile TRY
//	             POKE      entering, queued: w is in Q: state queued, basis is kept, sub is renewed, and only then POKE
//	gone         t == w    drop w (sent by TRY: owe it, it may still be on its way); serve (a new token). Else ignore.
//	                       But if a POKE is due already (a message for w came after this one was sent: a late ENTER was
//	                       granted), w is kept and that POKE decides
//	holder dead  any       any reply whose holder is in dead (not any own token): owe that holder again, REL at once
//	PTTL −1      any       held or queued behind a string without TTL: waiters get ErrConflict, w → QUIT (quitting)
//	was          REL       t leaves owed, Release says nil
//	not mine     REL       t leaves owed. A first try: ErrNotHeld. A retry: nil before t's Deadline, else ErrNotHeld
//	             EXTEND    the handle is latched, the holder told; no cohort pass; Release still sends its REL
//	             CHECK     the token is still that of h: as EXTEND, and serve. Else ignore
//	PTTL p       EXTEND    Deadline = max(Deadline, s + p − drift), unless latched
//	             CHECK     nothing
//	done         QUIT      t leaves owed: quitting ends, serve
//	w's part     REL with entry2, REL+POKE: was or not mine for the old token and, for w, as ENTER or POKE above
//	error        definite (ACL, type, OOM). TRY, ENTER: w = none, the head gets the error, serve. POKE: w → quitting,
//	             waiters get it. REL: stays owed, retried bare; its entry2: drop w, serve. REL+POKE: w as with POKE.
//	             QUIT: waiters get it; stays owed, retried, but given up a minute after its ttl if nobody waits (its
//	             channel is heard no longer then, so its entry is passed over). EXTEND: no cohort pass
//
// Unknown outcome (transport error, OpTimeout): always on a fresh connection, with backoff
//
//	TRY, ENTER   t == w    state stays entering, basis stays that send; POKE w. The same token is never sent again (T1)
//	POKE         t == w    basis stays (an unanswered poke renews nothing); POKE w
//	any of these t == w    nobody waits any more: QUIT w (sent by TRY: owe w)
//	REL(entry2)  any       old token: owed, a bare REL again; token2 == w: POKE w. The two may go as one REL+POKE, if no
//	                       other command names w
//	REL+POKE     any       the same again
//	REL, QUIT    any       the same again: REL until its lease must be over, QUIT until answered or Close
//	EXTEND       any       no cohort pass; renewal tries again before Deadline
//	CHECK        any       nothing: again after a cap
//	any          any       a panic of the user's code while the command was on its way makes its outcome unknown, too; the
//	                       waiter whose goroutine that was leaves fifo. Had it its lock already: owe it
//
// Message "t is granted"
//
//	t == w       entering, queued, held+w: D = basis + the ttl in w's entry − drift. D leaves half of the head's ttl
//	             or more: adopt(t, D). Less: POKE w first and go by its reply (one in flight already: await it)
//	t == h, t in owed      ignore (passing on h would release a live holder)
//	quitting t   owe t, and QUIT goes on: it may have run already, before a late ENTER that this grant is for
//	else         (also: t in dead) owe t: the REL passes it on
//
// Time and the subscription
//
//	timer        entering with unknown outcome, queued, held+w: POKE w unless a command naming w is in flight
//	Deadline     held      the handle is latched; fifo not empty: serve, giving held+w
//	CHECK        held      before the Deadline, fifo not empty, no pass under way, a cap since K was last known to be h
//	                       (the send of its grant, of a renewal that was answered, of a CHECK): CHECK h
//	confirmed    sub       idle: serve. w: POKE w at once (one in flight: when it is answered)
//	broken       sub       redial with backoff while somebody waits; a new ENTER waits for it, w stays
//	ttl over     dead      the token leaves dead. owed REL: retried until its lease must be over
//
// # What the model leaves out
//
// Time is counted in ticks, a ttl is two to five of them, and drift is none: clocks agree. A tick while something is
// on its way is a budget (Slow), since nothing else bounds how many commands a stalled process may have left behind.
// Timers may fire at any time from one tick on. The reply to a bare REL is read when it is executed, or lost. An owed
// REL is sent again at once until it is answered, and a dead token is never forgotten while anything names it. A token
// that nothing names any more is used again. The server never loses K before its time, so a failover and a restart
// without data are not explored, but for the loss of Q. Ghosts (commands whose client has given up on them) are
// executed at any time later, or never.
//
// What is checked: whoever believes to hold, holds (exclusion); K is never taken past an entry that is heard, and no
// entry of a live process is dropped (skip); a process has one place (twice); after each script K is held or Q is empty
// (I1); nobody gives up a lock that is in K; where timers are punctual, nobody waits for more than a tick behind a holder
// of the same process whose lock was taken away (late); and from every state, when no further fault happens, every waiter
// is served (lost wake-up), and what is then at the server is known to the process that put it there (leak).
package fairmodel
