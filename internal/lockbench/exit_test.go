package lockbench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestClosedPortIsOneLineAndExitCode3(t *testing.T) {
	addr := redistest.ClosedAddr
	o := lockbench(context.Background(), nil, "-url", "redis://:"+secret+"@"+addr)
	o.wantLine(t, exitUnreachable, addr, "connection refused")
	if o.stdout != "" || strings.Contains(o.stderr, secret) {
		t.Errorf("stdout %q, stderr %q", o.stdout, o.stderr)
	}
}

func TestHungServerIsOneLineAndExitCode3(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	r.Pause()
	defer r.Resume()
	began := time.Now()
	lockbench(context.Background(), nil, "-url", r.URL()).wantLine(t, exitUnreachable)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestDeniedCommandIsOneLineAndExitCode4(t *testing.T) {
	r := redistest.Start(t)
	do(t, r, "ACL", "SETUSER", "bob", "on", ">"+secret, "~*", "+@all", "-evalsha")
	do(t, r, "ACL", "SETUSER", "eve", "on", ">"+secret, "~*", "+@all", "-del") // inside a script, and to clean up
	do(t, r, "ACL", "SETUSER", "kim", "on", ">"+secret, "~other:*", "+@all")
	do(t, r, "ACL", "SETUSER", "default", "on", "resetpass", ">"+secret)
	url := func(user string) string { return "redis://" + user + ":" + secret + "@" + r.Addr() }
	for _, tt := range []struct {
		name, url string
		env       map[string]string
		want      []string
	}{
		{"evalsha", url("bob"), nil, []string{"NOPERM", "evalsha", "give the user the right"}},
		{"del", url("eve"), nil, []string{"give the user the right"}},
		{"keys", url("kim"), nil, []string{"NOPERM", "*lockbench:*"}},
		{"no password", r.URL(), nil, []string{"NOAUTH", "REDISCLI_AUTH"}},
		{"wrong password", "redis://bob:wrong@" + r.Addr(), nil, []string{"WRONGPASS", "check user and password"}},
		{"wrong auth", "redis://bob:@" + r.Addr(), map[string]string{"REDISCLI_AUTH": "wrong"}, []string{"WRONGPASS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := lockbench(context.Background(), tt.env, quick("-url", tt.url, "-workload", "approaches")...)
			o.wantLine(t, exitDenied, append(tt.want, "the server denies a command")...)
		})
	}
}

func TestNoOutputShowsThePassword(t *testing.T) {
	r := redistest.Start(t, "--requirepass", secret)
	file := filepath.Join(t.TempDir(), "out.txt")
	for _, tt := range []struct {
		url  string
		env  map[string]string
		code int
	}{
		{"redis://:" + secret + "@" + r.Addr(), nil, exitDone},
		{"redis://" + secret + "@" + r.Addr(), nil, exitDone},
		{r.URL(), map[string]string{"REDISCLI_AUTH": secret}, exitDone},
		{"env", map[string]string{"REDISCLI_AUTH": secret, "REDIS_URL": r.URL()}, exitDone},
		{"env", map[string]string{"REDIS_URL": "redis://default:" + secret + "@" + r.Addr()}, exitDone},
		{"redis://:" + secret + "x@" + r.Addr(), nil, exitDenied},
		{"redis://" + secret + ":" + secret + "x@" + r.Addr(), nil, exitDenied},
		{"redis://:" + secret + "@" + r.Addr() + "/nosuchdb", nil, exitUsage},
		{"redis://:" + secret + "@" + r.Addr() + "/99999", nil, exitDenied},
		{"rediss://:" + secret + "@" + r.Addr(), nil, exitUnreachable}, // no TLS there
	} {
		args := quick("-workload", "approaches", "-out", file)
		if tt.url != "" {
			args = append(args, "-url", tt.url)
		}
		o := lockbench(context.Background(), tt.env, args...)
		if o.code != tt.code {
			t.Errorf("exit code %d, want %d: %s", o.code, tt.code, o.stderr)
		}
		text, _ := os.ReadFile(file)
		if all := o.stdout + o.stderr + string(text); strings.Contains(all, secret) {
			t.Errorf("the password is in\n%s", all)
		}
		if o.code == exitDone && !strings.Contains(o.stdout, r.URL()) {
			t.Errorf("the server is not in\n%s", o.stdout)
		}
	}
}

func TestExplain(t *testing.T) {
	refused := func(text string) error { return fmt.Errorf("redigolock: acquire \"k\": %w", redis.Error(text)) }
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{refused("LOADING Redis is loading the dataset in memory"), exitDenied, "try again when it is ready"},
		{refused("OOM command not allowed when used memory > 'maxmemory'."), exitDenied, "takes no writes now"},
		{refused("MISCONF Redis is configured to save RDB snapshots"), exitDenied, "takes no writes now"},
		{refused("DENIED Redis is running in protected mode"), exitDenied, "protected mode"},
		{refused("MOVED 3999 127.0.0.1:6381"), exitDenied, "redis-cluster://"},
		{refused("ERR This instance has cluster support disabled"), exitDenied, "give a redis:// URL"},
		{refused("ERR max number of clients reached"), exitDenied, "maxclients"},
		{refused("READONLY You can't write against a read only replica."), exitDenied, "give the URL of its master"},
		{refused("ERR unknown command 'evalsha', with args beginning with:"), exitDenied, "renamed"},
		{refused("ERR The user executing the script can't run this command"), exitDenied, "give the user the right"},
		{refused("ERR something else"), exitDenied, "see its log"},
		{fmt.Errorf("release: %w", lock.ErrUnknown), exitUnreachable, "cannot be reached"},
		{fmt.Errorf("%w: dial", bench.ErrUnreachable), exitUnreachable, "cannot be reached: dial;"},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, exitUnreachable, "timeout"},
		{&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}, exitFailed, "permission"},
		{errors.New("bench: MUTUAL EXCLUSION VIOLATED"), exitFailed, "MUTUAL EXCLUSION VIOLATED"},
		{fmt.Errorf("%w: x", bench.ErrNoLocal), exitFailed, "no redis-server on PATH"},
		{fmt.Errorf("%w: x", bench.ErrConfig), exitUsage, "bad configuration"},
	} {
		line, code := explain(context.Background(), tt.err)
		if code != tt.code || !strings.Contains(line, tt.text) {
			t.Errorf("%v: %d, %q", tt.err, code, line)
		}
	}
}
