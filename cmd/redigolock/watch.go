package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/redigolock/redigolock/internal/inspect"
)

const watchManual = `It lists the locks as ls does, by key, once a second, until Ctrl-C. On a terminal it draws over what it drew before,
as many locks as there is room for. Elsewhere each look is some lines, the first of which says when it was; -rows
bounds them.`

func watch(ctx context.Context, e *env, args []string) int {
	fs := e.flags("watch")
	conn := connectionFlags(fs)
	every := fs.Duration("every", time.Second, "look once in this `time`")
	rows := fs.Int("rows", 0, "show at most so many `locks` (default: the height of the terminal, else 1000)")
	pattern, err := onePattern(parse(fs, args))
	switch {
	case err != nil:
		return e.fail(err)
	case *every < 100*time.Millisecond:
		return e.fail(usagef("-every must be at least 100ms"))
	case *rows < 0:
		return e.fail(usagef("-rows must not be negative"))
	}
	s, err := conn.open(e)
	if err != nil {
		return e.fail(err)
	}
	defer s.close()
	for tick := time.NewTicker(*every); ; {
		if err := s.draw(ctx, e.stdout, pattern, *rows); err != nil && ctx.Err() == nil {
			return e.fail(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return exitOK
		}
	}
}

// draw looks once, and shows it.
func (s *servers) draw(ctx context.Context, w io.Writer, pattern string, rows int) error {
	clear := ""
	height := heightOf(w)
	if height > 0 {
		clear = "\x1b[H\x1b[2J"
	}
	switch {
	case rows > 0:
	case height > 0:
		rows = max(height-3, 1)
	default:
		rows = 1000
	}
	locks, n, err := s.firstLocks(ctx, pattern, rows)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s  locks: %d\n", clear, time.Now().Format(time.TimeOnly), n)
	fmt.Fprintf(&b, lockLine, "LEFT", "QUEUE", "HOLDER", "KEY")
	for _, l := range locks {
		_ = printLock(&b, l)
	}
	if n > len(locks) {
		fmt.Fprintf(&b, "%9s and %d more\n", "", n-len(locks))
	}
	_, err = w.Write(b.Bytes())
	return err
}

// firstLocks returns the first locks by their keys, and how many there are. It keeps no more than most.
func (s *servers) firstLocks(ctx context.Context, pattern string, most int) (locks []inspect.Lock, n int, err error) {
	err = s.scan(ctx, pattern, false, func(_ string, l inspect.Lock) error {
		n++
		i, _ := slices.BinarySearchFunc(locks, l, func(a, b inspect.Lock) int { return cmp.Compare(a.Key, b.Key) })
		if locks = slices.Insert(locks, i, l); len(locks) > most {
			locks = locks[:most]
		}
		return nil
	})
	return locks, n, err
}

// heightOf returns how many rows a terminal has, 0 if the stream is none. It asks stty, which tells no size, or fails, where there is
// no terminal.
func heightOf(stream any) (rows int) {
	f, ok := stream.(*os.File)
	if !ok {
		return 0
	}
	cmd := exec.Command("stty", "size")
	cmd.Stdin = f
	out, err := cmd.Output()
	if n, _ := fmt.Sscan(string(out), &rows); err != nil || n == 0 {
		return 0
	}
	if rows == 0 { // it does not know
		return 24
	}
	return rows
}
