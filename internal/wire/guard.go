package wire

import (
	"fmt"
	"runtime"
	"strings"
)

// Guarded calls f, which works a connection for others than its caller, and turns any panic into an error.
func Guarded(f func() error) error {
	_, err := guarded(true, func() (any, error) { return nil, f() })
	return err
}

// guarded calls f, and turns a panic into an error: any, or those of redigo's reader of replies only, when a reply has announced
// more than can be, as $9223372036854775807. All else passes on then: a panic in a connection of the user's, or in an
// argument's method.
func guarded(all bool, f func() (any, error)) (reply any, err error) {
	returned := false
	defer func() {
		if returned || !all && !readerPanics() {
			return
		}
		if p := recover(); p != nil {
			reply, err = nil, fmt.Errorf("the connection panicked: %v", p)
		}
	}()
	reply, err = f()
	returned = true
	return reply, err
}

// readerPanics reports, to a deferred func, whether what panics is redigo's own reader of replies.
func readerPanics() bool {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]) // from what called the deferred func: the panic
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return strings.HasPrefix(frame.Function, "github.com/gomodule/redigo/redis.(*conn).read")
		}
		if !more {
			return false
		}
	}
}
