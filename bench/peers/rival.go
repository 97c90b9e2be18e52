package peers

import (
	"context"
	"errors"
	"time"
)

// releaseText is the release of the Redis manual, as redigo by hand has it.
const releaseText = `
if redis.call("get",KEYS[1]) == ARGV[1] then
  return redis.call("del",KEYS[1])
else
  return 0
end`

var (
	errHeld    = errors.New("peers: held by another")
	errNotHeld = errors.New("peers: not held")
)

// noContext is what is cheapest for the clients: they look at a context that can end more often.
var noContext = context.Background()

// released turns the script's reply into an error.
func released(n int64, err error) error {
	if err == nil && n != 1 {
		err = errNotHeld
	}
	return err
}

// seconds rounds a ttl up.
func seconds(ttl time.Duration) int { return int((ttl + time.Second - 1) / time.Second) }

// pollPause is the pause between two tries of a rival that polls and leaves the pause to the caller. With 64 waiters in
// 4 processes, shorter ones were slower, for the tries load the server, and with longer ones nearly all acquisitions
// are those of the waiter that has just released; tried were 500 µs to 20 ms, with a hold time of nothing and of 1 ms.
// With thousands of waiters it is too short: their tries are more than the server can answer. So what has a pause of its
// own is measured with that, too.
const pollPause = 5 * time.Millisecond

// poll tries until it has the lock, with a pause after each try that says errHeld.
func poll(ctx context.Context, pause time.Duration, try func() (func() error, error)) (func() error, error) {
	var timer *time.Timer
	for {
		release, err := try()
		if !errors.Is(err, errHeld) {
			return release, err
		}
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-timer.C:
		}
	}
}
