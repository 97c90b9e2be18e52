package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

const helpManual = `Without a verb it lists them, and the exit codes.`

func help(ctx context.Context, e *env, args []string) int {
	if len(args) == 0 {
		printUsage(e.stdout)
		return exitOK
	}
	v, ok := verbNamed(args[0])
	if !ok || len(args) > 1 {
		return e.fail(usagef("help takes the name of one verb; see redigolock help"))
	}
	if v.name == "help" {
		printManual(e.stdout, v, nil)
		return exitOK
	}
	asked := *e
	asked.stderr = e.stdout
	return v.run(ctx, &asked, []string{"-h"})
}

// printUsage lists the verbs.
func printUsage(w io.Writer) {
	fmt.Fprintf(w, "Usage: redigolock VERB [flags] [arguments]\n\nVerbs:\n")
	for _, v := range verbs() {
		fmt.Fprintf(w, "  %-10s %s\n", v.name, v.summary)
	}
	fmt.Fprintf(w, "\n\"redigolock help VERB\" says more about one.\n\n%s\n%s", connectionManual, exitCodes)
}

// printManual is the manual of one verb.
func printManual(w io.Writer, v verb, fs *flag.FlagSet) {
	fmt.Fprintf(w, "Usage: redigolock %s %s\n\n%s: %s.\n", v.name, v.args, v.name, v.summary)
	if v.manual != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(v.manual))
	}
	if fs == nil {
		return
	}
	fmt.Fprintf(w, "\nFlags:\n")
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// flags returns the flags of a verb. A wrong flag, and -h, print the manual of the verb.
func (e *env) flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		v, _ := verbNamed(name)
		printManual(e.stderr, v, fs)
	}
	return fs
}

// parse reads flags and other arguments, in any order. What stands behind "--" is not looked at: it is the command of run,
// and for other verbs more arguments.
func parse(fs *flag.FlagSet, args []string) (words, behind []string, err error) {
	usage := fs.Usage
	fs.Usage = func() {}
	if i := slices.Index(args, "--"); i >= 0 {
		args, behind = args[:i], args[i+1:]
	}
	for {
		if err := fs.Parse(args); err != nil {
			if err == flag.ErrHelp {
				usage()
				return nil, nil, &codedError{code: exitOK}
			}
			return nil, nil, usagef("%v; see redigolock help %s", err, fs.Name())
		}
		if fs.NArg() == 0 {
			return words, behind, nil
		}
		words, args = append(words, fs.Arg(0)), fs.Args()[1:]
	}
}
