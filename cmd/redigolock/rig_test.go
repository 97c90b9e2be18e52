package main

import (
	"bytes"
	"flag"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets a test start this binary as the command: under the name redigolock it is the command.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "redigolock" {
		main()
	}
	if other := programs[filepath.Base(os.Args[0])]; other != nil {
		other(os.Args[1:])
	}
	flag.Parse()
	if signal.Ignored(syscall.SIGHUP) { // by nohup; what is caught here is not ignored by what is started
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	_ = flag.Set("test.parallel", "8") // those that are parallel wait for real time, or for a real server
	os.Exit(m.Run())
}

// programs are what else this binary is, by its name.
var programs = map[string]func(args []string){}

// An outcome is what a call of the command did.
type outcome struct {
	stdout, stderr string
	code           int
}

// call runs the command in this process. The environment is what vars say, as NAME=value, and nothing else.
func call(t *testing.T, vars []string, args ...string) outcome {
	t.Helper()
	return callWith(t, "", vars, args...)
}

// callWith is call with a standard input.
func callWith(t *testing.T, stdin string, vars []string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	e := &env{args: args, stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, getenv: func(name string) string {
		for _, v := range vars {
			if n, value, _ := strings.Cut(v, "="); n == name {
				return value
			}
		}
		return ""
	}}
	code := command(t.Context(), e)
	return outcome{stdout.String(), stderr.String(), code}
}

// want complains about another code, or text that is missing.
func (o outcome) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	for _, text := range texts {
		if !strings.Contains(o.stdout+o.stderr, text) {
			t.Errorf("%q is missing", text)
		}
	}
	if t.Failed() {
		t.Fatalf("stdout: %s\nstderr: %s", o.stdout, o.stderr)
	}
}
