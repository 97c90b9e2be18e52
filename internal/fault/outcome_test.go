package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// A verb that another one called may have found the context ended before it sent anything, though the other has sent something.
func TestUnknownOutcomeNamesTheEndOfAContextOnce(t *testing.T) {
	why := errors.New("shutting down")
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	late, cancelLate := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancelLate()
	for _, tt := range []struct {
		ctx  context.Context
		says string
	}{{canceled, "shutting down"}, {late, "deadline exceeded"}} {
		for _, inner := range []error{fault.Failed("verify", "k", fault.OfContext(tt.ctx)), io.EOF, tt.ctx.Err()} {
			err := fault.UnknownOutcome(tt.ctx, "acquire", "k", inner)
			if n := strings.Count(err.Error(), tt.says); n != 1 {
				t.Errorf("%d times %q: %v", n, tt.says, err)
			}
			for _, is := range []error{fault.Unknown, inner, tt.ctx.Err(), context.Cause(tt.ctx)} {
				if !errors.Is(err, is) {
					t.Errorf("%v is not in %v", is, err)
				}
			}
		}
	}
}

// A server that does not know a command shows its arguments, a token or a password. No error shows them, nor does what it wraps.
func TestNoErrorShowsTheArgumentsOfACommand(t *testing.T) {
	reply := redis.Error("ERR unknown command 'EVALSHA', with args beginning with: 'hunter2'")
	for name, of := range map[string]func(err error) error{
		"Failed":         func(err error) error { return fault.Failed("release", "key", err) },
		"NoConnection":   func(err error) error { return fault.NoConnection(t.Context(), "release", "key", err) },
		"Refused":        func(error) error { return fault.Refused("release", "key", reply) },
		"UnknownOutcome": func(err error) error { return fault.UnknownOutcome(t.Context(), "release", "key", err) },
	} {
		for _, cause := range []error{reply, fmt.Errorf("a proxy: %w", reply)} {
			err := of(cause)
			var shown redis.Error
			if text := err.Error(); strings.Contains(text, "hunter2") || !strings.Contains(text, "EVALSHA") {
				t.Errorf("%s: %v", name, err)
			}
			if !errors.As(err, &shown) || strings.Contains(string(shown), "hunter2") {
				t.Errorf("%s wraps %v", name, shown)
			}
		}
	}
}
