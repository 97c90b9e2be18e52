// Package lockbench is the command of cmd/lockbench, whose documentation tells what it does. It is a package for the
// sake of bench/peers, whose command is the same with the rivals.
package lockbench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/redigolock/redigolock/bench"
)

// Main runs the command that the process was started with, and returns its exit code. Before it the program makes its
// rivals known, if it has any, and calls bench.Join.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills
	return run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
}

// run is Main without the process.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "report" {
		return reportCommand(args[1:], stdout, stderr)
	}
	if len(args) == 1 && args[0] == "rivals" {
		return rivalsCommand(stdout, stderr)
	}
	o, err := parse(args, getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		writeUsage(stdout)
		return exitDone
	case err != nil:
		return complain(stderr, err, "lockbench -h", exitUsage)
	}
	if err := measure(ctx, o, stdout, stderr); err != nil {
		line, code := explain(ctx, err)
		fmt.Fprintf(stderr, "lockbench: %s\n", oneLine(line))
		return code
	}
	return exitDone
}

// complain says in one line what is wrong with the command line.
func complain(stderr io.Writer, err error, help string, code int) int {
	fmt.Fprintf(stderr, "lockbench: %s (%s shows the flags)\n", oneLine(err.Error()), help)
	return code
}

// rivalsCommand is lockbench rivals, which tells what the figures of the rivals are figures of.
func rivalsCommand(stdout, stderr io.Writer) int {
	kinds := bench.RivalKinds()
	if len(kinds) == 0 {
		fmt.Fprintln(stderr, "lockbench: there are no rivals here, but in the same command of bench/peers")
		return exitUsage
	}
	for _, k := range kinds {
		line := strings.TrimSpace(k.Name + "  " + strings.Join(k.Versions(), ", "))
		fmt.Fprintf(stdout, "%s\n    %s\n", line, k.Settings)
	}
	return exitDone
}

// measure does what the options say, and prints what it has also when it fails.
func measure(ctx context.Context, o *options, stdout, stderr io.Writer) (err error) {
	s, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	h := thisHost(ctx)
	rec, err := newRecord(o, s, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rec.close()) }()
	writeHead(stdout, s, o, h)
	var sections []*section
	for _, delay := range o.delays {
		at := s
		if delay > 0 {
			if at, err = s.Behind(ctx, delay); err != nil {
				return err
			}
			defer at.Close()
		}
		for _, name := range o.workloads {
			sections = append(sections, newSection(at, o, name))
		}
	}
	p := newProgress(stderr, sections)
	fmt.Fprintf(stdout, "  plan    %s\n\n", p)
	for _, sec := range sections {
		err := sec.run(ctx, rec, p)
		p.clear()
		if err := errors.Join(err, sec.print(stdout)); err != nil {
			return err
		}
	}
	return nil
}

// writeHead says what the figures depend on.
func writeHead(w io.Writer, s *bench.Server, o *options, h host) {
	server := s.Version
	switch {
	case s.Embedded():
		server += ", embedded in this process.\n" +
			"          These are no Redis figures: they compare the ways with each other. miniredis is several times slower,\n" +
			"          at scripts above all. For Redis, install redis-server or give -url."
	case s.Started() && o.isCluster():
		server += ", started for this run on ports of 127.0.0.1"
	case s.Started():
		server += ", started for this run on a Unix socket"
	case o.fromEnv:
		server += " at " + s.URL + " (from REDIS_URL)"
	default:
		server += " at " + s.URL
	}
	fmt.Fprintf(w, "lockbench: locks on Redis by redigolock\n\n  server  %s\n  host    %s\n  go      %s %s/%s, GOMAXPROCS %d\n  commit  %s\n",
		server, h, h.goVersion, h.goos, h.goarch, h.procs, h.commit)
}
