package names

import (
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/redigolock/redigolock/internal/hooks"
)

// Tokens are made some at a time, from one look for randomness, as parts of one string. Those in stock are as secret as the
// one that was handed out last: both are in this process's memory only.
type Tokens struct {
	mu    sync.Mutex // protects what follows
	stock *string    // a pointer, which no format verb follows: a Locker that is logged shows no token
	made  int        // stocks so far
}

const (
	tokenLen   = 36
	tokenStock = 8 // one that is kept for long keeps 8 × 36 bytes
)

// Draw takes one out of the stock.
func (t *Tokens) Draw(owner string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stock == nil {
		t.stock = new(string)
	}
	if *t.stock == "" {
		t.made++
		*t.stock = newTokens(owner, t.made)
	}
	token := (*t.stock)[:tokenLen]
	*t.stock = (*t.stock)[tokenLen:]
	return token
}

// newTokens is uuid.NewString for all of a stock, without two allocations and a system call for each.
func newTokens(owner string, nth int) string {
	var random [tokenStock * len(uuid.UUID{})]byte
	hooks.Secret(owner, nth, random[:])
	text := make([]byte, 0, tokenStock*tokenLen)
	for id := range slices.Chunk(random[:], len(uuid.UUID{})) {
		id[6] = id[6]&0x0f | 0x40             // version 4
		id[8] = id[8]&0x3f | 0x80             // variant of RFC 9562
		hex, _ := uuid.UUID(id).MarshalText() // never fails
		text = append(text, hex...)
	}
	return string(text)
}
