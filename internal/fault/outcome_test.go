package fault_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

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
