package fault_test

import (
	"errors"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
)

// NoAnswer names all causes in one line, shows no argument of a command, and wraps what may pass.
func TestNoAnswer(t *testing.T) {
	down := errors.New("connection\nrefused")
	wrong := redis.Error("ERR unknown command 'AUTH', with args beginning with: 'hunter2'")
	for _, test := range []struct {
		servers  int
		silences []fault.Silence
		text     string
		cause    error
	}{
		{2, []fault.Silence{{"a", wrong}, {"b", down}}, "none; a: " + string(fault.WithoutArgs(wrong)) + "; b: connection; refused", down},
		{2, []fault.Silence{{"b", down}, {"a", wrong}}, "none; b: connection; refused; a: " + string(fault.WithoutArgs(wrong)), down},
		{2, []fault.Silence{{"a", wrong}}, "none; a: " + string(fault.WithoutArgs(wrong)) + "; the others hang", fault.Hangs},
		{2, []fault.Silence{{"b", down}}, "none; b: connection; refused; the others hang", down},
		{1, []fault.Silence{{"a", wrong}}, "none; a: " + string(fault.WithoutArgs(wrong)), fault.WithoutArgs(wrong)},
		{3, nil, "none; the others hang", fault.Hangs},
	} {
		err := fault.NoAnswer("none", test.servers, test.silences)
		if err.Error() != test.text || errors.Unwrap(err) != test.cause {
			t.Errorf("%v, which wraps %v; want %s, which wraps %v", err, errors.Unwrap(err), test.text, test.cause)
		}
	}
}
