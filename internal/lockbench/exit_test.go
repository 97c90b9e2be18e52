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

	"github.com/gomodule/redigo/redis"

	lock "github.com/redigolock/redigolock"
	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/redistest"
)

func TestHungServerIsOneLineAndExitCode3(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	r.Pause()
	defer r.Resume()
	lockbench(context.Background(), nil, "-url", r.URL()).wantLine(t, exitUnreachable)
}

// Whatever comes of it, no output shows the password, and an error is one line.
func TestServersAndUsers(t *testing.T) {
	r, file := redistest.Start(t), filepath.Join(t.TempDir(), "out.txt")
	do(t, r, "ACL", "SETUSER", "bob", "on", ">"+secret, "~*", "+@all", "-evalsha")
	do(t, r, "ACL", "SETUSER", "eve", "on", ">"+secret, "~*", "+@all", "-del") // inside a script, and to clean up
	do(t, r, "ACL", "SETUSER", "kim", "on", ">"+secret, "~other:*", "+@all")
	do(t, r, "ACL", "SETUSER", "default", "on", "resetpass", ">"+secret)
	at := func(user string) string { return "redis://" + user + "@" + r.Addr() }
	auth := map[string]string{"REDISCLI_AUTH": secret, "REDIS_URL": r.URL()}
	for _, tt := range []struct {
		url   string
		env   map[string]string
		code  int
		texts []string
	}{
		{at(":" + secret), nil, exitDone, nil},
		{at(secret), nil, exitDone, nil},
		{r.URL(), auth, exitDone, nil},
		{"env", auth, exitDone, nil},
		{"env", map[string]string{"REDIS_URL": at("default:" + secret)}, exitDone, nil},
		{at("bob:" + secret), nil, exitDenied, []string{"the server denies a command", "NOPERM", "evalsha", "give the user the right"}},
		{at("eve:" + secret), nil, exitDenied, []string{"give the user the right"}},
		{at("kim:" + secret), nil, exitDenied, []string{"NOPERM", "*lockbench:*"}},
		{r.URL(), nil, exitDenied, []string{"NOAUTH", "REDISCLI_AUTH"}},
		{at("bob:wrong"), auth, exitDenied, []string{"WRONGPASS", "check user and password"}},
		{at("bob:"), map[string]string{"REDISCLI_AUTH": "wrong"}, exitDenied, []string{"WRONGPASS"}},
		{at(secret + ":" + secret + "x"), nil, exitDenied, nil},
		{at(":"+secret) + "/99999", nil, exitDenied, nil},
		{at(":"+secret) + "/nosuchdb", nil, exitUsage, nil},
		{"rediss://:" + secret + "@" + r.Addr(), nil, exitUnreachable, nil}, // no TLS there
		{"redis://:" + secret + "@" + redistest.ClosedAddr, nil, exitUnreachable, []string{redistest.ClosedAddr, "connection refused"}},
	} {
		o := lockbench(context.Background(), tt.env, quick("-url", tt.url, "-workload", "approaches", "-out", file)...)
		text, _ := os.ReadFile(file)
		if all := o.stdout + o.stderr + string(text); strings.Contains(all, secret) {
			t.Errorf("the password is in\n%s", all)
		}
		if tt.code != exitDone {
			o.wantLine(t, tt.code, tt.texts...)
		} else if o.code != exitDone || !strings.Contains(o.stdout, r.URL()) {
			t.Errorf("exit code %d, the server is not in\n%s%s", o.code, o.stdout, o.stderr)
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
