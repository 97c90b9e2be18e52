package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/redistest"
)

func TestScriptsTakeExtendAndReleaseALock(t *testing.T) {
	t.Parallel()
	s := redistest.StartMini(t)
	vars := []string{"REDIS_URL=" + s.URL()}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("old, and readable for all"), 0o644); err != nil {
		t.Fatal(err)
	}
	call(t, vars, "try", "k", "-ttl", "10s", "-token-file", file).want(t, exitOK)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	text, _ := os.ReadFile(file)
	token := strings.TrimSuffix(string(text), "\n")
	if got, err := s.Get("k"); err != nil || got != token {
		t.Fatalf("the file has %q, the key %q", token, got)
	}
	call(t, vars, "try", "k", "-token-file", file+"2").want(t, exitBusy, "held by")
	if files, _ := filepath.Glob(filepath.Dir(file) + "/.*2*"); len(files) > 0 {
		t.Errorf("it has left %v", files)
	}
	call(t, vars, "extend", "k", "-ttl", "1m", "-token-file", file).want(t, exitOK)
	if left := s.TTL("k").Seconds(); left < 50 {
		t.Errorf("%v s are left", left)
	}
	first := call(t, vars, "fence", "k", "-token-file", file)
	second := call(t, append(vars, "REDIGOLOCK_TOKEN="+token), "fence", "k", "-json")
	var answer struct {
		Key   string
		Fence int64
	}
	if err := json.Unmarshal([]byte(second.stdout), &answer); err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.ParseInt(strings.TrimSpace(first.stdout), 10, 64); err != nil || n >= answer.Fence || answer.Key != "k" {
		t.Errorf("%q, then %q", first.stdout, second.stdout)
	}
	call(t, vars, "release", "k", "-token-file", file).want(t, exitOK)
	if s.Exists("k") {
		t.Error("the key is there")
	}
	for _, verb := range []string{"release", "extend", "fence"} {
		call(t, vars, verb, "k", "-token-file", file).want(t, exitLost, "not held")
	}
}

func TestTokensComeFromOnePlaceOnly(t *testing.T) {
	t.Parallel()
	s := redistest.StartMini(t)
	vars := []string{"REDIS_URL=" + s.URL()}
	dir := t.TempDir()
	two, empty := filepath.Join(dir, "two"), filepath.Join(dir, "empty")
	if os.WriteFile(two, []byte("a\nb\n"), 0o600) != nil || os.WriteFile(empty, nil, 0o600) != nil {
		t.Fatal("files cannot be written")
	}
	for args, code := range map[string]int{
		"try k":                                    exitUsage,
		"release k":                                exitUsage,
		"release k -token secret":                  exitUsage,
		"release k l -token-file x":                exitUsage,
		"release k -token-file x -token-fd 3":      exitUsage,
		"release k -token-file " + two:             exitUsage,
		"release k -token-file " + empty:           exitUsage,
		"release k -token-file " + dir + "/none":   exitFile,
		"try k -token-file " + dir + "/none/x":     exitFile,
		"try k -token-fd 999":                      exitFile,
		"try k -ttl 1ms -token-file " + dir + "/x": exitUsage,
		"fence k -url a -url b -token-file " + two: exitUsage,
	} {
		call(t, vars, strings.Fields(args)...).want(t, code)
	}
	if s.Exists("k") {
		t.Error("a lock was left whose token could not be written")
	}
	if files, _ := filepath.Glob(dir + "/*"); len(files) != 2 {
		t.Errorf("%v", files)
	}
}

func TestAQuorumFromScripts(t *testing.T) {
	t.Parallel()
	var urls []string
	var servers []*redistest.Mini
	for range 3 {
		s := redistest.StartMini(t)
		servers = append(servers, s)
		urls = append(urls, "-url", s.URL())
	}
	file := filepath.Join(t.TempDir(), "token")
	quorum := func(args ...string) outcome { return call(t, nil, append(args, urls...)...) }
	quorum("try", "k", "-token-file", file).want(t, exitOK)
	servers[0].Stop()
	quorum("extend", "k", "-ttl", "1m", "-token-file", file).want(t, exitOK)
	quorum("fence", "k", "-token-file", file).want(t, exitUsage, "quorum")
	quorum("release", "k", "-token-file", file).want(t, exitOK)
	for _, s := range servers[1:] {
		if s.Exists("k") {
			t.Error("the key is there")
		}
	}
	quorum("release", "k", "-token-file", file).want(t, exitLost)
	servers[1].Stop()
	quorum("try", "k", "-token-file", file).want(t, exitUnavailable)
}
