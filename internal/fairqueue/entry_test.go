package fairqueue

import (
	"testing"
	"time"
)

func TestWaitingReadsWhatEntryWrites(t *testing.T) {
	for _, channel := range []string{"c", "redigolock:1.{a b}", "12 3 x"} {
		token, ttl, ok := Waiting(entry("web-1|token", channel, 1500*time.Millisecond))
		if !ok || token != "web-1|token" || ttl != 1500*time.Millisecond {
			t.Errorf("%q: %q, %v, %v", channel, token, ttl, ok)
		}
	}
	for _, bad := range []string{"", "x", "1000", "1000 1", "1000 1 c", "1000 1 c ", "1000 2 c t", "0 1 c t", "-1 1 c t", "1000 9 c t", "1000 0  t", "1e3 1 c t"} {
		if token, _, ok := Waiting(bad); ok {
			t.Errorf("%q: token %q", bad, token)
		}
	}
}
