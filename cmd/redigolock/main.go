// Redigolock is the command for operators and scripts: it runs a job under a lock, and shows and mends the locks of a
// server, of a Redis Cluster, of what Sentinels watch, or of a quorum of servers. "redigolock help" lists its verbs,
// "redigolock help VERB" is the manual of one, and docs/redigolock.md has them with their output.
//
// # How to add a verb
//
// A verb is one entry in the table verbs of this file, and one file of its own, named after it. Its func gets what follows the
// verb on the command line, and returns an exit code of exit.go. It touches the world through its env only, so that a test
// can run it in its own process:
//
//	func who(ctx context.Context, e *env, args []string) int {
//		fs := e.flags("who")                  // -h and bad flags print the manual of the verb
//		conn := connectionFlags(fs)           // -url and so on
//		asJSON := fs.Bool("json", false, "print JSON")
//		keys, _, err := parse(fs, args)       // flags may stand before and behind keys
//		if err != nil {
//			return e.fail(err)                // prints one line, and returns the code that the error stands for
//		}
//		if len(keys) == 0 {
//			return e.fail(usagef("name a key"))
//		}
//		servers, err := conn.open(e)
//		if err != nil {
//			return e.fail(err)
//		}
//		defer servers.close()
//		…
//		return exitOK
//	}
//
// Whatever comes from a server goes through printable (text) or printJSON before it is printed.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// An env is what the command has of the world.
type env struct {
	args           []string // behind the name of the program
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// A verb is what the first argument names.
type verb struct {
	name    string
	args    string // as the usage line shows them
	summary string // one line
	manual  string // what help VERB shows behind it; the flags follow by themselves
	run     func(ctx context.Context, e *env, args []string) int
}

// verbs has the verbs in the order in which help lists them.
//
// It is a func because help, which is one of them, reads it.
func verbs() []verb {
	return []verb{
		{"run", "[flags] KEY -- COMMAND [ARGUMENT…]", "run a command under a lock", runManual, run},
		{"try", "[flags] KEY", "try to take a lock, and write down its token", tryManual, try},
		{"extend", "[flags] KEY", "have a lock last longer", extendManual, extend},
		{"fence", "[flags] KEY", "print a fencing number of a lock", fenceManual, fence},
		{"release", "[flags] KEY", "give a lock back", releaseManual, release},
		{"who", "[flags] KEY…", "show who holds a lock, and who waits for it", whoManual, who},
		{"ls", "[flags] [PATTERN]", "list locks", lsManual, ls},
		{"watch", "[flags] [PATTERN]", "list locks once a second", watchManual, watch},
		{"break", "[flags] KEY", "take a lock away from its holder", breakManual, breakLock},
		{"doctor", "[flags] [KEY]", "look for what endangers locks on the server", doctorManual, diagnose},
		{"completion", "bash|zsh", "print what a shell needs to complete verbs and flags", completionManual, completion},
		{"help", "[VERB]", "list the verbs, or show the manual of one", helpManual, help},
	}
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == guardName { // run has started it
		os.Exit(guardGroup(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills
	e := &env{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(command(ctx, e))
}

// command runs the verb that the arguments name.
func command(ctx context.Context, e *env) int {
	if len(e.args) == 0 {
		printUsage(e.stderr)
		return exitUsage
	}
	name := e.args[0]
	if name == "-h" || name == "-help" || name == "--help" {
		name = "help"
	}
	v, ok := verbNamed(name)
	if !ok {
		return e.fail(usagef("there is no verb %s; see redigolock help", printable(name)))
	}
	return v.run(ctx, e, e.args[1:])
}

func verbNamed(name string) (verb, bool) {
	for _, v := range verbs() {
		if v.name == name {
			return v, true
		}
	}
	return verb{}, false
}
