package testbed

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/sim"
)

// Learns has a Locker take a lock and give it back, so that it knows what its server knows.
func Learns(t *testing.T, l *redigolock.Locker) {
	t.Helper()
	cycle(t, l, "learned")
}

func cycle(t *testing.T, l *redigolock.Locker, key string) {
	t.Helper()
	k, err := l.TryAcquire(bg, key, time.Minute)
	if err == nil {
		err = k.Release(bg)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TwoCycles has a Locker take a lock and give it back, twice, and returns the commands that these servers were sent for that, the
// two cycles separated by "/". A script has its name, and a SET with GET is SETGET.
func TwoCycles(t *testing.T, l *redigolock.Locker, key string, servers ...*sim.Server) string {
	t.Helper()
	var cycles []string
	for range 2 {
		before := make([]int, len(servers))
		for i, s := range servers {
			before[i] = len(s.Requests())
		}
		cycle(t, l, key)
		var sent []string
		for i, s := range servers {
			for _, q := range s.Requests()[before[i]:] {
				switch {
				case q.Name == "EVAL", q.Name == "CLUSTER", q.Name == "ROLE": // EVAL: the EVALSHA before it was not known
				case q.Name == "EVALSHA":
					sent = append(sent, q.Verb)
				case q.Name == "SET" && slices.Contains(q.Args, "GET"):
					sent = append(sent, "SETGET")
				default:
					sent = append(sent, q.Name)
				}
			}
		}
		cycles = append(cycles, strings.Join(sent, " "))
	}
	return strings.Join(cycles, " / ")
}

// OlderVersion has a server refuse what Redis 6.2 refuses.
func OlderVersion(s *sim.Server) {
	s.Rule(OlderSays)
}

// OlderSays is what Redis 6.2 says to a request.
func OlderSays(q sim.Request) sim.Action {
	switch {
	case q.Name == "SET" && slices.Contains(q.Args, "GET"):
		return sim.Refuse("ERR syntax error")
	case q.Name == "DELEX", q.Name == "DELIFEQ":
		return sim.Refuse("ERR unknown command `" + q.Name + "`, with args beginning with: `key`, ")
	}
	return sim.Pass()
}
