package fairmodel

// Mutant breaks one rule of the scripts, so that a test can show that the rule is needed and that the model sees it.
type Mutant uint8

// The mutants of the model.
const (
	Correct              Mutant = iota
	PublishToDropped            // an entry that nobody hears is dropped, and told that it was granted
	UnconditionalRelease        // REL deletes K whatever it holds
	BargeInEnter                // ENTER takes a free K past the queue
	BargeInPoke                 // POKE takes a free K past the queue
	BargeInTry                  // TRY takes a free K past the queue
	NoNosubTest                 // ENTER and POKE do not look at their own NUMSUB
	EnterWithoutPump            // ENTER pushes only
	RelWithoutPump              // REL deletes K and pushes only
	NotMineForgetsNext          // REL that finds another token does nothing about entry2 and the queue
	NoLivenessTest              // pump does not look at NUMSUB
	ExtendLowers                // EXTEND sets the PTTL whatever is left
	NosubWithoutPump            // ENTER answers nosub before it pumps
	ExtendWithoutPump           // EXTEND answers "not mine" before it pumps
	TakeFromUnheard             // POKE takes K from a holder that a message told, and whose channel nobody hears any more
	AloneUnconditional          // REL1 deletes K whatever it holds
	NothingSwept                // beats are counted, and nothing is dropped
	NewSwept                    // the end of a tick drops entries that H does not know
	Impatient                   // an entry that was silent for a tick is dropped
	NewAsHeard                  // an entry that H does not know counts as heard in the tick that begins
	OwnSwept                    // the end of a tick drops the entry of the POKE that ends it
	EveryBeatEndsTick           // a tick ends with each beat
	OneDoesNotBeat              // the POKEs of p0 do not beat, as those of an older version
	mutants
)

var mutantNames = [...]string{
	"Correct", "PublishToDropped", "UnconditionalRelease", "BargeInEnter", "BargeInPoke", "BargeInTry", "NoNosubTest", "EnterWithoutPump", "RelWithoutPump", "NotMineForgetsNext", "NoLivenessTest", "ExtendLowers", "NosubWithoutPump", "ExtendWithoutPump", "TakeFromUnheard",
	"AloneUnconditional", "NothingSwept", "NewSwept", "Impatient", "NewAsHeard", "OwnSwept", "EveryBeatEndsTick", "OneDoesNotBeat",
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
