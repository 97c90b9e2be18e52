// Package lockbench is the command lockbench, whose manual is the documentation of cmd/lockbench. It is a package for
// the sake of bench/peers, whose command is the same with the rivals.
package lockbench

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Main runs the command that the process was started with, and returns its exit code. Before it the program makes its
// rivals known, if it has any, and calls bench.Join.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills
	return run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
}
