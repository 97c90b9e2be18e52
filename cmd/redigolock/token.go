package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

// tokenVariable is where release, extend and fence look for the token when no flag says where it is.
const tokenVariable = "REDIGOLOCK_TOKEN"

// A tokenPlace is where a token is written to, or read from. No flag takes a token itself: others can read the command line.
type tokenPlace struct {
	file string
	fd   int
}

func tokenFlags(fs *flag.FlagSet, what string) *tokenPlace {
	p := &tokenPlace{}
	fs.StringVar(&p.file, "token-file", "", what+" this `file`")
	fs.IntVar(&p.fd, "token-fd", -1, what+" this file `descriptor`")
	return p
}

// A tokenVerb is a call of try, release, extend or fence.
type tokenVerb struct {
	env     *env
	key     string
	ttl     time.Duration
	asJSON  bool
	place   *tokenPlace
	servers *servers
}

// newTokenVerb reads the command line. The caller closes the servers.
func newTokenVerb(e *env, name, place string, hasTTL bool, args []string) (*tokenVerb, error) {
	v := &tokenVerb{env: e}
	fs := e.flags(name)
	if hasTTL {
		fs.DurationVar(&v.ttl, "ttl", 30*time.Second, "how long the lock lasts from now; nothing renews it")
	}
	v.place = tokenFlags(fs, place)
	fs.BoolVar(&v.asJSON, "json", false, "print JSON")
	conn := connectionFlags(fs)
	words, behind, err := parse(fs, args)
	if err != nil {
		return nil, err
	}
	if words = append(words, behind...); len(words) != 1 {
		return nil, usagef("%s takes one key", name)
	}
	if v.place.file != "" && v.place.fd >= 0 {
		return nil, usagef("-token-file and -token-fd are one too many")
	}
	v.key = words[0]
	v.servers, err = conn.open(e)
	return v, err
}

// answer prints the answer: the text, if there is one, or as JSON.
func (v *tokenVerb) answer(text string, answer any) int {
	if v.asJSON {
		if err := printJSON(v.env.stdout, answer); err != nil {
			return v.env.fail(fileError(err))
		}
	} else if text != "" {
		if _, err := fmt.Fprintln(v.env.stdout, text); err != nil {
			return v.env.fail(fileError(err))
		}
	}
	return exitOK
}

// fileError is the error of a file that cannot be read or written.
func fileError(err error) error { return &codedError{exitFile, err.Error()} }

const tryManual = `It tries once, and exits with 75 if another holds the lock. The token, by which release, extend and fence know the lock, is
written to a file that only its owner can read, or to a file descriptor:

  redigolock try report -ttl 10m -token-file /run/report.token || exit
  …
  redigolock release report -token-file /run/report.token

Nothing renews the lock: extend does it once. A job that one command does is better run by "redigolock run".`

func try(ctx context.Context, e *env, args []string) int {
	v, err := newTokenVerb(e, "try", "write the token to", true, args)
	if err != nil {
		return e.fail(err)
	}
	defer v.servers.close()
	k, err := v.try(ctx)
	if err != nil {
		return e.fail(err)
	}
	holder := k.String()
	holder = holder[strings.LastIndex(holder, " ")+1:]
	return v.answer("", map[string]any{"key": v.key, "holder": holder, "ttl_ms": v.ttl.Milliseconds()})
}

func (v *tokenVerb) try(ctx context.Context) (*redigolock.Lock, error) {
	out, err := v.place.create()
	if err != nil {
		return nil, err
	}
	defer out.discard()
	l, err := v.servers.locker(locking{owner: defaultOwner(), ttl: v.ttl})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	k, err := l.TryAcquire(ctx, v.key, v.ttl)
	if err != nil {
		return nil, err
	}
	if err := out.write(k.Token()); err != nil {
		return nil, errors.Join(fileError(err), k.Release(ctx))
	}
	return k, nil
}

// A tokenOutput is where a token goes, opened before the lock is acquired.
type tokenOutput struct {
	f    *os.File
	path string // that f gets when the token is in it; "" for a file descriptor
}

func (p *tokenPlace) create() (*tokenOutput, error) {
	switch {
	case p.fd >= 0:
		return &tokenOutput{f: os.NewFile(uintptr(p.fd), "token-fd")}, nil
	case p.file == "":
		return nil, usagef("say where the token is to be written: -token-file or -token-fd")
	}
	f, err := os.CreateTemp(filepath.Dir(p.file), "."+filepath.Base(p.file)+".*") // mode 0600
	if err != nil {
		return nil, fileError(err)
	}
	return &tokenOutput{f, p.file}, nil
}

// write writes the token. A file gets its name only then, so that nobody reads half of it, and a link there is not followed.
func (o *tokenOutput) write(token string) error {
	if _, err := io.WriteString(o.f, token+"\n"); err != nil {
		return err
	}
	if o.path == "" {
		return nil
	}
	if err := o.f.Close(); err != nil {
		return err
	}
	return os.Rename(o.f.Name(), o.path)
}

// discard removes what write has not given its name.
func (o *tokenOutput) discard() {
	_ = o.f.Close()
	if o.path != "" {
		_ = os.Remove(o.f.Name())
	}
}

// read reads the token.
func (p *tokenPlace) read(e *env) (token string, err error) {
	in := io.ReadCloser(nil)
	switch {
	case p.fd >= 0:
		in = os.NewFile(uintptr(p.fd), "token-fd")
	case p.file != "":
		if in, err = os.Open(p.file); err != nil {
			return "", fileError(err)
		}
	default:
		if token = e.getenv(tokenVariable); token == "" {
			return "", usagef("say where the token is: -token-file, -token-fd, or %s in the environment", tokenVariable)
		}
		return token, nil
	}
	defer in.Close()
	const most = 64 << 10 // of a token
	text, err := io.ReadAll(io.LimitReader(in, most+2))
	if err != nil {
		return "", fileError(err)
	}
	if token = strings.TrimRight(string(text), "\r\n"); token == "" || strings.ContainsAny(token, "\r\n") {
		return "", usagef("what is to be the token is not one line")
	}
	return token, nil
}

// asHolder asks the server, or a majority of the servers of a quorum.
func (v *tokenVerb) asHolder(ctx context.Context, ask func(c redis.Conn, token string) error) error {
	token, err := v.place.read(v.env)
	if err != nil {
		return err
	}
	errs := make([]error, len(v.servers.pools))
	var all sync.WaitGroup
	for i, pool := range v.servers.pools {
		all.Go(func() {
			errs[i] = with(ctx, pool, func(c redis.Conn) error { return ask(c, token) })
		})
	}
	all.Wait()
	var failed []error
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) <= (len(errs)-1)/2 {
		return nil
	}
	return errors.Join(failed...)
}

const releaseManual = `It exits with 70 if the key does not carry the token: the lock has expired, or was taken by another. The key is left alone then.`

func release(ctx context.Context, e *env, args []string) int {
	v, err := newTokenVerb(e, "release", "read the token from", false, args)
	if err != nil {
		return e.fail(err)
	}
	defer v.servers.close()
	err = v.asHolder(ctx, func(c redis.Conn, token string) error { return redigolock.Release(ctx, c, v.key, token) })
	if err != nil {
		return e.fail(err)
	}
	return v.answer("", map[string]any{"key": v.key, "released": true})
}

const extendManual = `It exits with 70 if the key does not carry the token. A lock that lasts longer than -ttl anyway is left as it is.`

func extend(ctx context.Context, e *env, args []string) int {
	v, err := newTokenVerb(e, "extend", "read the token from", true, args)
	if err != nil {
		return e.fail(err)
	}
	defer v.servers.close()
	err = v.asHolder(ctx, func(c redis.Conn, token string) error { return redigolock.Extend(ctx, c, v.key, token, v.ttl) })
	if err != nil {
		return e.fail(err)
	}
	return v.answer("", map[string]any{"key": v.key, "ttl_ms": v.ttl.Milliseconds()})
}

const fenceManual = `The number is higher than all that earlier holders of the key have got. What is written to refuses a lower one than it has
seen, and so a holder that is late. A quorum has no such numbers.`

func fence(ctx context.Context, e *env, args []string) int {
	v, err := newTokenVerb(e, "fence", "read the token from", false, args)
	if err != nil {
		return e.fail(err)
	}
	defer v.servers.close()
	if _, err := v.servers.one(); err != nil {
		return e.fail(err)
	}
	var n int64
	err = v.asHolder(ctx, func(c redis.Conn, token string) (err error) {
		n, err = redigolock.Fence(ctx, c, v.key, token)
		return err
	})
	if err != nil {
		return e.fail(err)
	}
	return v.answer(fmt.Sprint(n), map[string]any{"key": v.key, "fence": n})
}
