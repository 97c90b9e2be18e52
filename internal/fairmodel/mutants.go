package fairmodel

// Mutant breaks one rule of the protocol, so that a test can show that the rule is needed and that the model sees it.
type Mutant uint8

// The mutants of the model.
const (
	Correct              Mutant = iota
	PassOnHeld                  // a message for the held token is passed on as if it were unknown
	EnqueueTwice                // after an unknown ENTER the same token is sent with ENTER again
	FullTTLFromSend             // a grant told by a reply counts with the full ttl
	ValidityFromMessage         // a grant told by a message counts from the message's arrival
	BasisFromPoke               // the basis is the send of a poke that is not answered
	PublishToDropped            // an entry that nobody hears is dropped, and told that it was granted
	PassWithoutLease            // a cohort pass does not look at what is left of the lease
	ReuseAfterUnknown           // a token whose REL has no answer is given to the next local waiter
	UnconditionalRelease        // REL deletes K whatever it holds
	RegisterAfterReply          // w is registered when ENTER is answered, not before it is sent
	LateQueuedOverwrites        // a queued that comes after the message of the grant undoes the grant
	BargeInEnter                // ENTER takes a free K past the queue
	BargeInPoke                 // POKE takes a free K past the queue
	BargeInTry                  // TRY takes a free K past the queue
	Entry2Unsubscribed          // entry2 travels though the subscription is not confirmed
	NoNosubTest                 // ENTER and POKE do not look at their own NUMSUB
	EnqueueDuringQuit           // ENTER is sent while QUIT is not answered
	EnterWithoutPump            // ENTER pushes only
	RelWithoutPump              // REL deletes K and pushes only
	NotMineForgetsNext          // REL that finds another token does nothing about entry2 and the queue
	NoPoke                      // w is never poked
	HeadAsleep                  // the local head waits for a holder whose Deadline has passed
	GiveUpWithoutQuit           // the last local waiter leaves, and its entry stays
	QuitBesideEnter             // QUIT does not wait for the ENTER in flight
	GhostDropped                // the message of an unknown token is ignored
	GrantForgotten              // a grant that nobody wants any more is not released
	OwedAbandoned               // a REL without an answer is not repeated
	NoLivenessTest              // pump does not look at NUMSUB
	ExtendLowers                // EXTEND sets the PTTL whatever is left
	Entry2WhileWaiting          // entry2 travels though the slot has a w
	OldReleaseAsNew             // Release of a latched handle releases the token that its slot holds now
	Entry2Twice                 // a REL without an answer is repeated with its entry2
	HeirsTTL                    // a message counts with the ttl of the local head, not with the entry's
	NosubWithoutPump            // ENTER answers nosub before it pumps
	ExtendWithoutPump           // EXTEND answers "not mine" before it pumps
	RelOfTryInFlight            // a holder of ours that the slot does not know is released, a TRY in flight too
	QuitAbandoned               // a QUIT without an answer is not repeated
	CloseWithoutQuit            // Close leaves w in the queue
	RebuiltEntry                // POKE carries an entry with the ttl of the local head
	PassUnextended              // a cohort pass goes on though its EXTEND has no answer
	GoneForgetsMessage          // a POKE answered gone drops w, though a message for w came after it was sent
	IgnoredWhileQuitting        // a message for a token whose QUIT is not answered is ignored
	TakeFromUnheard             // POKE takes K from a holder that a message told, and whose channel nobody hears any more
	NoCheck                     // the waiters of a holder's own process never ask whether K is still its token
	CheckEndsAny                // a CHECK answered "not mine" ends whatever handle the slot has by then
	CheckUnknownEnds            // a CHECK without an answer ends the handle
	CheckWithoutLatch           // a CHECK answered "not mine" sends the head on its way, and the handle stays valid
	PanicWedges                 // the command of a waiter that panics stays claimed
	PanicKeepsWaiter            // a waiter that panics stays in the FIFO
	mutants
)

var mutantNames = [...]string{
	"Correct", "PassOnHeld", "EnqueueTwice", "FullTTLFromSend", "ValidityFromMessage", "BasisFromPoke",
	"PublishToDropped", "PassWithoutLease", "ReuseAfterUnknown", "UnconditionalRelease",
	"RegisterAfterReply", "LateQueuedOverwrites", "BargeInEnter", "BargeInPoke", "BargeInTry",
	"Entry2Unsubscribed", "NoNosubTest", "EnqueueDuringQuit", "EnterWithoutPump", "RelWithoutPump",
	"NotMineForgetsNext", "NoPoke", "HeadAsleep", "GiveUpWithoutQuit", "QuitBesideEnter", "GhostDropped",
	"GrantForgotten", "OwedAbandoned", "NoLivenessTest", "ExtendLowers", "Entry2WhileWaiting",
	"OldReleaseAsNew", "Entry2Twice", "HeirsTTL", "NosubWithoutPump", "ExtendWithoutPump",
	"RelOfTryInFlight", "QuitAbandoned", "CloseWithoutQuit", "RebuiltEntry", "PassUnextended", "GoneForgetsMessage",
	"IgnoredWhileQuitting", "TakeFromUnheard", "NoCheck", "CheckEndsAny", "CheckUnknownEnds", "CheckWithoutLatch",
	"PanicWedges", "PanicKeepsWaiter",
}

func (x Mutant) String() string { return mutantNames[x] }

// Mutants lists all but Correct.
func Mutants() []Mutant {
	var all []Mutant
	for x := Correct + 1; x < mutants; x++ {
		all = append(all, x)
	}
	return all
}
