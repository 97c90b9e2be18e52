package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/inspect"
	"github.com/redigolock/redigolock/internal/names"
)

const breakManual = `It shows the holder, and takes the lock away from that holder only: one who gets it meanwhile keeps it. It asks first,
on a terminal; with -yes it does not ask. Where processes wait in a queue, the first of them that is alive gets the
lock; else it is free. With several -url, it is taken away at each server where that holder has it.

The holder is not told. It goes on until its next renewal or check, or until its lease would have ended: at most for
what was left of the ttl. Until then two may work at a time. What protects the data is a fencing number that the
resource checks; stop the holder first if you can. A token of this library on a key without ttl is deleted, too;
any other string without ttl is not.

It exits with 1 if the answer is not yes, and with 70 if that holder has it no longer.`

func breakLock(ctx context.Context, e *env, args []string) int {
	fs := e.flags("break")
	conn := connectionFlags(fs)
	yes := fs.Bool("yes", false, "do not ask")
	keys, behind, err := parse(fs, args)
	keys = append(keys, behind...)
	switch {
	case err != nil:
		return e.fail(err)
	case len(keys) != 1:
		return e.fail(usagef("break takes the key of one lock"))
	case !*yes && heightOf(e.stdin) == 0:
		return e.fail(usagef("there is no terminal to ask on: look with who, and give -yes"))
	}
	s, err := conn.open(e)
	if err != nil {
		return e.fail(err)
	}
	defer s.close()
	b, err := s.findHolder(ctx, keys[0])
	if err != nil {
		return e.fail(err)
	}
	b.explain(e.stdout, len(s.pools))
	if !*yes {
		fmt.Fprintf(e.stdout, "Take it away? [y/N] ")
		line, err := readAnswer(ctx, e.stdin)
		if answer := strings.ToLower(strings.TrimSpace(line)); err != nil || answer != "y" && answer != "yes" {
			fmt.Fprintf(e.stdout, "Nothing was done.\n")
			return exitNo
		}
	}
	if err := s.breakIt(ctx, e.stdout, b); err != nil {
		return e.fail(err)
	}
	return exitOK
}

// readAnswer reads a line, unless ctx ends before.
func readAnswer(ctx context.Context, r io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	go func() { // it may outlive ctx: only the end of the process ends the reading of a terminal
		line, err := readLine(r)
		read <- answer{line, err}
	}()
	select {
	case a := <-read:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// A breakage is a holder, and the servers where it has the lock: one, or some of a quorum.
type breakage struct {
	inspect.Lock // as it is at the first of them
	at           []int
	locks        []inspect.Lock // at each of these
	silent       error          // what the other servers of the quorum failed with
}

// findHolder returns the holder that has the lock at the most servers.
func (s *servers) findHolder(ctx context.Context, key string) (*breakage, error) {
	found := map[string]*breakage{}
	var most *breakage
	var failed error
	for i := range s.pools {
		l, err := s.look(ctx, i, key)
		switch {
		case err != nil:
			failed = fault.Join(failed, err)
			continue
		case l.Instead != "" && !l.LooksLikeLock():
			return nil, fmt.Errorf("%w: break: key %s holds %s", redigolock.ErrConflict, printable(key), l.Instead)
		case l.Holder == "":
			continue
		}
		b := found[l.Holder]
		if b == nil {
			b = &breakage{Lock: l}
			found[l.Holder] = b
		}
		b.at, b.locks = append(b.at, i), append(b.locks, l)
		if most == nil || len(b.at) > len(most.at) {
			most = b
		}
	}
	switch {
	case most == nil && failed != nil:
		return nil, failed
	case most == nil:
		return nil, fmt.Errorf("%w: break: nobody holds %s", redigolock.ErrNotHeld, printable(key))
	}
	most.silent = failed
	return most, nil
}

// explain says what will happen.
func (b *breakage) explain(w io.Writer, servers int) {
	holder := printable(b.Holder)
	fmt.Fprintf(w, "%s %s\n", printable(b.Key), described(&b.Lock))
	if servers > 1 {
		fmt.Fprintf(w, "So it is at %d of %d servers.\n", len(b.at), servers)
	}
	if len(b.Queue) > 0 {
		fmt.Fprintf(w, "In its queue: %d. The first that is alive gets the lock at once; the first in order is %s.\n",
			b.Waiting, printable(b.Queue[0].Waiter))
	}
	switch _, isLeft := names.CutLeft(b.Holder); {
	case isLeft:
		fmt.Fprintf(w, "Nobody works under it. Without it the same job may run once more.\n")
		return
	case b.Held:
		fmt.Fprintf(w, "%s is not told. It works on until its next renewal or check, at most until its lease ends, now in %v.\n", holder, b.Left)
	default:
		fmt.Fprintf(w, "If %s still runs, it is not told.\n", holder)
	}
	if b.Fence == 0 {
		fmt.Fprintf(w, "Nothing protects the data until then: no fencing number was given out. Stop it first if you can.\n")
		return
	}
	fmt.Fprintf(w, "What protects the data until then: its fencing number is at most %d, and the next holder's is higher.\n"+
		"A resource that checks the numbers (Guard) refuses it.\n", b.Fence)
}

// breakIt takes the lock away from that holder at each server, and says who has it then.
func (s *servers) breakIt(ctx context.Context, w io.Writer, b *breakage) error {
	failed, broken := b.silent, false
	for n, i := range b.at {
		err := b.locks[n].Break(ctx, s.pools[i])
		failed, broken = fault.Join(failed, err), broken || err == nil
	}
	if !broken {
		return failed
	}
	fmt.Fprintf(w, "%s was taken away from %s", printable(b.Key), printable(b.Holder))
	if now, err := s.look(ctx, b.at[0], b.Key); err == nil {
		now.Fence = 0 // it is still that of a holder before
		fmt.Fprintf(w, "; now it %s", described(&now))
	}
	fmt.Fprintln(w)
	return failed
}
