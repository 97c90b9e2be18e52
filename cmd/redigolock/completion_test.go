package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestBashCompletes(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	script := call(t, nil, "completion", "bash")
	script.want(t, exitOK)
	for line, want := range map[string]string{
		"redigolock re":              "release",
		"redigolock help ext":        "extend",
		"redigolock run k -no":       "-no-wait",
		"redigolock release -token":  "-token-file -token-fd",
		"redigolock run k -- rm -no": "",
		"redigolock completion -":    "",
		"redigolock nonsense -tok":   "",
	} {
		words := strings.Fields(line)
		asked := script.stdout + "\nCOMP_WORDS=(" + line + "); COMP_CWORD=" + string(rune('0'+len(words)-1)) + "; _redigolock; echo ${COMPREPLY[@]}"
		out, err := exec.Command(bash, "--norc", "-c", asked).CombinedOutput()
		got, wanted := strings.Fields(string(out)), strings.Fields(want)
		slices.Sort(got)
		slices.Sort(wanted)
		if err != nil || !slices.Equal(got, wanted) {
			t.Errorf("%s: %s %v, want %s", line, out, err, want)
		}
	}
	call(t, nil, "completion", "fish").want(t, exitUsage, "bash or zsh")
}

func TestZshCompletionHasEveryVerbAndFlag(t *testing.T) {
	t.Parallel()
	o := call(t, nil, "completion", "zsh")
	o.want(t, exitOK, "#compdef redigolock", "'run:run a command under a lock'", "-token-fd")
	if zsh, err := exec.LookPath("zsh"); err == nil {
		if out, err := exec.Command(zsh, "-n", "-c", o.stdout).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}
