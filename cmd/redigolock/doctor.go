package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/doctor"
)

const doctorManual = `It asks the server, its replicas, the nodes of a Redis Cluster, and the Sentinels of the URL what they are, and says
what of that endangers locks, why, and what mends it. It changes nothing. docs/operations.md has the list of checks.

KEY is the key of a lock, with which the rights of the user are checked. If these are for some keys only, they cannot
be checked without one. -skip leaves out checks whose findings you have accepted.

It exits as monitoring expects it: with 0 if nothing endangers locks (notes do not count), 1 if there is a warning, 2
if there is a danger, and 3 if there is none of that, but something could not be checked; with 69 or 77 if no server
answered.`

func diagnose(ctx context.Context, e *env, args []string) int {
	fs := e.flags("doctor")
	conn := connectionFlags(fs)
	asJSON := fs.Bool("json", false, "print the report as JSON")
	skip := fs.String("skip", "", "leave out these `checks`, as in eviction,clock")
	keys, behind, err := parse(fs, args)
	if err != nil {
		return e.fail(err)
	}
	skipped, err := namesOf(*skip)
	if err != nil {
		return e.fail(err)
	}
	if conn.embedded {
		return e.fail(usagef("doctor examines real servers, and not -embedded"))
	}
	s, err := conn.open(e)
	if err != nil {
		return e.fail(err)
	}
	defer s.close()
	r, err := doctor.Examine(ctx, s.site(append(keys, behind...), skipped))
	if err != nil {
		return e.fail(err)
	}
	if *asJSON {
		err = printJSON(e.stdout, r)
	} else {
		err = printReport(e.stdout, r)
	}
	switch {
	case err != nil:
		return e.fail(err)
	case r.Worst() == doctor.Danger:
		return 2
	case r.Worst() == doctor.Warning:
		return 1
	case len(r.Unchecked) > 0:
		return 3
	}
	return exitOK
}

// namesOf reads a list of checks.
func namesOf(list string) (map[string]bool, error) {
	names := map[string]bool{}
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.ContainsFunc(doctor.Checks, func(c doctor.Check) bool { return c.Name == name }) {
			return nil, usagef("-skip: there is no check %s", printable(name))
		}
		names[name] = true
	}
	return names, nil
}

func printReport(w io.Writer, r *doctor.Report) error {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(printableLine(fmt.Sprintf(format, args...)) + "\n") }
	for _, s := range r.Servers {
		how := ""
		if s.Release != "" {
			how = ", releases by " + s.Release
		}
		line("%s: %s, %s%s", s.Server, s.Role, s.Version, how)
	}
	for _, f := range r.Findings {
		b.WriteString("\n")
		line("%s: %s at %s: %s", strings.ToUpper(f.Level.String()), f.Check, f.Server, f.Found)
		line("  why:  %s", f.Why)
		line("  mend: %s", f.Mend)
	}
	if len(r.Findings) == 0 {
		b.WriteString("\nNothing was found that endangers locks.\n")
	}
	for i, u := range r.Unchecked {
		if i == 0 {
			b.WriteString("\n")
		}
		line("not checked: %s at %s: %s", u.Check, u.Server, u.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
