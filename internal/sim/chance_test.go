package sim_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// A chance is a seed. All that is random in a simulated world is a function of the seed and of what is decided: of who acts, of
// what is sent, and of when. So it does not matter which of two goroutines that run at the same moment asks first.
type chance uint64

// of returns random numbers that belong to these words.
func (c chance) of(words ...any) *rand.Rand {
	h := fnv.New64a()
	for _, w := range words {
		switch w := w.(type) {
		case []byte:
			h.Write(w)
		case string:
			h.Write([]byte(w))
		case int:
			h.Write(binary.LittleEndian.AppendUint64(nil, uint64(w)))
		case time.Duration:
			h.Write(binary.LittleEndian.AppendUint64(nil, uint64(w)))
		default:
			fmt.Fprint(h, w)
		}
		h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(uint64(c), h.Sum64()))
}

// between is a duration from least to less than most, to the nanosecond: no two things happen at the same time.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(max(most-least, 1))))
}

// pick returns one of the list.
func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// often reports true in n of a thousand cases.
func often(r *rand.Rand, n int) bool { return r.IntN(1000) < n }
