package lockbench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"

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
	sections := plan(s, o)
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
		sec.table(stdout)
		if err != nil {
			return err
		}
	}
	return nil
}

func open(ctx context.Context, o *options) (*bench.Server, error) {
	if o.url == "" {
		return bench.OpenEmbedded(ctx)
	}
	if o.password != "" && !hasPassword(o.url) {
		return bench.Open(ctx, withPassword(o.url, o.password))
	}
	return bench.Open(ctx, o.url)
}

// withPassword puts the password into the URL, as the only thing that all processes of a Contention are told.
func withPassword(rawURL, password string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String()
}

// hasPassword reports whether the URL has a password, which goes before REDISCLI_AUTH. A user alone is the password, as
// for redis-cli.
func hasPassword(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil || u.User == nil {
		return false
	}
	password, ok := u.User.Password()
	return password != "" || !ok && u.User.Username() != ""
}
