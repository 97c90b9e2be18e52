package sim_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/redigolock/redigolock/internal/sim"
)

// TestWhoIsSilentMayBeThrownOut has two processes wait, and a POKE of one throw the other out. What comes all at once after a pause of
// the server says by when it was sent whether the other was silent.
func TestWhoIsSilentMayBeThrownOut(t *testing.T) {
	tests := []struct {
		name    string
		paused  time.Duration // what was sent since then comes at its end
		silent  time.Duration // before the POKE was sent that throws out
		allowed bool
	}{
		{"silent", 0, 3 * time.Second, true},
		{"beats", 0, time.Second, false},
		{"silent while the server paused", 10 * time.Second, 3 * time.Second, true},
		{"beats while the server paused", 10 * time.Second, time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChecker(&world{plan: plan{mode: "fair"}, trace: &trace{begin: time.Now()}})
				mine, other := "1000 1 a p0a.0|"+nobody, "1000 1 b p1a.0|"+nobody
				both, one := state{queue: []string{other, mine}}, state{queue: []string{mine}}
				heard := map[string]bool{"a": true, "b": true}
				poke := func(link, entry string, sent time.Time, was, is state) {
					c.inOrder(sim.Request{Link: link, Name: "EVALSHA", Verb: "poke", Sent: sent, At: time.Now(),
						Args: []string{"hash", "3", "k0", "{k0}:redigolock-q2", "{k0}:redigolock-h2", "1000", entry, "1000"}}, "k0", was, is, heard)
				}
				begin := time.Now()
				time.Sleep(tt.paused)
				poke("p1a", other, begin, both, both)
				if tt.paused == 0 {
					time.Sleep(tt.silent)
				}
				poke("p0a", mine, begin.Add(tt.silent), both, one)
				if allowed := len(c.found) == 0; allowed != tt.allowed {
					t.Errorf("it may be thrown out: %v, want %v: %v", allowed, tt.allowed, c.found)
				}
			})
		})
	}
}

const nobody = "00000000-0000-0000-0000-000000000000"
