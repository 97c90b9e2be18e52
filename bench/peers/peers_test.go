package peers_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/bench/peers"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestMain(m *testing.M) {
	peers.Add()
	bench.Join()
	flag.Parse()
	_ = flag.Set("test.parallel", "32") // those that are parallel wait: for a lease to be over, or a renewal to be due
	goleak.VerifyTestMain(stopping{m})
}

// stopping ends the rivals' servers, before goroutines are counted.
type stopping struct{ *testing.M }

func (s stopping) Run() int {
	defer peers.Stop()
	return s.M.Run()
}

func server(tb testing.TB) (*bench.Server, *redistest.Server) {
	tb.Helper()
	r := redistest.Start(tb)
	s, err := bench.Open(context.Background(), r.URL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s, r
}

// Each rival renews each lock at half of its ttl, as we do, and leaves nothing. Half of the ttl is more than a machine
// stalls.
func TestEachWayRenewsAndLeavesNoKey(t *testing.T) {
	t.Parallel()
	s, r := server(t)
	t.Run("ways", func(t *testing.T) {
		for _, way := range bench.KeepingWays() {
			t.Run(way, func(t *testing.T) {
				t.Parallel()
				w := bench.KeepAlive{Server: s, Way: way, Locks: 50, TTL: 5 * time.Second, Time: 10 * time.Second}
				res, err := w.Run(context.Background())
				if err != nil {
					t.Fatalf("%s: %v", w.Name(), err)
				}
				if res.Ops < 3*50 || res.Ops > 5*50 {
					t.Errorf("%s: %d renewals of 50 locks in 4 halves of a ttl", w.Name(), res.Ops)
				}
			})
		}
	})
	if n, err := redis.Int(r.Do("DBSIZE")); n != 0 || err != nil {
		t.Errorf("left %d keys, %v", n, err)
	}
}
