package fairqueue

import (
	"context"
	"time"
)

// A Kind is what a command asks of the server.
type Kind uint8

const (
	Nothing Kind = iota
	Try          // takes the lock if it is free and nobody waits
	Enter        // queues an entry
	Poke         // asks what became of an entry
	Quit         // takes an entry out of the queue
	Release      // gives a token up, and may take an entry along
	Check        // asks whether the slot's holder is one still, and hands on a free lock
	Extend       // lets the lease last for the next local holder, before it is handed on without any command
)

// A Command is what is to be sent. Each is answered by Replied or Failed, but for an Extend, by Extended.
type Command struct {
	Kind  Kind
	Who   any    // the waiter that it is sent for, of Try and Enter
	Token string // that waits; of Check and Extend the holder's. Of Release that of the entry that goes along, "" for none
	Entry string // as it stands in the queue, byte for byte
	Debt  uint64 // of Release: the number of the debt
	Owed  string // of Release: the token that is given up
	TTL   time.Duration
	Most  time.Duration   // the longest lease that was asked for Token
	Own   bool            // on a connection of its own, not the pool's
	Kept  bool            // it is Lock.Release's, and waits for no turn
	Beat  bool            // of Poke: it tells the server that the entry's Locker lives, see "What becomes of a waiter"
	Alone bool            // of Release: only for the lock's key, whose slot is moving between servers; the queue is left as it is
	Ctx   context.Context // of the call that it is sent for; nil: nobody's
}

// asked is the lease that the command lets its token have, beyond that of its entry.
func (c *Command) asked() time.Duration {
	if c.Kind == Poke {
		return c.TTL
	}
	return 0
}

// Said is what a reply says.
type Said uint8

// The numbers of all before Mute are the scripts'.
const (
	None    Said = iota
	Granted      // the token has the lock
	Held         // Try: somebody else has the lock; else: the entry is queued
	NoSub        // nobody hears the entry's channel at this server: Enter has not queued it, for Poke it is queued
	Gone         // the entry is not in the queue, nor its token in the lock
	Mute         // Poke: the entry is queued, but the server refuses its beat, so that those who beat will have it dropped
	NotMine      // Check: the lock is not the holder's any more
)

// A Reply is the server's.
type Reply struct {
	Said   Said
	Holder string        // whose token is in the lock; "": it is free
	Left   time.Duration // of its lease; negative: it has none
	Err    error         // the lock was handed on, but nobody could be told; NotMine: what to tell the holder; Mute: the refusal
}

// An Outcome is that of a command without a reply of its own.
type Outcome struct {
	Fate     Fate
	Unread   bool // an answer came, and cannot be read
	NoneLent bool // the pool has lent no connection
	Split    bool // the server has not all of the keys, for their slot is moving between servers
	Left     bool // the caller that it was sent for has left: that is no trouble of others
	Err      error
}

// A Fate is what became of a command.
type Fate uint8

const (
	Lost    Fate = iota // it may have been carried out, or may be yet
	Unsent              // it was not, and may be sent again
	Refused             // it was not, nor will be
)

// Actions are what follows from an event.
type Actions struct {
	Mine     Command // for the caller to send itself: of Joined and Released
	Commands []Command
	Grants   []Grant
	Failures []Failure
	Losses   []Loss
	Listen   bool      // to the slot's channel: Heard says when it is done
	Relisten bool      // on another connection: on this one the server that answers does not hear it
	Wake     time.Time // call Wake by then; zero: no need
	Rest     Rest
	Forget   time.Time // with Remembers: when to call Wake at the latest
}

func (a *Actions) reset() {
	clear(a.Commands)
	clear(a.Grants)
	clear(a.Failures)
	clear(a.Losses)
	*a = Actions{Commands: a.Commands[:0], Grants: a.Grants[:0], Failures: a.Failures[:0], Losses: a.Losses[:0]}
}

// A Grant ends a wait: the waiter has the lock, and its handle the waiter's name.
type Grant struct {
	Who      any
	Token    string
	Deadline time.Time
	Most     time.Duration // the longest lease that was asked of the server for the token
}

// A Failure ends a wait.
type Failure struct {
	Who any
	Why Why
	Err error
}

// Why a wait has failed.
type Why uint8

const (
	Denied  Why = iota // Err says why
	Unclear            // Err is an answer that cannot be read: the lock may be the waiter's
	Endless            // the lock's key holds a string without TTL
	TooLate            // it was granted, and nothing was left of the lease
)

// A Loss ends a handle before its Deadline: the lock was taken away. Err is nil if another token was granted it.
type Loss struct {
	Who any
	Err error
}

// Rest says whether the slot is still needed.
type Rest uint8

const (
	Busy      Rest = iota
	Remembers      // nothing is to be done, but a holder or a dead token is remembered
	Done
)
