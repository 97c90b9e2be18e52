package sim_test

import (
	"encoding/binary"
	"time"

	"github.com/redigolock/redigolock/internal/hooks"
)

// What is random in the library comes from the moment in which it asks, and from who asks. Moments differ from seed to seed
// (world), and so do the numbers; they are the same whenever a seed runs again.
func init() {
	hooks.Now = hostTime
	hooks.N = func(n time.Duration) time.Duration {
		return between(chance(0).of("n", time.Now().UnixNano(), n), 0, n)
	}
	hooks.Secret = func(owner string, nth int, p []byte) {
		r := chance(0).of("secret", owner, nth, time.Now().UnixNano())
		for i := range p {
			p[i] = binary.LittleEndian.AppendUint64(nil, r.Uint64())[0]
		}
	}
}
