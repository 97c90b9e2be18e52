//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redigolock/redigolock/internal/redistest"
)

// run, try and release over each kind of servers.
func TestOverSentinelsClusterQuorumAndSocket(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t, redistest.WatchedConfig{Password: "hunter2"})
	watched.Settled(t)
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	one := redistest.Start(t)
	quorum := "quorum"
	for name, url := range map[string]string{
		"sentinels": "redis-sentinel://" + strings.Join(watched.Addrs(), ",") + "/?master=" + redistest.MasterName,
		"cluster":   "redis-cluster://" + strings.Join(cluster.Addrs(), ","),
		"quorum":    quorum,
		"socket":    "unix://" + one.Socket(),
	} {
		var flags []string
		if url == quorum {
			for _, s := range redistest.StartMany(t, 3) {
				flags = append(flags, "-url", s.URL())
			}
		}
		file := filepath.Join(t.TempDir(), "token")
		with := func(args ...string) *process {
			p := startAs(t, url, func(c *exec.Cmd) {
				c.Env = append(c.Env, "REDISCLI_AUTH="+map[string]string{"sentinels": "hunter2"}[name])
			}, args...)
			<-p.ended
			if errors := p.stderr.String(); strings.Contains(errors, "hunter2") {
				t.Errorf("%s: %s", name, errors)
			}
			return p
		}
		before := append([]string{"run", "k", "-ttl", "5s"}, flags...)
		p := with(append(before, "--", "sh", "-c", "echo fence $REDIGOLOCK_FENCE")...)
		p.wantEnd(0)
		if hasFence := strings.HasPrefix(p.stdout.String(), "fence 1"); hasFence != (url != quorum) {
			t.Errorf("%s: the command says %s", name, &p.stdout)
		}
		with(append([]string{"try", "k", "-token-file", file}, flags...)...).wantEnd(0)
		with(append(append([]string{"run", "k", "-no-wait"}, flags...), "--", "true")...).wantEnd(exitBusy)
		with(append([]string{"release", "k", "-token-file", file}, flags...)...).wantEnd(0)
		with(append([]string{"release", "k", "-token-file", file}, flags...)...).wantEnd(exitLost)
	}
}

func TestWhereThePasswordComesFrom(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "hunter2")
	mustDo(t, s, "ACL", "SETUSER", "app", "on", ">swordfish", "~*", "+@all")
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right, wrong, app := file("right", "hunter2\r\nmore\n"), file("wrong", "nonsense"), file("app", "swordfish")
	inURL := func(login string) string { return "REDIS_URL=" + strings.Replace(s.URL(), "//", "//"+login+"@", 1) }
	bare := "REDIS_URL=" + s.URL()
	for _, c := range []struct {
		vars []string
		args string
		code int
	}{
		{[]string{bare}, "", exitRefused},
		{[]string{bare, "REDISCLI_AUTH=hunter2"}, "", exitOK},
		{[]string{bare, "REDISCLI_AUTH=nonsense"}, "", exitRefused},
		{[]string{inURL(":hunter2"), "REDISCLI_AUTH=nonsense"}, "", exitOK},
		{[]string{bare, "REDISCLI_AUTH=nonsense"}, "-password-file " + right, exitOK},
		{[]string{inURL(":nonsense")}, "-password-file " + right, exitOK},
		{[]string{bare, "REDISCLI_AUTH=hunter2"}, "-password-file " + wrong, exitRefused},
		{[]string{bare}, "-user app -password-file " + app, exitOK},
		{[]string{bare, "REDISCLI_AUTH=swordfish"}, "-user app", exitOK},
		{[]string{inURL("app:swordfish")}, "", exitOK},
	} {
		k := fmt.Sprint("k", c)
		o := call(t, c.vars, append([]string{"try", k, "-token-file", filepath.Join(dir, "token")}, strings.Fields(c.args)...)...)
		o.want(t, c.code)
		for _, secret := range []string{"hunter2", "swordfish", "nonsense"} {
			if strings.Contains(o.stderr, secret) && !strings.Contains(k, secret) {
				t.Errorf("%s: it shows %s: %s", c.args, secret, o.stderr)
			}
		}
	}
}

func TestThePasswordIsAskedForOnTheTerminal(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "hunter2")
	for answer, code := range map[string]int{"hunter2\n": 0, "nonsense\n": exitRefused, "half" + ctrlC: 130} {
		p := startOnTerminal(t, s.URL(), `(exec -a redigolock "$0" run k -askpass -- true </dev/null); echo "code $?"; stty -a`)
		p.shows("Password: ")
		p.types(answer)
		select {
		case <-p.dark:
		case <-time.After(patience):
			t.Fatalf("%q: the screen shows %q", answer, &p.seen)
		}
		seen := p.seen.String()
		if !strings.Contains(seen, fmt.Sprintf("code %d", code)) && code != 130 || strings.Contains(seen, answer[:4]) {
			t.Errorf("%q: the screen shows %s", answer, seen)
		}
		if code != 130 && !strings.Contains(seen, " echo ") {
			t.Errorf("the terminal stays deaf: %s", seen)
		}
	}
}

// Neither the password nor a token is in any output, error or process list, and neither is in the environment of the guard.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	s, a := redistest.Start(t, "--requirepass", password), newActor(t)
	file := filepath.Join(t.TempDir(), "token")
	var seen strings.Builder
	do := func(args ...string) *process {
		p := startAs(t, s.URL(), func(c *exec.Cmd) { c.Env = append(c.Env, "REDISCLI_AUTH="+password) }, args...)
		<-p.ended
		fmt.Fprintln(&seen, args[0], &p.stdout, &p.stderr)
		return p
	}
	do("try", "k", "-json", "-token-file", file).wantEnd(0)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(text))
	secrets := []string{password, token, token[strings.Index(token, "|")+1:]}
	do("extend", "k", "-json", "-token-file", file).wantEnd(0)
	do("fence", "k", "-json", "-token-file", file).wantEnd(0)
	do("try", "k", "-token-file", file).wantEnd(exitBusy)
	do("run", "k", "-no-wait", "--", "true").wantEnd(exitBusy)
	do("run", "k", "-wait", "1s", "-fair", "--", "true").wantEnd(exitBusy)
	do("release", "l", "-json", "-token-file", file).wantEnd(exitLost)
	do("release", "k", "-json", "-token-file", file).wantEnd(0)
	for _, v := range verbs() { // the server at the URL of the error is not the one with the password
		if v.name != "help" && v.name != "completion" {
			do(v.name, "k", "-url", "redis://app:"+password+"@"+redistest.ClosedAddr, "-token-file", file, "--", "true")
		}
	}
	p := startAs(t, s.URL(), func(c *exec.Cmd) { c.Env = append(c.Env, "REDISCLI_AUTH="+password) }, "run", "m", "--", a.path, a.file)
	a.awaitActs()
	held, err := s.Do("GET", "m")
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, string(held.([]byte)))
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.guard()))
	if err != nil || len(environ) > 0 {
		t.Errorf("the guard has the environment %q, %v", environ, err)
	}
	for _, pid := range append(childrenOf(p.cmd.Process.Pid), p.cmd.Process.Pid) {
		seen.Write(commandLine(pid))
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
	fmt.Fprintln(&seen, &p.stdout, &p.stderr)
	for _, secret := range secrets {
		for line := range strings.Lines(seen.String()) {
			if strings.Contains(line, secret) {
				t.Errorf("%q is shown: %s", secret, line)
			}
		}
	}
	if strings.Count(seen.String(), "\n") < 20 {
		t.Errorf("too little was looked at: %s", &seen)
	}
}
