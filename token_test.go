package redigolock_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/redistest"
)

// The articles that use one fixed value for everybody make compare-and-delete worthless.
func TestNewTokenIsARandomUUIDAndNeverTheSame(t *testing.T) {
	randomUUIDs(t, redigolock.NewToken)
}

// A Locker makes several at a time.
func TestTokensOfALockerAreRandomUUIDsAndNeverTheSame(t *testing.T) {
	randomUUIDs(t, redigolock.TokensOf(&redigolock.Locker{}))
}

func randomUUIDs(t *testing.T, newToken func() string) {
	t.Helper()
	const goroutines, each = 8, 1000
	seen := make(map[string]bool, goroutines*each)
	var mu sync.Mutex // protects seen
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				token := newToken()
				id, err := uuid.Parse(token)
				if err != nil || id.Version() != 4 || id.Variant() != uuid.RFC4122 || id.String() != token {
					t.Errorf("%q is no UUID of version 4 in its usual form: %v", token, err)
				}
				mu.Lock()
				if seen[token] {
					t.Errorf("%q came twice", token)
				}
				seen[token] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestOwnerThatCouldNotBeToldFromTheTokenIsInvalid(t *testing.T) {
	s := redistest.StartMini(t)
	pool := s.Pool()
	defer pool.Close()
	bad := map[string]string{
		"a separator": "a|b", "only the separator": "|", "a space": "a b", "a newline": "a\nb", "a tab": "\t",
		"a zero byte": "a\x00",
		"DEL":         "a\x7f", "no ASCII": "é", "129 bytes": strings.Repeat("o", 129),
	}
	for what, owner := range bad {
		l := &redigolock.Locker{Pool: pool, Owner: owner}
		_, err := l.TryAcquire(bg, "k", minute)
		if wants(t, err, redigolock.ErrInvalid); t.Failed() {
			t.Fatalf("an Owner with %s", what)
		}
	}
	for _, owner := range []string{"", "o", "!~", "host-7:4711/worker@x", strings.Repeat("o", 128)} {
		l := &redigolock.Locker{Pool: pool, Owner: owner}
		k, err := l.TryAcquire(bg, "k", minute)
		if err != nil {
			t.Errorf("Owner %q: %v", owner, err)
			continue
		}
		id := k.Token()
		if owner != "" {
			var got string
			if got, id, _ = strings.Cut(k.Token(), "|"); got != owner {
				t.Errorf("Owner %q: the token is %q", owner, k.Token())
			}
		}
		if uuid.Validate(id) != nil {
			t.Errorf("Owner %q: the token is %q", owner, k.Token())
		}
		c := pool.Get()
		info, err := redigolock.Inspect(bg, c, "k")
		c.Close()
		if err != nil || info.Owner != owner || info.Token != k.Token() {
			t.Errorf("Owner %q: Inspect shows %+v, %v", owner, info, err)
		}
		if err := k.Release(bg); err != nil {
			t.Error(err)
		}
	}
}
