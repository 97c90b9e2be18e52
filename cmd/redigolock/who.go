package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/inspect"
	"github.com/redigolock/redigolock/internal/names"
)

const whoManual = `It shows the holder as OWNER#HASH, where the hash is of the token, and never the token; how long the lock is still
held, if it is not renewed; the processes in its queue (Locker.Fair, run -fair) in their order; and the newest fencing
number. Of a process in the queue, only the first waiter is seen. With several -url, each server is asked.

It exits with 1 if a key is free, and with 65 if one holds something that is no lock.`

func who(ctx context.Context, e *env, args []string) int {
	fs := e.flags("who")
	conn := connectionFlags(fs)
	asJSON := fs.Bool("json", false, "print one line of JSON for each key")
	keys, behind, err := parse(fs, args)
	keys = append(keys, behind...)
	switch {
	case err != nil:
		return e.fail(err)
	case len(keys) == 0:
		return e.fail(usagef("who takes the key of a lock, or several"))
	}
	s, err := conn.open(e)
	if err != nil {
		return e.fail(err)
	}
	defer s.close()
	worst := exitOK
	for _, key := range keys {
		for i := range s.pools {
			l, err := s.look(ctx, i, key)
			if err == nil {
				err = printWho(e.stdout, s.nameOf(i), &l, *asJSON)
			}
			code := exitOK
			switch {
			case err != nil:
				code = e.fail(err)
			case l.Instead != "":
				code = exitConflict
			case !l.Held:
				code = exitNo
			}
			worst = max(worst, code)
		}
	}
	return worst
}

// look tells what is on a key at the i-th server.
func (s *servers) look(ctx context.Context, i int, key string) (l inspect.Lock, err error) {
	err = with(ctx, s.pools[i], func(c redis.Conn) error {
		l, err = inspect.Look(ctx, c, key)
		return err
	})
	if err != nil && len(s.pools) > 1 {
		err = fmt.Errorf("%s: %w", s.nameOf(i), err)
	}
	return l, err
}

// nameOf is the name of the i-th server of a quorum; "" if there is only one.
func (s *servers) nameOf(i int) string {
	if len(s.urls) == 1 {
		return ""
	}
	return split(s.urls[i]).name()
}

// A shownLock is a line of JSON.
type shownLock struct {
	Server string `json:"server,omitempty"` // of a quorum, or of a cluster
	inspect.Lock
}

func printWho(w io.Writer, server string, l *inspect.Lock, asJSON bool) error {
	if asJSON {
		return printJSON(w, shownLock{server, *l})
	}
	var b strings.Builder
	if server != "" {
		fmt.Fprintf(&b, "%s: ", server)
	}
	fmt.Fprintf(&b, "%s %s\n", printable(l.Key), described(l))
	if len(l.Queue) > 0 {
		fmt.Fprintf(&b, "  in the queue: %d\n", l.Waiting)
	}
	for i, x := range l.Queue {
		fmt.Fprintf(&b, "  %3d. %s, for %v\n", i+1, printable(x.Waiter), x.TTL)
	}
	if more := l.Waiting - len(l.Queue); len(l.Queue) > 0 && more > 0 {
		fmt.Fprintf(&b, "  and %d more\n", more)
	}
	if len(l.Denied) > 0 {
		fmt.Fprintf(&b, "  the user has no right to look at: %s\n", strings.Join(l.Denied, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// described says in words what is on the key.
func described(l *inspect.Lock) string {
	text := "is free"
	switch {
	case l.Held:
		text = fmt.Sprintf("is held by %s, for another %v", printable(l.Holder), l.Left)
		if holder, isLeft := names.CutLeft(l.Holder); isLeft {
			text = fmt.Sprintf("was released by %s; its MinHold keeps others out for another %v", printable(holder), l.Left)
		}
	case l.Instead != "":
		text = "is no lock: it holds " + l.Instead
		if l.LooksLikeLock() {
			text += "; it looks like a lock of " + printable(l.Holder) + " that never ends"
		}
	}
	if l.Fence != 0 {
		text += fmt.Sprintf("; newest fence: %d", l.Fence)
	}
	return text
}
