package lockbench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/redigolock/redigolock/bench"
)

// run is main without the process: it returns the exit code.
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
		fmt.Fprintf(stderr, "lockbench: %s (lockbench -h shows the flags)\n", oneLine(err.Error()))
		return exitUsage
	}
	if err := measure(ctx, &o, stdout, stderr); err != nil {
		line, code := explain(ctx, err)
		fmt.Fprintf(stderr, "lockbench: %s\n", oneLine(line))
		return code
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
	var sections []*section
	for _, delay := range o.delays {
		at := s
		if delay > 0 {
			if at, err = s.Behind(ctx, delay); err != nil {
				return err
			}
			defer at.Close()
		}
		sections = append(sections, plan(at, o)...)
	}
	all := estimateOf(sections)
	out, err := newOutput(o, s, h, sections)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	left := estimateOf(sections)
	writeHead(stdout, s, o, h, all.leaving(left))
	p := newProgress(stderr, isTerminal(stderr), left)
	for _, sec := range sections {
		err := sec.run(ctx, out, p)
		p.clear()
		if sec.delay > 0 {
			fmt.Fprintf(stdout, "Round trips take %v longer.\n", sec.delay)
		}
		sec.table(stdout)
		if err != nil {
			return err
		}
	}
	return nil
}

func open(ctx context.Context, o *options) (*bench.Server, error) {
	switch o.url {
	case urlEmbedded:
		return bench.OpenEmbedded(ctx)
	case "":
		s, err := bench.OpenLocal(ctx)
		if errors.Is(err, bench.ErrNoLocal) {
			return bench.OpenEmbedded(ctx)
		}
		return s, err
	}
	if o.password != "" && !hasPassword(o.url) {
		return bench.Open(ctx, withPassword(o.url, o.password))
	}
	return bench.Open(ctx, o.url)
}

// withPassword puts the password into the URL, as the only thing that all processes of a Contention are told.
func withPassword(rawURL, password string) string {
	before, user, after := cutUser(rawURL)
	return before + url.UserPassword(user.Username(), password).String() + "@" + after
}

// hasPassword reports whether the URL has a password, which goes before REDISCLI_AUTH. A user alone is the password, as
// for redis-cli.
func hasPassword(rawURL string) bool {
	_, user, _ := cutUser(rawURL)
	password, ok := user.Password()
	return password != "" || !ok && user.Username() != ""
}

// cutUser takes a URL apart at its user, nil if there is none. One that names Sentinels has several hosts, which package url
// does not read.
func cutUser(rawURL string) (before string, user *url.Userinfo, after string) {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	authority, _, _ := strings.Cut(rest, "/")
	authority, _, _ = strings.Cut(authority, "?")
	i := strings.LastIndex(authority, "@")
	if u, err := url.Parse("redis://" + rest[:i+1] + "host"); err == nil {
		user = u.User
	}
	return scheme + "://", user, rest[i+1:]
}
