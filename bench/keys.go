package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// keys are the keys of one run, which nobody else uses: a bare DEL removes them.
type keys struct {
	names []string
	more  []string // made by the verbs beside them, as a fencing counter
}

func newKeys(n int) *keys {
	prefix := "lockbench:" + rand.Text() + ":"
	k := &keys{names: make([]string, n)}
	for i := range k.names {
		k.names[i] = prefix + strconv.Itoa(i)
	}
	return k
}

// counters are the keys of the fencing counters that Fence makes.
func (k *keys) counters() []string {
	list := make([]string, len(k.names))
	for i, name := range k.names {
		list[i] = "{" + name + "}:redigolock-fence"
	}
	return list
}

// remove removes them, in the end of a run, whose error err becomes joined.
func (k *keys) remove(ctx context.Context, s *Server, err *error) {
	removeErr := k.removeAll(ctx, s)
	switch {
	case removeErr == nil:
	case *err == nil:
		*err = fmt.Errorf("bench: remove the keys of a run: %w", removeErr)
	default:
		*err = fmt.Errorf("%w; the run's keys could not be removed and go with their ttl: %w", *err, removeErr)
	}
}

// keysAtOnce is how many keys are asked for together, so that it takes milliseconds.
const keysAtOnce = 10_000

func (k *keys) removeAll(ctx context.Context, s *Server) error {
	for chunk := range slices.Chunk(slices.Concat(k.names, k.more), keysAtOnce) {
		served := 0
		err := s.administer(ctx, func(c redis.Conn, timeout time.Duration) error {
			n, err := del(c, timeout, chunk)
			served += n
			return err
		})
		if err == nil && served < len(chunk) {
			err = errOtherMasters
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errOtherMasters = errors.New("the cluster has other masters than at the beginning")

// del names each key in a command of its own: one master of a Cluster serves some of them, and says MOVED of the others. A
// replica that is counted loses those that its master does.
func del(c redis.Conn, timeout time.Duration, names []string) (served int, err error) {
	for _, name := range names {
		if err := c.Send("DEL", name); err != nil {
			return 0, err
		}
	}
	replies, err := redis.Values(redis.DoWithTimeout(c, timeout, ""))
	for _, reply := range replies {
		refused, ok := reply.(redis.Error)
		switch {
		case !ok:
			served++
		case !strings.HasPrefix(string(refused), "MOVED ") && !strings.HasPrefix(string(refused), "READONLY "):
			return served, refused
		}
	}
	return served, err
}

// queueKeys are the keys of the queues that fair Lockers make, which are there after a Run only if its end was violent, and of
// what their waiters beat in, which are there for a minute.
func queueKeys(names []string) []string {
	list := make([]string, 0, 2*len(names))
	for _, name := range names {
		list = append(list, "{"+name+"}:redigolock-q2", "{"+name+"}:redigolock-h2")
	}
	return list
}
