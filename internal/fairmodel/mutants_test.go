//go:build !race

package fairmodel_test

import (
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/fairmodel"
)

// The shapes of the explorations: for each process, the ttls of its Acquire calls in ticks.
var (
	oneProcess  = [][]uint8{{2, 2}}
	twoSingles  = [][]uint8{{2}, {2}}
	twoAndOne   = [][]uint8{{2, 2}, {2}}
	longHeir    = [][]uint8{{2, 3}, {2}}
	shortHeir   = [][]uint8{{3, 2}, {2}}
	muchLonger  = [][]uint8{{2, 4}}
	twoPairs    = [][]uint8{{2, 2}, {2, 2}}
	threeSingle = [][]uint8{{2}, {2}, {2}}
	longPair    = [][]uint8{{5, 5}}
	longTwo     = [][]uint8{{5, 5}, {5}}
)

// What a mutant breaks, as the violation begins.
const (
	exclusion = "exclusion"
	skip      = "skip"
	twice     = "twice"
	leak      = "leak"
	wakeUp    = "lost wake-up"
	pumped    = "I1"
	deaf      = "K was handed to an entry that nobody hears"
	late      = "late"
	nothing   = "lost for nothing"
)

type mutation struct {
	rule   string // in the words of the protocol's list of mutants
	mutant fairmodel.Mutant
	breaks string
	ttls   [][]uint8
	cold   bool // no subscription stands
	cohort bool
	budget fairmodel.Budget
	prompt bool // no timer is late
}

// mutations has the smallest exploration that catches each mutant. Three of the protocol's mutants are left to tests of
// the code: "SET after PUBLISH" (a script is one step here, its parts cannot be seen apart), "two keys sharing one
// queue" (there is one key here) and "no rights probe" (here the server refuses a script as a whole, never its second
// half).
var mutations = []mutation{
	{"pass on a held token's message", fairmodel.PassOnHeld, exclusion, twoSingles, false, false, fairmodel.Budget{}, false},
	{"same token enqueued twice", fairmodel.EnqueueTwice, exclusion, twoSingles, false, false,
		fairmodel.Budget{Unknown: 1, Foreign: 1, Slow: 2}, false},
	{"adopt from the send with a full ttl", fairmodel.FullTTLFromSend, exclusion, longHeir, false, false,
		fairmodel.Budget{GiveUp: 1}, false},
	{"validity from the message", fairmodel.ValidityFromMessage, exclusion, twoSingles, false, false,
		fairmodel.Budget{Slow: 1}, false},
	{"basis from an unanswered poke", fairmodel.BasisFromPoke, exclusion, twoSingles, false, false,
		fairmodel.Budget{Slow: 2}, false},
	{"publish to a dropped entry", fairmodel.PublishToDropped, exclusion, twoSingles, false, false,
		fairmodel.Budget{Break: 1}, false},
	{"pass without lease", fairmodel.PassWithoutLease, exclusion, muchLonger, false, true, fairmodel.Budget{}, false},
	{"reuse after an unknown release", fairmodel.ReuseAfterUnknown, exclusion, oneProcess, true, true,
		fairmodel.Budget{Unknown: 1}, false},
	{"unconditional release", fairmodel.UnconditionalRelease, exclusion, twoSingles, false, false, fairmodel.Budget{}, false},
	{"register after the reply", fairmodel.RegisterAfterReply, exclusion, twoSingles, false, false,
		fairmodel.Budget{Slow: 1}, false},
	{"late queued overwrites", fairmodel.LateQueuedOverwrites, exclusion, oneProcess, false, false,
		fairmodel.Budget{Slow: 2}, false},
	{"barge in ENTER", fairmodel.BargeInEnter, skip, twoAndOne, true, false, fairmodel.Budget{}, false},
	{"barge in POKE", fairmodel.BargeInPoke, skip, twoSingles, false, false, fairmodel.Budget{Foreign: 1}, false},
	{"barge in TRY", fairmodel.BargeInTry, skip, twoSingles, true, false, fairmodel.Budget{Slow: 2}, false},
	{"entry2 without a subscription", fairmodel.Entry2Unsubscribed, skip, twoAndOne, true, false,
		fairmodel.Budget{}, false},
	{"no nosub test", fairmodel.NoNosubTest, skip, twoSingles, false, false, fairmodel.Budget{Break: 1}, false},
	{"enqueue during QUIT", fairmodel.EnqueueDuringQuit, twice, twoAndOne, false, false, fairmodel.Budget{GiveUp: 1}, false},
	{"ENTER without pump", fairmodel.EnterWithoutPump, pumped, twoSingles, false, false, fairmodel.Budget{}, false},
	{"REL without pump", fairmodel.RelWithoutPump, pumped, twoSingles, false, false, fairmodel.Budget{}, false},
	{"REL \"not mine\" forgets the next", fairmodel.NotMineForgetsNext, pumped, twoSingles, false, false,
		fairmodel.Budget{}, false},
	{"no poke", fairmodel.NoPoke, wakeUp, twoSingles, false, false, fairmodel.Budget{}, false},
	{"local head asleep behind a lost holder", fairmodel.HeadAsleep, wakeUp, oneProcess, false, false,
		fairmodel.Budget{}, false},
	{"give-up without passing on", fairmodel.GiveUpWithoutQuit, leak, twoSingles, false, false,
		fairmodel.Budget{GiveUp: 1}, false},
	{"QUIT concurrent with its ENTER", fairmodel.QuitBesideEnter, leak, twoSingles, false, false,
		fairmodel.Budget{GiveUp: 1}, false},
	{"ghost dropped", fairmodel.GhostDropped, leak, twoSingles, false, false, fairmodel.Budget{Unknown: 1}, false},
	{"grant heard and forgotten", fairmodel.GrantForgotten, leak, twoSingles, false, false, fairmodel.Budget{GiveUp: 1}, false},
	{"owed release abandoned", fairmodel.OwedAbandoned, leak, twoSingles, false, false, fairmodel.Budget{Unknown: 1}, false},
	{"no liveness test", fairmodel.NoLivenessTest, deaf, twoSingles, false, false, fairmodel.Budget{Crash: 1}, false},
	{"Extend lowers", fairmodel.ExtendLowers, exclusion, shortHeir, false, false, fairmodel.Budget{Extend: 1}, false},
	{"entry2 while w waits", fairmodel.Entry2WhileWaiting, twice, twoAndOne, false, false, fairmodel.Budget{}, false},
	{"late Release of an old h", fairmodel.OldReleaseAsNew, exclusion, oneProcess, false, false, fairmodel.Budget{}, false},
	{"entry2 sent twice", fairmodel.Entry2Twice, twice, twoAndOne, false, false, fairmodel.Budget{Unknown: 1}, false},
	{"ttl of the heir instead of the entry's", fairmodel.HeirsTTL, exclusion, longHeir, false, false,
		fairmodel.Budget{GiveUp: 1}, false},
	{"nosub without pump", fairmodel.NosubWithoutPump, pumped, twoSingles, false, false,
		fairmodel.Budget{Break: 1, Foreign: 1}, false},
	{"EXTEND without pump", fairmodel.ExtendWithoutPump, pumped, twoSingles, false, false,
		fairmodel.Budget{Extend: 1, Slow: 1}, false},
	{"REL of a TRY in flight as ours", fairmodel.RelOfTryInFlight, exclusion, twoSingles, false, false,
		fairmodel.Budget{Try: 1}, false},
	{"QUIT abandoned", fairmodel.QuitAbandoned, leak, twoSingles, false, false, fairmodel.Budget{Unknown: 1, GiveUp: 1}, false},
	{"Close without QUIT", fairmodel.CloseWithoutQuit, leak, twoSingles, false, false, fairmodel.Budget{Close: 1}, false},
	{"POKE with a rebuilt entry", fairmodel.RebuiltEntry, twice, longHeir, false, false, fairmodel.Budget{GiveUp: 1}, false},
	{"pass after an unknown EXTEND", fairmodel.PassUnextended, exclusion, muchLonger, false, true,
		fairmodel.Budget{Unknown: 1}, false},
	{"gone after a message drops w", fairmodel.GoneForgetsMessage, leak, twoSingles, false, false,
		fairmodel.Budget{Unknown: 1, GiveUp: 1, Slow: 2}, false},
	{"a message ignored while QUIT is out", fairmodel.IgnoredWhileQuitting, leak, twoSingles, false, false,
		fairmodel.Budget{Unknown: 1, GiveUp: 1}, false},
	{"the lease of a holder that is not heard ends early", fairmodel.TakeFromUnheard, exclusion, twoSingles, false, false,
		fairmodel.Budget{Break: 1, Foreign: 1}, false},
	{"no CHECK", fairmodel.NoCheck, late, longPair, false, false, fairmodel.Budget{Steal: 1}, true},
	{"no CHECK, beside another process", fairmodel.NoCheck, late, longTwo, false, false, fairmodel.Budget{Steal: 1}, true},
	{"a late CHECK ends another handle", fairmodel.CheckEndsAny, nothing, twoAndOne, false, false,
		fairmodel.Budget{}, false},
	{"an unanswered CHECK ends the handle", fairmodel.CheckUnknownEnds, nothing, oneProcess, false, false,
		fairmodel.Budget{Unknown: 1}, false},
	{"the head enters and the handle stays valid", fairmodel.CheckWithoutLatch, exclusion, longPair, false, false,
		fairmodel.Budget{Steal: 1}, false},
	{"a panic wedges the slot", fairmodel.PanicWedges, wakeUp, oneProcess, true, false,
		fairmodel.Budget{Panic: 1}, false},
	{"a waiter that panicked stays in the FIFO", fairmodel.PanicKeepsWaiter, leak, oneProcess, true, false,
		fairmodel.Budget{Panic: 1}, false},
}

func (x *mutation) config() fairmodel.Config {
	return fairmodel.Config{TTLs: x.ttls, Warm: !x.cold, Cohort: x.cohort, Budget: x.budget, Punctual: x.prompt}
}

func TestEveryMutantIsCaughtWhereTheProtocolPasses(t *testing.T) {
	for _, x := range mutations {
		t.Run(x.rule, func(t *testing.T) {
			t.Parallel()
			cfg := x.config()
			keeps(t, cfg)
			cfg.Mutant, cfg.Only = x.mutant, x.breaks
			r := fairmodel.Explore(cfg)
			if !strings.HasPrefix(r.Violation, x.breaks) {
				t.Fatalf("%v in %d states: got %q, want a violation of %q", x.mutant, r.States, r.Violation, x.breaks)
			}
			t.Logf("%v: caught after %d states, %d steps: %s", x.mutant, r.States, r.Depth,
				strings.SplitN(r.Violation, "\n", 2)[0])
		})
	}
}

func TestTheTableNamesEveryMutant(t *testing.T) {
	named := map[fairmodel.Mutant]bool{}
	for _, x := range mutations {
		named[x.mutant] = true
	}
	for _, x := range fairmodel.Mutants() {
		if !named[x] {
			t.Errorf("no exploration is named for %v", x)
		}
	}
}
