package main

import (
	"context"
	"fmt"
	"io"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/inspect"
)

const lsManual = `It lists the keys that look like locks: strings whose value is a token of this library, or 20 to 64 characters of hex
or base64 as most others have them, and which live for at most 24 h. PATTERN is that of SCAN, such as 'lock:*'.

It asks for some hundred keys at a time by SCAN, never by KEYS, so that no command holds up the server; in a Redis
Cluster it asks each master. A lock that comes, or whose slot moves, meanwhile may be missed or listed twice. To a
server that evicts what was used least, reading a key is a use of it.`

func ls(ctx context.Context, e *env, args []string) int {
	fs := e.flags("ls")
	conn := connectionFlags(fs)
	asJSON := fs.Bool("json", false, "print one line of JSON for each lock")
	all := fs.Bool("all", false, "list each string that has a lock's ttl, whatever its value")
	pattern, err := onePattern(parse(fs, args))
	if err != nil {
		return e.fail(err)
	}
	s, err := conn.open(e)
	if err != nil {
		return e.fail(err)
	}
	defer s.close()
	if !*asJSON {
		fmt.Fprintf(e.stdout, lockLine, "LEFT", "QUEUE", "HOLDER", "KEY")
	}
	err = s.scan(ctx, pattern, *all, func(server string, l inspect.Lock) error {
		if *asJSON {
			return printJSON(e.stdout, shownLock{server, l})
		}
		return printLock(e.stdout, l)
	})
	if err != nil {
		return e.fail(err)
	}
	return exitOK
}

func onePattern(words, behind []string, err error) (string, error) {
	words = append(words, behind...)
	switch {
	case err != nil:
		return "", err
	case len(words) > 1:
		return "", usagef("one pattern at a time; quote it, so that the shell does not expand it")
	case len(words) == 0:
		return "", nil
	}
	return words[0], nil
}

const lockLine = "%9s %6s  %-28s  %s\n"

func printLock(w io.Writer, l inspect.Lock) error {
	queue := ""
	if l.Waiting > 0 {
		queue = fmt.Sprint(l.Waiting)
	}
	_, err := fmt.Fprintf(w, lockLine, l.Left, queue, printable(l.Holder), printable(l.Key))
	return err
}

// scan goes through the locks of all servers. One that fails does not keep it from the others.
func (s *servers) scan(ctx context.Context, pattern string, all bool, found func(server string, l inspect.Lock) error) error {
	var failed error
	for i := range s.pools {
		keepers, err := s.keepers(ctx, i)
		failed = fault.Join(failed, err)
		for _, k := range keepers {
			name := ""
			if len(keepers) > 1 || len(s.pools) > 1 {
				name = k.Addr
			}
			scan := inspect.Scan{Pattern: pattern, All: all, Found: func(l inspect.Lock) error { return found(name, l) }}
			err := scanAt(ctx, k.Dial, &scan)
			if err != nil && name != "" {
				err = fmt.Errorf("%s: %w", name, err)
			}
			failed = fault.Join(failed, err)
		}
	}
	return failed
}

func scanAt(ctx context.Context, dial func(context.Context) (redis.Conn, error), scan *inspect.Scan) error {
	c, err := dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = scan.Run(ctx, c)
	return err
}
