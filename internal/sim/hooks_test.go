package sim_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
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
	hooks.Turn = func(verb, key, token, place string) {
		turn := between(chance(0).of("turn", time.Now().UnixNano(), verb, key, token), 1, mostTurn)
		if place != "" { // never the same for one token at two servers
			turn = 1 + (turn+between(chance(0).of("place", place), 0, mostTurn))%mostTurn
		}
		time.Sleep(turn)
	}
	hooks.Yield = func() { time.Sleep(time.Nanosecond) }
	hooks.Secret = func(owner string, nth int, p []byte) {
		name := ""
		if w, ok := workersBy.Load(goroutine()); ok { // workers that one thing has woken together may ask in any order
			u := w.(*worker)
			u.secrets++
			name, nth = u.name, u.secrets
		}
		r := chance(0).of("secret", owner, name, nth, time.Now().UnixNano())
		for i := range p {
			p[i] = binary.LittleEndian.AppendUint64(nil, r.Uint64())[0]
		}
	}
}

// mostTurn is how long it takes at most until what was to be sent at one moment is sent. It is many times as many nanoseconds as there
// may be goroutines, so that two are seldom sent at the same moment.
const mostTurn = 30 * time.Microsecond

// workersBy finds a worker by its goroutine.
var workersBy sync.Map

// goroutine identifies the caller's goroutine.
func goroutine() string {
	buf := make([]byte, 40)
	number, _, _ := strings.Cut(strings.TrimPrefix(string(buf[:runtime.Stack(buf, false)]), "goroutine "), " ")
	return number
}
