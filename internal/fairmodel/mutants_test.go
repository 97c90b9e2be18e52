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
	pairAndTwo  = [][]uint8{{4, 4}, {4}, {4}}
	fourSingle  = [][]uint8{{4}, {4}, {4}, {4}}
	sevenPair   = [][]uint8{{7}, {7}}
	sevenEach   = [][]uint8{{7}, {7}, {7}}
	diesLong    = [][]uint8{{2, 2}, {12}, {12}} // the last two crash, half open
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
	waste     = "waste"
)

type mutation struct {
	rule   string // in the words of the protocol's list of mutants
	mutant fairmodel.Mutant
	breaks string
	ttls   [][]uint8
	cold   bool // no subscription stands
	cohort bool
	budget fairmodel.Budget
	more   fairmodel.Config // what else is set
}

// mutations has the smallest exploration that catches each mutant. Three of the protocol's mutants are left to tests of
// the code: "SET after PUBLISH" (a script is one step here, its parts cannot be seen apart), "two keys sharing one
// queue" (there is one key here) and "no rights probe" (here the server refuses a script as a whole, never its second
// half).
// punctual is a world in which all timers are, and hasty one in which an entry may be silent for two ticks only: four would need more
// processes, and states. Four processes that are alike make 24 times as few states as four that are not, so -short catches all.
var (
	punctual = fairmodel.Config{Punctual: true, Prompt: true}
	hasty    = fairmodel.Config{Punctual: true, Prompt: true, Patience: 2}
)

var mutations = []mutation{
	{"publish to a dropped entry", fairmodel.PublishToDropped, exclusion, twoSingles, false, false,
		fairmodel.Budget{Break: 1}, fairmodel.Config{}},
	{"unconditional release", fairmodel.UnconditionalRelease, exclusion, twoSingles, false, false, fairmodel.Budget{}, fairmodel.Config{}},
	{"barge in ENTER", fairmodel.BargeInEnter, skip, twoAndOne, true, false, fairmodel.Budget{}, fairmodel.Config{}},
	{"barge in POKE", fairmodel.BargeInPoke, skip, twoSingles, false, false, fairmodel.Budget{Foreign: 1}, fairmodel.Config{}},
	{"barge in TRY", fairmodel.BargeInTry, skip, twoAndOne, true, false, fairmodel.Budget{}, fairmodel.Config{}},
	{"no nosub test", fairmodel.NoNosubTest, skip, twoSingles, false, false, fairmodel.Budget{Break: 1}, fairmodel.Config{}},
	{"ENTER without pump", fairmodel.EnterWithoutPump, pumped, twoSingles, false, false, fairmodel.Budget{}, fairmodel.Config{}},
	{"REL without pump", fairmodel.RelWithoutPump, pumped, twoSingles, false, false, fairmodel.Budget{}, fairmodel.Config{}},
	{"REL \"not mine\" forgets the next", fairmodel.NotMineForgetsNext, pumped, twoSingles, false, false,
		fairmodel.Budget{}, fairmodel.Config{}},
	{"no liveness test", fairmodel.NoLivenessTest, deaf, twoSingles, false, false, fairmodel.Budget{Crash: 1}, fairmodel.Config{}},
	{"Extend lowers", fairmodel.ExtendLowers, exclusion, shortHeir, false, false, fairmodel.Budget{Extend: 1}, fairmodel.Config{}},
	{"nosub without pump", fairmodel.NosubWithoutPump, pumped, twoSingles, false, false,
		fairmodel.Budget{Break: 1, Foreign: 1}, fairmodel.Config{}},
	{"EXTEND without pump", fairmodel.ExtendWithoutPump, pumped, twoSingles, false, false,
		fairmodel.Budget{Extend: 1, Slow: 1}, fairmodel.Config{}},
	{"the lease of a holder that is not heard ends early", fairmodel.TakeFromUnheard, exclusion, twoSingles, false, false,
		fairmodel.Budget{Break: 1, Foreign: 1}, fairmodel.Config{}},
	{"REL1 unconditional", fairmodel.AloneUnconditional, exclusion, twoSingles, false, false,
		fairmodel.Budget{TryAgain: 1, Unknown: 1}, fairmodel.Config{}},
	{"nothing swept", fairmodel.NothingSwept, waste, diesLong, false, false,
		fairmodel.Budget{CrashAll: 1}, fairmodel.Config{Punctual: true, Prompt: true, MaxWaste: 18}},
	{"what is new is swept", fairmodel.NewSwept, skip, pairAndTwo, false, false, fairmodel.Budget{}, punctual},
	{"impatient", fairmodel.Impatient, skip, pairAndTwo, false, false, fairmodel.Budget{}, punctual},
	{"a new entry counts as heard", fairmodel.NewAsHeard, skip, fourSingle, false, false, fairmodel.Budget{}, hasty},
	{"the sweep drops its own entry", fairmodel.OwnSwept, skip, pairAndTwo, false, false, fairmodel.Budget{}, punctual},
	{"every beat ends a tick", fairmodel.EveryBeatEndsTick, skip, fourSingle, false, false, fairmodel.Budget{}, hasty},
	{"a Locker that does not beat among those that do", fairmodel.OneDoesNotBeat, skip, sevenEach, false, false, fairmodel.Budget{}, punctual},
}

// smallest has, for each rule of a slot, the smallest exploration that breaks a property when internal/fairqueue breaks the rule:
// internal/mutants breaks each of them, but for the last, and TestSmallestExplorations must fail then.
var smallest = []struct {
	rule   string
	config fairmodel.Config
}{
	{"pass on a held token's message", fairmodel.Config{TTLs: twoSingles, Warm: true}},
	{"same token enqueued twice", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Unknown: 1, Foreign: 1, Slow: 2}}},
	{"adopt from the send with a full ttl", fairmodel.Config{TTLs: longHeir, Warm: true, Budget: fairmodel.Budget{GiveUp: 1}}},
	{"validity from the message", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Slow: 1}}},
	{"basis from an unanswered poke", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Slow: 2}}},
	{"pass without lease", fairmodel.Config{TTLs: muchLonger, Warm: true, Cohort: true}},
	{"reuse after an unknown release", fairmodel.Config{TTLs: oneProcess, Cohort: true, Budget: fairmodel.Budget{Unknown: 1}}},
	{"register after the reply", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Slow: 1}}},
	{"late queued overwrites", fairmodel.Config{TTLs: twoAndOne, Warm: true}},
	{"entry2 without a subscription", fairmodel.Config{TTLs: twoAndOne}},
	{"enqueue during QUIT", fairmodel.Config{TTLs: twoAndOne, Warm: true, Budget: fairmodel.Budget{GiveUp: 1}}},
	{"no poke", fairmodel.Config{TTLs: twoSingles, Warm: true}},
	{"local head asleep behind a lost holder", fairmodel.Config{TTLs: oneProcess, Warm: true}},
	{"give-up without passing on", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{GiveUp: 1}}},
	{"QUIT concurrent with its ENTER", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{GiveUp: 1}}},
	{"ghost dropped", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Unknown: 1}}},
	{"grant heard and forgotten", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{GiveUp: 1}}},
	{"owed release abandoned", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Unknown: 1, GiveUp: 1}}},
	{"entry2 while w waits", fairmodel.Config{TTLs: twoAndOne, Warm: true}},
	{"late Release of an old h", fairmodel.Config{TTLs: oneProcess, Warm: true}},
	{"ttl of the heir instead of the entry's", fairmodel.Config{TTLs: longHeir, Warm: true, Budget: fairmodel.Budget{GiveUp: 1}}},
	{"REL of a TRY in flight as ours", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Try: 1}}},
	{"QUIT abandoned", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Unknown: 1, GiveUp: 1}}},
	{"Close without QUIT", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Close: 1}}},
	{"POKE with a rebuilt entry", fairmodel.Config{TTLs: longHeir, Warm: true, Budget: fairmodel.Budget{GiveUp: 1}}},
	{"pass after an unknown EXTEND", fairmodel.Config{TTLs: muchLonger, Warm: true, Cohort: true, Budget: fairmodel.Budget{Unknown: 1}}},
	{"gone after a message drops w", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Unknown: 1, GiveUp: 1, Slow: 2}}},
	{"no CHECK", fairmodel.Config{TTLs: longPair, Warm: true, Budget: fairmodel.Budget{Steal: 1}, Punctual: true}},
	{"no CHECK, beside another process", fairmodel.Config{TTLs: longTwo, Warm: true, Budget: fairmodel.Budget{Steal: 1}, Punctual: true}},
	{"a late CHECK ends another handle", fairmodel.Config{TTLs: twoAndOne, Warm: true}},
	{"an unanswered CHECK ends the handle", fairmodel.Config{TTLs: oneProcess, Warm: true, Budget: fairmodel.Budget{Unknown: 1}}},
	{"the head enters and the handle stays valid", fairmodel.Config{TTLs: longPair, Warm: true, Budget: fairmodel.Budget{Steal: 1}}},
	{"TRYAGAIN taken for done", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{TryAgain: 1, GiveUp: 1}}},
	{"a lost ENTER is asked after once only", fairmodel.Config{TTLs: oneProcess, Warm: true, Budget: fairmodel.Budget{Unknown: 1}}},
	{"a lost ENTER is quit once only", fairmodel.Config{TTLs: twoSingles, Warm: true, Budget: fairmodel.Budget{Unknown: 1, GiveUp: 1}}},
	{"no POKE beats", fairmodel.Config{TTLs: diesLong, Warm: true, Budget: fairmodel.Budget{CrashAll: 1}, Punctual: true, Prompt: true, MaxWaste: 18}},
	{"every POKE beats", fairmodel.Config{TTLs: sevenPair, Warm: true, Budget: fairmodel.Budget{Break: 3, Foreign: 1}, Punctual: true, Prompt: true, Patience: 2}},
	// Rules of what a Locker does around its slot: internal/mutants breaks them there.
	{"entry2 sent twice", fairmodel.Config{TTLs: twoAndOne, Warm: true, Budget: fairmodel.Budget{Unknown: 1}}},
	{"a panic wedges the slot", fairmodel.Config{TTLs: oneProcess, Budget: fairmodel.Budget{Panic: 1}}},
	{"a waiter that panicked stays in the FIFO", fairmodel.Config{TTLs: oneProcess, Budget: fairmodel.Budget{Panic: 1}}},
}

func TestSmallestExplorations(t *testing.T) {
	for _, x := range smallest {
		t.Run(x.rule, func(t *testing.T) {
			t.Parallel()
			x.config.MaxStates = large
			keeps(t, x.config)
		})
	}
}

func (x *mutation) config() fairmodel.Config {
	cfg := x.more
	cfg.TTLs, cfg.Warm, cfg.Cohort, cfg.Budget = x.ttls, !x.cold, x.cohort, x.budget
	return cfg
}

func TestEveryMutantIsCaughtWhereTheProtocolPasses(t *testing.T) {
	for _, x := range mutations {
		t.Run(x.rule, func(t *testing.T) {
			t.Parallel()
			cfg := x.config()
			cfg.MaxStates = large
			keeps(t, cfg)
			cfg.Mutant, cfg.Only, cfg.MaxStates = x.mutant, x.breaks, 0
			r := explore(cfg)
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
